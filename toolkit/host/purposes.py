"""Named uses of a host (``schemas/host-purposes.json``): which checks must pass for it, and which need not."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from .. import resources
from ..checks import FAIL, WARN, Verdict
from .wanted import Wanted


@dataclass(frozen=True, slots=True)
class Purpose:
    """``must``: a warning of these checks is a failure. ``may``: a failure is a warning. ``left_out``: not made."""

    name: str
    about: str
    must: frozenset[str]
    may: frozenset[str]
    left_out: frozenset[str]
    wanted: Wanted

    def judged(self, check: str, verdict: Verdict) -> Verdict:
        """The verdict as it counts here."""
        if verdict.status == WARN and check in self.must:
            return replace(verdict, status=FAIL)
        if verdict.status == FAIL and check in self.may:
            return replace(verdict, status=WARN)
        return verdict


@lru_cache(maxsize=1)
def purposes() -> dict[str, Purpose]:
    """All of them, by name."""
    data = json.loads(resources.resource("schemas", "host-purposes.json").read_bytes())
    return {name: _purpose(name, entry) for name, entry in data["purposes"].items()}


def _purpose(name: str, entry: dict[str, Any]) -> Purpose:
    wanted = entry["wanted"]
    return Purpose(
        name,
        entry["about"],
        frozenset(entry["must"]),
        frozenset(entry["may"]),
        frozenset(entry["left_out"]),
        Wanted(
            hypervisors=tuple(wanted.get("hypervisors", ())),
            virtio_fs=wanted.get("virtio_fs", True),
            builds=wanted.get("builds", False),
            purpose=name,
        ),
    )
