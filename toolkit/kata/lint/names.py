"""Keys and tables that the runtime does not know, or knows and does not use: what was meant, and what happens."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from ...spec.suggest import nearest
from ..keys import Setting, tables
from ..settings import NoCounterpartError, carried
from .document import Document
from .findings import Finding, Level
from .known import TABLES, Known, Match, counterpart, in_brackets
from .structure import Item, Stray


def unknown_does(known: Known, table: str, *, drop_in: bool) -> tuple[str, bool]:
    """What the runtime does with a key that it does not know, and whether that stops it."""
    if known.strict(table):
        return f"the {known.title} refuses the file: it is strict in this table", True
    verdicts = known.facts["drop_in_unknown_key"] if drop_in else {}
    verdict = verdicts.get(table.split(".", maxsplit=1)[0], verdicts.get("other", ""))
    if verdict == "refused":
        return f"the {known.title} refuses the drop-in", True
    if verdict == "warned about":
        return f"the {known.title} logs a warning and ignores it", False
    return f"the {known.title} ignores it without a word", False


def unknown_key(item: Item, known: Known, *, guess: bool = True) -> Finding:
    """Why a key is not known: it is of the other dialect, lies in the wrong table, is dead, or misspelt.

    ``guess``: look for the known key that is nearest to a misspelt one.
    """
    does, _ = unknown_does(known, item.table, drop_in=item.document.drop_in)
    here = in_brackets(item.table, known.dialect, item.owner)

    def found(rule: str, message: str, hint: str | None, level: Level = "error") -> Finding:
        return Finding(rule, level, message, item.where, hint, does, known.dialect)

    dead = known.dead(item.table, item.key)
    if dead:
        instead = f"write {dead['instead']}" if "instead" in dead else "remove it"
        return found("dead-key", f"the {known.title} does not know {item.key}: {dead['why']}", instead, "warning")
    spelt = known.find(item.table, item.key.lower())
    if spelt and item.key != item.key.lower():
        told = f"the {known.title} does not know {item.key}: it minds capitals"
        return found("unknown-key", told, f"write {spelt.spelt}")
    elsewhere = known.elsewhere(item.table, item.key)
    theirs = counterpart(known.dialect, item.table, item.key)
    same_table_there = theirs and _side_table(theirs, known.other) == item.table
    if elsewhere and not same_table_there:
        places = " or ".join(_place_of(match, known, item) for match in elsewhere)
        return found(
            "wrong-table", f"{item.key} does nothing in {here}: it belongs in {places}", f"move it to {places}"
        )
    if theirs:
        return found("other-dialect", *_translated(theirs, item, known))
    near = known.near(item.table, item.key) if guess else None
    if isinstance(item.value, dict):
        return found("unknown-table", f"unknown table {item.key} in {here}", f"did you mean {near}?" if near else None)
    if near is None and guess:
        near_elsewhere = nearest(item.key, [key for keys in known.by_table.values() for key in keys])
        match = next((m for keys in known.by_table.values() for k, m in keys.items() if k == near_elsewhere), None)
        hint = f"did you mean {near_elsewhere} in {_place_of(match, known, item)}?" if match else None
        return found("unknown-key", f"unknown key {item.key} in {here}", hint)
    return found("unknown-key", f"unknown key {item.key} in {here}", f"did you mean {near}?" if near else None)


def _side_table(setting: Setting, dialect: Any) -> str | None:
    side = setting.side(dialect)
    return side.table if side else None


def _place_of(match: Match, known: Known, item: Item) -> str:
    owner = item.owner if item.table.startswith("hypervisor") else _hypervisor_of(item.document)
    return in_brackets(match.side.table, known.dialect, owner)


def _hypervisor_of(document: Document) -> str | None:
    """The name of a file's only hypervisor table."""
    table = (document.tree or {}).get("hypervisor")
    names = [name for name, value in table.items() if isinstance(value, dict)] if isinstance(table, dict) else []
    return names[0] if len(names) == 1 else None


def _translated(setting: Setting, item: Item, known: Known) -> tuple[str, str | None]:
    """The message and the hint for a key that only the other runtime has."""
    other = tables().title(known.other)
    side = setting.side(known.dialect)
    message = f"{item.key} is a key of the {other}"
    if side is None:
        return f"{message}; the {known.title} has nothing like it", "remove it"
    owner = item.owner if item.table.startswith("hypervisor") else _hypervisor_of(item.document)
    place = in_brackets(side.table, known.dialect, owner)
    where = "" if side.table == item.table else f" in {place}"
    unit = f", in {side.unit}" if side.unit in ("ms", "s", "MiB") else ""
    try:
        value = json.dumps(carried(item.value, setting.carry, side), ensure_ascii=False)
        text = f"write {side.key} = {value}{where}"
    except (NoCounterpartError, TypeError, ValueError):
        text = f"write {side.key}{where}"
    return f"{message}; the {known.title} calls it {side.key}{where}{unit}", text


def stray(found: Stray, known: Known, *, guess: bool = True) -> Finding:
    """A table or key at a level where the runtime knows none of that name; ``guess`` as in `unknown_key`."""
    does = f"the {known.title} ignores it without a word"
    if found.expected:
        does = f"the {known.title} refuses the file"
        message = f"{found.key} must be {found.expected}, not {_kind(found.value)}"
        hint = None
        if len(found.path) > 1:
            kind = str(found.path[0])
            message = f"{found.key} lies in [{kind}], where only tables can be"
            name = _hypervisor_of(found.document) or "qemu" if kind.lower() == "hypervisor" else "kata"
            hint = f"write [{kind}.{name}] above it"
        return Finding("wrong-type", "error", message, found.where, hint, does, known.dialect)
    if not isinstance(found.value, dict):
        return _loose(found, known, does, guess)
    if known.dialect == "rs" and found.key == "factory":
        place = in_brackets("hypervisor.factory", "rs", _hypervisor_of(found.document))
        message = f"[factory] is a table of the {tables().title('go')}; the {known.title} has it as {place}"
        return Finding("other-dialect", "error", message, found.where, f"write {place}", does, known.dialect)
    near = nearest(found.key, [t for t in TABLES if t in known.by_table]) if guess else None
    if found.key in known.hypervisors:
        near = f"hypervisor.{found.key}"
    hint = f"did you mean [{near}]?" if near else "remove it"
    return Finding("unknown-table", "error", f"unknown table [{found.key}]", found.where, hint, does, known.dialect)


def _loose(found: Stray, known: Known, does: str, guess: bool) -> Finding:
    """A key before the first table, or a misspelt table without content of its own."""
    places = [
        in_brackets(m.side.table, known.dialect, _hypervisor_of(found.document)) for m in known.elsewhere("", found.key)
    ]
    if places:
        text = " or ".join(places)
        message = f"{found.key} lies in no table: it belongs in {text}"
        return Finding("wrong-table", "error", message, found.where, f"move it to {text}", does, known.dialect)
    near = nearest(found.key, [key for keys in known.by_table.values() for key in keys]) if guess else None
    hint = f"did you mean {near}? It belongs in a table" if near else None
    return Finding(
        "unknown-key", "error", f"unknown key {found.key}, in no table", found.where, hint, does, known.dialect
    )


def _kind(value: Any) -> str:
    for kind, name in (
        (bool, "true or false"),
        (int, "a number"),
        (float, "a number"),
        (str, "a string"),
        (list, "a list"),
    ):
        if isinstance(value, kind):
            return name
    return "a table" if isinstance(value, dict) else "a date"


def known_key(item: Item, known: Known, hypervisor: str | None, kata: str) -> Iterator[Finding]:
    """What is to be said of a key that the parser knows, its value aside."""
    match = item.match
    assert match is not None  # noqa: S101 -- the caller has told the unknown ones apart
    side, name, title = match.side, item.key, known.title

    def found(rule: str, level: Level, message: str, hint: str | None, does: str | None = None) -> Finding:
        return Finding(rule, level, message, item.where, hint, does, known.dialect)

    if name != match.spelt:
        told = f"{name} is written {match.spelt}"
        yield found(
            "key-case", "warning", told, f"write {match.spelt}", f"the {title} takes it; the Rust one would not"
        )
    if not side.exists_in(kata):
        span = f"came with Kata {side.since}" if side.since else ""
        if side.until and not (
            side.since and tuple(map(int, side.since.split("."))) > tuple(map(int, kata.split(".")))
        ):
            span = f"was dropped in Kata {side.until}"
        does, _ = unknown_does(known, item.table, drop_in=item.document.drop_in)
        yield found("not-in-version", "error", f"{name} {span}; this is about {kata}", "remove it", does)
        return
    lost: Level = "note" if _is_default(item.value, match, hypervisor) else "warning"
    if match.shadow:
        yield found(
            "inert-key", lost, f"{name} does nothing: {side.key} decides", f"write {side.key}", _reads_not(title)
        )
    elif side.internal:
        yield found("internal-key", "warning", f"the {title} fills in {name} itself", "remove it")
    elif side.inert:
        yield found("inert-key", lost, f"{name} does nothing: {side.inert}", "remove it", _reads_not(title))
    elif hypervisor in side.allowed_by_hypervisor:
        pass  # what the runtime refuses there is told with the value
    elif hypervisor and hypervisor in known.hypervisors and not side.heeded_by(hypervisor):
        with_ = ", ".join(side.hypervisors or ())
        told = f"{name} does nothing with {hypervisor}, only with {with_}"
        yield found("not-heeded", lost, told, "remove it", f"the {title} reads it and does not use it")
    if side.deprecated:
        yield found("deprecated-key", lost, f"{name} is deprecated: {side.deprecated}", None)


def _reads_not(title: str) -> str:
    return f"the {title} reads it and does not use it"


def _is_default(value: Any, match: Match, hypervisor: str | None) -> bool:
    """Whether leaving the key out would come to the same."""
    if match.shadow:
        return value in (False, 0, "")
    default = match.side.default_of(hypervisor or "")
    if default is None:
        return value in ("", [], False, 0)
    return isinstance(default, bool) == isinstance(value, bool) and bool(default == value)
