"""Writes a tree as an EROFS: unprivileged, no mount, no names or devices on the host's disk.

Files are stored plainly and in whole blocks, which is what DAX can map, one after the other or where `placement` puts
them; folders and targets of symbolic links lie behind their inodes where they fit. The bytes depend on the tree, the
shape and the uuid only: not on a tool's version, the clock or the disk. Where files are compressed (`erofs_packed`),
the ends of those that are not lie behind their inodes, too, as nobody maps them. Format: fs/erofs/erofs_fs.h and
Documentation/filesystems/erofs.rst of the kernel. Read back by `erofs_read` and by fsck.erofs.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from ..errors import InputError
from ..rootfs.tree import CHUNK, Kind, Node, Tree, read_padded, shown
from .erofs_packed import Packed, PackedFiles
from .erofs_xattr import attributes
from .placement import Piece, Pieces, Shape
from .sparse_file import SparseFile

BLOCK = 4096
_SUPERBLOCK_AT, _SUPERBLOCK_SIZE = 1024, 128
_MAGIC = 0xE0F5E1E2
_CHECKSUM, _MTIME = 1, 2  # compatible features: the superblock has a checksum; times are of modification
_UNIT = 32  # inodes lie on multiples of it; an inode's number is its place counted so
_PLAIN, _COMPRESSED, _INLINE = 0, 1, 2  # data in blocks of its own; compressed; its last part behind the inode
_EXTENDED = 1
_ENTRY = struct.Struct("<QHBB")  # inode, where its name lies, type
_FILE_TYPES = {
    Kind.FILE: 1,
    Kind.DIRECTORY: 2,
    Kind.CHARACTER: 3,
    Kind.BLOCK: 4,
    Kind.FIFO: 5,
    Kind.SYMLINK: 7,
}
_MAX_BLOCKS = 1 << 32
_STEPS = 100  # how often progress is told
Progress = Callable[[int, int], None]


@dataclass(slots=True)
class _Inode:
    """One inode to be written. ``at``: its place in bytes; ``data_at``: its first block of data, if it has any.

    ``body``: the bytes of a folder or of a long target; ``tail``: how many of its last ones lie behind the inode.
    """

    number: int
    path: bytes
    node: Node
    links: int = 1
    attributes: bytes = b""
    entries: list[tuple[bytes, int, _Inode]] = field(default_factory=list)
    size: int = 0
    extended: bool = False
    tail: int = 0
    at: int = 0
    data_at: int = 0
    packed: Packed | None = None

    @property
    def header(self) -> int:
        return (64 if self.extended else 32) + len(self.attributes)

    @property
    def data_blocks(self) -> int:
        return self.packed.blocks if self.packed else -(-(self.size - self.tail) // BLOCK)

    @property
    def behind(self) -> int:
        """How many bytes lie behind the header: the tail, or the index of compressed data, which is aligned."""
        return -self.header % 8 + self.packed.index_size if self.packed else self.tail


@dataclass(frozen=True, slots=True)
class Written:
    """What a file system came to: blocks of its partition, those it uses, and inodes."""

    blocks: int
    used_blocks: int
    inodes: int


class Erofs:
    """A tree laid out as EROFS. Raises InputError for what EROFS cannot hold, with the path.

    ``files``: what was compressed; ``packed``: which of it is each node's, by ``id(node)``.
    """

    def __init__(
        self, tree: Tree, files: PackedFiles | None = None, packed: Mapping[int, Packed] | None = None
    ) -> None:
        self._packed_files = files
        self._configuration = files.configuration if files else b""
        self._inodes = _numbered(tree)
        times = Counter(inode.node.mtime for inode in self._inodes)
        self._build_time = min(times, key=lambda time: (-times[time], time))  # what most inodes need not repeat
        for inode in self._inodes:
            inode.packed = packed.get(id(inode.node)) if packed else None
            _measure(inode, self._build_time, tails=files is not None)
        self._files = [i for i in self._inodes if i.node.kind is Kind.FILE and i.data_blocks]
        self._pieces = Pieces([Piece(0, inode.data_blocks) for inode in self._files])
        self._first_file = self._allocate()

    @property
    def huge_pages(self) -> int:
        """How many 2 MiB pages of files can be mapped whole, if the shape allows it."""
        return self._pieces.huge_pages

    def smallest(self, shape: Shape) -> int:
        """Its size in bytes."""
        return self._pieces.place(self._first_file, huge=shape.huge)[1] * BLOCK

    def fits(self, size: int, shape: Shape) -> bool:
        """Whether it fits that many bytes."""
        smallest = self.smallest(shape)
        return smallest <= size and smallest < _MAX_BLOCKS * BLOCK

    def write(self, out: SparseFile, offset: int, size: int, shape: Shape, uuid: bytes, progress: Progress) -> Written:
        """Write it at ``offset`` of a file, into ``size`` bytes; ``uuid``: 16 bytes.

        ``progress`` gets files done and files in all. Raises InputError when it does not fit, ToolError when the
        disk is full.
        """
        if not self.fits(size, shape):
            raise InputError(f"a file system of {self.smallest(shape)} bytes does not fit {size}")
        starts, blocks = self._pieces.place(self._first_file, huge=shape.huge)
        for inode, start in zip(self._files, starts, strict=True):
            inode.data_at = start
        self._write_inodes(out, offset, uuid, blocks)
        step = max(1, len(self._files) // _STEPS)
        for done, inode in enumerate(self._files):
            if done % step == 0:
                progress(done, len(self._files))
            for position, data in self._file_data(inode):
                out.write(offset + inode.data_at * BLOCK + position, data)
        progress(len(self._files), len(self._files))
        used = self._first_file + self._pieces.blocks
        return Written(size // BLOCK, used, len(self._inodes))

    def _allocate(self) -> int:
        """Give every inode its place, and folders and the like blocks behind; the first block for files."""
        at = _SUPERBLOCK_AT + _SUPERBLOCK_SIZE + len(self._configuration)
        at += -at % _UNIT
        for inode in self._inodes:
            whole = inode.header + inode.behind
            if inode.tail and at % BLOCK + whole > BLOCK:
                at += -at % BLOCK  # what lies behind an inode must not cross into another block
            inode.at = at
            at += whole + -whole % _UNIT
        block = -(-at // BLOCK)
        for inode in self._inodes:
            if inode.node.kind is not Kind.FILE and inode.data_blocks:
                inode.data_at = block
                block += inode.data_blocks
        return block

    def _write_inodes(self, out: SparseFile, offset: int, uuid: bytes, blocks: int) -> None:
        """All that is not a file's data. Blocks are written as they fill up: inodes ascend."""
        pending, start = bytearray(_SUPERBLOCK_AT + _SUPERBLOCK_SIZE) + self._configuration, 0
        first_block = b""
        for inode in self._inodes:
            body = _body(inode)
            if inode.data_blocks and inode.node.kind is not Kind.FILE:
                out.write(offset + inode.data_at * BLOCK, body[: inode.data_blocks * BLOCK])
            pending += bytes(inode.at - start - len(pending))
            pending += _record(inode, self._build_time) + inode.attributes
            if inode.packed:
                pending += bytes(-inode.header % 8) + inode.packed.index(inode.data_at)
            elif inode.tail:
                pending += body[len(body) - inode.tail :]
            if len(pending) >= CHUNK:
                whole = len(pending) // BLOCK * BLOCK
                first_block = first_block or bytes(pending[:BLOCK])
                out.write(offset + start, bytes(pending[:whole]))
                del pending[:whole]
                start += whole
        pending += bytes(-len(pending) % BLOCK)
        out.write(offset + start, bytes(pending))
        self._write_superblock(out, offset, uuid, blocks, first_block or bytes(pending[:BLOCK]))

    def _write_superblock(self, out: SparseFile, offset: int, uuid: bytes, blocks: int, block: bytes) -> None:
        root = self._inodes[0].at // _UNIT
        fields = struct.pack(
            "<IIIBBHQQIIII16s16sIHHH",
            _MAGIC, 0, _CHECKSUM | _MTIME, BLOCK.bit_length() - 1, 0, root, len(self._inodes),
            self._build_time, 0, blocks, 0, 0, uuid, b"", *self._features, 0, 0,
        ).ljust(_SUPERBLOCK_SIZE, b"\0")  # fmt: skip
        rest = block[_SUPERBLOCK_AT + _SUPERBLOCK_SIZE :]
        checksum = crc32c(fields + rest)
        out.write(offset, bytes(_SUPERBLOCK_AT) + fields[:4] + struct.pack("<I", checksum) + fields[8:] + rest)

    @property
    def _features(self) -> tuple[int, int]:
        return (self._packed_files.features, self._packed_files.algorithms) if self._packed_files else (0, 0)

    def _file_data(self, inode: _Inode) -> Iterator[tuple[int, bytes]]:
        """What its blocks hold, as (offset, bytes); holes are skipped: the image file has holes there, too."""
        if inode.packed and self._packed_files:
            yield from self._packed_files.blocks(inode.packed)
            return
        content, end_of_blocks = inode.node.content, inode.data_blocks * BLOCK
        assert content is not None  # noqa: S101 -- the caller chose files
        done = 0
        for start, length in content.ranges:
            first, end = max(start // BLOCK * BLOCK, done), min(-(-(start + length) // BLOCK) * BLOCK, end_of_blocks)
            for at in range(first, end, CHUNK):
                yield at, read_padded(content, at, min(CHUNK, end - at, content.size - at))
            done = max(done, end)


def crc32c(data: bytes) -> int:
    """CRC-32C (Castagnoli, RFC 3720) as EROFS has it: from all ones, and not inverted at the end."""
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
    return value


def _numbered(tree: Tree) -> list[_Inode]:
    """The inodes in path order, with link counts and folders' entries."""
    inodes: dict[int, _Inode] = {}
    folders: dict[bytes, _Inode] = {}
    for path, node in tree.walk():
        inode = inodes.get(id(node))
        if inode is None:
            inode = inodes[id(node)] = _Inode(len(inodes) + 1, path, node)
        else:
            inode.links += 1
        kind = _FILE_TYPES[node.kind]
        above = folders.get(path.rpartition(b"/")[0])
        if node.kind is Kind.DIRECTORY:
            folders[path] = inode
            inode.links = 2
            parent = above if above and path else inode
            inode.entries = [(b".", kind, inode), (b"..", kind, parent)]
            if path:
                parent.links += 1
        if above and path:
            above.entries.append((path.rpartition(b"/")[2], kind, inode))
    for inode in folders.values():
        inode.entries.sort(key=lambda entry: entry[0])  # readers search by bisection
    return list(inodes.values())


def _measure(inode: _Inode, build_time: int, *, tails: bool) -> None:
    """Work out sizes, before anything has a place; ``tails``: of files, too. Raises InputError."""
    node = inode.node
    try:
        inode.attributes = attributes(node.xattrs)
    except InputError as error:
        raise InputError(f"{shown(inode.path)} {error.problems[0].message}") from error
    inode.size = sum(_block_sizes(inode)) if node.kind is Kind.DIRECTORY else node.size
    if node.kind is Kind.SYMLINK and inode.size >= BLOCK:
        raise InputError(f"{shown(inode.path)} is a symbolic link to a path of {inode.size} bytes")
    inode.extended = (
        node.mtime != build_time or max(node.uid, node.gid, inode.links) > 0xFFFF or inode.size > 0xFFFFFFFF
    )
    tail = inode.size % BLOCK
    may_have_tail = node.kind in (Kind.DIRECTORY, Kind.SYMLINK) or (node.kind is Kind.FILE and tails)
    if may_have_tail and not inode.packed and inode.header + tail <= BLOCK:
        inode.tail = tail


def _split(inode: _Inode) -> Iterator[list[tuple[bytes, int, _Inode]]]:
    """A folder's entries, block by block."""
    block: list[tuple[bytes, int, _Inode]] = []
    room = BLOCK
    for entry in inode.entries:
        need = _ENTRY.size + len(entry[0])
        if need > room:
            yield block
            block, room = [], BLOCK
        block.append(entry)
        room -= need
    yield block


def _block_sizes(inode: _Inode) -> Iterator[int]:
    """The sizes of a folder's blocks: all are full but the last."""
    blocks = [sum(_ENTRY.size + len(name) for name, _, _ in block) for block in _split(inode)]
    yield from (BLOCK for _ in blocks[1:])
    yield blocks[-1]


def _body(inode: _Inode) -> bytes:
    """The bytes of a folder or of a symbolic link; of a file only its tail, since the rest is copied by itself."""
    if inode.tail and inode.node.content:
        return read_padded(inode.node.content, inode.size - inode.tail, inode.tail)
    if inode.node.kind is not Kind.DIRECTORY:
        return inode.node.target
    blocks = []
    for entries in _split(inode):
        names_at = len(entries) * _ENTRY.size
        head, names = bytearray(), bytearray()
        for name, kind, target in entries:
            head += _ENTRY.pack(target.at // _UNIT, names_at + len(names), kind, 0)
            names += name
        blocks.append(bytes(head + names))
    return b"".join(block.ljust(BLOCK, b"\0") for block in blocks[:-1]) + blocks[-1]


def _record(inode: _Inode, build_time: int) -> bytes:
    """The inode itself: 32 bytes, or 64 where something does not fit these."""
    node = inode.node
    layout = _COMPRESSED if inode.packed else _INLINE if inode.tail else _PLAIN
    words = (len(inode.attributes) - 12) // 4 + 1 if inode.attributes else 0
    union = _device(node.rdev) if node.kind in (Kind.CHARACTER, Kind.BLOCK) else inode.data_at
    if inode.packed:
        union = inode.packed.blocks
    mode = node.kind.value | node.mode
    size = 0 if node.kind in (Kind.CHARACTER, Kind.BLOCK, Kind.FIFO) else inode.size
    if inode.extended:
        return struct.pack(
            "<HHHHQIIIIQII16x",
            layout << 1 | _EXTENDED, words, mode, 0, size, union, inode.number, node.uid, node.gid,
            node.mtime & (1 << 64) - 1, 0, inode.links,
        )  # fmt: skip
    return struct.pack(
        "<HHHHIIIIHHI",
        layout << 1, words, mode, inode.links, size, 0, union, inode.number, node.uid, node.gid, 0,
    )  # fmt: skip


def _device(rdev: tuple[int, int]) -> int:
    major, minor = rdev
    return minor & 0xFF | major << 8 | (minor & ~0xFF) << 12
