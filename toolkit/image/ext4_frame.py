"""The frame of an ext4 file system: how many groups there are, superblock, group descriptors and bitmaps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from . import ext4_records as records
from .ext4_records import BLOCK, Geometry
from .sparse_file import SparseFile

_SUPERBLOCK_AT = 1024


@dataclass(frozen=True, slots=True)
class Taken:
    """What is in use: ``ranges`` of blocks as (start, end), ascending; inodes up to ``last_inode``; ``folders``: the
    inode numbers of folders."""

    ranges: Sequence[tuple[int, int]]
    last_inode: int
    folders: Sequence[int]

    @property
    def blocks(self) -> int:
        """How many blocks are in use."""
        return sum(end - start for start, end in self.ranges)


def geometry_for(blocks: int, inodes: int) -> Geometry:
    """Groups as large as can be; smaller ones where there are more inodes than so few groups can hold."""
    most = records.BLOCKS_PER_GROUP
    groups, per_group = -(-blocks // most), most
    wanted = -(-inodes // most)
    if wanted > groups:
        per_group = max(blocks // wanted // 8 * 8, 8)
        groups = -(-blocks // per_group)
    unit = records.INODES_PER_BLOCK
    return Geometry(blocks, groups, per_group, -(-inodes // (groups * unit)) * unit)


def write_frame(out: SparseFile, offset: int, geometry: Geometry, taken: Taken, uuid: bytes, hash_seed: bytes) -> None:
    """Write it at ``offset`` of a file; ``uuid`` and ``hash_seed`` have 16 bytes. Raises ToolError."""
    per_group, per_table = geometry.blocks_per_group, geometry.inodes_per_group
    folders = [0] * geometry.groups
    for number in taken.folders:
        folders[(number - 1) // per_table] += 1
    descriptors = []
    parts = _by_group(taken.ranges, geometry)
    for group, ranges in enumerate(parts):
        size = min(per_group, geometry.blocks - group * per_group)
        used = sum(end - start for start, end in ranges)
        inodes = min(max(taken.last_inode - group * per_table, 0), per_table)
        blocks_at, inodes_at = geometry.block_bitmaps + group, geometry.inode_bitmaps + group
        descriptors.append(
            records.descriptor(
                blocks_at,
                inodes_at,
                geometry.tables + group * geometry.table_blocks,
                (size - used, per_table - inodes),
                folders[group],
            )
        )
        out.write(offset + blocks_at * BLOCK, records.bitmap(ranges, size))
        out.write(offset + inodes_at * BLOCK, records.bitmap([(0, inodes)], per_table))
    free = (geometry.blocks - taken.blocks, geometry.groups * per_table - taken.last_inode)
    block = bytes(_SUPERBLOCK_AT) + records.superblock(geometry, *free, uuid, hash_seed)
    out.write(offset, block)
    out.write(offset + BLOCK, b"".join(descriptors))


def _by_group(ranges: Sequence[tuple[int, int]], geometry: Geometry) -> Iterator[list[tuple[int, int]]]:
    """The ranges that lie in each group, counted from its first block."""
    index = 0
    for group in range(geometry.groups):
        first, last = group * geometry.blocks_per_group, (group + 1) * geometry.blocks_per_group
        found = []
        while index < len(ranges) and ranges[index][0] < last:
            start, end = ranges[index]
            found.append((max(start, first) - first, min(end, last) - first))
            if end > last:
                break  # the rest of it is the next group's
            index += 1
        yield found
