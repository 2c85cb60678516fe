"""ttrpc, as containerd and Kata speak it: calls and answers in frames over a stream socket.

A frame is ten bytes (length and stream id, big-endian; type; flags) and a protobuf message of that length. Calls may
be many at once on a connection; answers come in any order. Source: the ttrpc 1.2 protocol description.
"""

from __future__ import annotations

import contextlib
import secrets
import socket
import struct
import threading
from dataclasses import dataclass, field

from ..errors import CheckError

HEADER = struct.Struct(">IIBB")
REQUEST, RESPONSE, DATA = 1, 2, 3
MAX_DATA = 4194304
DEADLINE_EXCEEDED = 4
_CHUNK = 65536

# google.rpc.Code
CODES = (
    "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
    "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
    "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
)  # fmt: skip


class AgentError(CheckError):
    """The agent answered a call with a status other than OK. ``code`` is a google.rpc.Code."""

    def __init__(self, call: str, code: int, text: str) -> None:
        self.call, self.code, self.text = call, code, text
        super().__init__(f"the agent refused {call}: {text} ({self.status})")

    @property
    def status(self) -> str:
        """The code's name, such as INVALID_ARGUMENT."""
        return CODES[self.code] if 0 <= self.code < len(CODES) else f"status {self.code}"


class AgentSilent(CheckError):  # noqa: N818 -- what happened, in the words of the error
    """The agent did not answer in time."""


class AgentGone(AgentSilent):
    """The connection ended before the answer came."""


@dataclass
class Pending:
    """A call that waits for its answer."""

    name: str
    stream: int
    done: threading.Event = field(default_factory=threading.Event)
    body: bytes | None = None  # of the answer's frame; None: the connection ended


class Connection:
    """One connection to an agent. Its methods may be called from several threads at once.

    ``serial``: the socket is a VMM's end of a serial port, which outlives connections: bytes of a former conversation
    may come first and are skipped, and the agent is told by a name in the metadata that a new one begins.
    Default: so for a Unix socket.
    """

    def __init__(self, end: socket.socket, *, serial: bool | None = None) -> None:
        self._end = end
        self._end.settimeout(None)
        self._serial = end.family == socket.AF_UNIX if serial is None else serial
        self._name = secrets.token_hex(8) if self._serial else ""
        # Odd; on a serial port unlikely to be one that an answer to somebody else still carries.
        self._first = (secrets.randbelow(1 << 29) << 1 | 1) if self._serial else 1
        self._next = self._first
        self._lock = threading.Lock()
        self._send_lock = threading.Lock()
        self._pending: dict[int, Pending] = {}
        self._ended: str | None = None
        self._reader = threading.Thread(target=self._read, name="ttrpc", daemon=True)
        self._reader.start()

    def call(
        self, service: str, method: str, payload: bytes, timeout_seconds: float | None = None, grace_seconds: float = 0
    ) -> bytes:
        """Make a call and wait for the answer's payload. ``timeout_seconds`` None: for ever.

        The agent is told the time limit; ``grace_seconds`` is how much later its "too late" may arrive, so that an
        answer on its way is not lost. Raises AgentError, AgentSilent, AgentGone.
        """
        pending = self.begin(service, method, payload, timeout_seconds)
        try:
            return self.finish(pending, None if timeout_seconds is None else timeout_seconds + grace_seconds)
        except AgentError as error:
            if error.code == DEADLINE_EXCEEDED and timeout_seconds is not None:
                raise AgentSilent(f"{pending.name} took longer than {timeout_seconds:g} s") from error
            raise

    def begin(self, service: str, method: str, payload: bytes, timeout_seconds: float | None = None) -> Pending:
        """Send a call. Raises AgentGone."""
        from .agent_pb2 import Request

        request = Request(service=service, method=method, payload=payload)
        if timeout_seconds is not None:
            request.timeout_nano = max(1, int(timeout_seconds * 1e9))
        if self._name:
            request.metadata.add(key="connection", value=self._name)
        body = request.SerializeToString()
        with self._lock:
            if self._ended is not None:
                raise AgentGone(f"{service}/{method}: {self._ended}")
            pending = Pending(f"{service}/{method}", self._next)
            self._next += 2
            self._pending[pending.stream] = pending
        try:
            with self._send_lock:
                self._end.sendall(HEADER.pack(len(body), pending.stream, REQUEST, 0) + body)
        except OSError as error:
            self._end_all(f"the connection to the agent broke ({error.strerror})")
        return pending

    def send_raw(self, data: bytes) -> None:
        """Send bytes that are no call, for a test of the other end. Raises AgentGone."""
        try:
            with self._send_lock:
                self._end.sendall(data)
        except OSError as error:
            self._end_all(f"the connection to the agent broke ({error.strerror})")
            raise AgentGone(f"sending failed: {error.strerror}") from error

    def finish(self, pending: Pending, timeout_seconds: float | None = None) -> bytes:
        """Wait for a call's answer. Raises AgentError, AgentSilent, AgentGone."""
        from google.protobuf.message import DecodeError

        from .agent_pb2 import Response

        if not pending.done.wait(timeout_seconds):
            with self._lock:
                self._pending.pop(pending.stream, None)
            raise AgentSilent(f"the agent did not answer {pending.name} within {timeout_seconds:g} s")
        if pending.body is None:
            raise AgentGone(f"{pending.name}: {self._ended}")
        try:
            response = Response.FromString(pending.body)
        except DecodeError as error:
            raise AgentError(pending.name, 15, "the answer cannot be decoded") from error
        if response.status.code:
            raise AgentError(pending.name, response.status.code, response.status.message)
        payload: bytes = response.payload
        return payload

    def close(self) -> None:
        """End the connection; calls that wait fail. Safe to call twice."""
        self._end_all("the connection was closed")
        with contextlib.suppress(OSError):
            self._end.shutdown(socket.SHUT_RDWR)
        if self._reader is not threading.current_thread():
            self._reader.join()
        self._end.close()

    def _end_all(self, why: str) -> None:
        with self._lock:
            if self._ended is None:
                self._ended = why
            waiting, self._pending = list(self._pending.values()), {}
        for pending in waiting:
            pending.done.set()

    def _read(self) -> None:
        received = bytearray()
        try:
            while chunk := self._end.recv(_CHUNK):
                received += chunk
                self._take_frames(received)
            why = "the agent ended the connection"
        except OSError as error:
            why = f"the connection to the agent broke ({error.strerror})"
        except _NotTtrpc:
            why = "the other end does not speak ttrpc"
        self._end_all(why)

    def _take_frames(self, received: bytearray) -> None:
        """Take all whole frames off the front of what was received."""
        while len(received) >= HEADER.size:
            length, stream, kind, _ = HEADER.unpack_from(received)
            if not self._plausible(length, stream, kind):
                if not self._serial:
                    raise _NotTtrpc
                del received[0]
                continue
            if len(received) < HEADER.size + length:
                return
            body = bytes(received[HEADER.size : HEADER.size + length])
            del received[: HEADER.size + length]
            with self._lock:
                pending = self._pending.pop(stream, None)
            if pending and kind == RESPONSE:
                pending.body = body
                pending.done.set()

    def _plausible(self, length: int, stream: int, kind: int) -> bool:
        if kind != RESPONSE or length > MAX_DATA:
            return False
        return not self._serial or (stream & 1 == 1 and self._first <= stream < self._next)


class _NotTtrpc(Exception):  # noqa: N818 -- caught in this file
    """Bytes that no ttrpc server sends."""
