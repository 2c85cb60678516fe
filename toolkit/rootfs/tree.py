"""A root file system in memory: names, modes, owners, links; file contents stay where they are until copied.

Paths are bytes, relative to the root and without leading or trailing slash; ``b""`` is the root itself. A `Tree`
can only hold names that stay inside it: no ``..``, nothing below a file or a symbolic link.
"""

from __future__ import annotations

import enum
import os
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ..errors import InputError

CHUNK = 1 << 20
NAME_MAX = 255  # bytes in one name: linux/limits.h, and ext4's own limit
_FAR = 1 << 63  # behind every range
# A name that needs no second look: as nearly all are, perhaps with "./" before and "/" behind.
_PLAIN_NAME = re.compile(rb"(?:\./)?([^./\0][^/\0]*(?:/[^./\0][^/\0]*)*)/?", re.DOTALL)
_MAX_LINKS = 40  # that a path may lead through: the kernel follows no more
PATH_MAX = 4095  # bytes in a path, without its final NUL
# What keeps a build within its memory, whatever it is given: docs/limits.md.
MAX_ENTRIES = 200_000
MAX_EXTRA = 48 << 20
MAX_BYTES = 1 << 40  # of files, holes included: what an image says it holds is more than memory and disk could give
_TOO_MUCH = "leave out what the guest does not need"


class Kind(enum.Enum):
    """What a node is. Sockets have no place in an archive."""

    FILE = 0o100000
    DIRECTORY = 0o040000
    SYMLINK = 0o120000
    CHARACTER = 0o020000
    BLOCK = 0o060000
    FIFO = 0o010000


class Content(Protocol):
    """The bytes of a file."""

    @property
    def size(self) -> int:
        """Length in bytes, holes included."""

    @property
    def ranges(self) -> tuple[tuple[int, int], ...]:
        """The (offset, length) of what is not a hole, ascending, in bytes."""

    def read(self, offset: int, length: int) -> bytes:
        """``length`` bytes of one of the ranges. Raises InputError when the source is shorter than it was."""


@dataclass(frozen=True, slots=True)
class Bytes:
    """Content held in memory, for small files that the program writes itself."""

    data: bytes

    @property
    def size(self) -> int:
        return len(self.data)

    @property
    def ranges(self) -> tuple[tuple[int, int], ...]:
        return ((0, len(self.data)),) if self.data else ()

    def read(self, offset: int, length: int) -> bytes:
        return self.data[offset : offset + length]


@dataclass(frozen=True, slots=True)
class OnDisk:
    """A whole file on disk. Its holes are read as zeros: where they lie depends on the host's file system."""

    path: Path
    size: int

    @classmethod
    def of(cls, path: Path) -> OnDisk:
        """Raises InputError when the file cannot be examined."""
        try:
            return cls(path, path.stat().st_size)
        except OSError as error:
            raise InputError(f"cannot read {path}: {error.strerror}") from error

    @property
    def ranges(self) -> tuple[tuple[int, int], ...]:
        return ((0, self.size),) if self.size else ()

    def read(self, offset: int, length: int) -> bytes:
        try:
            with self.path.open("rb") as stream:
                data = os.pread(stream.fileno(), length, offset)
        except OSError as error:
            raise InputError(f"cannot read {self.path}: {error.strerror}") from error
        if len(data) != length:
            raise InputError(f"{self.path} became shorter while it was read")
        return data


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """One inode. Several paths that lead to the same `Node` object are hard links.

    ``mode``: the twelve permission bits. ``mtime``: seconds since 1970. ``target``: of a symbolic link. ``rdev``:
    (major, minor) of a device. ``xattrs``: (name, value), sorted by name. ``content``: of a file.
    """

    kind: Kind
    mode: int
    uid: int = 0
    gid: int = 0
    mtime: int = 0
    target: bytes = b""
    rdev: tuple[int, int] = (0, 0)
    xattrs: tuple[tuple[bytes, bytes], ...] = ()
    content: Content | None = None

    @property
    def size(self) -> int:
        """The size as stat(2) tells it for files and symbolic links; 0 otherwise."""
        if self.kind is Kind.FILE and self.content:
            return self.content.size
        return len(self.target)

    @property
    def extra(self) -> int:
        """Bytes of memory that it takes beyond what all nodes do, roughly."""
        size = len(self.target) + (sum(len(n) + len(v) + 100 for n, v in self.xattrs) if self.xattrs else 0)
        return size + 100 * max(len(self.content.ranges) - 1, 0) if self.content else size


def chunks(content: Content) -> Iterator[tuple[int, bytes]]:
    """A content's data as (offset, bytes), at most `CHUNK` at a time, holes left out."""
    for start, length in content.ranges:
        for offset in range(start, start + length, CHUNK):
            yield offset, content.read(offset, min(CHUNK, start + length - offset))


def read_padded(content: Content, offset: int, length: int) -> bytes:
    """``length`` bytes from ``offset``; holes, and what lies beyond the end, are zeros."""
    end, ranges = offset + length, content.ranges
    if len(ranges) == 1 and ranges[0][0] <= offset and end <= sum(ranges[0]):
        return content.read(offset, length)  # as nearly always
    out = bytearray()
    for index in range(max(0, bisect_right(ranges, (offset, _FAR)) - 1), len(ranges)):
        start, size = ranges[index]
        if start >= end:
            break
        first, last = max(start, offset), min(start + size, end)
        if first < last:
            out += bytes(first - offset - len(out))
            out += content.read(first, last - first)
    return bytes(out.ljust(length, b"\0"))


def shown(path: bytes) -> str:
    """A path for a message: as an absolute path of the guest, control characters and odd bytes escaped."""
    text = path.decode("utf-8", "backslashreplace")
    return "/" + "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def normalised(name: bytes) -> bytes:
    """An archive's name as a path of ours.

    Raises InputError, saying only what is wrong with the name: the caller knows where it stands.
    """
    plain = _PLAIN_NAME.fullmatch(name)
    if plain and len(name) <= NAME_MAX:
        return bytes(plain[1])
    if name.startswith(b"/"):
        raise InputError("is an absolute path")
    if b"\0" in name:
        raise InputError("holds a NUL byte")
    parts = name.split(b"/")
    if b"" in parts or b"." in parts:
        parts = [part for part in parts if part not in (b"", b".")]
    if b".." in parts:
        raise InputError("climbs out with '..'")
    if len(name) > NAME_MAX and any(len(part) > NAME_MAX for part in parts):
        raise InputError(f"has a name longer than {NAME_MAX} bytes")
    path = b"/".join(parts)
    if len(path) > PATH_MAX:
        raise InputError(f"is longer than {PATH_MAX} bytes")
    return path


class Tree:
    """A root file system. Iterate with `walk`; look up with `get`."""

    def __init__(self) -> None:
        self._nodes: dict[bytes, Node] = {b"": Node(Kind.DIRECTORY, 0o755)}
        self._used_folders: set[bytes] = set()  # folders with something in them
        self._below: dict[bytes, set[bytes]] | None = None  # and with what, once something is taken out
        self._extra = self._bytes = 0

    def __len__(self) -> int:
        return len(self._nodes)

    def __contains__(self, path: bytes) -> bool:
        return path in self._nodes

    def get(self, path: bytes) -> Node | None:
        """The node at a path, or None. Symbolic links are not followed."""
        return self._nodes.get(path)

    def resolved(self, path: bytes) -> bytes:
        """Where a path leads inside this root: symbolic links above its last name are followed, ``..`` ends at the top.

        Raises InputError when they lead in a circle.
        """
        left, done, links = path.split(b"/")[::-1], b"", 0
        while left:
            name = left.pop()
            below = done + b"/" + name if done else name
            node = self._nodes.get(below)
            if name == b"..":
                done = done.rpartition(b"/")[0]
            elif left and node and node.kind is Kind.SYMLINK:
                links += 1
                if links > _MAX_LINKS:
                    raise InputError(f"{shown(path)} lies behind symbolic links that lead in a circle")
                done = b"" if node.target.startswith(b"/") else done
                left += [part for part in node.target.split(b"/") if part not in (b"", b".")][::-1]
            else:
                done = below
        return done

    def walk(self) -> Iterator[tuple[bytes, Node]]:
        """All paths and their nodes, sorted by bytes: a folder before what is in it, the root first.

        Nothing may be taken out meanwhile; what is added is not seen.
        """
        for path in sorted(self._nodes):
            yield path, self._nodes[path]

    def add(self, path: bytes, node: Node) -> None:
        """Put a node at a path (as `normalised` gives it); what was there is replaced, as tar does.

        Folders above it that are missing are made (0755, root). Raises InputError when something above it is no
        folder, when a folder that is not empty would give way to something else, or when there is no room for more.
        """
        self._insert(path, node)
        self._bytes += node.size
        if self._bytes > MAX_BYTES:
            raise InputError(f"files add up to more than {MAX_BYTES >> 40} TiB", hint=_TOO_MUCH)

    def _insert(self, path: bytes, node: Node) -> None:
        self._make_parents(path)
        old = self._nodes.get(path)
        if old and old.kind is Kind.DIRECTORY and node.kind is not Kind.DIRECTORY:
            if not path:
                raise InputError("the root is not a folder")
            if path in self._used_folders:
                raise InputError(f"{shown(path)} replaces a folder that is not empty")
        self._put(path, node, old)

    def _put(self, path: bytes, node: Node, old: Node | None) -> None:
        self._extra += node.extra - (old.extra if old else 0)
        if old is None:
            folder = path.rpartition(b"/")[0]
            self._used_folders.add(folder)
            self._extra += len(path)
            if self._below is not None:
                self._below.setdefault(folder, set()).add(path)
        self._nodes[path] = node
        if len(self._nodes) > MAX_ENTRIES:
            raise InputError(f"there are more than {MAX_ENTRIES:,} files and folders", hint=_TOO_MUCH)
        if self._extra > MAX_EXTRA:
            what = "names, links, attributes and maps of holes"
            raise InputError(f"{what} take more than {MAX_EXTRA >> 20} MiB", hint=_TOO_MUCH)

    def link(self, path: bytes, target: bytes) -> None:
        """Make a hard link. Raises InputError when the target is not there or is a folder."""
        node = self._nodes.get(target)
        if node is None:
            raise InputError(f"{shown(path)} is a hard link to {shown(target)}, which is not there")
        if node.kind is Kind.DIRECTORY:
            raise InputError(f"{shown(path)} is a hard link to the folder {shown(target)}")
        self._insert(path, node)

    def remove(self, path: bytes, *, itself: bool = True) -> None:
        """Take out what is at a path and all below it, or only what is below it. Nothing may be there."""
        if self._below is None:
            self._below = {}
            for name in self._nodes:
                if name:
                    self._below.setdefault(name.rpartition(b"/")[0], set()).add(name)
        left = [path]
        while left:
            folder = left.pop()
            left += self._below.pop(folder, ())
            self._used_folders.discard(folder)
            if folder != path:
                self._take(folder)
        if itself and path and path in self._nodes:
            self._take(path)
            above = path.rpartition(b"/")[0]
            self._below[above].discard(path)
            if not self._below[above]:
                self._used_folders.discard(above)

    def _take(self, path: bytes) -> None:
        self._extra -= len(path) + self._nodes.pop(path).extra

    def drop(self, paths: Iterable[bytes]) -> None:
        """Take out many paths at once, each with all below it; those that are not there do not matter."""
        doomed = {path for path in paths if path}
        for path in list(self._nodes):
            above = path
            while above and above not in doomed:
                above = above.rpartition(b"/")[0]
            if above:
                self._take(path)
        self._below = None
        self._used_folders = {path.rpartition(b"/")[0] for path in self._nodes if path}

    def is_empty(self, path: bytes) -> bool:
        """Nothing is below a path, as `drop` left it."""
        return path not in self._used_folders

    def _make_parents(self, path: bytes) -> None:
        parent = path.rpartition(b"/")[0]
        missing: list[bytes] = []
        while parent not in self._nodes:
            missing.append(parent)
            parent = parent.rpartition(b"/")[0]
        kind = self._nodes[parent].kind
        if kind is not Kind.DIRECTORY:
            what = "the symbolic link" if kind is Kind.SYMLINK else "the file"
            raise InputError(f"{shown(path)} lies below {what} {shown(parent)}")
        for folder in reversed(missing):
            self._put(folder, Node(Kind.DIRECTORY, 0o755), None)


def hard_links(walk: Iterable[tuple[bytes, Node]]) -> dict[int, tuple[bytes, ...]]:
    """The paths of each node that has more than one, in walk order, by ``id(node)``."""
    first: dict[int, bytes] = {}
    more: dict[int, list[bytes]] = {}
    for path, node in walk:
        if node.kind is not Kind.DIRECTORY and first.setdefault(id(node), path) is not path:
            more.setdefault(id(node), [first[id(node)]]).append(path)
    return {key: tuple(paths) for key, paths in more.items()}
