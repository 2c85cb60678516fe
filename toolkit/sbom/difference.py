"""What differs between two bills of materials, by component."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any, Literal

from .read import FILE, Listed, Listing

Kind = Literal["added", "removed", "changed"]
FIELDS = ("version", "licence", "sha256", "source")


@dataclass(frozen=True, slots=True)
class Change:
    """One component that differs; ``a`` is None for what only B has, ``b`` for what only A has."""

    a: Listed | None
    b: Listed | None

    @property
    def kind(self) -> Kind:
        """Seen from A."""
        if self.a is None:
            return "added"
        return "removed" if self.b is None else "changed"

    @property
    def one(self) -> Listed:
        """The one in B, or that which B has no more."""
        found = self.b or self.a
        assert found is not None  # noqa: S101 -- one of them always is there
        return found

    @property
    def fields(self) -> tuple[str, ...]:
        """Which of `FIELDS` differ, of what both have. A version that is but the beginning of a digest says nothing."""
        if self.a is None or self.b is None:
            return ()
        same_kind = all(entry.version.startswith("sha256:") for entry in (self.a, self.b))
        named = [name for name in FIELDS if getattr(self.a, name) != getattr(self.b, name)]
        return tuple(name for name in named if not (name == "version" and same_kind))

    def as_json(self) -> dict[str, Any]:
        """As plain JSON."""
        return {
            "kind": self.kind,
            "name": self.one.name,
            "fields": list(self.fields),
            "a": self.a.as_json() if self.a else None,
            "b": self.b.as_json() if self.b else None,
        }


@dataclass(frozen=True, slots=True)
class Difference:
    """The answer of ``sbom diff``."""

    a: Listing
    b: Listing
    changes: tuple[Change, ...]
    same: int

    def count(self, kind: Kind) -> int:
        """How many changes are of one kind."""
        return sum(change.kind == kind for change in self.changes)

    def as_json(self) -> dict[str, Any]:
        """As plain JSON; schema: schemas/sbom-diff.schema.json."""
        sides = {
            key: {"label": side.label, "format": side.format, "name": side.name, "entries": len(side.entries)}
            for key, side in (("a", self.a), ("b", self.b))
        }
        counts = {kind: self.count(kind) for kind in ("added", "removed", "changed")}
        return {
            "version": 1,
            "differ": bool(self.changes),
            **sides,
            "counts": {**counts, "same": self.same},
            "changes": [change.as_json() for change in self.changes],
        }


def difference(a: Listing, b: Listing) -> Difference:
    """Compare two bills; components before files, each in the order of their names."""
    groups: dict[tuple[bool, str, str, str], tuple[list[Listed], list[Listed]]] = {}
    for index, side in enumerate((a, b)):
        for entry in side.entries:
            key = (entry.kind == FILE, entry.name, entry.kind, entry.role)
            groups.setdefault(key, ([], []))[index].append(entry)
    changes: list[Change] = []
    same = 0
    for _, (of_a, of_b) in sorted(groups.items()):
        equal = Counter(of_a) & Counter(of_b)
        same += equal.total()
        changes += _paired(*(sorted((Counter(side) - equal).elements()) for side in (of_a, of_b)))
    return Difference(a, b, tuple(changes), same)


def _paired(a: list[Listed], b: list[Listed]) -> list[Change]:
    """What has one name on both sides: of the same version it changed otherwise; a single one each changed version."""
    changes = []
    for entry in list(a):
        other = next((o for o in b if o.version == entry.version), None)
        if other:
            a.remove(entry)
            b.remove(other)
            changes.append(Change(entry, other))
    if len(a) == len(b) == 1:
        return [*changes, Change(a[0], b[0])]
    return [*changes, *(Change(entry, None) for entry in a), *(Change(None, entry) for entry in b)]
