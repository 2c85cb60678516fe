"""The "newc" cpio archive that the kernel unpacks as its first root file system, written and read.

Kernel source: Documentation/driver-api/early-userspace/buffer-format.rst. Members are sorted, inodes are numbered in
that order, times are the tree's own; device numbers of the host's disk, which cpio(1) would record, are 0.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ..errors import InputError, ToolError
from ..rootfs.tree import CHUNK, Kind, Node, Tree, chunks, hard_links, read_padded, shown

_MAGIC = b"070701"
_HEADER = 110
_TRAILER = b"TRAILER!!!"
_PADDING = 512  # of the whole archive, as cpio(1) does
_LIMIT = 1 << 32  # every number has eight hex digits
_MAX_NAME = 4096
_MAX_SIZE = 4 << 30
_WHOLE_HEADER = re.compile(_MAGIC + rb"[0-9A-Fa-f]{104}")


def write_cpio(tree: Tree, path: Path) -> int:
    """Write a tree; returns the number of members. The same tree gives the same bytes.

    Raises InputError for what the format cannot hold (extended attributes, files of 4 GiB) and for what is too large,
    ToolError for the disk.
    """
    linked = hard_links(tree.walk())
    numbers: dict[int, int] = {}
    try:
        with path.open("xb") as out:
            for name, node in tree.walk():
                _refuse(name, node)
                number = numbers.setdefault(id(node), len(numbers) + 1)
                paths = linked.get(id(node), (name,))
                # Of hard links the last one brings the data, as cpio(1) does and the kernel expects.
                _write_member(out, name, node, number, len(paths), with_data=name == paths[-1])
            out.write(_header(_TRAILER, 0, 0, 0, 0, 1, 0, 0, (0, 0)))
            out.write(bytes(-out.tell() % _PADDING))
    except OSError as error:
        raise ToolError(f"cannot write {path}: {error.strerror}") from error
    return len(tree)


def _refuse(name: bytes, node: Node) -> None:
    if node.xattrs:
        shown_names = ", ".join(key.decode(errors="backslashreplace") for key, _ in node.xattrs)
        raise InputError(f"{shown(name)} has extended attributes ({shown_names}), which an initrd cannot hold")
    if name == _TRAILER:
        raise InputError(f"{shown(name)} is the name that ends an initrd")
    for what, value in (("bytes", node.size), ("as owner", node.uid), ("as group", node.gid), ("as time", node.mtime)):
        if not 0 <= value < _LIMIT:
            raise InputError(f"{shown(name)} has {value} {what}, which an initrd cannot hold")


def _write_member(out: BinaryIO, name: bytes, node: Node, number: int, links: int, *, with_data: bool) -> None:
    size = node.size if with_data or node.kind is not Kind.FILE else 0
    links = 2 if node.kind is Kind.DIRECTORY else links
    mode = node.kind.value | node.mode
    out.write(_header(name or b".", number, mode, node.uid, node.gid, links, node.mtime, size, node.rdev))
    if node.kind is Kind.SYMLINK:
        out.write(node.target)
    elif size and node.content:
        start = out.tell()
        for offset, data in chunks(node.content):
            out.seek(start + offset)  # a hole stays one on this disk, and is zeros to whoever reads it
            out.write(data)
        out.seek(start + size)
    if out.tell() > _MAX_SIZE:
        raise InputError(
            f"the initrd is larger than {_MAX_SIZE >> 30} GiB, which no guest has the memory to unpack",
            hint="boot an image, which stays on disk",
        )
    out.write(bytes(-out.tell() % 4))


def _header(
    name: bytes, number: int, mode: int, uid: int, gid: int, links: int, mtime: int, size: int, rdev: tuple[int, int]
) -> bytes:
    fields = (number, mode, uid, gid, links, mtime, size, 0, 0, *rdev, len(name) + 1, 0)
    head = _MAGIC + b"".join(b"%08X" % field for field in fields) + name + b"\0"
    return head + bytes(-len(head) % 4)


@dataclass(frozen=True, slots=True)
class Entry:
    """A member as read: ``mode`` with its type bits, ``data_at`` where its ``size`` bytes lie in the archive."""

    name: bytes
    number: int
    mode: int
    uid: int
    gid: int
    links: int
    mtime: int
    size: int
    rdev: tuple[int, int]
    data_at: int


def read_cpio(fd: int) -> Iterator[Entry]:
    """The members of an archive. Raises ValueError when it is damaged or cut short."""
    length = os.fstat(fd).st_size
    at = 0
    while True:
        head = os.pread(fd, _HEADER, at)
        if not _WHOLE_HEADER.fullmatch(head):
            raise ValueError(f"there is no member at byte {at}")
        fields = [int(head[i : i + 8], 16) for i in range(6, _HEADER, 8)]
        number, mode, uid, gid, links, mtime, size, _, _, major, minor, name_size, _ = fields
        name = os.pread(fd, min(name_size, _MAX_NAME), at + _HEADER)
        if name[-1:] != b"\0" or len(name) != name_size:
            raise ValueError(f"the member at byte {at} has a damaged name")
        data_at = at + _HEADER + name_size
        data_at += -data_at % 4
        if name[:-1] == _TRAILER:
            return
        at = data_at + size + -size % 4
        if at > length:
            raise ValueError("it is cut short")
        yield Entry(name[:-1], number, mode, uid, gid, links, mtime, size, (major, minor), data_at)


def cpio_problems(path: Path, tree: Tree) -> Iterator[str]:
    """What differs between an archive on disk and the tree it should hold, one sentence each. Raises ToolError."""
    try:
        with path.open("rb") as stream:
            yield from _compare(stream.fileno(), tree)
    except OSError as error:
        raise ToolError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        yield f"it is damaged: {error}"


def _compare(fd: int, tree: Tree) -> Iterator[str]:
    linked = hard_links(tree.walk())
    found: set[bytes] = set()
    number_of: dict[int, int] = {}
    for entry in read_cpio(fd):
        name = b"" if entry.name == b"." else entry.name
        node = tree.get(name)
        if node is None or name in found:
            yield f"{shown(name)} is there {'twice' if name in found else 'and should not be'}"
            continue
        found.add(name)
        paths = linked.get(id(node), (name,))
        has_data = node.kind is Kind.SYMLINK or (node.kind is Kind.FILE and name == paths[-1])
        meant = (node.kind.value | node.mode, node.uid, node.gid, node.mtime, node.rdev, node.size if has_data else 0)
        if (entry.mode, entry.uid, entry.gid, entry.mtime, entry.rdev, entry.size) != meant:
            what = f"{stat.filemode(entry.mode)} {entry.uid}:{entry.gid} with {entry.size} bytes"
            yield f"{shown(name)} is {what}, not as meant"
            continue
        if not stat.S_ISDIR(entry.mode) and entry.links != len(paths):
            yield f"{shown(name)} has {entry.links} links, not {len(paths)}"
        if number_of.setdefault(id(node), entry.number) != entry.number:
            yield f"{shown(name)} is not the hard link it should be"
        if has_data and not _same_data(fd, entry, node):
            yield f"{shown(name)} has other bytes"
    if len(set(number_of.values())) != len(number_of):
        yield "files that should be separate share an inode number"
    for name, _ in tree.walk():
        if name not in found:
            yield f"{shown(name)} is missing"


def _same_data(fd: int, entry: Entry, node: Node) -> bool:
    if node.content is None:
        return os.pread(fd, entry.size, entry.data_at) == node.target
    for at in range(0, entry.size, CHUNK):
        length = min(CHUNK, entry.size - at)
        if os.pread(fd, length, entry.data_at + at) != read_padded(node.content, at, length):
            return False
    return True
