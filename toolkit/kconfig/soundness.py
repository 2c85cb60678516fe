"""Mistakes in a fragment library that a schema cannot see: names that lead nowhere, circles, entries that never act.

Whether the kernel's Kconfig agrees is another question, asked at each resolution.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from ..errors import Problem
from ..spec.suggest import did_you_mean

if TYPE_CHECKING:
    from .fragments import AllowedMissing, Feature, Profile, Setting


def unsound(features: Mapping[str, Feature], profiles: Mapping[str, Profile]) -> list[Problem]:
    """Every such mistake; references first, since the other rules follow them."""
    problems = list(_dangling(features, profiles))
    if not problems:
        problems += _circles(features)
        problems += _never(features)
        problems += _stale(features)
    return problems


def _dangling(features: Mapping[str, Feature], profiles: Mapping[str, Profile]) -> Iterator[Problem]:
    for names in [
        *(f.needs for f in features.values()),
        *(f.conflicts for f in features.values()),
        *(p.features for p in profiles.values()),
    ]:
        for name, where in names.items():
            if name not in features:
                yield Problem(f'there is no feature "{name}"', where, did_you_mean(name, features))


def _circles(features: Mapping[str, Feature]) -> Iterator[Problem]:
    """Features that need each other, and features that exclude what they need."""
    for feature in features.values():
        needed = _needed(feature.name, features)
        for name, where in feature.needs.items():
            if feature.name == name or feature.name in _needed(name, features):
                yield Problem(f'"{feature.name}" needs "{name}", which needs "{feature.name}"', where)
        for name, where in feature.conflicts.items():
            if name == feature.name or name in needed:
                yield Problem(f'"{feature.name}" excludes "{name}", but needs it', where)


def _needed(name: str, features: Mapping[str, Feature]) -> set[str]:
    """All that a feature needs, directly or through others."""
    found: set[str] = set()
    queue = list(features[name].needs)
    while queue:
        needed = queue.pop()
        if needed not in found:
            found.add(needed)
            queue += features[needed].needs
    return found


def _never(features: Mapping[str, Feature]) -> Iterator[Problem]:
    """Version ranges and architectures in which nothing can be."""
    for feature in features.values():
        entries: list[Setting | AllowedMissing] = [*feature.settings, *feature.allow_missing]
        for entry in entries:
            if (entry.kernel & feature.kernel).empty:
                yield Problem(f"{entry.symbol}: no kernel version is in this range", entry.where)
            elif feature.arch and entry.arch and not feature.arch & entry.arch:
                yield Problem(f'{entry.symbol}: the feature "{feature.name}" is not for that architecture', entry.where)


def _stale(features: Mapping[str, Feature]) -> Iterator[Problem]:
    """Entries of allow_missing that allow nothing; those for a request that is met show when it is resolved."""
    for feature in features.values():
        for entry in feature.allow_missing:
            asked = [s for s in feature.settings if s.symbol == entry.symbol]
            if not asked:
                yield Problem(f"{entry.symbol} is not asked for in this feature", entry.where)
            elif not any(_meets(entry, setting) for setting in asked):
                places = ", ".join(str(s.where) for s in asked)
                yield Problem(
                    f"{entry.symbol} is never asked for where this entry allows it to be missing",
                    entry.where,
                    f"it is asked for at {places}",
                )


def _meets(entry: AllowedMissing, setting: Setting) -> bool:
    same_arch = not entry.arch or not setting.arch or bool(entry.arch & setting.arch)
    return same_arch and not (entry.kernel & setting.kernel).empty
