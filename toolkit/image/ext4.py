"""Writes a tree as an ext4 file system: unprivileged, no loop device, no mount, no folder staged on the host.

The bytes depend on the tree, the size and the two ids only: not on a tool's version, the clock or the disk. Files lie
one after the other, unfragmented, in path order; superblock copies, a journal, checksums, hashed folders and
lost+found are left out, since the guest never writes here. Read back by `ext4_read` and by e2fsck.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from ..errors import InputError
from ..rootfs.tree import CHUNK, Content, Kind, Node, Tree, read_padded, shown
from . import ext4_records as records
from .ext4_records import BLOCK, Extent, Geometry
from .ext4_xattr import attribute_block, inline_attributes
from .sparse_file import SparseFile

_SUPERBLOCK_AT = 1024
_MAX_BLOCKS = 1 << 32
_STEPS = 100  # how often progress is told
Progress = Callable[[int, int], None]


@dataclass(slots=True)
class _Inode:
    """One inode to be written; ``own_at`` and ``extents`` are filled in when blocks are allocated.

    ``own``: whole blocks that belong to it and are no file's data: attributes, then a folder's entries or a long
    target. Blocks of its extent tree follow them. ``runs``: a file's data as (logical, length), in blocks.
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
    runs: list[tuple[int, int]] = field(default_factory=list)
    extents: list[Extent] = field(default_factory=list)

    @property
    def own_blocks(self) -> int:
        return (len(self.attributes) + len(self.own)) // BLOCK + self.tree_blocks

    @property
    def tree_at(self) -> int:
        return self.own_at + self.own_blocks - self.tree_blocks

    @property
    def data_blocks(self) -> int:
        return sum(length for _, length in self.runs)


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
        self._needed = sum(i.own_blocks + i.data_blocks for i in self._inodes)
        self._last_inode = max(records.FIRST_INODE - 1, self._inodes[-1].number)

    @property
    def smallest(self) -> int:
        """The least size in bytes that holds it."""
        blocks = self._needed
        while True:
            need = self._geometry(blocks).first_data + self._needed
            if need <= blocks:
                return blocks * BLOCK
            blocks = need

    def fits(self, size: int) -> bool:
        """Whether it fits that many bytes; a larger size can need more blocks for bitmaps."""
        blocks = size // BLOCK
        return 0 < blocks < _MAX_BLOCKS and self._geometry(blocks).first_data + self._needed <= blocks

    def _geometry(self, blocks: int) -> Geometry:
        """Groups as large as can be; smaller ones where there are more inodes than so few groups can hold."""
        most = records.BLOCKS_PER_GROUP
        groups, per_group = -(-blocks // most), most
        wanted = -(-self._last_inode // most)
        if wanted > groups:
            per_group = max(blocks // wanted // 8 * 8, 8)
            groups = -(-blocks // per_group)
        unit = records.INODES_PER_BLOCK
        return Geometry(blocks, groups, per_group, -(-self._last_inode // (groups * unit)) * unit)

    def write(self, out: SparseFile, offset: int, size: int, uuid: bytes, progress: Progress) -> Written:
        """Write it at ``offset`` of a file, ``size`` bytes large; ``uuid`` has 16 bytes.

        ``progress`` gets files done and files in all. Raises InputError when it does not fit, ToolError when the
        disk is full.
        """
        if size % BLOCK or not self.fits(size):
            raise InputError(f"a file system of {self.smallest} bytes does not fit {size}")
        geometry = self._geometry(size // BLOCK)
        end = self._allocate(geometry.first_data)
        _write_frame(out, offset, geometry, self._inodes, end, (uuid, self._hash_seed))
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
        return Written(geometry.blocks, end, inodes, records.FIRST_INODE - 1 + len(self._inodes) - 1)

    def _allocate(self, block: int) -> int:
        """Give every inode its blocks from there on; returns the first free one.

        Folders and the like come first: looking a path up then reads neighbouring blocks.
        """
        for inode in self._inodes:
            inode.own_at = block
            block += inode.own_blocks
        for inode in self._inodes:
            inode.extents = list(_extents(inode.runs, block))
            block += inode.data_blocks
        return block

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
        inode.runs = _runs(node.content)
        inode.tree_blocks = records.extent_tree_blocks(sum(1 for _ in _extents(inode.runs, 0)))


def _runs(content: Content) -> list[tuple[int, int]]:
    """The blocks that hold data, as (first, length); ranges that touch the same block become one."""
    runs: list[tuple[int, int]] = []
    for start, length in content.ranges:
        first, end = start // BLOCK, -(-(start + length) // BLOCK)
        if runs and first <= sum(runs[-1]):
            runs[-1] = (runs[-1][0], end - runs[-1][0])
        else:
            runs.append((first, end - first))
    return runs


def _extents(runs: list[tuple[int, int]], physical: int) -> Iterator[Extent]:
    for first, length in runs:
        for done in range(0, length, records.EXTENT_BLOCKS):
            yield Extent(first + done, physical + done, min(records.EXTENT_BLOCKS, length - done))
        physical += length


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
        block, tree = records.extent_tree(list(_extents([(0, len(inode.own) // BLOCK)], own_start)), 0)
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


def _write_frame(
    out: SparseFile, offset: int, geometry: Geometry, inodes: list[_Inode], end: int, ids: tuple[bytes, bytes]
) -> None:
    """Superblock, group descriptors and bitmaps. Blocks are taken from the front without gaps: so are bitmaps."""
    last_inode = max(records.FIRST_INODE - 1, inodes[-1].number)
    per_group, per_table = geometry.blocks_per_group, geometry.inodes_per_group
    folders = [0] * geometry.groups
    for inode in inodes:
        folders[(inode.number - 1) // per_table] += inode.node.kind is Kind.DIRECTORY
    descriptors = []
    for group in range(geometry.groups):
        size = min(per_group, geometry.blocks - group * per_group)
        used = min(max(end - group * per_group, 0), size)
        taken = min(max(last_inode - group * per_table, 0), per_table)
        blocks_at, inodes_at = geometry.block_bitmaps + group, geometry.inode_bitmaps + group
        descriptors.append(
            records.descriptor(
                blocks_at,
                inodes_at,
                geometry.tables + group * geometry.table_blocks,
                (size - used, per_table - taken),
                folders[group],
            )
        )
        # What lies beyond the group's end counts as taken.
        out.write(offset + blocks_at * BLOCK, records.bitmap(used, size))
        out.write(offset + inodes_at * BLOCK, records.bitmap(taken, per_table))
    free = (geometry.blocks - end, geometry.groups * per_table - last_inode)
    block = bytes(_SUPERBLOCK_AT) + records.superblock(geometry, *free, *ids)
    out.write(offset, block)
    out.write(offset + BLOCK, b"".join(descriptors))


def _named(error: InputError, path: bytes) -> InputError:
    """The error with the path in front, unless it already says where it is (a source that cannot be read)."""
    problem = error.problems[0]
    return error if problem.where else InputError(f"{shown(path)} {problem.message}", hint=problem.hint)
