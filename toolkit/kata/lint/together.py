"""Settings that cannot work together: the rules of `kata.rules`, and those that only a file can break."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ..keys import tables
from ..rules import Values, broken
from ..settings import NoCounterpartError, carried
from .file_rules import Facts, file_findings
from .findings import Finding, Level, Place
from .merged import Merged
from .structure import Item

# The words in which `kata.rules` speaks of settings, as YAML has them, and as TOML does.
_ASSIGNED = re.compile(r'\b([a-z_][a-z0-9_.]*): (true\b|false\b|"[^"]*"|\d+|\[\])')
_NAME = re.compile(r"(?<![\"\w./-])[a-z][a-z0-9]*(?:_[a-z0-9]+)+(?![\w./-])")


def conflicts(merged: Merged, arch: str | None, unusable: Iterable[Item]) -> Iterator[Finding]:
    """What the values of one configuration do to each other. ``unusable``: items whose values are wrong anyway."""
    if merged.lone:
        return
    skipped = {id(item) for item in unusable}
    in_use = merged.in_use()
    # The Go runtime may take any of several tables; the Rust one takes the one that is named.
    names = [in_use] if in_use else list(merged.owners("hypervisor")) if merged.known.dialect == "go" else []
    for hypervisor in names:
        if hypervisor not in merged.known.hypervisors:
            continue
        items = {
            item.match.setting.name: item
            for item in merged.effective.values()
            if item.match and not item.match.shadow and id(item) not in skipped
            if not item.table.startswith("hypervisor") or item.owner == hypervisor
        }
        given = {name: item.value for name, item in items.items()}
        boot = "initrd" if given.get("initrd") and not given.get("image") else "image"
        values = Values(merged.known.dialect, hypervisor, arch or "x86_64", boot, given)
        for rule in broken(values):
            yield _finding(merged, hypervisor, items, rule.settings, rule.message, rule.hint)
        yield from file_findings(Facts(merged, values, items))


def _finding(
    merged: Merged,
    hypervisor: str,
    items: Mapping[str, Item],
    settings: tuple[str, ...],
    message: str,
    hint: str | None,
) -> Finding:
    places = [(items[name].where, items[name].key) for name in settings if name in items]
    where: Place = places[0][0] if places else merged.owners("hypervisor")[hypervisor].where
    title = merged.known.title
    level: Level = "error"
    does = f"the {title} finds this out late, or overrules one of them"
    if settings[0].startswith("valid_"):
        level, does = "note", f"the {title} uses it all the same; the list is about what a pod may ask for"
    return Finding(
        "conflict",
        level,
        _in_words(message, merged) or "",
        where,
        _in_words(hint, merged),
        does,
        merged.known.dialect,
        tuple(places[1:]),
    )


def _in_words(text: str | None, merged: Merged) -> str | None:
    """The dialect's own names for settings and values, assigned as TOML does it."""
    if text is None:
        return None
    dialect = merged.known.dialect

    def side_of(name: str) -> tuple[Any, Any]:
        setting = tables().find(name)
        return (setting, setting.side(dialect)) if setting and setting.name == name else (None, None)

    def assigned(match: re.Match[str]) -> str:
        setting, side = side_of(match.group(1))
        value = match.group(2)
        if side and dialect == "rs" and side.key != setting.name.rpartition(".")[2]:
            try:
                value = json.dumps(carried(json.loads(value), setting.carry, side))
            except (NoCounterpartError, ValueError):
                return f"{side.key} otherwise"
        return f"{match.group(1)} = {value}"

    def named(match: re.Match[str]) -> str:
        _, side = side_of(match.group())
        return side.key if side and "." not in match.group() else match.group()

    return _NAME.sub(named, _ASSIGNED.sub(assigned, text))
