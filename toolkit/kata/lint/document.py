"""One file as lint sees it: its text, what tomllib reads from it, where everything stands, and what is wrong."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from .findings import Finding, Place
from .positions import Path, Positions, Span, read_positions

REFUSED = "both runtimes refuse to load the file"
_PLACE = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")
_TWICE = (
    "Cannot overwrite a value",
    "Cannot declare",
    "Cannot mutate immutable namespace",
    "Duplicate inline table key",
)
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_MARK = "\ufeff"
_MAX_DEPTH = 64


@dataclass(slots=True)
class Document:
    """A file: ``tree`` is None when it is no TOML. ``drop_in``: it is a fragment below config.d."""

    file: str
    text: str
    tree: dict[str, Any] | None
    positions: Positions
    drop_in: bool = False
    findings: list[Finding] = field(default_factory=list)

    def place(self, span: Span) -> Place:
        """A stretch of the text."""
        line, column = self.positions.place(span[0])
        end_line, end_column = self.positions.place(span[1])
        return Place(self.file, line, column, end_line, end_column)

    def key_place(self, path: Path) -> Place:
        """Where a key stands."""
        entry = self.positions.entries.get(path)
        return self.place(entry.key) if entry else Place(self.file)

    def value_place(self, path: Path) -> Place:
        """Where a key's value stands; of a table, its header."""
        entry = self.positions.entries.get(path)
        return self.place(entry.value) if entry else Place(self.file)


def parse(file: str, data: bytes, *, drop_in: bool = False) -> Document:
    """Read a file's bytes. Never raises: what is wrong with them is in ``findings``."""
    if data.startswith(_UTF16):
        hint = "convert it: iconv -f utf-16 -t utf-8"
        found = Finding("not-utf8", "error", "the file is UTF-16", Place(file, 1, 1, 1, 1), hint, REFUSED)
        return Document(file, "", None, Positions(""), drop_in, [found])
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        return _undecodable(file, data, error, drop_in)
    findings = []
    if text.startswith(_MARK):
        text = text[1:]
        said = "the file starts with a byte order mark"
        hint = "save it as plain UTF-8"
        findings.append(Finding("byte-order-mark", "note", said, Place(file, 1, 1, 1, 1), hint))
    document = Document(file, text, None, Positions(text), drop_in, findings)
    try:
        document.tree = tomllib.loads(text)
        if _is_deep(document.tree):
            raise RecursionError
        document.positions = read_positions(text)
    except tomllib.TOMLDecodeError as error:
        findings.append(_broken(document, error))
    except RecursionError:
        document.tree = None
        findings.append(
            Finding("syntax", "error", "values are nested too deeply", Place(file, 1, 1, 1, 1), None, REFUSED)
        )
    except ValueError as error:  # a number of thousands of digits, a date that is none
        findings.append(Finding("syntax", "error", f"not TOML: {error}", Place(file, 1, 1, 1, 1), None, REFUSED))
    if document.tree is not None:
        findings += _template_variables(document)
    return document


def _undecodable(file: str, data: bytes, error: UnicodeDecodeError, drop_in: bool) -> Document:
    text = data.decode("utf-8", errors="replace")
    before = data[: error.start].decode("utf-8")
    positions = Positions(before)
    line, column = positions.place(len(before))
    binary = b"\0" in data[:4096]
    message = "the file is not text" if binary else f"the byte 0x{data[error.start]:02x} is not UTF-8"
    hint = "is it the right file?" if binary else "convert the file: iconv -f latin1 -t utf-8"
    found = Finding("not-utf8", "error", message, Place(file, line, column, line, column + 1), hint, REFUSED)
    return Document(file, text, None, Positions(text), drop_in, [found])


def _broken(document: Document, error: tomllib.TOMLDecodeError) -> Finding:
    said = str(error)
    match = _PLACE.search(said)
    message = said[: match.start()] if match else said
    if message.startswith(_TWICE):
        twice = _first_twice(document)
        if twice:
            return twice
    if match and match.group(1):
        line, column = int(match.group(1)), int(match.group(2))
    else:
        line, column = document.positions.place(len(document.text))
    line, column, message, hint = _explained(document.text, line, column, message)
    where = Place(document.file, line, column, line, column + 1)
    return Finding("syntax", "error", f"not TOML: {message}", where, hint, REFUSED)


def _first_twice(document: Document) -> Finding | None:
    found = read_positions(document.text)
    if not found.twice:
        return None
    path, first, second = found.twice[0]
    document.positions = found
    name = ".".join(map(str, path))
    before = document.place(first)
    return Finding(
        "duplicate-key",
        "error",
        f"{name} is there twice",
        document.place(second),
        f"keep one of them; the first is in line {before.line}",
        REFUSED,
        related=((before, "the first one"),),
    )


_HINTS = (
    (re.compile(r"=\s*(True|TRUE|Yes|yes|On|on)\b"), "write true"),
    (re.compile(r"=\s*(False|FALSE|No|no|Off|off|None|null)\b"), "write false, or leave the key out"),
    (re.compile(r"=\s*[\u2018\u2019\u201c\u201d]"), 'these are typographic quotation marks; write "'),
    (re.compile(r"=\s*@\w+@"), "a variable of the template that was not filled in"),
    (re.compile(r"=\s*[A-Za-z/.$~][^\"']*$"), "put the value in double quotes"),
    (re.compile(r"=\s*0\d"), "a number does not start with 0"),
    (re.compile(r"=\s*(#|$)"), "a value is missing"),
    (re.compile(r"^\s*(#\s*)?[\w.-]+\s*:"), 'write = between key and value, not ":"'),
    (re.compile(r"^\s*[\w.-]+\s*$"), "a key needs = and a value; a table stands in [brackets]"),
    (re.compile(r"^\s*\[[^\]]*$"), "the table's name is not closed: ]"),
    (re.compile(r"=\s*\"[^\"]*$"), 'the string is not closed: "'),
    (re.compile(r"^\s*(//|;)"), "a comment starts with #"),
    (
        re.compile(r"\"[^\"]*\\[^btnfruU\"\\][^\"]*\""),
        "in double quotes a backslash is written \\\\; single quotes take it as it is",
    ),
)


def _explained(text: str, line: int, column: int, message: str) -> tuple[int, int, str, str | None]:
    """Where a person would look, in words that say what to do."""
    lines = text.split("\n")
    if "\0" in text[:4096]:
        return 1, 1, "the file is not text", "is it the right file?"
    # What is not closed is noticed on the next line, at its start; a person looks at the line before.
    if column == 1 and line > 1 and not lines[line - 1].strip():
        line, column = line - 1, len(lines[line - 2]) + 1
    shown = lines[line - 1] if line <= len(lines) else ""
    hint = next((hint for pattern, hint in _HINTS if pattern.search(shown.rstrip("\r"))), None)
    return line, column, message[:1].lower() + message[1:], hint


_VARIABLE = re.compile(r"@[A-Z][A-Z0-9_]*@")


def _template_variables(document: Document) -> Iterator[Finding]:
    """Strings that still have a variable of the template in them."""
    for path, value in _leaves(document.tree, ()):
        if isinstance(value, str) and (match := _VARIABLE.search(value)):
            message = f"{_last_name(path)} has a template variable that was not filled in: {match.group()}"
            yield Finding("unexpanded-variable", "warning", message, document.value_place(path), "write its value")


def _last_name(path: Path) -> str:
    return next(str(step) for step in reversed(path) if isinstance(step, str))


def _leaves(value: Any, path: Path) -> Iterator[tuple[Path, Any]]:
    steps: Any = ()
    if isinstance(value, dict):
        steps = value.items()
    elif isinstance(value, list):
        steps = enumerate(value)
    else:
        yield path, value
    for step, inner in steps:
        yield from _leaves(inner, (*path, step))


def _is_deep(tree: dict[str, Any]) -> bool:
    """Whether tables and arrays lie deeper in each other than anything that walks them may have to go."""
    level: list[Any] = [tree]
    for _ in range(_MAX_DEPTH):
        inner = [v for one in level for v in (one.values() if isinstance(one, dict) else one)]
        level = [value for value in inner if isinstance(value, dict | list)]
    return bool(level)
