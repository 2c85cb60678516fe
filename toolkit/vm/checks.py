"""What a named check is, and how a table of them becomes one report.

The shape is shared by every command that checks something: ``{"ok", "checks", "measurements"}``
(``schemas/checks.schema.json``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from ..errors import KataToolkitError

PASS, FAIL, WARN, SKIP = "pass", "fail", "warn", "skip"
E = TypeVar("E")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a check found. ``remedy`` says what to do about a status that is not ``pass``."""

    status: str
    detail: str
    remedy: str | None = None


class Skipped(Exception):  # noqa: N818 -- not an error: a check that cannot be made here
    """Raised by a check that cannot say anything; the message is why."""

    def __init__(self, detail: str, remedy: str | None = None) -> None:
        super().__init__(detail)
        self.remedy = remedy


@dataclass(frozen=True, slots=True)
class Check(Generic[E]):
    """A named check: ``run`` gets the evidence, and returns a verdict or raises Skipped or a KataToolkitError."""

    id: str
    title: str
    run: Callable[[E], Verdict]

    def verdict(self, evidence: E) -> Verdict:
        """Run it; an error is a failed check that carries the error's own words."""
        try:
            return self.run(evidence)
        except Skipped as reason:
            return Verdict(SKIP, str(reason), reason.remedy)
        except KataToolkitError as error:
            first = error.problems[0]
            return Verdict(FAIL, "; ".join(p.message for p in error.problems), first.hint)


@dataclass(frozen=True, slots=True)
class Report:
    """The verdicts by check id, in the order of the table, and what was measured."""

    verdicts: dict[str, Verdict]
    measurements: dict[str, Any] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Nothing failed. A skipped check is not a proof, but no failure either."""
        return all(v.status != FAIL for v in self.verdicts.values())

    def as_json(self) -> dict[str, Any]:
        """The shape of ``schemas/checks.schema.json``."""
        checks = [
            {"id": name, "status": v.status, "detail": v.detail, "remedy": v.remedy}
            for name, v in self.verdicts.items()
        ]
        return {"ok": self.ok, "checks": checks, "measurements": self.measurements}
