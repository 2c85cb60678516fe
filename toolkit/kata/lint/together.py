"""Settings that cannot work together: the rules of `kata.rules`, asked about a file."""

from __future__ import annotations

import json
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..keys import tables
from ..rules import SEVERITIES, Broken, Values, broken
from ..settings import NoCounterpartError, carried
from .catalogue import OWN_ACTS, level_of
from .findings import Finding
from .merged import Merged
from .structure import Item
from .values import STAGES

# What comes of a plain choice is no finding about a file.
_EFFECTS = ("scsi-scan", "dax-arm64")
_ACTS = {
    "override": "takes something else than what is written",
    "hazard": "takes it, and what comes of it is hardly what was meant",
    "note": "takes it",
}
# The words in which `kata.rules` speaks of settings, as YAML has them, and as TOML does.
_ASSIGNED = re.compile(r'\b([a-z_][a-z0-9_.]*): (true\b|false\b|"[^"]*"|\d+|\[\])')
_NAME = re.compile(r"(?<![\"\w./-])[a-z][a-z0-9]*(?:_[a-z0-9]+)+(?![\w./-])")


def usable(merged: Merged, hypervisor: str, unusable: Iterable[Item]) -> dict[str, Item]:
    """The items that count for one hypervisor, by setting; ``unusable`` are those whose values are wrong anyway."""
    skipped = {id(item) for item in unusable}
    return {
        item.match.setting.name: item
        for item in merged.effective.values()
        if item.match and not item.match.shadow and id(item) not in skipped
        if not item.table.startswith("hypervisor") or item.owner == hypervisor
    }


def conflicts(merged: Merged, arch: str | None, unusable: Iterable[Item], *, host: bool) -> Iterator[Finding]:
    """What the values of one configuration do to each other; with ``host``, to files that are here."""
    if merged.lone:
        return
    unusable = list(unusable)
    in_use = merged.in_use()
    # The Go runtime may take any of several tables; the Rust one takes the one that is named.
    names = [in_use] if in_use else list(merged.owners("hypervisor")) if merged.known.dialect == "go" else []
    for hypervisor in names:
        if hypervisor not in merged.known.hypervisors:
            continue
        items = usable(merged, hypervisor, unusable)
        given = {name: item.value for name, item in items.items()}
        boot = next((name for name in ("image", "initrd") if given.get(name)), "")
        sizes = _sizes(given) if host else {}
        values = Values(merged.known.dialect, hypervisor, arch or "x86_64", boot, given, sizes)
        wrong = {item.match.setting.name for item in unusable if item.match}
        for rule in broken(values, SEVERITIES):
            if rule.rule not in _EFFECTS and not wrong & set(rule.settings):
                yield _finding(merged, hypervisor, items, rule)


def _sizes(given: Mapping[str, Any]) -> dict[str, int]:
    found = {}
    for name in ("image", "initrd"):
        with suppress(OSError, ValueError):  # a path that is not there, or cannot be, is told as such
            status = Path(given.get(name) or "/").stat()
            if stat.S_ISREG(status.st_mode):
                found[name] = status.st_size
    return found


def _finding(merged: Merged, hypervisor: str, items: Mapping[str, Item], rule: Broken) -> Finding:
    """At the settings that the file has; where it has none of them, at the table that lacks the first."""
    places = [(items[name].where, items[name].key) for name in rule.settings if name in items]
    if not places:
        first = rule.settings[0].rpartition(".")[0].partition(".")[0]
        header = merged.owners("hypervisor")[hypervisor].where
        places = [(merged.table(first) if first in ("runtime", "factory") else header, "")]
    act = STAGES.get(rule.stage, "takes it") if rule.severity == "error" else _ACTS[rule.severity]
    act = OWN_ACTS.get(rule.rule, act)
    return Finding(
        rule.rule,
        level_of(rule.rule, rule.severity),
        _in_words(rule.message, merged) or "",
        places[0][0],
        _in_words(rule.hint, merged),
        f"the {merged.known.title} {act}",
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
