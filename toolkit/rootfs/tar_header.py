"""The 512-byte header of a tar member: ustar (POSIX.1-1988), GNU and the older v7 form, to and from bytes."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from functools import lru_cache

from ..errors import InputError

BLOCK = 512
USTAR = b"ustar\x0000"


@dataclass(frozen=True, slots=True, eq=False)  # each is one of a kind, and a key of many dictionaries
class Field:
    """A field's place in the header."""

    offset: int
    length: int

    def of(self, block: bytes) -> bytes:
        """The field's raw bytes."""
        return block[self.offset : self.offset + self.length]


NAME = Field(0, 100)
MODE = Field(100, 8)
UID = Field(108, 8)
GID = Field(116, 8)
SIZE = Field(124, 12)
MTIME = Field(136, 12)
CHECKSUM = Field(148, 8)
TYPE = Field(156, 1)
LINK = Field(157, 100)
MAGIC = Field(257, 8)
MAJOR = Field(329, 8)
MINOR = Field(337, 8)
PREFIX = Field(345, 155)


def padded(length: int) -> int:
    """A length in bytes, rounded up to whole blocks."""
    return -(-length // BLOCK) * BLOCK


def text(field: bytes) -> bytes:
    """A string field up to its first NUL; it may fill the field without one."""
    return field.partition(b"\0")[0]


@lru_cache(maxsize=1024)  # modes, owners and times repeat
def number(field: bytes) -> int:
    """A numeric field: octal digits between blanks, or GNU's base-256 (top bit set, then two's complement).

    Raises InputError when it is neither.
    """
    if field[0] & 0x80:
        bits = 8 * len(field) - 1
        value = int.from_bytes(field, "big") & ((1 << bits) - 1)
        return value - (1 << bits) if field[0] & 0x40 else value
    digits = text(field).strip(b" ")
    if digits.strip(b"01234567"):
        raise InputError(f"holds {field!r} where a number should be")
    return int(digits or b"0", 8)


def checksum_holds(block: bytes) -> bool:
    """Whether a header's checksum is right; old programs summed signed bytes, so both sums count."""
    try:
        stored = number(CHECKSUM.of(block))
    except InputError:
        return False
    start, end = CHECKSUM.offset, CHECKSUM.offset + CHECKSUM.length
    unsigned = _sum(block) - sum(CHECKSUM.of(block)) + 8 * ord(" ")
    if stored == unsigned:
        return True
    high = sum(1 for byte in block[:start] + block[end:] if byte >= 0x80)
    return stored == unsigned - 256 * high


def _sum(block: bytes | bytearray) -> int:
    """The sum of a header's bytes. The low half of Adler-32 is 1 and the sum, which 256 bytes cannot overflow."""
    return (zlib.adler32(block[:256]) & 0xFFFF) + (zlib.adler32(block[256:]) & 0xFFFF) - 2


@lru_cache(maxsize=1024)
def octal(value: int, length: int) -> bytes:
    """A number as zero-padded octal digits and a NUL. Raises OverflowError when it does not fit."""
    digits = f"{value:0{length - 1}o}".encode()
    if value < 0 or len(digits) >= length:
        raise OverflowError(value)
    return digits + b"\0"


def fits_octal(value: int, length: int) -> bool:
    """Whether `octal` can hold the value."""
    return 0 <= value < 1 << 3 * (length - 1)


def build(fields: dict[Field, bytes]) -> bytes:
    """A ustar header from its fields, the checksum filled in."""
    block = bytearray(BLOCK)
    for field, value in {MAGIC: USTAR, **fields}.items():
        if len(value) > field.length:
            raise OverflowError(value)
        block[field.offset : field.offset + len(value)] = value
    block[CHECKSUM.offset : CHECKSUM.offset + CHECKSUM.length] = b" " * CHECKSUM.length
    block[CHECKSUM.offset : CHECKSUM.offset + CHECKSUM.length] = b"%06o\0 " % _sum(block)
    return bytes(block)
