"""A suggestion that was tried with the kernel's own conf, in words and JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .requests import SPEC, Request


@dataclass(frozen=True, slots=True)
class Fix:
    """Settings (with prefix) that were tried with the kernel's conf, and met the request and all others.

    ``replaces``: the request itself goes. ``overrides``: requests that go as well, since they say the opposite.
    ``together``: it was tried together with the fixes of other findings. ``question``: it is a guess at what was
    meant; the last setting is that guess. ``meets``: other requests that it was seen to meet as well; ``of``: the
    symbol whose fix it is, where it was found for another one.
    """

    settings: tuple[tuple[str, str], ...]
    replaces: bool = False
    overrides: tuple[Request, ...] = ()
    together: bool = False
    question: bool = False
    meets: tuple[str, ...] = ()
    of: str | None = None

    def __str__(self) -> str:
        shown = [f"{name}={value}" for name, value in self.settings]
        what = " and ".join([", ".join(shown[:-1]), shown[-1]]) if len(shown) > 1 else shown[0]
        if self.of:
            return f"what is suggested for {self.of} meets this as well (tried: it works)"
        more = f", and meets {', '.join(self.meets)} as well" if self.meets else ""
        tried = f"(tried{' with the other suggestions' * self.together}: it works{more})"
        question = f"did you mean {self.settings[-1][0]}? " if self.question else ""
        if question and len(shown) == 1:
            return question + tried
        also = "" if self.replaces else "also "
        instead = [f"{r.symbol}={r.value} of {asker_of(r)} at {r.where}" for r in self.overrides]
        rest = f", instead of {', '.join(instead)}" if instead else ""
        return f"{question}{also}ask for {what}{rest} {tried}"

    def as_json(self) -> dict[str, Any]:
        """The shape of ``fix`` in a finding."""
        return {
            "settings": dict(self.settings),
            "replaces": self.replaces,
            "overrides": [r.symbol for r in self.overrides],
            "together": self.together,
            "meets": list(self.meets),
            "of": self.of,
        }


def asker_of(request: Request) -> str:
    """Who asks, for people."""
    if request.asked_by == (SPEC,):
        return "the spec"
    return f"feature {', '.join(request.asked_by)}"
