"""VM caching: guests that wait, booted, for somebody who needs one; a taken one is made up for while nobody asks.

As Kata's VM cache. QEMU dies with the thread that started it, and processes are started from the main thread only
(`run.py`): so the pool is refilled when its owner says that there is time (`refill`), not behind its back.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self

from .agent_client import AgentError, AgentSilent
from .session import Session
from .template import make_unique

_CHECK_SECONDS = 5.0


@dataclass
class Pool:
    """``size`` guests, as ``start`` makes them (a cold boot, or a clone). Use as a context manager."""

    size: int
    start: Callable[[], Session]
    _ready: deque[Session] = field(default_factory=deque)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *unused: object) -> None:
        while self._ready:
            self._ready.popleft().close()

    def __len__(self) -> int:
        """How many wait."""
        return len(self._ready)

    def refill(self, at_most: int | None = None) -> int:
        """Start guests until the pool is full, or ``at_most`` so many; how many. Raises what ``start`` raises."""
        missing = self.size - len(self._ready)
        count = missing if at_most is None else min(missing, at_most)
        for _ in range(count):
            self._ready.append(self.start())
        return count

    def take(self) -> Session:
        """A guest, the taker's from now on: one that waited, with the time of now; a new one when none is left.

        One that died while it waited is passed over.
        """
        while self._ready:
            session = self._ready.popleft()
            try:
                session.agent.check(_CHECK_SECONDS)
                make_unique(session.agent)
            except (AgentError, AgentSilent):
                session.close()
                continue
            except BaseException:
                session.close()
                raise
            return session
        return self.start()
