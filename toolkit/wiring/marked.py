"""Our part of a TOML file that belongs to others: one block of lines between two marks, so that taking it out gives
back the very bytes that were there before.

Whatever is done to the text, the result is parsed and compared with what was meant; a text that cannot be had this way
is refused, never guessed at.
"""

from __future__ import annotations

import copy
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError, Problem, Where
from .text import as_toml

Keys = tuple[str, ...]
_AT = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")
_MARK = re.compile(r"^# >>> kata-toolkit wire: ([a-z0-9-]+)", re.MULTILINE)
_UNENDED = ", behind a line without an end"


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing to be in the file: a value (a table, mostly) at a path of keys. ``name``: what people call it."""

    name: str
    path: Keys
    value: Any


@dataclass(frozen=True, slots=True)
class Edited:
    """The file's new text; for each name of an entry what was done: added, replaced, removed, unchanged, absent."""

    text: str
    done: Mapping[str, str]


def parse(text: str, file: Path) -> dict[str, Any]:
    """The document. Raises InputError with the place of the mistake."""
    if text.startswith("\ufeff"):
        message = "begins with a byte-order mark, which TOML does not have"
        raise InputError(message, where=Where(str(file), 1, 1), hint=f"sed -i '1s/^\\xef\\xbb\\xbf//' {file}")
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        message = str(error)
        at = _AT.search(message)
        line, column = _end(text) if at and not at[1] else (int(at[1]), int(at[2])) if at else (0, 0)
        raise InputError(f"not TOML: {_AT.sub('', message)}", where=Where(str(file), line, column)) from None
    except RecursionError:
        raise InputError("nested too deeply", where=Where(str(file))) from None


def _end(text: str) -> tuple[int, int]:
    return text.count("\n") + 1, len(text) - (text.rfind("\n") + 1) + 1


def put(text: str, file: Path, owner: str, entries: Sequence[Entry], *, force: bool = False, first: str = "") -> Edited:
    """The text with the entries in it. ``first``: lines for the head of a document that says nothing yet; they stay
    when the entries go, since another set may have come to need them.

    Raises InputError when the text is no TOML, when an entry is there already with another value and was not put there
    by us (unless ``force``), and when there is no way to write it.
    """
    document = parse(text, file)
    outside, _ = _without_block(text, owner)
    foreign = parse(outside, file)
    problems = [problem for entry in entries for problem in _conflicts(foreign, entry, file, outside, force=force)]
    if problems:
        raise InputError.many(problems)
    ours = [entry for entry in entries if _get(foreign, entry.path) != entry.value]
    done = {entry.name: _what(_get(document, entry.path), entry.value) for entry in entries}
    for entry in ours:
        if _get(foreign, entry.path) is not None:
            outside = _cut(outside, file, [entry])
    outside = first + outside
    if document == _with(parse(outside, file), ours) and _same_block(text, owner, ours):
        return Edited(text, done)
    return Edited(_append(outside, file, owner, ours), done)


def drop(text: str, file: Path, owner: str, entries: Sequence[Entry], *, force: bool = False) -> Edited:
    """The text without our block, and without entries elsewhere that say exactly what ours would.

    Raises InputError when an entry is there with another value, unless ``force``.
    """
    document = parse(text, file)
    outside, had = _without_block(text, owner)
    foreign = parse(outside, file)
    found = [entry for entry in entries if _get(foreign, entry.path) is not None]
    differing = [entry for entry in found if _get(foreign, entry.path) != entry.value]
    if differing and not force:
        raise InputError.many(
            Problem(
                f"{e.name} is there, but not as this set would have it", _place(outside, file, e), "--force removes it"
            )
            for e in differing
        )
    done = {e.name: "absent" if _get(document, e.path) is None else "removed" for e in entries}
    text = _cut(outside, file, found) if found else outside if had else text
    return Edited(text, done)


def _what(before: Any, after: Any) -> str:
    if before is None:
        return "added"
    return "unchanged" if before == after else "replaced"


def _conflicts(foreign: dict[str, Any], entry: Entry, file: Path, text: str, *, force: bool) -> Iterator[Problem]:
    table: Any = foreign
    for depth, key in enumerate(entry.path[:-1], 1):
        table = table.get(key)
        if table is None:
            return
        if not isinstance(table, dict):
            yield Problem(f"{'.'.join(entry.path[:depth])} is no table", Where(str(file)))
            return
    found = table.get(entry.path[-1])
    if found is not None and found != entry.value and not force:
        message = f"{entry.name} is there already, and differs: {_difference(found, entry.value)}"
        yield Problem(message, _place(text, file, entry), "--force puts this set's in its place")


def _difference(found: Any, wanted: Any) -> str:
    """The first key that differs, for people."""
    if not isinstance(found, dict) or not isinstance(wanted, dict):
        return f"it says {found!r}, the set {wanted!r}"
    for key in dict.fromkeys([*wanted, *found]):
        if found.get(key) != wanted.get(key):
            return f"{key} is {found.get(key)!r}, the set says {wanted.get(key)!r}"
    return "in no key"


def _place(text: str, file: Path, entry: Entry) -> Where:
    """The first line that has the entry's last key, as near as can be had."""
    key = re.escape(entry.path[-1])
    pattern = re.compile(rf"^\s*(?:\[[^\]\n]*)?[\"']?({key})[\"']?\s*(?:[\]=.])", re.MULTILINE)
    found = pattern.search(text)
    if found is None:
        return Where(str(file))
    start = found.start(1)
    return Where(str(file), text.count("\n", 0, start) + 1, start - (text.rfind("\n", 0, start) + 1) + 1)


def _get(document: Mapping[str, Any], path: Keys) -> Any:
    value: Any = document
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _set(document: dict[str, Any], path: Keys, value: Any) -> None:
    for key in path[:-1]:
        document = document.setdefault(key, {})
    document[path[-1]] = value


def _with(document: Mapping[str, Any], entries: Sequence[Entry]) -> dict[str, Any]:
    result: dict[str, Any] = copy.deepcopy(dict(document))
    for entry in entries:
        _set(result, entry.path, entry.value)
    return result


def require_whole_blocks(text: str, file: Path) -> None:
    """Raise InputError unless each block can be taken out, and nothing else changes its meaning with it: a mark is
    lost, stands within a value, or somebody's keys stand behind a block, where they belong to its last table.
    """
    document = parse(text, file)
    for owner in sorted(owners(text)):
        begin, end = _marks(owner)
        outside, had = _without_block(text, owner)
        lines = text.splitlines()
        number = next((n for n, line in enumerate(lines, 1) if line.startswith(begin)), 0)
        once = lines.count(end) == 1 and sum(line in (begin, begin + _UNENDED) for line in lines) == 1
        if not (had and once and document == _merged(outside, _body(text, begin, end))):
            raise InputError(
                f"the block of {owner} cannot be told from what is around it",
                where=Where(str(file), number, 1),
                hint="both its marks must be there once, and keys behind it need a table header of their own",
            )


def _body(text: str, begin: str, end: str) -> str:
    """What stands between two marks."""
    return text.partition(begin)[2].partition("\n")[2].partition(f"\n{end}")[0].removesuffix("\r")


def _merged(*texts: str) -> dict[str, Any] | None:
    """What the documents say together; None where one is none."""
    merged: dict[str, Any] = {}
    try:
        for text in texts:
            _merge(merged, tomllib.loads(text))
    except tomllib.TOMLDecodeError:
        return None
    return merged


def _merge(into: dict[str, Any], more: Mapping[str, Any]) -> None:
    for key, value in more.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = value


def _marks(owner: str) -> tuple[str, str]:
    return f"# >>> kata-toolkit wire: {owner}", f"# <<< kata-toolkit wire: {owner}"


def owners(text: str) -> set[str]:
    """Who has a block in the text."""
    return set(_MARK.findall(text))


def outside(text: str, owner: str) -> str:
    """What others wrote: the text without our block."""
    return _without_block(text, owner)[0]


def _without_block(text: str, owner: str) -> tuple[str, bool]:
    """The text without our block; the end of line that we added before it goes too."""
    begin, end = (re.escape(mark) for mark in _marks(owner))
    pattern = re.compile(rf"^{begin}({re.escape(_UNENDED)})?\r?\n.*?^{end}(?:\r?\n|\Z)", re.MULTILINE | re.DOTALL)
    found = pattern.search(text)
    if found is None:
        return text, False
    before, after = text[: found.start()], text[found.end() :]
    return (before.removesuffix("\n") if found[1] and not after else before) + after, True


def _block(owner: str, entries: Sequence[Entry], *, unended: bool) -> str:
    tree: dict[str, Any] = {}
    for entry in entries:
        _set(tree, entry.path, entry.value)
    begin, end = _marks(owner)
    return f"{begin}{_UNENDED if unended else ''}\n{as_toml(tree)}{end}\n"


def _same_block(text: str, owner: str, entries: Sequence[Entry]) -> bool:
    """Whether our block is there exactly when it has something to say."""
    return _without_block(text, owner)[1] == bool(entries)


def _append(outside: str, file: Path, owner: str, entries: Sequence[Entry]) -> str:
    wanted = _with(parse(outside, file), entries)
    if not entries:
        return outside
    unended = bool(outside) and not outside.endswith("\n")
    text = outside + ("\n" if unended else "") + _block(owner, entries, unended=unended)
    try:
        if tomllib.loads(text) == wanted:
            return text
    except tomllib.TOMLDecodeError:
        pass  # a table that cannot be opened again, for one
    return _edited(outside, file, entries, wanted)


def _edited(text: str, file: Path, entries: Sequence[Entry], wanted: Mapping[str, Any]) -> str:
    """The entries set inside the tables that are there, all else kept as it is written."""
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    if _MARK.search(text):  # what went into another set's block would go with it
        raise InputError(
            "the table is another set's here, and there can be no second one",
            where=Where(str(file)),
            hint="give this set a file of its own",
        )
    try:
        document = tomlkit.parse(text)
        for entry in entries:
            table: Any = document
            for key in entry.path[:-1]:
                table = table[key] if key in table else table.setdefault(key, tomlkit.table())
            table[entry.path[-1]] = entry.value
        result = tomlkit.dumps(document)
        if tomllib.loads(result) == wanted:
            return result
    except (TOMLKitError, tomllib.TOMLDecodeError, TypeError, ValueError, KeyError, AttributeError):
        pass  # told below
    names = ", ".join(entry.name for entry in entries)
    raise InputError(
        f"{names} cannot be written into this file without rewriting it",
        where=Where(str(file)),
        hint="write its tables with headers of their own, or import the set's file",
    )


def _cut(text: str, file: Path, entries: Sequence[Entry]) -> str:
    """The text without these entries, which are not in our block."""
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    wanted = parse(text, file)
    for entry in entries:
        table: Any = wanted
        for key in entry.path[:-1]:
            table = table[key]
        del table[entry.path[-1]]
    try:
        document = tomlkit.parse(text)
        for entry in entries:
            table = document
            for key in entry.path[:-1]:
                table = table[key]
            del table[entry.path[-1]]
        result = tomlkit.dumps(document)
        if _pruned(tomllib.loads(result)) == _pruned(wanted):
            return result
    except (TOMLKitError, tomllib.TOMLDecodeError, TypeError, ValueError, KeyError, AttributeError):
        pass  # told below
    names = ", ".join(entry.name for entry in entries)
    raise InputError(f"{names} cannot be taken out of this file by a program", where=Where(str(file)), hint="by hand")


def _pruned(value: Any) -> Any:
    """Without empty tables: whether a parent's header stays behind means nothing."""
    if not isinstance(value, dict):
        return value
    pruned = {key: _pruned(item) for key, item in value.items()}
    return {key: item for key, item in pruned.items() if item != {}}
