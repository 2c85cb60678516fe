"""Settings that must fit together: the table of rules, and the asking.

They are those that a runtime enforces late, in words that do not name the cause, or breaks in silence. What concerns
one setting alone (types, ranges, values, VMMs that do not heed it) is in the tables of keys instead.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from .rule import SEVERITIES, STAGES, Broken, Rule, Values
from .rules_devices import DEVICES
from .rules_guest import GUEST
from .rules_runtime import RUNTIME

__all__ = ["MISTAKES", "RULES", "SEVERITIES", "STAGES", "Broken", "Rule", "Values", "broken"]

RULES: tuple[Rule, ...] = (*GUEST, *DEVICES, *RUNTIME)

MISTAKES = ("error", "override", "hazard")
"""What a spec must not do: all but what is merely worth knowing."""


def broken(values: Values, severities: Collection[str] = MISTAKES) -> list[Broken]:
    """Every rule of these severities that the values break, with the dialect's verdict."""
    found = []
    for rule in RULES:
        verdict = rule.verdict(values.dialect)
        if verdict and verdict[0] in severities:
            severity, stage = verdict
            found += [replace(b, rule=rule.id, severity=severity, stage=stage) for b in rule.check(values)]
    return found
