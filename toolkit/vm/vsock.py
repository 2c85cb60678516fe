"""vhost-vsock on the host: is it there, and a context id that no other guest has.

The ioctl is VHOST_VSOCK_SET_GUEST_CID of linux/vhost.h. Like Kata's runtime we take the id ourselves and hand QEMU
the open device, so that two guests started at once can never be given the same one.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass

from ..errors import ToolError

DEVICE = "/dev/vhost-vsock"
AGENT_PORT = 1024
DEBUG_CONSOLE_PORT = 1026
HINT = "as root: modprobe vhost_vsock, and give your user access to the device"
_SET_GUEST_CID = 0x4008AF60
_FIRST_CID, _LAST_CID = 3, 0xFFFF_FFFE
_ATTEMPTS = 64
_RETRY_SECONDS = 0.01


@dataclass(frozen=True, slots=True)
class GuestCid:
    """A context id that is ours, and the open device that holds it."""

    cid: int
    fd: int

    def close(self) -> None:
        """Give the device back; QEMU holds its own descriptor."""
        os.close(self.fd)


def unusable() -> str | None:
    """Why guests cannot be reached over vsock on this host; None when they can."""
    try:
        os.close(os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC))
    except FileNotFoundError:
        return f"this host has no {DEVICE}"
    except OSError as error:
        return f"{DEVICE} cannot be opened ({error.strerror})"
    return None


def take_cid() -> GuestCid:
    """Reserve a free context id. Raises ToolError when the host has no usable vhost-vsock."""
    reason = unusable()
    if reason:
        raise ToolError(f"no vsock for the guest: {reason}", hint=HINT)
    device = os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC)
    for _ in range(_ATTEMPTS):
        cid = _FIRST_CID + secrets.randbelow(_LAST_CID - _FIRST_CID)
        try:
            fcntl.ioctl(device, _SET_GUEST_CID, struct.pack("=Q", cid))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                continue
            os.close(device)
            raise ToolError(f"no vsock for the guest: {DEVICE}: {error.strerror}") from error
        return GuestCid(cid, device)
    os.close(device)
    raise ToolError(f"no vsock for the guest: {_ATTEMPTS} context ids in a row were taken")


def connect(cid: int, port: int, *, until: float, gone: Callable[[], bool]) -> socket.socket | None:
    """A connection to a guest's vsock port; None when the time is up or ``gone()`` says the guest is.

    ``until`` is a `time.monotonic` instant. The guest refuses, or is not reachable, until its agent listens.
    """
    while time.monotonic() < until and not gone():
        end = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
        end.settimeout(max(0.1, until - time.monotonic()))
        try:
            end.connect((cid, port))
        except OSError:
            end.close()
            time.sleep(_RETRY_SECONDS)
            continue
        return end
    return None
