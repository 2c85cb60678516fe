"""Images that differ: partition tables, the DAX header, dm-verity's digests, and the file system between them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ..image import dax, mbr
from .fields import byte_differences, field_differences, table
from .filesystems import filesystem_differences

_DAX_FIELDS = table("""
0 16* signature
10 16* uuid
20 16* parent_uuid
30 4 flags
34 2 version_major
36 2 version_minor
38 8 dataoff
40 8 npfns
48 4 mode
4c 4 start_pad
50 4 end_trunc
54 4 align
ff8 8 checksum
""")
_MBR_FIELDS = table("""
1b8 4 disk id
1be 16* partition 1
1ce 16* partition 2
1de 16* partition 3
1ee 16* partition 4
1fe 2* signature
""")
_STEP = 1 << 20


@dataclass(frozen=True, slots=True)
class Region:
    """A part of an image, in bytes; ``end`` is the first byte behind it."""

    name: str
    start: int
    end: int


def image_differences(old: Path, new: Path) -> Iterator[str]:
    """What differs, in the order in which it lies there. ``new`` must be sound: it says where things are.

    Raises ValueError when it is not.
    """
    with old.open("rb") as one, new.open("rb") as other:
        left, right = one.fileno(), other.fileno()
        sizes = os.fstat(left).st_size, os.fstat(right).st_size
        if sizes[0] != sizes[1]:
            yield f"it has {sizes[0]} bytes, rebuilt {sizes[1]}"
        for region in _regions(right, sizes[1]):
            if region.name == "file system":
                yield from filesystem_differences(left, right, region.start, region.end - region.start)
            else:
                yield from (f"{region.name}: {text}" for text in _differences(left, right, region))


def _regions(fd: int, size: int) -> Iterator[Region]:
    """The parts of a sound image, without gaps. Raises ValueError."""
    partitions = mbr.partitions_of(os.pread(fd, mbr.SIZE, 0))
    if not partitions:
        raise ValueError("it has no partition")
    first = partitions[0]
    named = [Region("partition table", 0, mbr.SIZE)]
    if dax.pfn_problem(os.pread(fd, dax.SIZE, dax.OFFSET)) is None:
        named.append(Region("DAX header", dax.OFFSET, dax.OFFSET + dax.SIZE))
        named.append(Region("partition table that the guest sees", dax.DATA_OFFSET, dax.DATA_OFFSET + mbr.SIZE))
    named.append(Region("file system", first.start, first.start + first.size))
    named += [Region("dm-verity's digests", p.start, p.start + p.size) for p in partitions[1:]]
    at = 0
    for region in named:
        if at < region.start:
            yield Region("unused space", at, region.start)
        yield region
        at = region.end
    if at < size:
        yield Region("unused space", at, size)


def _differences(left: int, right: int, region: Region) -> Iterator[str]:
    fields = {"DAX header": _DAX_FIELDS}.get(region.name)
    if region.name.startswith("partition table"):
        yield from _tables(left, right, region)
        return
    for at in range(region.start, region.end, _STEP):
        length = min(_STEP, region.end - at)
        old, new = os.pread(left, length, at), os.pread(right, length, at)
        if old != new:
            yield from field_differences(old, new, fields) if fields else byte_differences(old, new, at)
            return


def _tables(left: int, right: int, region: Region) -> Iterator[str]:
    old, new = (os.pread(fd, mbr.SIZE, region.start) for fd in (left, right))
    if old == new:
        return
    with suppress(ValueError):
        found, meant = mbr.partitions_of(old), mbr.partitions_of(new)
        for number, (one, other) in enumerate(zip(found, meant, strict=False), 1):
            if one != other:
                yield f"partition {number} is {one.size} bytes at {one.start}, rebuilt {other.size} at {other.start}"
    yield from field_differences(old, new, _MBR_FIELDS)
