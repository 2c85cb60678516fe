"""What one lock has that another has not: a line a package, as a person would tell it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from .model import Lock, Locked, name_of, version_of

TOOLS = "tools"


@dataclass(frozen=True, slots=True)
class Change:
    """``key``: the wish, or "tools"; ``old`` and ``new``: versions, None for what was or is not there."""

    key: str
    name: str
    old: str | None
    new: str | None

    def as_json(self) -> dict[str, Any]:
        """The shape of an entry of ``lock --json``."""
        return asdict(self)


def changes(old: Lock | None, new: Lock) -> list[Change]:
    """All that differs, by key and name; without an old lock, all that there is."""
    before = old.inputs if old else {}
    found = [
        change
        for key in sorted(before.keys() | new.inputs.keys())
        for change in _of(key, before.get(key), new.inputs.get(key))
    ]
    tools = old.tools if old else {}
    both = sorted(tools.keys() | new.tools.keys())
    changed = [tool for tool in both if tools.get(tool) != new.tools.get(tool)]
    return [*found, *(Change(TOOLS, tool, tools.get(tool), new.tools.get(tool)) for tool in changed)]


def _of(key: str, old: Locked | None, new: Locked | None) -> list[Change]:
    before, after = _named(key, old), _named(key, new)
    found = []
    for name in sorted(before.keys() | after.keys()):
        was, now = before.get(name), after.get(name)
        if was == now:
            continue
        words = [version_of(each) if each is not None else None for each in (was, now)]
        if words[0] == words[1]:  # the same version in another file
            words = [f"{word} ({_digest(each)})" for word, each in zip(words, (was, now), strict=True)]
        found.append(Change(key, name, *words))
    if not found and old and new and old != new:
        found.append(Change(key, key, "another request or origin", "as the spec has it"))
    return found


def _named(key: str, locked: Locked | None) -> dict[str, Mapping[str, Any]]:
    return {name_of(record) or key: record for record in locked.records()} if locked else {}


def _digest(record: Mapping[str, Any] | None) -> str:
    return str((record or {}).get("sha256") or (record or {}).get("digest") or "")[:12]
