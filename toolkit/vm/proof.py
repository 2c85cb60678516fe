"""The proof of a built set: the tables of named checks put together, each with a verdict and its evidence.

A check that needs a guest that did not come up is skipped, never passed; so is one for what the set does not promise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from types import MappingProxyType

from ..checks import FAIL, Check, Verdict
from ..errors import InputError
from .checks import agent, budgets, containers, extensions, features, files, hotplug, identity, power, root, shares
from .evidence import Evidence

ESSENTIAL = ("boots", "container-output")
"""What a proof cannot do without: a set of which these were not checked is not proved."""

SUBJECTS: Mapping[str, tuple[Check[Evidence], ...]] = MappingProxyType({
    "The files of the set": files.CHECKS,
    "The guest and its root": root.CHECKS,
    "Other kinds of root": root.FORMS,
    "What runs is what was built": (*extensions.CHECKS, *identity.CHECKS),
    "The agent": (*agent.CHECKS, *agent.CONSOLE),
    "What the kernel promises to containers": features.CHECKS,
    "Containers": containers.CHECKS,
    "Hot-plug": hotplug.CHECKS,
    "Shared folders": shares.CHECKS,
    "How a guest ends": (*power.RESTARTS, *power.LAST),
    "Budgets": budgets.CHECKS,
})  # fmt: skip
"""All checks in the order in which they are made, by subject."""

CHECKS: tuple[Check[Evidence], ...] = tuple(check for table in SUBJECTS.values() for check in table)

_OWN_GUESTS = (*root.FORMS, *agent.CONSOLE, *hotplug.CHECKS, *shares.CHECKS, *power.RESTARTS)
QUICK: tuple[Check[Evidence], ...] = tuple(check for check in CHECKS if check not in _OWN_GUESTS)
"""Those that are made in the set's own guest, or need none."""


def chosen(patterns: Sequence[str], checks: Sequence[Check[Evidence]] = CHECKS) -> tuple[Check[Evidence], ...]:
    """The checks whose names fit one of the patterns (as a shell's). Raises InputError for a pattern that fits none."""
    for pattern in patterns:
        if not any(fnmatchcase(check.id, pattern) for check in checks):
            raise InputError(f"no check is called {pattern}", hint="docs/verify.md lists them; such as 'container-*'")
    return tuple(check for check in checks if any(fnmatchcase(check.id, pattern) for pattern in patterns))


def prove(
    evidence: Evidence, *, starting: Callable[[Check[Evidence]], None], checks: Sequence[Check[Evidence]] = CHECKS
) -> Iterator[tuple[Check[Evidence], Verdict]]:
    """Make those that are wanted in order, each reported as soon as it is known; ``starting`` is told before."""
    for check in checks:
        if check.wanted(evidence):
            starting(check)
            verdict = check.verdict(evidence)
            if verdict.status == FAIL and (hung := evidence.hung()):
                verdict = replace(verdict, detail=f"{verdict.detail}; {hung}")
            yield check, verdict
