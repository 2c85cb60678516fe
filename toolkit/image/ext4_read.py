"""Reads an ext4 file system from a file, without mounting it: the independent half of the read-back check.

Shares no definitions with the writer, so that a mistake in one is seen by the other. Whatever does not fit raises
`DamagedError`: a wrong image must give an answer, never a traceback, an endless loop or a huge allocation.
"""

from __future__ import annotations

import stat
import struct
from bisect import bisect_right
from collections.abc import Iterator

from .filesystem import DamagedError, Inode, Part, Run

_INCOMPAT_KNOWN = 0x2 | 0x40 | 0x80 | 0x200 | 0x2000  # filetype, extents, 64bit, flex_bg, csum_seed
_INCOMPAT_64BIT = 0x80
_EXTENTS = 0x80000
_MAX_DEPTH = 5  # of an extent tree
_UNWRITTEN = 32768
_MAX_FOLDER = 1 << 30
_XATTR_MAGIC = 0xEA020000
_XATTR_PREFIX = {1: b"user.", 2: b"system.posix_acl_access", 3: b"system.posix_acl_default", 4: b"trusted.",
                 6: b"security.", 7: b"system."}  # fmt: skip
_TYPE_OF_ENTRY = {1: stat.S_IFREG, 2: stat.S_IFDIR, 3: stat.S_IFCHR, 4: stat.S_IFBLK, 5: stat.S_IFIFO,
                  6: stat.S_IFSOCK, 7: stat.S_IFLNK}  # fmt: skip


class Ext4Reader:
    """A file system at ``offset`` of an open file, at most ``size`` bytes large. Raises DamagedError."""

    name = "ext4"

    def __init__(self, fd: int, offset: int, size: int) -> None:
        self._part = Part(fd, offset, size)
        block = self._at(1024, 1024)
        if block[0x38:0x3A] != b"\x53\xef":
            raise DamagedError("there is no ext4 file system (its magic number is not there)")
        log = _u32(block, 0x18)
        self.block_size = 1024 << log if log < 7 else 0
        self.blocks = _u32(block, 0x04)
        self.inodes = _u32(block, 0x00)
        self.clean = _u16(block, 0x3A) & 3 == 1
        self.uuid = block[0x68:0x78]
        self.has_journal = bool(_u32(block, 0x5C) & 0x4)
        self.ordered_by_default = bool(_u32(block, 0x100) & 0x60 == 0x40)
        incompat = _u32(block, 0x60)
        if incompat & ~_INCOMPAT_KNOWN:
            raise DamagedError(f"it has incompatible features that are not expected ({incompat:#x})")
        wide = bool(incompat & _INCOMPAT_64BIT)
        self._descriptor_size = max(_u16(block, 0xFE), 32) if wide else 32
        self._inode_size = _u16(block, 0x58)
        self._per_group = _u32(block, 0x28)
        if not self.block_size or not self._per_group or self._inode_size not in (256, 512, 1024):
            raise DamagedError("its superblock is damaged")
        if not self.blocks or self.blocks * self.block_size > size:
            raise DamagedError(f"it claims {self.blocks} blocks, more than its partition holds")
        self.root = self.inode(2)

    def problems(self, size: int) -> Iterator[str]:
        """What stands against using it as the root file system in a partition of ``size`` bytes."""
        if self.block_size != 4096:
            yield f"the file system has blocks of {self.block_size} bytes, and DAX needs 4096"
        if self.blocks * self.block_size != size:
            yield f"the file system has {self.blocks * self.block_size} bytes, not {size}"
        if not self.clean:
            yield "the file system is not marked clean"
        if not self.has_journal and not self.ordered_by_default:
            yield "the file system has no journal and is not data=ordered by default: Kata's mount options would fail"

    def _at(self, position: int, length: int) -> bytes:
        return self._part.read(position, length)

    def _block(self, number: int) -> bytes:
        return self._at(number * self.block_size, self.block_size)

    def inode(self, number: int) -> Inode:
        """Read an inode. Raises DamagedError."""
        if not 0 < number <= self.inodes:
            raise DamagedError(f"it names the inode {number}, of {self.inodes}")
        group, index = divmod(number - 1, self._per_group)
        descriptors = self.block_size * (1 if self.block_size > 1024 else 2)
        table = _u32(self._at(descriptors + group * self._descriptor_size, self._descriptor_size), 8)
        raw = self._at(table * self.block_size + index * self._inode_size, self._inode_size)
        return self._decode(number, raw)

    def _decode(self, number: int, raw: bytes) -> Inode:
        mode, size = _u16(raw, 0), _u32(raw, 4) | _u32(raw, 0x6C) << 32
        kind = stat.S_IFMT(mode)
        block = raw[0x28:0x64]
        extra = min(_u16(raw, 0x80), self._inode_size - 128)
        times = tuple(
            _time(raw, at, more if extra >= end else 0)
            for at, more, end in ((0x08, 0x8C, 16), (0x0C, 0x84, 8), (0x10, 0x88, 12), (0x90, 0x94, 24))
        )
        runs: tuple[Run, ...] = ()
        target, rdev = b"", (0, 0)
        if kind == stat.S_IFLNK and size < len(block):
            target = block[:size]
        elif kind in (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK):
            if not _u32(raw, 0x20) & _EXTENTS:
                raise DamagedError(f"inode {number} has no extents")
            runs = self._runs_of(block, number)
        elif kind in (stat.S_IFCHR, stat.S_IFBLK):
            rdev = _device(block)
        elif kind != stat.S_IFIFO:
            raise DamagedError(f"inode {number} is of no known type ({mode:#o})")
        found = Inode(
            number, mode, _u16(raw, 2) | _u16(raw, 0x78) << 16, _u16(raw, 0x18) | _u16(raw, 0x7A) << 16, size,
            _u16(raw, 0x1A), (times[0], times[1], times[2], times[3]), target, rdev, self._xattrs(raw, extra), runs,
        )  # fmt: skip
        if kind == stat.S_IFLNK and runs:
            if size > self.block_size:
                raise DamagedError(f"inode {number} is a symbolic link of {size} bytes")
            return found.with_target(self.read(found, 0, size))
        return found

    def _runs_of(self, block: bytes, number: int) -> tuple[Run, ...]:
        """A file's runs. They must ascend, which also ends a tree that leads back into itself."""
        runs: list[Run] = []
        for run in self._runs(block, number, 0):
            if runs and run.logical < runs[-1].logical + runs[-1].length:
                raise DamagedError(f"inode {number} has extents that overlap")
            runs.append(run)
        return tuple(runs)

    def _runs(self, node: bytes, number: int, level: int) -> Iterator[Run]:
        magic, count, _, depth = struct.unpack_from("<HHHH", node)
        if magic != 0xF30A or 12 + count * 12 > len(node) or level + depth > _MAX_DEPTH or (level and not count):
            raise DamagedError(f"inode {number} has a damaged extent tree")
        for at in range(12, 12 + count * 12, 12):
            logical, second, third, low = struct.unpack_from("<IHHI", node, at)
            if depth:
                low, high = struct.unpack_from("<IH", node, at + 4)
                child = self._block(high << 32 | low)
                if _u16(child, 6) != depth - 1:
                    raise DamagedError(f"inode {number} has a damaged extent tree")
                yield from self._runs(child, number, level + 1)
            elif not 0 < second <= _UNWRITTEN:
                raise DamagedError(f"inode {number} has an extent of {second} blocks")
            else:
                run = Run(logical, third << 32 | low, second)
                if run.physical + run.length > self.blocks:
                    raise DamagedError(f"inode {number} has blocks outside of the file system")
                yield run

    def _xattrs(self, raw: bytes, extra: int) -> tuple[tuple[bytes, bytes], ...]:
        found: dict[bytes, bytes] = {}
        inline = raw[128 + extra :]
        if len(inline) >= 4 and _u32(inline, 0) == _XATTR_MAGIC:
            found.update(_attributes(inline[4:], 0))
        block = _u32(raw, 0x68) | _u16(raw, 0x76) << 32
        if block:
            data = self._block(block)
            if _u32(data, 0) != _XATTR_MAGIC:
                raise DamagedError("a block of extended attributes is damaged")
            found.update(_attributes(data, 32))
        return tuple(sorted(found.items()))

    def read(self, inode: Inode, offset: int, length: int) -> bytes:
        """``length`` bytes of a file, holes as zeros. Raises DamagedError."""
        size = self.block_size
        if len(inode.runs) == 1:  # as nearly always: all of it in one piece
            run = inode.runs[0]
            if run.logical * size <= offset and offset + length <= (run.logical + run.length) * size:
                return self._at((run.physical - run.logical) * size + offset, length)
        out = bytearray(length)
        index = max(0, bisect_right(inode.runs, offset // size, key=lambda run: run.logical) - 1)
        for run in (inode.runs[i] for i in range(index, len(inode.runs))):
            start, end = run.logical * size, (run.logical + run.length) * size
            if start >= offset + length:
                break
            first, last = max(start, offset), min(end, offset + length)
            if first < last:
                out[first - offset : last - offset] = self._at(run.physical * size + first - start, last - first)
        return bytes(out)

    def entries(self, folder: Inode) -> Iterator[tuple[bytes, int, int]]:
        """A folder's (name, inode number, type bits), ``.`` and ``..`` left out. Raises DamagedError."""
        if folder.size % self.block_size or folder.size > _MAX_FOLDER:
            raise DamagedError(f"the folder with inode {folder.number} is {folder.size} bytes large")
        for start in range(0, folder.size, self.block_size):
            block = self.read(folder, start, self.block_size)
            at = 0
            while at < len(block):
                number, length, name_length, kind = struct.unpack("<IHBB", block[at : at + 8].ljust(8, b"\0"))
                if length < 8 + name_length or length % 4 or at + length > len(block):
                    raise DamagedError(f"the folder with inode {folder.number} is damaged")
                name = block[at + 8 : at + 8 + name_length]
                at += length
                if number and name not in (b".", b".."):
                    if not name or b"/" in name or b"\0" in name:
                        raise DamagedError(f"the folder with inode {folder.number} holds the name {name!r}")
                    yield name, number, _TYPE_OF_ENTRY.get(kind, 0)


def _attributes(area: bytes, at: int) -> Iterator[tuple[bytes, bytes]]:
    """Attributes from entries at ``at``; their values' offsets count from the start of the area."""
    while at + 4 <= len(area) and _u32(area, at):
        if at + 16 > len(area):
            raise DamagedError("extended attributes are damaged")
        length, index, offset, elsewhere, size, _ = struct.unpack_from("<BBHIII", area, at)
        name = area[at + 16 : at + 16 + length]
        if elsewhere or offset + size > len(area) or len(name) < length or index not in _XATTR_PREFIX:
            raise DamagedError("extended attributes are damaged")
        value = area[offset : offset + size]
        yield _XATTR_PREFIX[index] + name, _access_list(value) if index in (2, 3) else value
        at += 16 + length + -length % 4


def _access_list(stored: bytes) -> bytes:
    """An access list as getxattr(2) gives it; on disk entries for nobody in particular have no id."""
    if stored[:4] != b"\1\0\0\0":
        raise DamagedError("an access list is damaged")
    out, at = bytearray(b"\2\0\0\0"), 4
    while at < len(stored):
        named = _u16(stored, at) in (0x02, 0x08)
        entry = stored[at : at + (8 if named else 4)]
        at += 8 if named else 4
        if at > len(stored):
            raise DamagedError("an access list is damaged")
        out += entry if named else entry + b"\xff\xff\xff\xff"
    return bytes(out)


def _time(raw: bytes, at: int, extra_at: int) -> int:
    (seconds,) = struct.unpack_from("<i", raw, at)
    return int(seconds) + ((_u32(raw, extra_at) & 3) << 32 if extra_at else 0)


def _device(block: bytes) -> tuple[int, int]:
    old, new = _u32(block, 0), _u32(block, 4)
    if old:
        return old >> 8 & 0xFF, old & 0xFF
    return new >> 8 & 0xFFF, new & 0xFF | new >> 12 & 0xFFF00


def _u16(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 2], "little")


def _u32(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 4], "little")
