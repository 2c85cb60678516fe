"""The records of an ext4 file system: superblock, group descriptors, inodes, extents, directory entries, attributes.

Written from the kernel's description of the format (Documentation/filesystems/ext4). Everything is little-endian.
Numbers are in blocks of 4 KiB unless they say otherwise.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..errors import InputError
from ..rootfs.tree import Kind, Node

BLOCK = 4096
INODE_SIZE = 256
INODES_PER_BLOCK = BLOCK // INODE_SIZE
INLINE_ROOM = INODE_SIZE - 128 - 32  # bytes behind the inode's fields, for extended attributes
BLOCKS_PER_GROUP = 8 * BLOCK  # as many as one bitmap block has bits
DESCRIPTOR_SIZE = 32
ROOT_INODE = 2
FIRST_INODE = 11  # 1 to 10 are the file system's own
LINK_MAX = 65000

# Features. Flat and plain on purpose: nothing that a read-only guest would pay for at mount.
_COMPAT_EXT_ATTR = 0x8
_COMPAT_SPARSE_SUPER2 = 0x200  # with no backups named: data runs on without superblock copies in between
_INCOMPAT_FILETYPE = 0x2
_INCOMPAT_EXTENTS = 0x40
_INCOMPAT_FLEX_BG = 0x200  # all bitmaps and inode tables lie together at the start
_RO_SPARSE_SUPER = 0x1
_RO_LARGE_FILE = 0x2
_RO_DIR_NLINK = 0x20
_RO_EXTRA_ISIZE = 0x40

# Kata mounts with data=ordered. Without a journal ext4 refuses any data= that is not already the file system's
# own default, so that default is set; a journal would cost 4 MiB and a recovery check at every boot.
_MOUNT_XATTR, _MOUNT_ACL, _MOUNT_ORDERED = 0x4, 0x8, 0x40

_STATE_CLEAN = 1
_ERRORS_REMOUNT_RO = 2
_HASH_HALF_MD4 = 1
_SIGNED_HASH = 1
_NEVER_CHECK = 0xFFFF

_EXTENTS_FLAG = 0x80000
_EXTRA_ISIZE = 32
_EXTENT_MAGIC = 0xF30A
EXTENT_BLOCKS = 32768  # the longest run one extent can say
_ROOT_ENTRIES = 4
_LEAF_ENTRIES = (BLOCK - 12) // 12
FAST_SYMLINK = 59  # bytes of a target that fit the inode itself

FILE_TYPES = {Kind.FILE: 1, Kind.DIRECTORY: 2, Kind.CHARACTER: 3, Kind.BLOCK: 4, Kind.FIFO: 5, Kind.SYMLINK: 7}


@dataclass(frozen=True, slots=True)
class Geometry:
    """The size of a file system: how many blocks and groups, and how many inodes each group holds."""

    blocks: int
    groups: int
    blocks_per_group: int
    inodes_per_group: int

    @property
    def table_blocks(self) -> int:
        """Blocks of one group's inode table."""
        return self.inodes_per_group // INODES_PER_BLOCK

    @property
    def descriptor_blocks(self) -> int:
        return -(-self.groups * DESCRIPTOR_SIZE // BLOCK)

    @property
    def block_bitmaps(self) -> int:
        """The first block of the bitmaps of blocks; those of inodes, then the inode tables, follow."""
        return 1 + self.descriptor_blocks

    @property
    def inode_bitmaps(self) -> int:
        return self.block_bitmaps + self.groups

    @property
    def tables(self) -> int:
        return self.inode_bitmaps + self.groups

    @property
    def first_data(self) -> int:
        """The first block that holds something of a file."""
        return self.tables + self.groups * self.table_blocks


@dataclass(frozen=True, slots=True)
class Extent:
    """A run of a file: ``length`` blocks from the file's block ``logical``, lying at ``physical``."""

    logical: int
    physical: int
    length: int


def superblock(geometry: Geometry, free_blocks: int, free_inodes: int, uuid: bytes, hash_seed: bytes) -> bytes:
    """The 1024 bytes of the superblock. All its times are 0: the image does not say when it was made."""
    out = bytearray(1024)
    inodes = geometry.groups * geometry.inodes_per_group
    _put(out, 0x00, "IIIIII", inodes, geometry.blocks, 0, free_blocks, free_inodes, 0)
    _put(out, 0x18, "IIIII", 2, 2, geometry.blocks_per_group, geometry.blocks_per_group, geometry.inodes_per_group)
    _put(out, 0x36, "HHHH", _NEVER_CHECK, 0xEF53, _STATE_CLEAN, _ERRORS_REMOUNT_RO)
    _put(out, 0x4C, "I", 1)  # revision with dynamic inode sizes
    _put(out, 0x54, "IHH", FIRST_INODE, INODE_SIZE, 0)
    _put(
        out, 0x5C, "III",
        _COMPAT_EXT_ATTR | _COMPAT_SPARSE_SUPER2,
        _INCOMPAT_FILETYPE | _INCOMPAT_EXTENTS | _INCOMPAT_FLEX_BG,
        _RO_SPARSE_SUPER | _RO_LARGE_FILE | _RO_DIR_NLINK | _RO_EXTRA_ISIZE,
    )  # fmt: skip
    out[0x68:0x78] = uuid
    out[0xEC:0xFC] = hash_seed
    out[0xFC] = _HASH_HALF_MD4
    _put(out, 0x100, "I", _MOUNT_XATTR | _MOUNT_ACL | _MOUNT_ORDERED)
    _put(out, 0x15C, "HHI", _EXTRA_ISIZE, _EXTRA_ISIZE, _SIGNED_HASH)
    out[0x174] = max(1, (geometry.groups - 1).bit_length())  # log2 of the groups whose metadata lies together
    return bytes(out)


def _put(out: bytearray, offset: int, form: str, *values: int) -> None:
    struct.pack_into("<" + form, out, offset, *values)


def descriptor(block_bitmap: int, inode_bitmap: int, table: int, free: tuple[int, int], folders: int) -> bytes:
    """A group's descriptor; ``free`` blocks and inodes."""
    return struct.pack("<IIIHHH", block_bitmap, inode_bitmap, table, *free, folders).ljust(DESCRIPTOR_SIZE, b"\0")


_INODE = struct.Struct("<HHIIIIIHHIII60sIIII12sHHIIIIIII")


def inode(
    node: Node, links: int, size: int, blocks: int, block: bytes, attributes: bytes, attribute_block: int
) -> bytes:
    """The 256 bytes of an inode.

    ``size`` in bytes; ``blocks``: all it occupies; ``block``: its 60 bytes of extents, target or device numbers;
    ``attributes``: what `inline_attributes` gave. Raises InputError for owners and times ext4 cannot hold.
    """
    if not 0 <= node.uid < 1 << 32 or not 0 <= node.gid < 1 << 32:
        raise InputError(f"has the owner {node.uid}:{node.gid}, which does not fit 32 bits")
    if not -(1 << 31) <= node.mtime < (1 << 34) - (1 << 31):
        raise InputError(f"has the time {node.mtime}, beyond the year 2446")
    low = node.mtime & 0xFFFFFFFF
    epoch = (node.mtime + (1 << 31)) >> 32  # two more bits of the year
    fast = node.kind is Kind.SYMLINK and size <= FAST_SYMLINK
    extents = node.kind in (Kind.FILE, Kind.DIRECTORY) or (node.kind is Kind.SYMLINK and not fast)
    sectors = blocks * (BLOCK // 512)
    return _INODE.pack(
        node.kind.value | node.mode, node.uid & 0xFFFF, size & 0xFFFFFFFF, low, low, low, 0, node.gid & 0xFFFF, links,
        sectors & 0xFFFFFFFF, _EXTENTS_FLAG if extents else 0, 0, block, 0, attribute_block, size >> 32, 0,
        struct.pack("<HHHHI", 0, 0, node.uid >> 16, node.gid >> 16, 0),
        _EXTRA_ISIZE, 0, epoch, epoch, epoch, low, epoch, 0, 0,
    ) + attributes.ljust(INLINE_ROOM, b"\0")  # fmt: skip


def device_block(rdev: tuple[int, int]) -> bytes:
    """The block field of a device. Raises InputError when its numbers are too large."""
    major, minor = rdev
    if major >= 1 << 12 or minor >= 1 << 20:
        raise InputError(f"is the device {major}:{minor}, beyond what Linux can name")
    if major < 256 and minor < 256:
        return struct.pack("<I", major << 8 | minor).ljust(60, b"\0")
    return struct.pack("<II", 0, minor & 0xFF | major << 8 | (minor & ~0xFF) << 12).ljust(60, b"\0")


def extent_tree_blocks(extents: int) -> int:
    """How many blocks of its own the tree of that many extents takes."""
    total = 0
    while extents > _ROOT_ENTRIES:
        extents = -(-extents // _LEAF_ENTRIES)
        total += extents
    return total


def extent_tree(extents: Sequence[Extent], first_block: int) -> tuple[bytes, bytes]:
    """The inode's 60 bytes, and the tree's blocks, which lie from ``first_block`` on."""
    keys = [e.logical for e in extents]
    entries = [struct.pack("<IHHI", e.logical, e.length, e.physical >> 32, e.physical & 0xFFFFFFFF) for e in extents]
    blocks: list[bytes] = []
    depth = 0
    while len(entries) > _ROOT_ENTRIES:
        upper_keys, upper = [], []
        for at in range(0, len(entries), _LEAF_ENTRIES):
            physical = first_block + len(blocks)
            part = entries[at : at + _LEAF_ENTRIES]
            blocks.append((_extent_header(len(part), _LEAF_ENTRIES, depth) + b"".join(part)).ljust(BLOCK, b"\0"))
            upper_keys.append(keys[at])
            upper.append(struct.pack("<IIHH", keys[at], physical & 0xFFFFFFFF, physical >> 32, 0))
        keys, entries, depth = upper_keys, upper, depth + 1
    root = _extent_header(len(entries), _ROOT_ENTRIES, depth) + b"".join(entries)
    return root.ljust(60, b"\0"), b"".join(blocks)


def _extent_header(entries: int, most: int, depth: int) -> bytes:
    return struct.pack("<HHHHI", _EXTENT_MAGIC, entries, most, depth, 0)


def folder_blocks(entries: Iterable[tuple[bytes, int, int]]) -> bytes:
    """A folder's blocks from its (name, inode, file type) entries, in that order; ``.`` and ``..`` come first."""
    blocks: list[bytes] = []
    current: list[bytes] = []
    used = 0
    for name, number, kind in entries:
        need = _entry_size(name)
        if used + need > BLOCK:
            blocks.append(_closed(current, used))
            current, used = [], 0
        current.append(struct.pack("<IHBB", number, need, len(name), kind) + name.ljust(need - 8, b"\0"))
        used += need
    blocks.append(_closed(current, used))
    return b"".join(blocks)


def _entry_size(name: bytes) -> int:
    return 8 + (len(name) + 3 & ~3)


def _closed(entries: list[bytes], used: int) -> bytes:
    """A block whose last entry reaches to its end."""
    last = entries[-1]
    length = len(last) + BLOCK - used
    entries[-1] = last[:4] + struct.pack("<H", length) + last[6:]
    return b"".join(entries).ljust(BLOCK, b"\0")


def bitmap(ranges: Iterable[tuple[int, int]], size: int) -> bytes:
    """A bitmap block of ``size`` bits: those from start to end of each range are taken, and so are those beyond."""
    bits = (1 << 8 * BLOCK) - (1 << size)
    for start, end in ranges:
        bits |= (1 << end) - (1 << start)
    return bits.to_bytes(BLOCK, "little")
