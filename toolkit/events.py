"""What a build tells the outside while it runs; the renderers in ``cli/`` decide how it looks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Event:
    """Base of all events; ``stage`` names the stage that speaks."""

    stage: str

    def as_json(self) -> dict[str, Any]:
        """One JSON object: the fields and ``event``, the class's name in lower case."""
        return {"event": type(self).__name__.lower(), **asdict(self)}


@dataclass(frozen=True, slots=True)
class Started(Event):
    """A stage begins to run; ``reason`` says why it was not in the store."""

    stage_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Cached(Event):
    """A stage was found in the store."""

    stage_id: str


@dataclass(frozen=True, slots=True)
class Waiting(Event):
    """Another build is making the same thing; we wait for it."""

    stage_id: str


@dataclass(frozen=True, slots=True)
class Progress(Event):
    """``done`` of ``total`` (0 = unknown) ``unit``s; ``what`` names the thing at hand."""

    done: int
    total: int
    unit: str
    what: str = ""


@dataclass(frozen=True, slots=True)
class Note(Event):
    """A line a person should see once (a warning, a choice made for them)."""

    text: str


@dataclass(frozen=True, slots=True)
class Finished(Event):
    """A stage is done; its bytes are in the store."""

    stage_id: str
    seconds: float


Emit = Callable[[Event], None]


def ignore(event: Event) -> None:
    """An `Emit` for callers that do not look."""
