"""What differs between two kernel configurations, sorted by the features of the library that ask for it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import PurePosixPath
from typing import Any

from .fragments import Feature, Library
from .symbols import PREFIX, Tree
from .versions import version_tuple

ADDED, REMOVED, CHANGED = "added", "removed", "changed"
_MENU_LEVELS = 2  # "Networking support › Networking options": deeper ones would be groups of one


@dataclass(frozen=True, slots=True)
class Change:
    """One symbol (with prefix) that differs: its values as ``.config`` has them, None where it has none or is off.

    ``kind``: added (only B has it), removed (only A has it), changed. ``features``: all that ask for it.
    """

    symbol: str
    kind: str
    a: str | None
    b: str | None
    features: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Group:
    """Changes that belong together. ``kind``: feature, menu (of the kernel), folder (of the kernel) or unknown."""

    kind: str
    name: str
    title: str
    changes: tuple[Change, ...]

    def count(self, kind: str) -> int:
        """How many of its changes are of one kind."""
        return sum(change.kind == kind for change in self.changes)


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two: ``features`` are those it is made of, empty where nobody knows."""

    label: str
    kernel: str | None
    arch: str | None
    profile: str | None
    on: int
    features: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Difference:
    """The answer of ``kernel diff``: groups of features first, the ones with most changes first."""

    a: Side
    b: Side
    groups: tuple[Group, ...]
    same: int

    @property
    def changes(self) -> tuple[Change, ...]:
        """All changes, by symbol."""
        return tuple(sorted((c for g in self.groups for c in g.changes), key=lambda change: change.symbol))

    def count(self, kind: str) -> int:
        """How many symbols were added, removed or changed."""
        return sum(group.count(kind) for group in self.groups)

    @property
    def features_only(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The features that only A, and that only B is made of; empty when one of them is not known."""
        if not self.a.features or not self.b.features:
            return (), ()
        return (
            tuple(f for f in self.a.features if f not in self.b.features),
            tuple(f for f in self.b.features if f not in self.a.features),
        )

    def as_json(self) -> dict[str, Any]:
        """The shape that schemas/kernel-diff.schema.json describes."""
        only_a, only_b = self.features_only
        return {
            "version": 1,
            "differ": bool(self.groups),
            "a": asdict(self.a),
            "b": asdict(self.b),
            "counts": {
                "same": self.same,
                **{kind: self.count(kind) for kind in (ADDED, REMOVED, CHANGED)},
            },
            "features_only_in_a": list(only_a),
            "features_only_in_b": list(only_b),
            "groups": [
                {
                    "kind": group.kind,
                    "name": group.name,
                    "title": group.title,
                    **{kind: group.count(kind) for kind in (ADDED, REMOVED, CHANGED)},
                    "changes": [asdict(change) for change in group.changes],
                }
                for group in self.groups
            ],
        }


def difference(
    a: Side,
    b: Side,
    values_a: Mapping[str, str],
    values_b: Mapping[str, str],
    library: Library,
    trees: Sequence[Tree] = (),
) -> Difference:
    """Compare two configurations.

    Where the features of both are known, only theirs count. ``trees``, those that are known, tell the menus of what
    came along with what the features ask for.
    """
    askers = _askers(library, (a, b))
    # Of features that neither is known to have, the one that asks for fewest symbols says most about a change.
    others = sorted(library.features, key=lambda name: len(library.features[name].settings))
    preferred: dict[str, int] = {}
    for name in (*b.features, *a.features, *others):
        preferred.setdefault(name, len(preferred))
    ours = {*a.features, *b.features} if a.features and b.features else {*library.features}
    changes = list(_changes(values_a, values_b, askers))
    groups: dict[tuple[str, str], list[Change]] = {}
    for change in changes:
        asking = [name for name in change.features if name in ours]
        first = min(asking, key=lambda name: preferred[name], default=None)
        groups.setdefault(("feature", first) if first else _place(change.symbol, trees), []).append(change)
    same = len({*values_a, *values_b}) - len(changes)
    made = [
        Group(kind, name, library.features[name].title if kind == "feature" else "", tuple(found))
        for (kind, name), found in groups.items()
    ]
    made.sort(key=lambda group: (group.kind != "feature", -len(group.changes), group.name))
    return Difference(a, b, tuple(made), same)


def _changes(
    values_a: Mapping[str, str], values_b: Mapping[str, str], askers: Mapping[str, tuple[str, ...]]
) -> Iterator[Change]:
    for symbol in sorted({*values_a, *values_b}):
        old, new = values_a.get(symbol), values_b.get(symbol)
        if old != new:
            kind = ADDED if old is None else REMOVED if new is None else CHANGED
            yield Change(symbol, kind, old, new, askers.get(symbol, ()))


def _askers(library: Library, sides: Iterable[Side]) -> dict[str, tuple[str, ...]]:
    """Who asks for a symbol, for the architecture and the version of one of the two sides (unknown: for any)."""
    found: dict[str, dict[str, None]] = {}
    for side in sides:
        version = version_tuple(side.kernel) if side.kernel else None
        for feature in library.features.values():
            for symbol in _asked_by(feature, side.arch, version):
                found.setdefault(symbol, {})[feature.name] = None
    return {symbol: tuple(names) for symbol, names in found.items()}


def _asked_by(feature: Feature, arch: str | None, version: tuple[int, ...] | None) -> Iterator[str]:
    if version is not None and version not in feature.kernel:
        return
    for setting in feature.settings:
        fits = arch is None or all(not a or arch in a for a in (feature.arch, setting.arch))
        if fits and (version is None or version in setting.kernel):
            yield setting.symbol


def _place(symbol: str, trees: Sequence[Tree]) -> tuple[str, str]:
    """Where the kernel defines what no feature asks for: its menu, else its folder."""
    name = symbol.removeprefix(PREFIX)
    definitions = next((tree.definitions[name] for tree in trees if name in tree.definitions), None)
    if not definitions:
        return ("unknown", "")
    first = next((d for d in definitions if d.menus), definitions[0])
    if first.menus:
        return ("menu", " › ".join(first.menus[:_MENU_LEVELS]))
    return ("folder", str(PurePosixPath(first.file).parent))
