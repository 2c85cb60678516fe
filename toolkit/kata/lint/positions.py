"""Where each key and value of a TOML text stands: what tomllib reads, but does not place.

tomllib decides whether a text is TOML and what its values are. This reader walks a text that it has accepted once
more and notes offsets, by the grammar of https://toml.io/en/v1.0.0. Of a text that it has not accepted it notes what
stands before the mistake, and which keys are there twice.
"""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field

Path = tuple[str | int, ...]
Span = tuple[int, int]

_SPACE = re.compile(r"[ \t]*")
_GAP = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_STRINGS = {
    '"""': re.compile(r'"""(?:\\.|[^"\\]|"(?!""))*"""(?:"{0,2})', re.DOTALL),
    "'''": re.compile(r"'''(?:[^']|'(?!''))*'''(?:'{0,2})", re.DOTALL),
    '"': re.compile(r'"(?:\\.|[^"\\\n])*"'),
    "'": re.compile(r"'[^'\n]*'"),
}
_SCALAR = re.compile(r"\d{4}-\d\d-\d\d \d\d:[^\s,#\]}]+|[^\s,#\]}]+")


@dataclass(frozen=True, slots=True)
class Entry:
    """One key or element: the offsets of its name (an element: of its value) and of its value (a table: its header)."""

    key: Span
    value: Span


@dataclass(slots=True)
class Positions:
    """Entries by path: names of keys, and indexes into arrays. ``twice``: (path, first, second) of what is there twice.

    ``order``: the paths in the order of the text.
    """

    text: str
    entries: dict[Path, Entry] = field(default_factory=dict)
    twice: list[tuple[Path, Span, Span]] = field(default_factory=list)
    _starts: list[int] = field(default_factory=list)

    def place(self, offset: int) -> tuple[int, int]:
        """Line and column of an offset, both from 1; columns count characters."""
        if not self._starts:
            self._starts = [0, *(m.end() for m in re.finditer("\n", self.text))]
        line = bisect_right(self._starts, offset)
        return line, offset - self._starts[line - 1] + 1


class _StrayError(Exception):
    """The text is not TOML here."""


def read_positions(text: str) -> Positions:
    """The places of a text; where it is no TOML, of what stands before. Raises RecursionError for hostile nesting."""
    reader = _Reader(text)
    with suppress(_StrayError):
        reader.document()
    return reader.found


class _Reader:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.found = Positions(text)
        self._elements: dict[Path, int] = {}  # arrays of tables → how many elements
        self._made: set[Path] = set()  # what a header or a value has defined

    def document(self) -> None:
        table: Path = ()
        while True:
            self._skip(_GAP)
            if self.at >= len(self.text):
                return
            table = self._header() if self.text[self.at] == "[" else self._pair(table)

    def _skip(self, pattern: re.Pattern[str]) -> None:
        match = pattern.match(self.text, self.at)
        self.at = match.end() if match else self.at

    def _expect(self, token: str) -> None:
        if not self.text.startswith(token, self.at):
            raise _StrayError
        self.at += len(token)

    def _header(self) -> Path:
        start = self.at
        array = self.text.startswith("[[", self.at)
        self._expect("[[" if array else "[")
        names = list(self._names())
        self._expect("]]" if array else "]")
        header = (start, self.at)
        path: Path = ()
        for name, span in names[:-1]:
            path = self._last(self._note((*path, name), span, header))
        name, span = names[-1]
        path = self._note((*path, name), span, header)
        if array:
            index = self._elements[path] = self._elements.get(path, -1) + 1
            return self._note((*path, index), span, header)
        self._define(path, span, header)
        return path

    def _last(self, path: Path) -> Path:
        return (*path, self._elements[path]) if path in self._elements else path

    def _pair(self, table: Path) -> Path:
        names = list(self._names())
        self._expect("=")
        self._skip(_SPACE)
        path, spans = table, []
        for name, span in names:
            path = (*path, name)
            spans.append((path, span))
        start = self.at
        first = not any(p in self._made for p, _ in spans[-1:])
        if first:
            for p, span in spans:
                self._note(p, span, span)
        self._value(path if first else (*path, -1))
        whole = (start, self.at)
        self._define(path, spans[-1][1], whole)
        return table

    def _names(self) -> Iterator[tuple[str, Span]]:
        while True:
            self._skip(_SPACE)
            start = self.at
            quote = self.text[start : start + 1]
            match = (_STRINGS[quote] if quote in ("'", '"') else _BARE).match(self.text, start)
            if not match:
                raise _StrayError
            self.at = match.end()
            yield _name(match.group()), (start, self.at)
            self._skip(_SPACE)
            if not self.text.startswith(".", self.at):
                return
            self.at += 1

    def _note(self, path: Path, key: Span, value: Span) -> Path:
        self.found.entries.setdefault(path, Entry(key, value))
        return path

    def _define(self, path: Path, key: Span, value: Span) -> None:
        """The key's own value or header; a table may have been mentioned by a deeper one before."""
        if path in self._made:
            self.found.twice.append((path, self.found.entries[path].key, key))
            return
        self._made.add(path)
        self.found.entries[path] = Entry(key, value)

    def _value(self, path: Path) -> None:
        start = self.at
        text = self.text
        if text.startswith("[", start):
            self._array(path)
        elif text.startswith("{", start):
            self._inline(path)
        else:
            quote = next((q for q in _STRINGS if text.startswith(q, start)), None)
            match = (_STRINGS[quote] if quote else _SCALAR).match(text, start)
            if not match:
                raise _StrayError
            self.at = match.end()

    def _array(self, path: Path) -> None:
        self.at += 1
        index = 0
        while True:
            self._skip(_GAP)
            if self.text.startswith("]", self.at):
                self.at += 1
                return
            start = self.at
            self._value((*path, index))
            self._define((*path, index), (start, self.at), (start, self.at))
            index += 1
            self._skip(_GAP)
            if not self.text.startswith("]", self.at):
                self._expect(",")

    def _inline(self, path: Path) -> None:
        self.at += 1
        while True:
            self._skip(_GAP)  # TOML 1.0 allows no line breaks here; tomllib has seen to that
            if self.text.startswith("}", self.at):
                self.at += 1
                return
            self._pair(path)
            self._skip(_GAP)
            if not self.text.startswith("}", self.at):
                self._expect(",")


def _name(raw: str) -> str:
    if raw[:1] == "'":
        return raw[1:-1]
    if raw[:1] != '"':
        return raw
    if "\\" not in raw:
        return raw[1:-1]
    try:
        return str(tomllib.loads(f"key = {raw}")["key"])
    except tomllib.TOMLDecodeError as error:
        raise _StrayError from error
