"""What the readers of file systems have in common: inodes, walking all paths, looking one up."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Protocol


class DamagedError(Exception):
    """The bytes are no sound file system; the message says what does not fit."""


@dataclass(frozen=True, slots=True)
class Run:
    """``length`` blocks of a file from its block ``logical``, at the block ``physical``."""

    logical: int
    physical: int
    length: int


@dataclass(frozen=True, slots=True)
class Cluster:
    """``length`` bytes of a file from its byte ``start``, in ``blocks`` from the block ``physical`` on.

    ``algorithm``: the number of the compression; None when they are stored as they are.
    """

    start: int
    length: int
    physical: int
    blocks: int
    algorithm: int | None


@dataclass(frozen=True, slots=True)
class Inode:
    """An inode as it is on disk. ``mode`` has the type bits too; ``times`` are seconds since 1970, all it has.

    ``tail``: data stored with the inode itself, behind what ``runs`` hold. ``clusters``: of a compressed file, where
    the blocks of ``runs`` have no place of their own.
    """

    number: int
    mode: int
    uid: int
    gid: int
    size: int
    links: int
    times: tuple[int, ...]
    target: bytes
    rdev: tuple[int, int]
    xattrs: tuple[tuple[bytes, bytes], ...]
    runs: tuple[Run, ...]
    tail: bytes = b""
    clusters: tuple[Cluster, ...] = ()

    def with_target(self, target: bytes) -> Inode:
        """The same inode with the target of a symbolic link."""
        return replace(self, target=target)


@dataclass(frozen=True, slots=True)
class Part:
    """The bytes of a file system: ``size`` of them from ``offset`` of an open file."""

    fd: int
    offset: int
    size: int

    def read(self, position: int, length: int) -> bytes:
        """Exactly so many bytes. Raises DamagedError when they are not all there."""
        if position < 0 or position + length > self.size:
            raise DamagedError(f"it points to byte {position}, outside of itself")
        data = os.pread(self.fd, length, self.offset + position)
        if len(data) != length:
            raise DamagedError("it is cut short")
        return data


class Reader(Protocol):
    """A file system opened for reading. Its methods raise DamagedError."""

    name: str
    block_size: int
    blocks: int
    root: Inode

    def problems(self, size: int) -> Iterator[str]:
        """What stands against using it as the root file system in a partition of ``size`` bytes."""

    def inode(self, number: int) -> Inode:
        """An inode by its number."""

    def entries(self, folder: Inode) -> Iterator[tuple[bytes, int, int]]:
        """A folder's (name, inode number, type bits), ``.`` and ``..`` left out."""

    def read(self, inode: Inode, offset: int, length: int) -> bytes:
        """``length`` bytes of a file, holes as zeros."""


def walk(reader: Reader) -> Iterator[tuple[bytes, Inode]]:
    """Every path (as in `Tree`) with its inode, folders before what is in them. Raises DamagedError."""
    seen = {reader.root.number}
    left = [(b"", reader.root)]
    while left:
        path, folder = left.pop()
        yield path, folder
        if not stat.S_ISDIR(folder.mode):
            raise DamagedError("its root is not a folder")
        for name, number, kind in reader.entries(folder):
            inode = reader.inode(number)
            if stat.S_IFMT(inode.mode) != kind:
                raise DamagedError(f"a folder and the inode {number} disagree about its type")
            below = path + b"/" + name if path else name
            if kind == stat.S_IFDIR:
                if number in seen:
                    raise DamagedError(f"the folder with inode {number} is in two places")
                seen.add(number)
                left.append((below, inode))
            else:
                yield below, inode


def lookup(reader: Reader, path: bytes) -> Inode | None:
    """The inode at a path, or None; symbolic links are not followed. Raises DamagedError."""
    inode = reader.root
    for part in path.split(b"/"):
        if not stat.S_ISDIR(inode.mode):
            return None
        number = next((n for name, n, _ in reader.entries(inode) if name == part), None)
        if number is None:
            return None
        inode = reader.inode(number)
    return inode
