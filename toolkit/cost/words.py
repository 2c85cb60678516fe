"""What a row says beside its figures, in words: what left or came with the feature, and what failed."""

from __future__ import annotations

from .costs import Costs, Row


def name_of(row: Row) -> str:
    """The feature, with a plus where it is added to the base."""
    return f"+ {row.feature}" if row.added else row.feature


def remark(row: Row) -> str:
    """What there is to know about a row; empty for most."""
    parts = []
    if row.along:
        parts.append(f"with {', '.join(row.along)}")
    if row.instead:
        parts.append(f"instead of {', '.join(row.instead)}")
    if row.root:
        parts.append(f"root on {row.root}")
    if row.problem:
        parts.append(f"not measured: {row.problem}" if row.cost is None else row.problem)
    return "; ".join(parts)


def subject(costs: Costs) -> str:
    """What was measured, in a line."""
    return f"profile {costs.profile}, Linux {costs.kernel}, {costs.arch}"
