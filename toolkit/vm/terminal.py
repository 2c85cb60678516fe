"""Joins a person's terminal to a shell in the guest, until either side ends it."""

from __future__ import annotations

import contextlib
import os
import selectors
import socket

from .attached import raw_terminal

LEAVE = b"\x1d"  # Ctrl-], as telnet and virsh console use it
_READ = 1 << 14
_LINGER_SECONDS = 2.0


def attach(end: socket.socket, stdin: int, stdout: int) -> None:
    """Relay until the guest closes, Ctrl-] is pressed, or (without a terminal) input and output have both ended.

    ``stdin`` and ``stdout`` are file descriptors.
    """
    interactive = os.isatty(stdin)
    with raw_terminal(stdin) if interactive else contextlib.nullcontext(), selectors.DefaultSelector() as selector:
        selector.register(end, selectors.EVENT_READ)
        with contextlib.suppress(PermissionError):  # a plain file is always ready: epoll refuses it
            selector.register(stdin, selectors.EVENT_READ)
        if stdin not in selector.get_map():
            end.sendall(_all(stdin))
        while True:
            # A shell on a serial port never learns that the input has ended; what it still has to say comes soon.
            ready = selector.select(None if stdin in selector.get_map() else _LINGER_SECONDS)
            if not ready:
                return
            for key, _ in ready:
                data = os.read(key.fd, _READ)
                if key.fd != stdin:
                    if not data:
                        return
                    os.write(stdout, data)
                elif not data:
                    selector.unregister(stdin)
                elif interactive and LEAVE in data:
                    return
                else:
                    end.sendall(data)


def _all(descriptor: int) -> bytes:
    return b"".join(iter(lambda: os.read(descriptor, _READ), b""))
