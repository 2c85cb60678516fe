"""A TOML file's text in pieces that can be put together anew: keys and headers, each with its comments.

tomlkit takes the text apart, comments and blanks included; nothing is ever changed inside its document. What the
pieces become is rendered here as well: see `Sheet`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import ToolError
from .lint.positions import Path
from .render import toml_value

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_BLANK = re.compile(r"[ \t]*\n")


@dataclass(frozen=True, slots=True)
class Piece:
    """A key, or a table's header (``text`` is None). ``path`` is that of `lint.positions`: names, and indexes of lists.

    ``before``: the comments and blank lines above; ``after``: the comment behind it, with the blanks in front.
    """

    path: Path
    before: str
    after: str
    text: str | None = None
    separator: str = " = "


def take_pieces(text: str) -> tuple[list[Piece], str]:
    """The pieces of a text that tomllib accepts, in order, and what follows the last one.

    Raises ValueError for a text that tomlkit does not take, ToolError when tomlkit is not installed.
    """
    try:
        import tomlkit
        from tomlkit.exceptions import TOMLKitError
    except ModuleNotFoundError as error:
        hint = "install it: Debian calls it python3-tomlkit"
        raise ToolError("the Python library tomlkit is not there", hint=hint) from error
    try:
        document = tomlkit.parse(text)
    except TOMLKitError as error:
        raise ValueError(str(error)) from error
    taker = _Taker()
    taker.walk(document, (), dotted=False)
    return taker.pieces, taker.pending


class _Taker:
    def __init__(self) -> None:
        self.pieces: list[Piece] = []
        self.pending = ""

    def walk(self, container: Any, path: Path, *, dotted: bool) -> None:
        from tomlkit import items

        for key, item in container.body:
            if key is None:
                self.pending += item.as_string()
                continue
            inner = (*path, str(key.key))
            if isinstance(item, items.AoT):
                for index, table in enumerate(item.body):
                    self._header((*inner, index), table)
                    self.walk(table.value, (*inner, index), dotted=False)
            elif isinstance(item, items.Table):
                within = dotted or key.is_dotted()
                if not within and not item.is_super_table():
                    self._header(inner, item)
                self.walk(item.value, inner, dotted=within)
            elif not isinstance(item, items.Null):
                trivia = item.trivia
                after = trivia.comment_ws + trivia.comment if trivia.comment else ""
                self.pieces.append(Piece(inner, self._taken(), after, item.as_string(), _separator(key)))

    def _header(self, path: Path, table: Any) -> None:
        trivia = table.trivia
        after = trivia.comment_ws + trivia.comment if trivia.comment else ""
        self.pieces.append(Piece(path, self._taken(), after))

    def _taken(self) -> str:
        pending, self.pending = self.pending, ""
        return pending


def _separator(key: Any) -> str:
    """What stands between key and value, in the file's own style."""
    written = str(key.as_string())
    return written[len(written.rstrip()) :] + str(key.sep) or " = "


def split_before(text: str) -> tuple[str, str]:
    """What stands above a header or key: what belongs to what was before, and the comment that touches it."""
    lines = text.splitlines(keepends=True)
    last = max((i for i, line in enumerate(lines) if _BLANK.fullmatch(line)), default=-1)
    return "".join(lines[: last + 1]), "".join(lines[last + 1 :])


@dataclass(frozen=True, slots=True)
class Row:
    """A key of the new file; ``reason``: it is left out, and stands there as a comment that says why.

    One without a key is a remark: only what is ``before`` it.
    """

    key: str
    value: Any
    text: str
    before: str = ""
    after: str = ""
    separator: str = " = "
    reason: str | None = None

    def render(self) -> str:
        """The row's lines."""
        if not self.key:
            return self.before
        line = f"{quoted(self.key)}{self.separator}{self.text}"
        if self.reason is None:
            return f"{self.before}{line}{self.after}\n"
        commented = "\n".join(f"#{part}" for part in line.split("\n"))
        return f"{self.before}{commented}{self.after}  # {self.reason}\n"


@dataclass(slots=True)
class Section:
    """A table of the new file. ``element``: its index, if it is one of a list of tables; ``live``: it is there."""

    path: tuple[str, ...]
    element: int | None = None
    live: bool = True
    before: str = ""
    after: str = ""
    rows: list[Row] = field(default_factory=list)
    tail: str = ""

    def render(self) -> str:
        """The header and all below it; a table that only holds what is left out is a comment as a whole."""
        name = ".".join(quoted(step) for step in self.path)
        header = f"[[{name}]]" if self.element is not None else f"[{name}]"
        top = f"{self.before}{'' if self.live else '#'}{header}{self.after}\n" if self.path else self.before
        return top + "".join(row.render() for row in self.rows) + self.tail


class Sheet:
    """The new file as it grows: tables in order, each once."""

    def __init__(self, preamble: str) -> None:
        self.sections = [Section((), before=preamble)]

    def find(self, path: Sequence[str], element: int | None = None) -> Section | None:
        """The table of that name, if it is really there."""
        wanted = (tuple(path), element)
        return next((s for s in self.sections if s.live and (s.path, s.element) == wanted), None)

    def section(self, path: Sequence[str], element: int | None = None, *, behind: Section | None = None) -> Section:
        """The table of that name, made behind another one, or at the end, if it is not there."""
        found = self.find(path, element)
        if found is None:
            found = Section(tuple(path), element, before="\n")
            at = self.sections.index(behind) + 1 if behind else len(self.sections)
            self.sections.insert(at, found)
        return found

    def tree(self) -> dict[str, Any]:
        """The values that the text is meant to have."""
        root: dict[str, Any] = {}
        for section in self.sections:
            if section.live and section.path:
                table = _table(root, section)
                table.update({row.key: row.value for row in section.rows if row.key and row.reason is None})
        return root

    def render(self) -> str:
        """The file's text."""
        text = "".join(section.render() for section in self.sections).lstrip("\n")
        return text if text.endswith("\n") or not text else f"{text}\n"


def _table(root: dict[str, Any], section: Section) -> dict[str, Any]:
    *outer, last = section.path
    for step in outer:
        root = root.setdefault(step, {})
    if section.element is None:
        found: dict[str, Any] = root.setdefault(last, {})
        return found
    elements: list[dict[str, Any]] = root.setdefault(last, [])
    elements.append({})
    return elements[-1]


def quoted(name: str) -> str:
    """A key as TOML writes it."""
    return name if _BARE.fullmatch(name) else json.dumps(name)


def toml_text(value: Any) -> str:
    """Any value as TOML on one line, inline tables included."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{quoted(key)} = {toml_text(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml_text, value)) + "]"
    return toml_value(value) if isinstance(value, bool | int | float | str) else str(value)
