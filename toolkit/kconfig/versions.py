"""Kernel versions and ranges of them, as fragments write them: ``>=6.1,<6.9``."""

from __future__ import annotations

import re
from dataclasses import dataclass

_NUMBERS = re.compile(r"\d+(?:\.\d+)*")


def version_tuple(text: str) -> tuple[int, ...]:
    """``6.12.117-rc1`` → (6, 12, 117). Raises ValueError when it does not start with a number."""
    match = _NUMBERS.match(text)
    if not match:
        raise ValueError(f"{text!r} is not a kernel version")
    return tuple(map(int, match.group().split(".")))


@dataclass(frozen=True, slots=True)
class VersionRange:
    """From ``low`` (included) to ``high`` (excluded); None: no limit."""

    low: tuple[int, ...] | None = None
    high: tuple[int, ...] | None = None

    @classmethod
    def parse(cls, text: str | None) -> VersionRange:
        """Read a range the schema accepted; None: every version."""
        low = high = None
        for part in (text or "").split(","):
            if part.startswith(">="):
                low = version_tuple(part[2:])
            elif part.startswith("<"):
                high = version_tuple(part[1:])
        return cls(low, high)

    def __contains__(self, version: tuple[int, ...]) -> bool:
        return (self.low is None or version >= self.low) and (self.high is None or version < self.high)

    def __str__(self) -> str:
        limits = ((">=", self.low), ("<", self.high))
        return ",".join(sign + ".".join(map(str, limit)) for sign, limit in limits if limit) or "every version"

    @property
    def empty(self) -> bool:
        """Whether no version at all is in it."""
        return self.low is not None and self.high is not None and self.low >= self.high

    def __and__(self, other: VersionRange) -> VersionRange:
        """The versions that are in both."""
        lows = [r.low for r in (self, other) if r.low is not None]
        highs = [r.high for r in (self, other) if r.high is not None]
        return VersionRange(max(lows, default=None), min(highs, default=None))
