"""Where files that are a guest's memory lie: on a tmpfs, in a folder that nobody else can reach."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from .. import warden
from ..errors import InputError, ToolError, relative

_SHM = Path("/dev/shm")  # noqa: S108 -- a folder of our own is made in it
_NAME = "kata-toolkit"


def tmpfs() -> Path:
    """A tmpfs that we may write to: the user's own ($XDG_RUNTIME_DIR), else /dev/shm. Raises ToolError."""
    own = os.environ.get("XDG_RUNTIME_DIR")
    for folder in [*([Path(own)] if own else []), _SHM]:
        if folder.is_dir() and os.access(folder, os.W_OK | os.X_OK) and on_tmpfs(folder):
            return folder
    raise ToolError(
        "there is no tmpfs for a guest's memory: neither $XDG_RUNTIME_DIR nor /dev/shm can be written to",
        hint="name a folder with -o",
    )


def own_folder() -> Path:
    """Our folder on that tmpfs, made when it is not there. Raises ToolError when it is another user's."""
    base = tmpfs()
    folder = base / (_NAME if base != _SHM else f"{_NAME}-{os.geteuid()}")
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if found.st_uid != os.geteuid() or folder.is_symlink() or found.st_mode & 0o022:
        raise ToolError(f"{folder} is another user's, or writable for others", hint="name a folder with -o")
    return folder


def on_tmpfs(folder: Path) -> bool:
    """Whether a path lies on a tmpfs (or another file system in memory), by what the kernel says of its mount."""
    device = folder.stat().st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    try:
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
    except OSError:
        return False
    kinds = {line.split(" - ", 1)[1].split()[0] for line in lines if line.split()[2] == wanted and " - " in line}
    return bool(kinds & {"tmpfs", "ramfs", "hugetlbfs"})


def require_place(folder: Path, marker: str, memory_mib: int, note: Callable[[str], None]) -> None:
    """See to it that ``folder`` can be written: it is not there, is empty, or has the file ``marker``.

    Raises InputError for somebody else's folder, ToolError when the file system has less than ``memory_mib`` free: a
    guest whose memory cannot grow is killed.
    """
    if folder.exists() and not (folder / marker).is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{relative(folder)} is there already, and is no template", hint="name another with -o")
    parent = folder.parent
    try:
        parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"the folder {relative(parent)} cannot be made: {error.strerror}") from error
    if not os.access(parent, os.W_OK | os.X_OK):
        raise InputError(f"the folder {relative(parent)} cannot be written to")
    free = os.statvfs(parent)
    mib = free.f_bavail * free.f_frsize >> 20
    if mib < memory_mib:
        raise ToolError(f"{relative(parent)} has {mib} MiB free, and the guest's memory may take {memory_mib} MiB")
    if not on_tmpfs(parent):
        note(f"{relative(parent)} is not on a tmpfs: the guest's memory will be written to a disk")


def reserve(path: Path, memory_mib: int) -> None:
    """An empty file of a guest's memory; its pages are taken as the guest touches them. Only its owner can read it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.ftruncate(descriptor, memory_mib << 20)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def beside(folder: Path) -> Iterator[Path]:
    """A new folder that takes the place of ``folder`` when the block ends well, and goes when it does not."""
    work = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        with warden.removed(work):
            yield work
            if folder.exists():
                shutil.rmtree(folder)
            work.rename(folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)
