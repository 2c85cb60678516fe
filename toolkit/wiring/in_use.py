"""Which processes still use a folder's files: open, mapped, executed, or as their own folder (proc(5))."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_LINKS = ("exe", "cwd", "root")


@dataclass(frozen=True, slots=True)
class User:
    """A process that uses a file of the folder."""

    pid: int
    command: str
    file: str


@dataclass(frozen=True, slots=True)
class InUse:
    """``users`` by what could be seen; ``unseen``: processes that could not be looked into."""

    users: tuple[User, ...]
    unseen: int


def in_use(folder: Path, proc: Path = Path("/proc")) -> InUse:
    """Look at every process. Raises OSError when there is no /proc.

    Files are known by device and inode too, since a process in another mount namespace has other paths to them.
    """
    inodes = _inodes(folder)
    prefix = f"{folder.resolve()}/"
    users, unseen = [], 0
    for entry in sorted(proc.iterdir(), key=lambda path: (len(path.name), path.name)):
        if not entry.name.isdigit():
            continue
        try:
            file = next(_used(entry, prefix, inodes), None)
        except PermissionError:
            unseen += 1
            continue
        except OSError:
            continue  # it is gone
        if file is not None:
            users.append(User(int(entry.name), _command(entry), file))
    return InUse(tuple(users), unseen)


def _inodes(folder: Path) -> dict[tuple[int, int], str]:
    found = {}
    for path in folder.rglob("*"):
        stat = path.lstat()
        found[stat.st_dev, stat.st_ino] = str(path)
    stat = folder.stat()
    return {**found, (stat.st_dev, stat.st_ino): str(folder)}


def _used(process: Path, prefix: str, inodes: dict[tuple[int, int], str]) -> Iterator[str]:
    """The folder's files that a process uses."""
    links = [process / name for name in _LINKS]
    with contextlib.suppress(FileNotFoundError):
        links += [process / "fd" / name for name in os.listdir(process / "fd")]  # noqa: PTH208 -- no Path for each
    for link in links:
        with contextlib.suppress(FileNotFoundError):  # a kernel thread has no exe; a descriptor may be closed by now
            target = os.readlink(link)  # noqa: PTH115 -- no Path for each
            if target.startswith(prefix):
                yield target
            stat = link.stat()
            if (stat.st_dev, stat.st_ino) in inodes:
                yield inodes[stat.st_dev, stat.st_ino]
    yield from _mapped(process, prefix, inodes)


def _mapped(process: Path, prefix: str, inodes: dict[tuple[int, int], str]) -> Iterator[str]:
    with (process / "maps").open("rb") as stream:
        for line in stream:
            fields = line.split(maxsplit=5)
            if len(fields) < 6 or not int(fields[4]):
                continue
            path = os.fsdecode(fields[5].rstrip(b"\n"))
            major, _, minor = fields[3].partition(b":")
            inode = (os.makedev(int(major, 16), int(minor, 16)), int(fields[4]))
            if path.startswith(prefix) or inode in inodes:
                yield inodes.get(inode, path)


def _command(process: Path) -> str:
    try:
        return (process / "comm").read_text(errors="replace").strip()
    except OSError:
        return "?"
