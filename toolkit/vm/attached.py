"""Runs a container whose streams are our own: a terminal where we have one, plain streams otherwise."""

from __future__ import annotations

import contextlib
import os
import signal
import termios
import tty
from collections.abc import Iterator, Sequence
from types import FrameType

from .agent_client import AgentError, AgentSilent, Running
from .oci import Process
from .session import Session

STDIN, STDOUT, STDERR = 0, 1, 2
_BROKEN_PIPE = 128 + signal.SIGPIPE


def run_attached(session: Session, command: Sequence[str]) -> int:
    """Run a command to its end with our stdin, stdout and stderr; its exit code.

    When stdin and stdout are a terminal it gets a terminal of the same size, and every key goes to it. Raises what
    `Session.container` raises.
    """
    if os.isatty(STDIN) and os.isatty(STDOUT):
        with raw_terminal(STDIN):
            return _with_terminal(session, command)
    out, err = _Output(STDOUT), _Output(STDERR)

    def started(running: Running) -> None:
        out.belongs_to(running)
        err.belongs_to(running)

    status = session.container(
        Process(command), stdin=STDIN, stdout=out.write, stderr=err.write, started=started
    ).status
    return _BROKEN_PIPE if out.broken or err.broken else status


def _with_terminal(session: Session, command: Sequence[str]) -> int:
    size = os.get_terminal_size(STDOUT)
    process = Process(
        command, terminal=True, size=(size.lines, size.columns), env={"TERM": os.environ.get("TERM", "linux")}
    )
    out = _Output(STDOUT)

    def started(running: Running) -> None:
        out.belongs_to(running)
        signal.signal(signal.SIGWINCH, lambda signum, frame: _resize(running, signum, frame))

    before = signal.getsignal(signal.SIGWINCH)
    try:
        return session.container(process, stdin=STDIN, stdout=out.write, started=started).status
    finally:
        signal.signal(signal.SIGWINCH, before)


def _resize(running: Running, signum: int, frame: FrameType | None) -> None:
    size = os.get_terminal_size(STDOUT)
    with contextlib.suppress(AgentError, AgentSilent):
        running.resize(size.lines, size.columns)


class _Output:
    """One of our output streams. When its reader goes away the program is ended, as a broken pipe would end it."""

    def __init__(self, descriptor: int) -> None:
        self.broken = False
        self._descriptor = descriptor
        self._running: Running | None = None

    def belongs_to(self, running: Running) -> None:
        """The program whose output this is."""
        self._running = running

    def write(self, data: bytes) -> None:
        """Write it all; what comes after the reader has gone is dropped."""
        view = memoryview(data)
        try:
            while view and not self.broken:
                view = view[os.write(self._descriptor, view) :]
        except BrokenPipeError:
            self.broken = True
            if self._running is not None:
                # Not SIGPIPE: the first process of a pid namespace is deaf to all but SIGKILL.
                with contextlib.suppress(AgentError, AgentSilent):
                    self._running.signal(signal.SIGKILL)


@contextlib.contextmanager
def raw_terminal(descriptor: int) -> Iterator[None]:
    """Hands every key on as it is typed; the terminal is put back as it was."""
    before = termios.tcgetattr(descriptor)
    tty.setraw(descriptor)
    try:
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
