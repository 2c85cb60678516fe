"""Where things lie in an image file, with the DAX header or without, and how large the file must be.

With the header: MBR at 0 (read through virtio-blk), ``nd_pfn_sb`` at 4 KiB, a second MBR at 2 MiB (what the guest
sees as the start of /dev/pmem0), the file system 1 MiB behind it. Without: MBR at 0, the file system at 1 MiB.
Partition 1 is the same bytes in both tables. With dm-verity a partition 2 behind it holds the digests.

The layout `huge` puts the file system 2 MiB behind its MBR instead: on a boundary of the 2 MiB pages that a guest can
map at once, since /dev/pmem0 starts on one.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import InputError
from . import dax
from .mbr import Partition, partitions_of
from .verity import BLOCK, tree_size

MIB = 1 << 20
PARTITION_START = MIB  # from the MBR that names it
HUGE_START = 2 * MIB  # the same in the layout `huge`
DIMM_ALIGN_MIB = 128
DAX_ALIGN_MIB = dax.ALIGNMENT // MIB
_MAX_SIZE = 1 << 41  # 2 TiB: an MBR counts sectors in 32 bits


@dataclass(frozen=True, slots=True)
class Layout:
    """Offsets and sizes in bytes. ``size``: the whole file; ``start``: where the file system begins in it.

    ``hash_size``: of the partition behind it that holds dm-verity's digests; 0 when there is none.
    """

    dax: bool
    size: int
    start: int
    filesystem_size: int
    hash_size: int = 0

    @property
    def hash_start(self) -> int:
        """Where dm-verity's digests begin, if there are any."""
        return self.start + self.filesystem_size

    @property
    def tables(self) -> tuple[tuple[int, tuple[Partition, ...]], ...]:
        """Each MBR's offset in the file, and the partitions it names as its reader counts."""
        parts = [(self.start, self.filesystem_size)]
        if self.hash_size:
            parts.append((self.hash_start, self.hash_size))
        offsets = (0, dax.DATA_OFFSET) if self.dax else (0,)
        return tuple((at, tuple(Partition(start - at, size) for start, size in parts)) for at in offsets)


def start_of(with_dax: bool, *, huge: bool = False) -> int:
    """Where the file system begins, in bytes."""
    return (dax.DATA_OFFSET if with_dax else 0) + (HUGE_START if huge else PARTITION_START)


def layout_for(
    filesystem_size: int, with_dax: bool, align_mib: int, *, with_verity: bool = False, huge: bool = False
) -> Layout:
    """The smallest layout with that much room for the file system (bytes), its size a multiple of ``align_mib``.

    The file system fills what the alignment gives; with dm-verity it is as small as can be, in MiB: every block of it
    has a digest. Raises InputError when the alignment cannot work or the image is larger than an MBR can say.
    """
    if align_mib <= 0:
        raise InputError(f"image.align_mib is {align_mib}: it must be above 0")
    if with_dax and align_mib % DAX_ALIGN_MIB:
        raise InputError(
            f"image.align_mib is {align_mib}: with dax it must be a multiple of {DAX_ALIGN_MIB}",
            hint="the guest's NVDIMM driver refuses an image of any other size",
        )
    start, unit = start_of(with_dax, huge=huge), align_mib * MIB
    hash_size = 0
    if with_verity:
        filesystem_size = max(_up(filesystem_size, MIB), MIB)
        hash_size = _up(tree_size(filesystem_size // BLOCK), MIB)
    size = _up(start + filesystem_size + hash_size, unit)
    if size > _MAX_SIZE:
        raise InputError(f"the image would be {size >> 30} GiB, and its partition table can say 2 TiB at most")
    return Layout(with_dax, size, start, filesystem_size if with_verity else size - start, hash_size)


def layout_of(size: int, with_dax: bool, table: bytes, data_blocks: int | None = None) -> Layout:
    """The layout that an image of ``size`` bytes must have; ``data_blocks``: what dm-verity covers, if it is there.

    ``table``: its first 512 bytes, which say where the file system begins, of the places where it may.
    """
    start = start_of(with_dax)
    try:
        partitions = partitions_of(table)
    except ValueError:
        partitions = ()  # that it is no table is told when it is compared
    if partitions and partitions[0].start == start_of(with_dax, huge=True):
        start = partitions[0].start
    if data_blocks is None:
        return Layout(with_dax, size, start, size - start)
    return Layout(with_dax, size, start, data_blocks * BLOCK, _up(tree_size(data_blocks), MIB))


def _up(size: int, unit: int) -> int:
    return -(-size // unit) * unit


def default_align_mib(*, dimms: bool) -> int:
    """What the image's size is a multiple of, when the spec does not say; ``dimms``: see `kata.guest.plugs_dimms`.

    QEMU puts a hot-plugged DIMM right behind the image's NVDIMM; unless it then starts on a 128 MiB boundary the
    guest silently ignores it. So 128 (sparse) where DIMMs may be plugged, 2 otherwise.
    """
    return DIMM_ALIGN_MIB if dimms else DAX_ALIGN_MIB
