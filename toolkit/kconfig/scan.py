"""Reads a kernel tree's Kconfig files: where each symbol is defined, on what it depends, what selects it.

It explains what the kernel's own ``conf`` did; it never decides a value. The language is that of
Documentation/kbuild/kconfig-language.rst. Of the macros, ``$(SRCARCH)`` and ``$(ARCH)`` are filled in; others, which
ask the compiler, stay as they are. Whatever is no Kconfig is passed over: that conf can read the tree is its matter.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from .symbols import Choice, Condition, Default, Definition, Range, Select, Tree

__all__ = ["Condition", "Definition", "Select", "Tree", "scan"]

_TYPES = ("bool", "tristate", "int", "hex", "string", "def_bool", "def_tristate")
_WORD = re.compile(r"([a-z_]+|---help---)\b\s*(.*)", re.DOTALL)
_ASSIGNMENT = re.compile(r"[\w-]+\s*(:|\+)?=(?!=)")  # of a macro: ``if-success = …``
_QUOTED = re.compile(r"""\s*("(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')\s*(.*)""", re.DOTALL)
_IF = re.compile(r"(?<![^\s)\"'])if\b")
_SOURCES = ("source", "rsource", "osource", "orsource")
_MAKE_ARCH = {"x86": "x86_64"}  # ARCH=, where it is not the name of the folder below arch/


def scan(root: Path, srcarch: str) -> Tree:
    """Read all Kconfig files that ``root/Kconfig`` sources. ``srcarch`` is the folder below arch/, e.g. "x86"."""
    found = _Found()
    _Reader(root, srcarch, found).file("Kconfig", _Around())
    return Tree(found.definitions, found.selects, found.implies, found.choices, found.modules)


@dataclass(slots=True)
class _Found:
    """A `Tree` that still grows."""

    definitions: dict[str, list[Definition]] = field(default_factory=dict)
    selects: dict[str, list[Select]] = field(default_factory=dict)
    implies: dict[str, list[Select]] = field(default_factory=dict)
    choices: dict[int, Choice] = field(default_factory=dict)
    modules: str = "MODULES"


@dataclass(frozen=True, slots=True)
class _Around:
    """What the blocks around a statement add to it."""

    depends: tuple[Condition, ...] = ()
    visible: tuple[Condition, ...] = ()
    menus: tuple[str, ...] = ()
    choice: int | None = None


@dataclass(slots=True)
class _Block:
    """An open if, menu or choice, and what it adds."""

    kind: str
    depends: list[Condition] = field(default_factory=list)
    visible: list[Condition] = field(default_factory=list)
    title: str = ""
    choice: Choice | None = None


class _Reader:
    def __init__(self, root: Path, srcarch: str, found: _Found) -> None:
        self._root, self._found = root, found
        self._macros = (
            ("$(SRCARCH)", srcarch),
            ("$SRCARCH", srcarch),
            ("$(ARCH)", _MAKE_ARCH.get(srcarch, srcarch)),
        )
        self._open: list[str] = []  # the files being read

    def file(self, name: str, around: _Around) -> None:
        """Read one file and what it sources."""
        text = None if name in self._open or len(self._open) > 50 else _read(self._root / name)
        if text is None:
            return
        self._open.append(name)
        _FileReader(self, self._found, name, around).read(text)
        self._open.pop()

    def fill(self, text: str) -> str:
        if "$" in text:
            for macro, value in self._macros:
                text = text.replace(macro, value)
        return text.strip()


class _FileReader:
    """One file: the statements, and the blocks they are in."""

    def __init__(self, reader: _Reader, found: _Found, name: str, around: _Around) -> None:
        self._reader, self._found, self._name, self._outer = reader, found, name, around
        self._around = around
        self._blocks: list[_Block] = []
        self._current: Definition | None = None

    def read(self, text: str) -> None:
        for line, statement, last in _statements(text):
            match = _WORD.match(statement)
            if not match or ("=" in statement and _ASSIGNMENT.match(statement)):
                continue
            word, rest = match.group(1), self._reader.fill(match.group(2))
            if word in ("help", "---help---"):
                if self._current and last > line:
                    self._current.help = (line + 1, last)
            elif word in ("config", "menuconfig"):
                self._define(rest, line)
            elif word in ("if", "menu", "choice"):
                self._enter(word, rest, line)
            elif word in ("endif", "endmenu", "endchoice"):
                self._current = None
                if self._blocks:
                    self._blocks.pop()
                    self._gather()
            elif word in _SOURCES:
                self._current = None
                self._source(word, rest)
            elif word in ("comment", "mainmenu"):
                # A comment's own depends must not end up in the menu around it.
                self._current = Definition("", self._name, line, [])
            elif self._current:
                self._attribute(self._current, word, rest, line)
            elif self._blocks:
                self._block_attribute(self._blocks[-1], word, rest, line)

    def _gather(self) -> None:
        """What all open blocks add."""
        choices = [b.choice.number for b in self._blocks if b.choice]
        self._around = _Around(
            self._outer.depends + tuple(c for b in self._blocks for c in b.depends),
            self._outer.visible + tuple(c for b in self._blocks for c in b.visible),
            self._outer.menus + tuple(b.title for b in self._blocks if b.title and b.kind == "menu"),
            choices[-1] if choices else self._outer.choice,
        )

    def _enter(self, word: str, rest: str, line: int) -> None:
        self._current = None
        block = _Block(word)
        if word == "if":
            block.depends.append(Condition(rest, self._name, line))
        elif word == "menu":
            block.title = _unquoted(rest)[0]
        else:
            number = len(self._found.choices) + 1
            block.choice = self._found.choices[number] = Choice(number, self._name, line)
        self._blocks.append(block)
        self._gather()

    def _define(self, symbol: str, line: int) -> None:
        around = self._around
        self._current = Definition(
            symbol, self._name, line, [*around.depends], [*around.visible], choice=around.choice, menus=around.menus
        )
        if not symbol:
            return
        self._found.definitions.setdefault(symbol, []).append(self._current)
        if around.choice and symbol not in self._found.choices[around.choice].members:
            self._found.choices[around.choice].members.append(symbol)

    def _source(self, word: str, rest: str) -> None:
        target = _unquoted(rest)[0] or rest
        if "r" in word[:2]:  # rsource, orsource: from this file's own folder
            target = posixpath.join(posixpath.dirname(self._name), target)
        self._reader.file(posixpath.normpath(target), self._around)

    def _attribute(self, current: Definition, word: str, rest: str, line: int) -> None:
        if word == "depends":
            current.depends.append(self._depends(rest, line))
        elif word in _TYPES or word == "prompt":
            if word in _TYPES:
                current.type = word.removeprefix("def_")
            if word.startswith("def_"):
                current.defaults.append(self._default(rest, line))
            elif rest[:1] in ("'", '"'):
                current.title, condition = _unquoted(rest)
                current.prompt = self._after_if(condition, line)
        elif word == "default":
            current.defaults.append(self._default(rest, line))
        elif word == "range":
            bounds, condition = _split_if(rest)
            low, _, high = bounds.partition(" ")
            current.ranges.append(Range(low, high.strip(), Condition(condition or "y", self._name, line)))
        elif word in ("select", "imply"):
            target, condition = _split_if(rest)
            into = self._found.selects if word == "select" else self._found.implies
            into.setdefault(target, []).append(Select(current.name, Condition(condition or "y", self._name, line)))
        elif word == "modules" or (word, rest) == ("option", "modules"):
            self._found.modules = current.name

    def _block_attribute(self, block: _Block, word: str, rest: str, line: int) -> None:
        """Of a menu or a choice."""
        if word == "depends" and block.kind != "if":
            block.depends.append(self._depends(rest, line))
        elif word == "visible":
            block.visible.append(self._after_if(rest, line))
        elif block.choice is None:
            return
        elif word in ("prompt", "bool", "tristate") and rest[:1] in ("'", '"'):
            block.choice.title, condition = _unquoted(rest)
            if condition:
                block.visible.append(self._after_if(condition, line))
        elif word == "optional":
            block.choice.optional = True
        elif word == "default":
            block.choice.defaults.append(self._default(rest, line))
        self._gather()

    def _depends(self, rest: str, line: int) -> Condition:
        """``depends on A``, and ``depends on A if B`` of newer kernels: A counts only where B holds."""
        text, only = _split_if(re.sub(r"^on\b\s*", "", rest))
        return Condition(f"({text}) || !({only})" if only else text, self._name, line)

    def _default(self, rest: str, line: int) -> Default:
        value, condition = _split_if(rest)
        return Default(value, Condition(condition or "y", self._name, line))

    def _after_if(self, rest: str, line: int) -> Condition:
        return Condition(re.sub(r"^if\b\s*", "", rest) or "y", self._name, line)


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except (OSError, ValueError):  # not there, a folder, a name that no file can have
        return None


def _unquoted(text: str) -> tuple[str, str]:
    """A quoted text without its quotes, and what follows it; ("", text) when it is none."""
    match = _QUOTED.match(text)
    return (re.sub(r"\\(.)", r"\1", match.group(1)[1:-1]), match.group(2)) if match else ("", text)


def _split_if(text: str) -> tuple[str, str]:
    """``VALUE if CONDITION`` in two; an ``if`` in quotes or in a macro does not count."""
    if "if" not in text:
        return text, ""
    quote, depth = "", 0
    for index, letter in enumerate(text):
        if letter in "\"'" and quote in ("", letter):
            quote = "" if quote else letter
        elif letter in "()" and not quote:
            depth += 1 if letter == "(" else -1
        elif letter == "i" and depth <= 0 and not quote and _IF.match(text, index):
            return text[:index].strip(), text[index + 2 :].strip()
    return text, ""


def _statements(text: str) -> Iterator[tuple[int, str, int]]:
    """The statements of a file with their first line numbers: comments gone, continuations joined.

    A ``help`` comes with the number of the last line of its text, every other statement with its own.
    """
    lines = text.split("\n")
    at, count = 0, len(lines)
    while at < count:
        start, statement = at + 1, lines[at].strip()
        while statement.endswith("\\") and not statement.startswith("#"):
            at += 1
            statement = f"{statement[:-1]} {lines[at].strip() if at < count else ''}"
            if at >= count:
                break
        at += 1
        if not statement or statement.startswith("#"):
            continue
        if statement in ("help", "---help---"):
            at, last = _help_end(lines, at)
            yield start, statement, last
        else:
            yield start, _without_comment(statement), start


def _help_end(lines: list[str], at: int) -> tuple[int, int]:
    """Where the help text that begins at index ``at`` ends: the index behind it, and the number of its last line.

    It goes on for as long as lines are empty or indented at least as its first one.
    """
    indent: int | None = None
    last = at
    while at < len(lines):
        expanded = lines[at].expandtabs()
        text = expanded.lstrip()
        if text:
            depth = len(expanded) - len(text)
            if not depth or (indent is not None and depth < indent):
                break
            indent = depth if indent is None else indent
            last = at + 1
        at += 1
    return at, last


def _without_comment(text: str) -> str:
    if "#" not in text:
        return text
    quote = ""
    for index, letter in enumerate(text):
        if letter in "\"'" and quote in ("", letter):
            quote = "" if quote else letter
        elif letter == "#" and not quote:
            return text[:index].rstrip()
    return text
