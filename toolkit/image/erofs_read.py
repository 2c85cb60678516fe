"""Reads an EROFS from a file, without mounting it: the independent half of the read-back check.

Shares no definitions with the writer, so that a mistake in one is seen by the other. Whatever does not fit raises
`DamagedError`. Format: Documentation/filesystems/erofs.rst of the kernel.
"""

from __future__ import annotations

import stat
import struct
from collections.abc import Iterator

from .erofs_clusters import Clusters
from .filesystem import Cluster, DamagedError, Inode, Part, Run

_BLOCK = 4096
_MAX_FOLDER = 1 << 30
_XATTR_PREFIX = {1: b"user.", 2: b"system.posix_acl_access", 3: b"system.posix_acl_default", 4: b"trusted.",
                 6: b"security."}  # fmt: skip
_TYPE_OF_ENTRY = {1: stat.S_IFREG, 2: stat.S_IFDIR, 3: stat.S_IFCHR, 4: stat.S_IFBLK, 5: stat.S_IFIFO,
                  6: stat.S_IFSOCK, 7: stat.S_IFLNK}  # fmt: skip


class ErofsReader:
    """A file system at ``offset`` of an open file, at most ``size`` bytes large. Raises DamagedError."""

    name = "erofs"
    block_size = _BLOCK

    def __init__(self, fd: int, offset: int, size: int) -> None:
        self._part = Part(fd, offset, size)
        block = self._at(0, _BLOCK)
        superblock = block[1024:1152]
        if _u32(superblock, 0) != 0xE0F5E1E2:
            raise DamagedError("there is no EROFS file system (its magic number is not there)")
        if superblock[12] != 12:
            raise DamagedError("its blocks are not of 4096 bytes")
        features = _u32(superblock, 80)
        if features & ~3 or features == 2:  # compressed data at the end of its clusters, and descriptions of it
            raise DamagedError(f"it has incompatible features that are not expected ({features:#x})")
        if _u32(superblock, 8) & 1 and _checksum(block[1024:]) != _u32(superblock, 4):
            raise DamagedError("its superblock's checksum is wrong")
        self.blocks = _u32(superblock, 36)
        self.uuid = superblock[48:64]
        self._metadata = _u32(superblock, 40) * _BLOCK
        self._build_time = _u64(superblock, 24)
        self._clusters = Clusters(self._at, self.blocks)
        self.compressed = bool(features)
        if not self.blocks or self.blocks * _BLOCK > size:
            raise DamagedError(f"it claims {self.blocks} blocks, more than its partition holds")
        self.root = self.inode(int.from_bytes(superblock[14:16], "little"))

    def problems(self, size: int) -> Iterator[str]:
        """What stands against using it as a root file system of ``size`` bytes: nothing, it may be smaller."""
        yield from ()

    def _at(self, position: int, length: int) -> bytes:
        return self._part.read(position, length)

    def inode(self, number: int) -> Inode:
        """Read an inode by its number, which is its place. Raises DamagedError."""
        at = self._metadata + number * 32
        raw = self._at(at, 32)
        word, attributes, mode = struct.unpack_from("<HHH", raw)
        layout = word >> 1
        if layout not in ((0, 1, 2) if self.compressed else (0, 2)):
            raise DamagedError(f"inode {number} is not stored plainly")
        if word & 1:
            raw = self._at(at, 64)
            size, union, _, uid, gid, mtime, _, links = struct.unpack_from("<QIIIIQII", raw, 8)
        else:
            links, size, _, union, _, uid, gid = struct.unpack_from("<HIIIIHH", raw, 6)
            mtime = self._build_time
        mtime -= (mtime >> 63) << 64
        kind = stat.S_IFMT(mode)
        attributes_at = at + len(raw)
        behind = attributes_at + (12 + (attributes - 1) * 4 if attributes else 0)
        xattrs = tuple(sorted(self._xattrs(self._at(attributes_at, behind - attributes_at)))) if attributes else ()
        rdev, tail = (0, 0), b""
        runs: tuple[Run, ...] = ()
        clusters: tuple[Cluster, ...] = ()
        if kind in (stat.S_IFCHR, stat.S_IFBLK):
            rdev = (union >> 8 & 0xFFF, union & 0xFF | union >> 12 & 0xFFF00)
        elif kind == stat.S_IFREG and layout == 1:
            clusters = self._clusters.of(number, size, behind)
            runs = (Run(0, 0, -(-size // _BLOCK)),)
        elif kind in (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK) and layout != 1:
            runs, tail = self._data(number, layout, size, union, behind)
        elif kind != stat.S_IFIFO:
            raise DamagedError(f"inode {number} is of no known type ({mode:#o})")
        if kind == stat.S_IFLNK and size > _BLOCK:
            raise DamagedError(f"inode {number} is a symbolic link of {size} bytes")
        found = Inode(number, mode, uid, gid, size, links, (mtime,), b"", rdev, xattrs, runs, tail, clusters)
        return found if kind != stat.S_IFLNK else found.with_target(self.read(found, 0, size))

    def _data(self, number: int, layout: int, size: int, first: int, behind: int) -> tuple[tuple[Run, ...], bytes]:
        """Blocks of its own, and what lies behind the inode."""
        length, tail = -(-size // _BLOCK), b""
        if layout == 2:
            length, rest = divmod(size, _BLOCK)
            if behind % _BLOCK + rest > _BLOCK:
                raise DamagedError(f"inode {number} has data across two blocks behind it")
            tail = self._at(behind, rest)
        if length and first + length > self.blocks:
            raise DamagedError(f"inode {number} has blocks outside of the file system")
        return ((Run(0, first, length),) if length else ()), tail

    def _xattrs(self, area: bytes) -> Iterator[tuple[bytes, bytes]]:
        if area[4]:
            raise DamagedError("extended attributes are shared, which is not expected")
        at = 12
        while at + 4 <= len(area):
            length, index, size = struct.unpack_from("<BBH", area, at)
            end = at + 4 + length + size
            if end > len(area) or index not in _XATTR_PREFIX:
                raise DamagedError("extended attributes are damaged")
            yield _XATTR_PREFIX[index] + area[at + 4 : at + 4 + length], area[at + 4 + length : end]
            at = end + -end % 4

    def read(self, inode: Inode, offset: int, length: int) -> bytes:
        """``length`` bytes of a file; zeros beyond its end. Raises DamagedError."""
        if inode.clusters:
            return self._clusters.read(inode.clusters, offset, length)
        if inode.runs and offset + length <= inode.runs[0].length * _BLOCK:  # as nearly always
            return self._at(inode.runs[0].physical * _BLOCK + offset, length)
        out = bytearray(length)
        inside = inode.runs[0].length * _BLOCK if inode.runs else 0
        if offset < inside:
            part = min(length, inside - offset)
            out[:part] = self._at(inode.runs[0].physical * _BLOCK + offset, part)
        begin = max(offset, inside)
        rest = inode.tail[begin - inside : max(offset + length - inside, 0)]
        out[begin - offset : begin - offset + len(rest)] = rest
        return bytes(out)

    def entries(self, folder: Inode) -> Iterator[tuple[bytes, int, int]]:
        """A folder's (name, inode number, type bits), ``.`` and ``..`` left out. Raises DamagedError."""
        if folder.size > _MAX_FOLDER:
            raise DamagedError(f"the folder with inode {folder.number} is {folder.size} bytes large")
        last = b""
        for start in range(0, folder.size, _BLOCK):
            block = self.read(folder, start, min(_BLOCK, folder.size - start))
            for name, number, kind in _entries(block, folder.number):
                if name <= last:
                    raise DamagedError(f"the folder with inode {folder.number} is not sorted")
                last = name
                if name not in (b".", b".."):
                    yield name, number, _TYPE_OF_ENTRY.get(kind, 0)


def _entries(block: bytes, folder: int) -> Iterator[tuple[bytes, int, int]]:
    """The (name, inode, type) of one block of a folder."""
    damaged = DamagedError(f"the folder with inode {folder} is damaged")
    names_at = int.from_bytes(block[8:10], "little")
    if len(block) < 12 or names_at % 12 or not 12 <= names_at <= len(block):
        raise damaged
    starts = [int.from_bytes(block[at + 8 : at + 10], "little") for at in range(0, names_at, 12)]
    for index, start in enumerate(starts):
        end = starts[index + 1] if index + 1 < len(starts) else len(block)
        if not names_at <= start < end <= len(block):
            raise damaged
        name = block[start:end].rstrip(b"\0") if index + 1 == len(starts) else block[start:end]
        if not name or b"/" in name or b"\0" in name:
            raise DamagedError(f"the folder with inode {folder} holds the name {name!r}")
        yield name, _u64(block, index * 12), block[index * 12 + 10]


def _checksum(area: bytes) -> int:
    """The superblock's CRC-32C: to the end of its block, with the field itself as zeros."""
    table = list(range(256))
    for _ in range(8):
        table = [value >> 1 ^ 0x82F63B78 * (value & 1) for value in table]
    crc = 0xFFFFFFFF
    for byte in area[:4] + bytes(4) + area[8:]:
        crc = crc >> 8 ^ table[(crc ^ byte) & 0xFF]
    return crc


def _u32(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 4], "little")


def _u64(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 8], "little")
