"""A root for containers from this host's busybox, lent to a guest that has no shell tools of its own.

It is shared read-only, as ``boot --rootfs`` shares a folder. The guest's own root is bound into it, so that a
container can look at that as well.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from .. import run, warden
from ..checks import Skipped
from ..elf import read_program
from ..errors import InputError
from .oci import DEFAULT_PATH

GUEST = "/guest"
TOOLS = (
    "cat", "chmod", "chown", "cp", "cut", "date", "dd", "grep", "head", "hostname", "id", "ln", "ls", "mkdir", "mknod",
    "mv", "readlink", "rm", "seq", "sh", "sha256sum", "sleep", "stat", "stty", "touch", "tty", "uname", "wc",
)  # fmt: skip
RARE_TOOLS = ("dmesg", "ip", "nc", "ping", "reboot", "unshare")
"""Programs that not every system has: what needs one of them is skipped where it is not there."""

UNKNOWN_FILE_SYSTEM = os.strerror(errno.ENODEV)
"""What mount(2) says of a file system that the kernel does not have."""

_SHELLS = " ".join(f"{folder}/sh" for folder in DEFAULT_PATH.split(":"))
FIND_SHELL = f"for f in {_SHELLS}; do [ -e {GUEST}$f ] || [ -L {GUEST}$f ] && echo $f && exit; done; exit 1"
"""Prints the guest's own shell; exits with 1 when it has none."""


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """The folder, which is removed in the end. Raises Skipped when this host has no static busybox."""
    busybox = run.which("busybox")
    if busybox is None or not _static(busybox):
        found = "has no busybox" if busybox is None else f"has in {busybox} no static one"
        raise Skipped(f"the guest has no shell tools, and this host {found} to lend", "apt-get install busybox-static")
    with warden.temporary_folder("root") as root:
        (root / GUEST.lstrip("/")).mkdir()
        (root / "bin").mkdir()
        shutil.copyfile(busybox, root / "bin" / "busybox")
        (root / "bin" / "busybox").chmod(0o755)
        for tool in (*TOOLS, *RARE_TOOLS):
            (root / "bin" / tool).symlink_to("busybox")
        yield root


def _static(program: Path) -> bool:
    try:
        return read_program(program).interpreter is None
    except InputError:  # no program at all but a script, say
        return False
