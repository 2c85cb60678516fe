"""What several tables of checks have in common."""

from __future__ import annotations

from ...checks import FAIL, PASS, Skipped, Verdict
from ..evidence import Evidence


def needs(evidence: Evidence, *symbols: str) -> None:
    """Raises Skipped when the kernel is built without one of the symbols: the set does not promise what needs it."""
    config = evidence.config
    for symbol in symbols:
        if config.get(symbol) not in ("y", "m"):
            raise Skipped(f"the set's kernel is built without {symbol}")


def expect(found: str, expected: str) -> Verdict:
    """The verdict on words that must be exactly these."""
    return Verdict(PASS, found) if found == expected else Verdict(FAIL, f"{found!r}, expected {expected!r}")
