"""File systems that differ: superblock, paths and what is known of each, contents, and where else bytes differ."""

from __future__ import annotations

import os
import stat
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import suppress

from ..image.erofs_read import ErofsReader
from ..image.ext4_read import Ext4Reader
from ..image.filesystem import DamagedError, Inode, Reader, walk
from ..rootfs.tree import CHUNK, shown
from .fields import byte_differences, field_differences, table

_BLOCK = 4096
_SUPERBLOCK_AT = 1024
# Documentation/filesystems/ext4/super.rst of the kernel
_EXT4 = table("""
0 4 s_inodes_count
4 4 s_blocks_count_lo
c 4 s_free_blocks_count_lo
10 4 s_free_inodes_count
14 4 s_first_data_block
18 4 s_log_block_size
20 4 s_blocks_per_group
28 4 s_inodes_per_group
2c 4 s_mtime
30 4 s_wtime
34 2 s_mnt_count
3a 2 s_state
40 4 s_lastcheck
4c 4 s_rev_level
54 4 s_first_ino
58 2 s_inode_size
5c 4 s_feature_compat
60 4 s_feature_incompat
64 4 s_feature_ro_compat
68 16* s_uuid
78 16* s_volume_name
88 64* s_last_mounted
ec 16* s_hash_seed
fe 2 s_desc_size
100 4 s_default_mount_opts
108 4 s_mkfs_time
3fc 4 s_checksum
""")
# Documentation/filesystems/erofs.rst and fs/erofs/erofs_fs.h
_EROFS = table("""
0 4 magic
4 4 checksum
8 4 feature_compat
c 1 blkszbits
e 2 root_nid
10 8 inos
18 8 build_time
20 4 build_time_nsec
24 4 blocks
28 4 meta_blkaddr
2c 4 xattr_blkaddr
30 16* uuid
40 16* volume_name
50 4 feature_incompat
54 2 available_compr_algs
""")


def filesystem_differences(left: int, right: int, start: int, size: int) -> Iterator[str]:
    """What differs between the file systems at ``start`` of two open files; the right one is sound.

    Raises ValueError when that is not so.
    """
    if not _differ(left, right, start, size):
        return
    try:
        new = _opened(right, start, size)
    except DamagedError as damage:
        raise ValueError(str(damage)) from damage
    told = False
    for text in _superblocks(left, right, start, new.name):
        told = True
        yield f"superblock: {text}"
    ours: dict[bytes, Inode] = dict(walk(new))
    try:
        for text in _trees(_opened(left, start, size), new, ours):
            told = True
            yield text
    except DamagedError as damage:
        told = True
        yield f"the file system in the set is damaged: {damage}"
    yield from _elsewhere(left, right, start, size, ours, told=told)


def _opened(fd: int, start: int, size: int) -> Reader:
    """The file system, whichever it is. Raises DamagedError."""
    with suppress(DamagedError):
        return ErofsReader(fd, start, size)
    return Ext4Reader(fd, start, size)


def _differ(left: int, right: int, start: int, size: int) -> bool:
    ends = range(start, start + size, CHUNK)
    return any(os.pread(left, n, at) != os.pread(right, n, at) for at in ends if (n := min(CHUNK, start + size - at)))


def _superblocks(left: int, right: int, start: int, kind: str) -> Iterator[str]:
    length = 128 if kind == "erofs" else 1024
    old, new = (os.pread(fd, length, start + _SUPERBLOCK_AT) for fd in (left, right))
    yield from field_differences(old, new, _EROFS if kind == "erofs" else _EXT4)


def _trees(old: Reader, new: Reader, ours: dict[bytes, Inode]) -> Iterator[str]:
    """Every path, both ways. Raises DamagedError."""
    moved: list[bytes] = []
    seen: set[bytes] = set()
    compared: set[int] = set()
    for path, inode in walk(old):
        seen.add(path)
        there = ours.get(path)
        if there is None:
            yield f"{shown(path)} is only in the set"
            continue
        yield from (f"{shown(path)}: {text}" for text in _inodes(inode, there))
        if inode.runs != there.runs or inode.number != there.number:
            moved.append(path)
        if stat.S_ISREG(inode.mode) and stat.S_ISREG(there.mode) and there.number not in compared:
            compared.add(there.number)
            yield from (f"{shown(path)}: {text}" for text in _contents(old, new, inode, there))
    yield from (f"{shown(path)} is missing in the set" for path in ours if path not in seen)
    if moved:
        more = f" and {len(moved) - 1} more" if len(moved) > 1 else ""
        yield f"{shown(moved[0])}{more}: the inode's number or the blocks are others"


def _inodes(old: Inode, new: Inode) -> Iterator[str]:
    pairs = {
        "mode": (stat.filemode(old.mode), stat.filemode(new.mode)),
        "owner": (f"{old.uid}:{old.gid}", f"{new.uid}:{new.gid}"),
        "times": (_times(old), _times(new)),
        "size": (old.size, new.size),
        "links": (old.links, new.links),
        "target": (shown(old.target)[1:], shown(new.target)[1:]),
        "device": (old.rdev, new.rdev),
        "extended attributes": (_attributes(old), _attributes(new)),
    }
    for what, (found, rebuilt) in pairs.items():
        if found != rebuilt:
            yield f"{what} {found}, rebuilt {rebuilt}"


def _times(inode: Inode) -> str:
    return "/".join(map(str, sorted(set(inode.times))))


def _attributes(inode: Inode) -> str:
    return ", ".join(f"{name.decode(errors='backslashreplace')}={value.hex()}" for name, value in inode.xattrs)


def _contents(old: Reader, new: Reader, one: Inode, other: Inode) -> Iterator[str]:
    for at in range(0, min(one.size, other.size), CHUNK):
        length = min(CHUNK, one.size - at, other.size - at)
        found, rebuilt = old.read(one, at, length), new.read(other, at, length)
        if found != rebuilt:
            yield from byte_differences(found, rebuilt, at)
            return


def _elsewhere(left: int, right: int, start: int, size: int, ours: dict[bytes, Inode], *, told: bool) -> Iterator[str]:
    """Blocks that differ and are no file's data: of folders, of the file system itself, free ones.

    ``told``: something was found that explains differences in the file system's own blocks.
    """
    owners = sorted(
        (run.physical, run.physical + run.length, path, stat.S_ISREG(inode.mode))
        for path, inode in ours.items()
        for run in inode.runs
    )
    first_data = owners[0][0] if owners else size // _BLOCK
    found: dict[str, list[int]] = {}
    for at in _blocks_that_differ(left, right, start, size):
        block = (at - start) // _BLOCK
        index = bisect_right(owners, (block, size, b"", True)) - 1
        owner = owners[index] if index >= 0 and block < owners[index][1] else None
        if owner and owner[3]:
            continue  # a file's contents, which were compared
        kind = f"the blocks of {shown(owner[2])}" if owner else "free space" if block >= first_data else "metadata"
        if kind == "metadata" and (told or block == 0):
            continue
        found.setdefault(kind, []).append(at)
    for kind, places in found.items():
        old, new = (os.pread(fd, _BLOCK, places[0]) for fd in (left, right))
        for text in byte_differences(old, new, places[0]):
            more = f", and {len(places) - 1} more blocks" if len(places) > 1 else ""
            yield f"{kind}: {text}{more}"


def _blocks_that_differ(left: int, right: int, start: int, size: int) -> Iterator[int]:
    for at in range(start, start + size, CHUNK):
        length = min(CHUNK, start + size - at)
        old, new = os.pread(left, length, at), os.pread(right, length, at)
        if old == new:
            continue
        for inner in range(0, length, _BLOCK):
            if old[inner : inner + _BLOCK] != new[inner : inner + _BLOCK]:
                yield at + inner
