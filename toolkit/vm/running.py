"""Containers of a guest and the programs that run in them, as the host holds them."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from . import agent_pb2 as pb
from .oci import Process
from .ttrpc import AgentError

if TYPE_CHECKING:
    from .agent_client import AgentClient

READ_BYTES = 65536
_WRITE_BYTES = 1 << 20

Sink = Callable[[bytes], object]
Stdin = bytes | int | None
"""What a program reads: bytes, a file descriptor that is read to its end, or nothing at all."""


@dataclass(frozen=True, slots=True)
class Finished:
    """A program's end: its exit code (128 + n when signal n killed it), and its output unless it went elsewhere."""

    status: int
    stdout: bytes = b""
    stderr: bytes = b""


@dataclass(frozen=True, slots=True)
class Container:
    """A container in the guest. ``terminal``: its own program has one."""

    agent: AgentClient
    id: str
    terminal: bool = False

    def start(self) -> Running:
        """Start its own program."""
        self.agent.call("StartContainer", pb.StartContainerRequest(container_id=self.id))
        return Running(self.agent, self.id, self.id, self.terminal)

    def execute(self, process: Process, exec_id: str) -> Running:
        """Run a further program in it."""
        request = pb.ExecProcessRequest(container_id=self.id, exec_id=exec_id, process=process.message())
        self.agent.call("ExecProcess", request)
        return Running(self.agent, self.id, exec_id, process.terminal)

    def kill(self, signum: int = 9) -> None:
        """Signal it: signal 9 all its processes, others its own program."""
        self.agent.call("SignalProcess", pb.SignalProcessRequest(container_id=self.id, signal=signum))

    def remove(self, timeout_seconds: int = 0) -> None:
        """Kill what runs in it and forget it; ``timeout_seconds`` 0 waits as long as it takes."""
        self.agent.call("RemoveContainer", pb.RemoveContainerRequest(container_id=self.id, timeout=timeout_seconds))


@dataclass(frozen=True, slots=True)
class Running:
    """A program that runs in a container. ``terminal``: it has one, and all its output is its stdout."""

    agent: AgentClient
    container_id: str
    exec_id: str
    terminal: bool = False

    def wait(self, timeout_seconds: float | None = None) -> int:
        """Its exit code, once it has ended; 128 + n when signal n killed it."""
        request = self._named(pb.WaitProcessRequest)
        answer = self.agent.call("WaitProcess", request, pb.WaitProcessResponse, timeout_seconds)
        status: int = answer.status
        return status

    def signal(self, signum: int) -> None:
        """Send it a signal."""
        self.agent.call("SignalProcess", self._named(pb.SignalProcessRequest, signal=signum))

    def resize(self, rows: int, columns: int) -> None:
        """Set its terminal's size."""
        self.agent.call("TtyWinResize", self._named(pb.TtyWinResizeRequest, row=rows, column=columns))

    def read_stdout(self, size: int = READ_BYTES, timeout_seconds: float | None = None) -> bytes:
        """Some of its output, as soon as there is any; empty at the end."""
        return self._read("ReadStdout", size, timeout_seconds)

    def read_stderr(self, size: int = READ_BYTES, timeout_seconds: float | None = None) -> bytes:
        """Some of its errors, as soon as there are any; empty at the end."""
        return self._read("ReadStderr", size, timeout_seconds)

    def write_stdin(self, data: bytes) -> None:
        """Give it input; returns when it is all on its way to the program."""
        for start in range(0, len(data), _WRITE_BYTES):
            piece = data[start : start + _WRITE_BYTES]
            self.agent.call("WriteStdin", self._named(pb.WriteStreamRequest, data=piece), pb.WriteStreamResponse, None)

    def close_stdin(self) -> None:
        """Tell it that no more input comes."""
        self.agent.call("CloseStdin", self._named(pb.CloseStdinRequest))

    def communicate(
        self,
        stdin: Stdin = None,
        stdout: Sink | None = None,
        stderr: Sink | None = None,
        timeout_seconds: float | None = None,
    ) -> Finished:
        """Feed it, take its output until its end, and return that. Sinks are called from threads of their own."""
        kept_out, kept_err = bytearray(), bytearray()
        pumps = [_Pump(lambda: self._drain(self.read_stdout, stdout or kept_out.extend))]
        if not self.terminal:
            pumps.append(_Pump(lambda: self._drain(self.read_stderr, stderr or kept_err.extend)))
        feeder = _Pump(lambda: self._feed(stdin))
        status = self.wait(timeout_seconds)
        for pump in pumps:
            pump.join()
        feeder.leave()
        return Finished(status, bytes(kept_out), bytes(kept_err))

    def _named(self, kind: Any, **fields: Any) -> Any:
        return kind(container_id=self.container_id, exec_id=self.exec_id, **fields)

    def _read(self, method: str, size: int, timeout_seconds: float | None) -> bytes:
        request = self._named(pb.ReadStreamRequest, len=size)
        data: bytes = self.agent.call(method, request, pb.ReadStreamResponse, timeout_seconds).data
        return data

    def _drain(self, read: Callable[[], bytes], sink: Sink) -> None:
        while data := read():
            sink(data)

    def _feed(self, stdin: Stdin) -> None:
        # A program that ends, or closes its input, before it has read all of it is no failure of ours.
        with contextlib.suppress(AgentError):
            if isinstance(stdin, int):
                while data := os.read(stdin, READ_BYTES):
                    self.write_stdin(data)
            elif stdin:
                self.write_stdin(stdin)
            self.close_stdin()


class _Pump:
    """A thread that carries a stream; what it raised is raised where it is joined."""

    def __init__(self, work: Callable[[], None]) -> None:
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(work,), daemon=True)
        self._thread.start()

    def join(self) -> None:
        """Wait for its end."""
        self._thread.join()
        if self._error:
            raise self._error

    def leave(self) -> None:
        """Do not wait: it may be reading from a person, who has no reason to type any more."""

    def _run(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:
            self._error = error
