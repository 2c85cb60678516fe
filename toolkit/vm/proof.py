"""The proof of a built set: the tables of named checks put together, each with a verdict and its evidence.

A check that needs a guest that did not come up is skipped, never passed; so is one for what the set does not promise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from ..checks import Check, Verdict
from .checks import agent, budgets, containers, extensions, features, files, hotplug, identity, power, root, shares
from .evidence import Evidence

ESSENTIAL = ("boots", "container-output")
"""What a proof cannot do without: a set of which these were not checked is not proved."""

CHECKS: tuple[Check[Evidence], ...] = (
    *files.CHECKS,
    *root.CHECKS,
    *extensions.CHECKS,
    *identity.CHECKS,
    *agent.CHECKS,
    *features.CHECKS,
    *containers.CHECKS,
    *hotplug.CHECKS,
    *shares.CHECKS,
    *power.RESTARTS,
    *power.LAST,
    *budgets.CHECKS,
)


def prove(
    evidence: Evidence, *, starting: Callable[[Check[Evidence]], None], checks: Sequence[Check[Evidence]] = CHECKS
) -> Iterator[tuple[Check[Evidence], Verdict]]:
    """Make every check of the table in order, each reported as soon as it is known; ``starting`` is told before."""
    for check in checks:
        if check.wanted(evidence):
            starting(check)
            yield check, check.verdict(evidence)
