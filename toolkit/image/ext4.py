"""Writes a tree as an ext4 file system: unprivileged, no loop device, no mount, no folder staged on the host.

The bytes depend on the tree, the shape, the size and the two ids only: not on a tool's version, the clock or the disk.
Files lie unfragmented, in path order or where `placement` puts them; superblock copies, a journal, checksums, hashed
folders and lost+found are left out, since the guest never writes here. Read back by `ext4_read` and by e2fsck.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from ..errors import InputError
from ..rootfs.tree import CHUNK, Content, Kind, Node, Tree, read_padded, shown
from . import ext4_records as records
from .ext4_frame import Taken, geometry_for, write_frame
from .ext4_records import BLOCK, Extent, Geometry
from .ext4_xattr import attribute_block, inline_attributes
from .placement import Piece, Pieces, Shape, merged
from .sparse_file import SparseFile

_MAX_BLOCKS = 1 << 32
_STEPS = 100  # how often progress is told
Progress = Callable[[int, int], None]


@dataclass(slots=True)
class _Inode:
    """One inode to be written; ``own_at`` and ``extents`` are filled in when blocks are allocated.

    ``own``: whole blocks that belong to it and are no file's data: attributes, then a folder's entries or a long
    target. Blocks of its extent tree follow them. ``pieces``: a file's data.
    """

    number: int
    path: bytes
    node: Node
    links: int = 1
    inline: bytes = b""
    attributes: bytes = b""
    own: bytes = b""
    own_at: int = 0
    tree_blocks: int = 0
    pieces: list[Piece] = field(default_factory=list)
    extents: list[Extent] = field(default_factory=list)

    @property
    def own_blocks(self) -> int:
        return (len(self.attributes) + len(self.own)) // BLOCK + self.tree_blocks

    @property
    def tree_at(self) -> int:
        return self.own_at + self.own_blocks - self.tree_blocks

    @property
    def data_blocks(self) -> int:
        return sum(piece.length for piece in self.pieces)


@dataclass(frozen=True, slots=True)
class Written:
    """What a file system came to; the file system's own blocks and inodes count as used."""

    blocks: int
    used_blocks: int
    inodes: int
    used_inodes: int


class Ext4:
    """A tree laid out, ready to be written; ``hash_seed`` has 16 bytes.

    Raises InputError for what ext4 cannot hold, naming the path.
    """

    def __init__(self, tree: Tree, hash_seed: bytes) -> None:
        self._hash_seed = hash_seed
        self._inodes = _numbered(tree)
        for inode in self._inodes:
            try:
                _measure(inode)
            except InputError as error:
                raise _named(error, inode.path) from error
        self._pieces = Pieces([piece for inode in self._inodes for piece in inode.pieces])
        self._own = sum(inode.own_blocks for inode in self._inodes)
        self._last_inode = max(records.FIRST_INODE - 1, self._inodes[-1].number)

    @property
    def huge_pages(self) -> int:
        """How many 2 MiB pages of files can be mapped whole, if the shape allows it."""
        return self._pieces.huge_pages

    def smallest(self, shape: Shape) -> int:
        """The least size in bytes that holds it."""
        blocks = 1
        while True:
            need = self._end(blocks, shape) + shape.free_blocks
            if need <= blocks:
                return blocks * BLOCK
            blocks = need

    def fits(self, size: int, shape: Shape) -> bool:
        """Whether it fits that many bytes; a larger size can need more blocks for bitmaps."""
        blocks = size // BLOCK
        return 0 < blocks < _MAX_BLOCKS and self._end(blocks, shape) + shape.free_blocks <= blocks

    def _geometry(self, blocks: int, shape: Shape) -> Geometry:
        return geometry_for(blocks, self._last_inode + shape.spare_inodes)

    def _end(self, blocks: int, shape: Shape) -> int:
        """The first block behind all that is used, in a file system of that many."""
        first = self._geometry(blocks, shape).first_data + self._own
        return self._pieces.place(first, huge=shape.huge)[1]

    def write(self, out: SparseFile, offset: int, size: int, shape: Shape, uuid: bytes, progress: Progress) -> Written:
        """Write it at ``offset`` of a file, ``size`` bytes large; ``uuid`` has 16 bytes.

        ``progress`` gets files done and files in all. Raises InputError when it does not fit, ToolError when the
        disk is full.
        """
        if size % BLOCK or not self.fits(size, shape):
            raise InputError(f"a file system of {self.smallest(shape)} bytes does not fit {size}")
        geometry = self._geometry(size // BLOCK, shape)
        taken = self._allocate(geometry.first_data, shape)
        write_frame(out, offset, geometry, taken, uuid, self._hash_seed)
        self._write_inodes(out, offset, geometry)
        files = [(i.node.content, i.extents) for i in self._inodes if i.node.content and i.extents]
        step = max(1, len(files) // _STEPS)
        for done, (content, extents) in enumerate(files):
            if done % step == 0:
                progress(done, len(files))
            for position, data in _file_data(content, extents):
                out.write(offset + position, data)
        progress(len(files), len(files))
        inodes = geometry.groups * geometry.inodes_per_group
        return Written(geometry.blocks, taken.blocks, inodes, records.FIRST_INODE - 1 + len(self._inodes) - 1)

    def _allocate(self, block: int, shape: Shape) -> Taken:
        """Give every inode its blocks from there on.

        Folders and the like come first: looking a path up then reads neighbouring blocks.
        """
        for inode in self._inodes:
            inode.own_at = block
            block += inode.own_blocks
        starts, _ = self._pieces.place(block, huge=shape.huge)
        ranges = [(0, block)]
        at = iter(starts)
        for inode in self._inodes:
            inode.extents = []
            for piece in inode.pieces:
                start = next(at)
                inode.extents += _extents(piece, start)
                ranges.append((start, start + piece.length))
        folders = [inode.number for inode in self._inodes if inode.node.kind is Kind.DIRECTORY]
        return Taken(merged(ranges), self._last_inode, folders)

    def _write_inodes(self, out: SparseFile, offset: int, geometry: Geometry) -> None:
        """The inode tables, which lie one behind the other, and all that is not a file's data."""
        at = geometry.tables * BLOCK
        table = bytearray(records.INODE_SIZE * (records.FIRST_INODE - 1))
        for inode in self._inodes:
            try:
                record, tree = _encode(inode)
            except InputError as error:
                raise _named(error, inode.path) from error
            body = inode.attributes + inode.own + tree
            if body:
                out.write(offset + inode.own_at * BLOCK, body)
            if inode.number == records.ROOT_INODE:
                start = (inode.number - 1) * records.INODE_SIZE
                table[start : start + records.INODE_SIZE] = record
                continue
            table += record
            if len(table) >= CHUNK:
                whole = len(table) // BLOCK * BLOCK
                out.write(offset + at, bytes(table[:whole]))
                del table[:whole]
                at += whole
        out.write(offset + at, bytes(table))


def _numbered(tree: Tree) -> list[_Inode]:
    """The inodes in order of their numbers, with link counts and folders' entries."""
    inodes: dict[int, _Inode] = {}
    folders: dict[bytes, tuple[_Inode, list[tuple[bytes, int, int]]]] = {}
    number = records.FIRST_INODE
    for path, node in tree.walk():
        inode = inodes.get(id(node))
        if inode is None:
            inode = inodes[id(node)] = _Inode(number if path else records.ROOT_INODE, path, node)
            number += bool(path)
        else:
            inode.links += 1
        kind = records.FILE_TYPES[node.kind]
        above = folders.get(path.rpartition(b"/")[0])
        if node.kind is Kind.DIRECTORY:
            parent = above[0].number if above else inode.number
            own = [(b".", inode.number, kind), (b"..", parent, kind)]
            folders[path] = (inode, own)
            inode.links = 2
            if above and path:
                above[0].links += 1
        if above and path:
            above[1].append((path.rpartition(b"/")[2], inode.number, kind))
    for inode, entries in folders.values():
        inode.own = records.folder_blocks(entries)
        if inode.links > records.LINK_MAX:
            inode.links = 1  # the dir_nlink feature: too many to count
    return list(inodes.values())


def _measure(inode: _Inode) -> None:
    """Work out attributes, a long target, and how many blocks are needed."""
    node = inode.node
    inline = inline_attributes(node.xattrs, records.INLINE_ROOM)
    inode.inline = inline or b""
    inode.attributes = attribute_block(node.xattrs, BLOCK) if inline is None else b""
    if inode.links > records.LINK_MAX and node.kind is not Kind.DIRECTORY:
        raise InputError(f"has {inode.links} hard links, and ext4 allows {records.LINK_MAX}")
    if node.kind is Kind.SYMLINK and len(node.target) > records.FAST_SYMLINK:
        if len(node.target) >= BLOCK:
            raise InputError(f"is a symbolic link to a path of {len(node.target)} bytes")
        inode.own = node.target.ljust(BLOCK, b"\0")
    if node.content:
        inode.pieces = _pieces(node.content)
        inode.tree_blocks = records.extent_tree_blocks(sum(len(_extents(piece, 0)) for piece in inode.pieces))


def _pieces(content: Content) -> list[Piece]:
    """The blocks that hold data; ranges that touch the same block become one."""
    pieces: list[Piece] = []
    for start, length in content.ranges:
        first, end = start // BLOCK, -(-(start + length) // BLOCK)
        if pieces and first <= pieces[-1].logical + pieces[-1].length:
            first = pieces.pop().logical
        pieces.append(Piece(first, end - first))
    return pieces


def _extents(piece: Piece, physical: int) -> list[Extent]:
    """A piece as extents; their longest length is a multiple of 2 MiB, so each begins as the piece does."""
    return [
        Extent(piece.logical + done, physical + done, min(records.EXTENT_BLOCKS, piece.length - done))
        for done in range(0, piece.length, records.EXTENT_BLOCKS)
    ]


def _encode(inode: _Inode) -> tuple[bytes, bytes]:
    """The inode's record, and the blocks of its extent tree."""
    node, tree = inode.node, b""
    own_start = inode.own_at + len(inode.attributes) // BLOCK
    size = len(inode.own) if node.kind is Kind.DIRECTORY else node.size
    if node.kind in (Kind.CHARACTER, Kind.BLOCK):
        block = records.device_block(node.rdev)
    elif node.kind is Kind.FIFO:
        block = bytes(60)
    elif node.kind is Kind.SYMLINK and not inode.own:
        block = node.target.ljust(60, b"\0")
    elif inode.own:
        block, tree = records.extent_tree(_extents(Piece(0, len(inode.own) // BLOCK), own_start), 0)
    else:
        block, tree = records.extent_tree(inode.extents, inode.tree_at)
    blocks = inode.own_blocks + inode.data_blocks
    acl = inode.own_at if inode.attributes else 0
    return records.inode(node, inode.links, size, blocks, block, inode.inline, acl), tree


def _file_data(content: Content, extents: list[Extent]) -> Iterator[tuple[int, bytes]]:
    """A file's data as (offset in the file system, bytes), in whole blocks except at its end."""
    for extent in extents:
        start = extent.logical * BLOCK
        length = min(extent.length * BLOCK, content.size - start)
        for done in range(0, length, CHUNK):
            data = read_padded(content, start + done, min(CHUNK, length - done))
            yield extent.physical * BLOCK + done, data


def _named(error: InputError, path: bytes) -> InputError:
    """The error with the path in front, unless it already says where it is (a source that cannot be read)."""
    problem = error.problems[0]
    return error if problem.where else InputError(f"{shown(path)} {problem.message}", hint=problem.hint)
