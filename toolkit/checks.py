"""What a named check is, and how a table of them becomes one report.

The shape is shared by every command that checks something: ``{"ok", "checks", "measurements"}``
(``schemas/checks.schema.json``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from .errors import CheckError, InternalError, KataToolkitError, ToolError

PASS, FAIL, WARN, SKIP = "pass", "fail", "warn", "skip"
E = TypeVar("E")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a check found. ``remedy`` says what to do about a status that is not ``pass``.

    ``tool_failed``: it is no finding about the thing checked; a tool that the check needs failed. ``read``: what was
    looked at and the value found there, where a check keeps account of it.
    """

    status: str
    detail: str
    remedy: str | None = None
    tool_failed: bool = False
    read: tuple[tuple[str, str], ...] | None = None


class Skipped(Exception):  # noqa: N818 -- not an error: a check that cannot be made here
    """Raised by a check that cannot say anything; the message is why."""

    def __init__(self, detail: str, remedy: str | None = None) -> None:
        super().__init__(detail)
        self.remedy = remedy


@dataclass(frozen=True, slots=True)
class Check(Generic[E]):
    """A named check: ``run`` gets the evidence, and returns a verdict or raises Skipped or a KataToolkitError.

    ``wanted``: whether it is made at all; one that is not is no line of the report.
    """

    id: str
    title: str
    run: Callable[[E], Verdict]
    wanted: Callable[[E], bool] = field(default=lambda evidence: True, kw_only=True)

    def verdict(self, evidence: E) -> Verdict:
        """Run it; an error is a failed check that carries the error's own words. A bug of ours is still raised."""
        try:
            return self.run(evidence)
        except Skipped as reason:
            return Verdict(SKIP, str(reason), reason.remedy)
        except InternalError:
            raise
        except KataToolkitError as error:
            text = "; ".join(p.message for p in error.problems)
            return Verdict(FAIL, text, error.problems[0].hint, isinstance(error, ToolError))


@dataclass(frozen=True, slots=True)
class Report:
    """The verdicts by check id, in the order of the table, and what was measured.

    ``essential``: the checks without which nothing is proved; none: the report is no proof of anything. ``kinds``:
    what a measurement is (instructions, accesses, memory, size, time), by its name. ``why``: one sentence on why a
    check matters, by its id.
    """

    verdicts: dict[str, Verdict]
    measurements: dict[str, Any] = field(default_factory=dict)
    essential: tuple[str, ...] = ()
    kinds: Mapping[str, str] = field(default_factory=dict)
    why: Mapping[str, str] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Nothing failed. A skipped check is not a proof, but no failure either."""
        return all(v.status != FAIL for v in self.verdicts.values())

    @property
    def unchecked(self) -> tuple[str, ...]:
        """The essential checks that said nothing."""
        return tuple(i for i in self.essential if i not in self.verdicts or self.verdicts[i].status == SKIP)

    @property
    def proved(self) -> bool:
        """Nothing failed, and no essential check was skipped."""
        return self.ok and not self.unchecked

    @property
    def exit_code(self) -> int:
        """0 when nothing failed and no essential check was skipped, 3 when all that failed are tools, else 1."""
        failed = [v for v in self.verdicts.values() if v.status == FAIL]
        if not failed:
            return CheckError.exit_code if self.unchecked else 0
        return ToolError.exit_code if all(v.tool_failed for v in failed) else CheckError.exit_code

    def as_json(self) -> dict[str, Any]:
        """The shape of ``schemas/checks.schema.json``."""
        checks = [self._one(name, verdict) for name, verdict in self.verdicts.items()]
        proved = {"proved": self.proved} if self.essential else {}
        kinds = {name: self.kinds[name] for name in self.measurements if name in self.kinds}
        told = {"kinds": kinds} if self.kinds else {}
        return {"ok": self.ok, **proved, "checks": checks, "measurements": self.measurements, **told}

    def _one(self, name: str, verdict: Verdict) -> dict[str, Any]:
        told = {"id": name, "status": verdict.status, "detail": verdict.detail, "remedy": verdict.remedy}
        why = {"why": self.why[name]} if name in self.why else {}
        read = {} if verdict.read is None else {"read": [{"path": p, "value": v} for p, v in verdict.read]}
        return {**told, **why, **read}
