"""One QEMU process: started with its sockets, watched while it runs, ended with everything it holds.

A thread reads the console, the monitor and stderr all the time, so that a guest that writes much never blocks on
us, and keeps what it learns as plain facts. The sockets are socket pairs: no path exists that could be left
behind, guessed by someone else or exceed the length of a socket address.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from .. import run
from ..errors import ToolError
from . import qemu
from .console import Console
from .qmp import Event, Qmp

_READ = 1 << 16
_STDERR_KEPT = 1 << 16
_TICK_SECONDS = 0.2

KVM_ERROR = "KVM internal error"  # what QEMU writes when KVM gives up on an instruction; the guest stays paused


@dataclass
class Signs:
    """What has been seen of a guest, with the time in seconds since QEMU's start (None: not yet)."""

    console_opened: float | None = None  # the guest's virtio console driver is up: the kernel has booted that far
    agent_opened: float | None = None  # something in the guest holds the agent's port open
    shutdown: str | None = None  # why QEMU ended, in QMP's words: guest-shutdown, guest-reset, …
    paused: str | None = None  # why the guest no longer runs although QEMU does

    def alive(self, console: Console) -> bool:
        """The guest's kernel has shown that it runs."""
        return self.console_opened is not None or bool(console.text.strip())


class Vmm:
    """A running QEMU. Use as a context manager; leaving it ends the process and its whole group."""

    def __init__(
        self,
        machine: qemu.Machine,
        *,
        vhost_vsock: int | None = None,
        debug_console: bool = False,
        sink: Callable[[bytes], None] | None = None,
        silence_seconds: float | None = None,
    ) -> None:
        """Start it. ``silence_seconds``: end it when the guest's kernel has given no sign of life by then.

        Raises ToolError when QEMU is missing, InputError when the image cannot be read.
        """
        self.machine = machine
        self.console = Console(sink)
        self.signs = Signs()
        self._stderr = bytearray()
        self._silence = silence_seconds
        ours, theirs = _pairs(agent=vhost_vsock is None, debug_console=debug_console)
        with contextlib.ExitStack() as undo:
            for end in ours.values():
                undo.callback(end.close)
            sockets = qemu.Sockets(
                monitor=theirs["monitor"].fileno(),
                console=theirs["console"].fileno(),
                agent=theirs["agent"].fileno() if "agent" in theirs else None,
                debug_console=theirs["debug"].fileno() if "debug" in theirs else None,
                vhost_vsock=vhost_vsock,
            )
            try:
                self.argv = qemu.argv(machine, sockets)
                self.process = _start(self.argv, sockets, machine.package)
            finally:
                for end in theirs.values():
                    end.close()
            undo.pop_all()
        self.started = time.monotonic()
        self._monitor, self._console = ours["monitor"], ours["console"]
        self.qmp = Qmp(self._monitor, self._event)
        self.agent_socket = ours.get("agent")
        self.debug_socket = ours.get("debug")
        self._debug_opened = False
        self._thread = threading.Thread(target=self._pump, name="vmm", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *unused: object) -> None:
        self.close()

    @property
    def stderr(self) -> str:
        """What QEMU itself said."""
        return bytes(self._stderr).decode(errors="replace").strip()

    def status(self) -> int | None:
        """QEMU's exit status, None while it runs."""
        return self.process.poll()

    def wait(self, seconds: float) -> int | None:
        """Wait for QEMU to end by itself; None when it still runs after ``seconds``."""
        try:
            status = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None
        self._thread.join(2)  # the last words are in the pipes
        return status

    def kill(self) -> None:
        """End QEMU at once."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def close(self) -> None:
        """End QEMU if it still runs, and release everything. Safe to call twice."""
        self.kill()  # nothing of the guest is worth a grace time: its disks are read-only
        run.stop(self.process)
        self._thread.join(5)
        for end in (self._monitor, self._console, self.agent_socket, self.debug_socket, self.process.stdout):
            if end is not None:
                end.close()

    def _pump(self) -> None:
        stdout = self.process.stdout
        assert stdout is not None  # noqa: S101 -- PIPE was asked for
        self.qmp.greet()
        with selectors.DefaultSelector() as selector:
            selector.register(self._monitor, selectors.EVENT_READ, self.qmp.feed)
            selector.register(self._console, selectors.EVENT_READ, self.console.feed)
            selector.register(stdout, selectors.EVENT_READ, self._said)
            while selector.get_map():
                for key, _ in selector.select(_TICK_SECONDS):
                    try:
                        data = os.read(key.fd, _READ)
                    except OSError:  # reset: the other end died with bytes of ours unread
                        data = b""
                    if data:
                        key.data(data)
                    else:
                        selector.unregister(key.fileobj)
                        if key.fileobj is self._monitor:
                            self.qmp.ended()
                self._watch_silence()

    def _watch_silence(self) -> None:
        if self._silence is None or self.signs.alive(self.console):
            return
        if time.monotonic() - self.started > self._silence:
            self.signs.paused = f"the guest gave no sign of life within {self._silence:g} s"
            self.kill()

    def _said(self, data: bytes) -> None:
        self._stderr += data
        del self._stderr[:-_STDERR_KEPT]
        if KVM_ERROR.encode() in self._stderr and not self.signs.paused:
            self.signs.paused = KVM_ERROR
            # What follows is a dump of the registers; the guest will not run again.
            self.kill()

    def _event(self, event: Event) -> None:
        at, data = event.at - self.started, event.data
        match event.name:
            case "VSERPORT_CHANGE" if data.get("id") == qemu.DEBUG_ID:
                self._debug_port_changed()
            case "VSERPORT_CHANGE" if data.get("open"):
                if data.get("id") == qemu.CONSOLE_ID and self.signs.console_opened is None:
                    self.signs.console_opened = at
                if data.get("id") == qemu.AGENT_ID and self.signs.agent_opened is None:
                    self.signs.agent_opened = at
            case "SHUTDOWN":
                self.signs.shutdown = str(data.get("reason"))

    def _debug_port_changed(self) -> None:
        """The agent opens the port once, and closes it when a shell has ended.

        QEMU may tell of a close and the opening after it as one more opening, and never closes its end of the socket.
        What the shell wrote can still be read.
        """
        if self._debug_opened and self.debug_socket is not None:
            with contextlib.suppress(OSError):
                self.debug_socket.shutdown(socket.SHUT_RD)
        self._debug_opened = True


def _pairs(**wanted: bool) -> tuple[dict[str, socket.socket], dict[str, socket.socket]]:
    ours, theirs = {}, {}
    for name in ("monitor", "console", *(name for name, on in wanted.items() if on)):
        key = "debug" if name == "debug_console" else name
        ours[key], theirs[key] = socket.socketpair()
    return ours, theirs


def _start(argv: list[str], sockets: qemu.Sockets, package: str) -> subprocess.Popen[bytes]:
    if run.which(argv[0]) is None:
        raise ToolError(f"{argv[0]} is not installed", hint=f"apt-get install {package}")
    return run.spawn(argv, pass_fds=sockets.all())
