"""MBR partition tables (the "msdos" label): one to four primary partitions, counted in sectors of 512 bytes."""

from __future__ import annotations

import struct
from dataclasses import dataclass

SECTOR = 512
SIZE = 512
TYPE_LINUX = 0x83

_HEADS, _SECTORS = 255, 63  # the geometry every program assumes
_MAX_CYLINDER = 1023
_TABLE_AT = 446
_DISK_ID_AT = 440
_SIGNATURE = b"\x55\xaa"
_ENTRY = struct.Struct("<B3sB3sII")  # bootable, first CHS, type, last CHS, first sector, sectors


@dataclass(frozen=True, slots=True)
class Partition:
    """Start and size in bytes, from the start of the disk as its reader sees it."""

    start: int
    size: int
    bootable: bool = False


def mbr(partitions: tuple[Partition, ...], disk_id: int) -> bytes:
    """The 512 bytes of a partition table. Raises ValueError for what such a table cannot hold."""
    if len(partitions) > 4:
        raise ValueError("an MBR holds four partitions")
    table = b"".join(_entry(p) for p in partitions)
    block = bytearray(SIZE)
    block[_DISK_ID_AT : _DISK_ID_AT + 4] = disk_id.to_bytes(4, "little")
    block[_TABLE_AT : _TABLE_AT + len(table)] = table
    block[-2:] = _SIGNATURE
    return bytes(block)


def _entry(partition: Partition) -> bytes:
    first, left = divmod(partition.start, SECTOR)
    count, rest = divmod(partition.size, SECTOR)
    if left or rest or not count or first + count > 1 << 32:
        raise ValueError(f"a partition at {partition.start} of {partition.size} bytes does not fit an MBR")
    flag = 0x80 if partition.bootable else 0
    return _ENTRY.pack(flag, _chs(first), TYPE_LINUX, _chs(first + count - 1), first, count)


def _chs(sector: int) -> bytes:
    """A sector as head, sector and cylinder; the last address there is for what lies beyond."""
    cylinder, rest = divmod(sector, _HEADS * _SECTORS)
    if cylinder > _MAX_CYLINDER:
        return b"\xfe\xff\xff"
    head, number = divmod(rest, _SECTORS)
    return bytes((head, number + 1 | cylinder >> 2 & 0xC0, cylinder & 0xFF))


def partitions_of(block: bytes) -> tuple[Partition, ...]:
    """The Linux partitions of a table read back. Raises ValueError when it is none, or holds other types."""
    if len(block) != SIZE or block[-2:] != _SIGNATURE:
        raise ValueError("it has no partition table")
    found = []
    for flag, _, kind, _, first, count in _ENTRY.iter_unpack(block[_TABLE_AT : _TABLE_AT + 64]):
        if kind == 0:
            continue
        if kind != TYPE_LINUX:
            raise ValueError(f"it has a partition of type {kind:#04x}")
        found.append(Partition(first * SECTOR, count * SECTOR, flag == 0x80))
    return tuple(found)
