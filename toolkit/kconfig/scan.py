"""Reads a kernel tree's Kconfig files: where each symbol is defined, on what it depends, what selects it.

It explains what the kernel's own ``conf`` did; it never decides a value. Macros other than the architecture's
name are left as they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from . import expression as ex

_TYPES = ("bool", "tristate", "int", "hex", "string", "def_bool", "def_tristate")
_WORD = re.compile(r"([a-z_]+|---help---)\s*(.*)")
_PROMPT = re.compile(r"""\s*("(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')\s*(?:if\s+(.*))?$""")


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition and where it is written: ``file`` relative to the tree."""

    text: str
    file: str
    line: int

    def parsed(self) -> ex.Expression:
        """Raises ValueError when it is beyond our parser."""
        return ex.parse(self.text)


@dataclass(slots=True)
class Definition:
    """One ``config NAME`` block, with the conditions of the ``if`` and ``menu`` blocks around it."""

    name: str
    file: str
    line: int
    depends: list[Condition]
    type: str = ""
    prompt: Condition | None = None  # its ``if``; text "y" when there is none
    choice: int | None = None  # the number of the choice it belongs to


@dataclass(frozen=True, slots=True)
class Select:
    """``select TARGET if …`` in the block of ``by``."""

    by: str
    condition: Condition


@dataclass(slots=True)
class Tree:
    """All definitions of a kernel tree for one architecture, by symbol (without CONFIG_)."""

    definitions: dict[str, list[Definition]] = field(default_factory=dict)
    selects: dict[str, list[Select]] = field(default_factory=dict)


def scan(root: Path, srcarch: str) -> Tree:
    """Read all Kconfig files that ``root/Kconfig`` sources. ``srcarch`` is the folder below arch/, e.g. "x86"."""
    tree = Tree()
    _Reader(root, srcarch, tree).file("Kconfig", [])
    return tree


class _Reader:
    def __init__(self, root: Path, srcarch: str, tree: Tree) -> None:
        self._root, self._srcarch, self._tree = root, srcarch, tree
        self._choices = 0

    def file(self, name: str, around: list[Condition]) -> None:
        """Read one file and what it sources; ``around`` are the conditions it is sourced under."""
        path = self._root / name
        if not path.is_file():
            return
        blocks: list[tuple[str, list[Condition], int | None]] = []  # open if, menu and choice blocks
        current: Definition | None = None
        for line, text in _statements(path):
            match = _WORD.match(text)
            if not match:
                continue
            word, rest = match.groups()
            inside = around + [c for _, conditions, _ in blocks for c in conditions]
            if word in ("config", "menuconfig"):
                current = self._define(rest.strip(), name, line, inside, blocks)
            elif word in ("if", "menu", "choice"):
                self._choices += word == "choice"
                conditions = [Condition(self._fill(rest), name, line)] if word == "if" else []
                blocks.append((word, conditions, self._choices if word == "choice" else None))
                current = None
            elif word in ("endif", "endmenu", "endchoice"):
                if blocks:
                    blocks.pop()
                current = None
            elif word in ("source", "rsource", "comment", "mainmenu"):
                current = None
                if word == "source":
                    self.file(self._fill(rest.strip().strip("\"'")), inside)
            elif current:
                self._attribute(current, word, rest, name, line)
            elif word in ("depends", "visible") and blocks and blocks[-1][0] != "if":
                blocks[-1][1].append(Condition(self._fill(re.sub(r"^(on|if)\s+", "", rest)), name, line))

    def _fill(self, text: str) -> str:
        return text.replace("$(SRCARCH)", self._srcarch).replace("$SRCARCH", self._srcarch).strip()

    def _define(
        self,
        symbol: str,
        file: str,
        line: int,
        inside: list[Condition],
        blocks: list[tuple[str, list[Condition], int | None]],
    ) -> Definition:
        choice = next((number for kind, _, number in reversed(blocks) if kind == "choice"), None)
        definition = Definition(symbol, file, line, list(inside), choice=choice)
        self._tree.definitions.setdefault(symbol, []).append(definition)
        return definition

    def _attribute(self, current: Definition, word: str, rest: str, file: str, line: int) -> None:
        rest = self._fill(rest)
        if word == "depends":
            current.depends.append(Condition(re.sub(r"^on\s+", "", rest), file, line))
        elif word in _TYPES or word == "prompt":
            if word in _TYPES:
                current.type = word.removeprefix("def_")
            prompt = _PROMPT.match(rest)
            if prompt and not word.startswith("def_"):
                current.prompt = Condition(prompt.group(2) or "y", file, line)
        elif word == "select":
            target, _, condition = rest.partition(" if ")
            select = Select(current.name, Condition(condition.strip() or "y", file, line))
            self._tree.selects.setdefault(target.strip(), []).append(select)


def _statements(path: Path) -> Iterator[tuple[int, str]]:
    """The statements of a file with their line numbers: comments and help texts gone, continuations joined."""
    help_indent: int | None = None  # None: not in a help text; -1: its first line not seen yet
    joined, start = "", 0
    for number, raw in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        expanded = raw.expandtabs()
        text = expanded.strip()
        if help_indent is not None and text:
            indent = len(expanded) - len(expanded.lstrip())
            if help_indent < 0 and indent:
                help_indent = indent
            if indent and indent >= help_indent:
                continue
            help_indent = None
        if not text or (text.startswith("#") and not joined):
            continue
        if text.endswith("\\"):
            joined, start = joined + text[:-1] + " ", start or number
            continue
        statement, line = joined + text, start or number
        joined, start = "", 0
        if statement in ("help", "---help---"):
            help_indent = -1
            continue
        yield line, _without_comment(statement)


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
