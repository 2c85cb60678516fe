"""Figures held to those of an earlier report: what may differ, and by how much."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

TOLERANCE: Mapping[str, float] = {"instructions": 0.01, "size": 0.01, "accesses": 0.02, "memory": 0.02}
"""By kind of figure, how much more is no regression. Times are those of one host and one moment: they are told, never
judged. Instructions repeat to four digits, so that 1 % is a change of the set and not of the weather."""

_WAITS: Mapping[str, float] = {"check_minstr": 0.02, "output_minstr": 0.02}
"""Figures that end with an answer to the host, and so hold a little of how fast it asks."""

_LEAST: Mapping[str, float] = {"instructions": 0.05, "size": 0.01, "accesses": 8, "memory": 0.25}
"""What is too little to speak of: in M instructions, MiB, accesses, MiB."""


@dataclass(frozen=True, slots=True)
class Compared:
    """A figure beside the earlier one. ``judged``: its kind can be compared at all; ``worse``: beyond the tolerance."""

    figure: str
    kind: str
    before: float
    after: float
    judged: bool
    worse: bool

    @property
    def ratio(self) -> float:
        """Now in parts of then; 1 where there was nothing."""
        return self.after / self.before if self.before else 1.0

    def as_json(self) -> dict[str, Any]:
        """As plain JSON (schemas/bench.schema.json)."""
        return {**asdict(self), "ratio": round(self.ratio, 4)}


def compare(before: Mapping[str, Any], after: Mapping[str, Any], kinds: Mapping[str, str]) -> list[Compared]:
    """Each figure that both have, in the order of ``after``."""
    found = []
    for figure, now in after.items():
        then = before.get(figure)
        if then is None or not _number(then) or not _number(now):
            continue
        kind = kinds.get(figure, "time")
        judged = kind in TOLERANCE
        worse = judged and now - then > max(_LEAST[kind], _WAITS.get(figure, TOLERANCE[kind]) * then)
        found.append(Compared(figure, kind, then, now, judged, worse))
    return found


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
