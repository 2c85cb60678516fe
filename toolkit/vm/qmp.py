"""QEMU's monitor, as a program speaks with it (QMP): commands, their answers, and what QEMU tells by itself.

The thread that reads the monitor's socket hands over what it reads (`feed`); any thread may give commands.
Source: QEMU's docs/interop/qmp-spec.
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import ToolError

COMMAND_SECONDS = 20.0
_EVENTS_KEPT = 4096
_MAX_LINE = 16 << 20  # of one message; QEMU's largest, its schema, has a quarter of a MiB


class QmpError(ToolError):
    """QEMU refused a command. ``kind`` is its error class: GenericError, CommandNotFound, DeviceNotFound, …"""

    def __init__(self, command: str, kind: str, text: str) -> None:
        self.kind, self.text = kind, text
        super().__init__(f"QEMU refused {command}: {text}")


class QmpGone(ToolError):  # noqa: N818 -- what happened, as the agent's AgentGone
    """The monitor's connection ended, as it does when QEMU ends."""


class QmpSilent(ToolError):  # noqa: N818
    """QEMU did not answer, or an event did not come, in time."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that QEMU told by itself. ``number`` counts up from 0; ``at`` is a ``time.monotonic()``."""

    number: int
    name: str
    data: Mapping[str, Any]
    at: float


@dataclass
class _Asked:
    command: str
    answer: dict[str, Any] | None = None
    done: bool = False


@dataclass
class Qmp:
    """One monitor. ``end`` is our end of its socket, which stays the caller's; ``told`` gets each event as it comes."""

    end: socket.socket
    told: Callable[[Event], None] = lambda event: None
    _rest: bytes = b""
    _events: deque[Event] = field(default_factory=lambda: deque(maxlen=_EVENTS_KEPT))
    _next_event: int = 0
    _asked: dict[int, _Asked] = field(default_factory=dict)
    _next_id: int = 1
    _gone: bool = False
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _sending: threading.Lock = field(default_factory=threading.Lock)

    def greet(self) -> None:
        """Enter command mode; without it QEMU takes no command and tells no event. Waits for nothing."""
        self._send({"execute": "qmp_capabilities"}, ())

    def execute(
        self,
        command: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        fds: Sequence[int] = (),
        timeout_seconds: float = COMMAND_SECONDS,
        **more: Any,
    ) -> Any:
        """Give a command and wait for what it returns. Its arguments: a mapping, or words, or both.

        ``fds``: file descriptors that go with it (for getfd and add-fd). Raises QmpError, QmpGone, QmpSilent.
        """
        asked = _Asked(command)
        with self._changed:
            if self._gone:
                raise QmpGone(f"QEMU's monitor is closed: {command} was not given")
            number, self._next_id = self._next_id, self._next_id + 1
            self._asked[number] = asked
        self._send({"execute": command, "arguments": {**(arguments or {}), **more}, "id": number}, fds)
        with self._changed:
            self._changed.wait_for(lambda: asked.done or self._gone, timeout_seconds)
            self._asked.pop(number, None)
        if asked.answer is None:
            if self._gone:
                raise QmpGone(f"QEMU's monitor was closed before {command} was answered")
            raise QmpSilent(f"QEMU did not answer {command} within {timeout_seconds:g} s")
        if "error" in asked.answer:
            error = asked.answer["error"]
            raise QmpError(command, str(error.get("class")), str(error.get("desc")))
        return asked.answer["return"]

    def mark(self) -> int:
        """The number that the next event will have: what `wait_event` may look for from now on."""
        with self._changed:
            return self._next_event

    def events(self, name: str, since: int = 0) -> list[Event]:
        """The events of that name that came from number ``since`` on; the last few thousand are kept."""
        with self._changed:
            return [event for event in self._events if event.name == name and event.number >= since]

    def wait_event(self, name: str, *, since: int = 0, timeout_seconds: float = COMMAND_SECONDS, **data: Any) -> Event:
        """The first event of that name, from number ``since`` on, whose data has these values; waits for it.

        Raises QmpSilent when it does not come, QmpGone when the monitor ends before it came.
        """

        def found() -> Event | None:
            return next((event for event in self.events(name, since) if data.items() <= event.data.items()), None)

        with self._changed:
            self._changed.wait_for(lambda: found() or self._gone, timeout_seconds)
            event, gone = found(), self._gone
        if event is None:
            wanted = f"{name} {json.dumps(data)}" if data else name
            raise (
                QmpGone(f"QEMU ended before its event {wanted} came")
                if gone
                else QmpSilent(f"QEMU's event {wanted} did not come within {timeout_seconds:g} s")
            )
        return event

    # ---- for the thread that reads ----

    def feed(self, data: bytes) -> None:
        """Take what was read. What is not JSON, or of no known kind, is dropped."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > _MAX_LINE:
            self._rest = b""
        for line in lines:
            with contextlib.suppress(ValueError, RecursionError):
                message = json.loads(line)
                if isinstance(message, dict):
                    self._take(message)

    def ended(self) -> None:
        """Nothing more will come: whoever waits is told."""
        with self._changed:
            self._gone = True
            self._changed.notify_all()

    def _take(self, message: dict[str, Any]) -> None:
        event = None
        with self._changed:
            if "event" in message:
                data = message.get("data")
                facts = data if isinstance(data, dict) else {}
                event = Event(self._next_event, str(message["event"]), facts, time.monotonic())
                self._next_event += 1
                self._events.append(event)
            elif asked := self._asked.get(message.get("id", 0)):
                asked.answer, asked.done = message, True
            self._changed.notify_all()
        if event:
            self.told(event)

    def _send(self, message: Mapping[str, Any], fds: Sequence[int]) -> None:
        data = json.dumps(message).encode() + b"\n"
        try:
            with self._sending:
                if fds:
                    sent = socket.send_fds(self.end, [data], list(fds))
                    data = data[sent:]
                self.end.sendall(data)
        except OSError:  # a QEMU that is gone already has still said why
            self.ended()
