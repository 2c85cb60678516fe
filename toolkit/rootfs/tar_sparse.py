"""The four ways in which tars tell where a sparse file's holes are: GNU's old header, PAX 0.0, 0.1 and 1.0."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import InputError
from .tar_header import BLOCK, TYPE, Field, number

if TYPE_CHECKING:
    from .tar_pax import Pax

Ranges = list[tuple[int, int]]

_OLD_MAP = 386
_OLD_PAIRS = 4
_OLD_EXTENDED = 482
_OLD_REAL_SIZE = Field(483, 12)
_MORE_PAIRS = 21
_MORE_EXTENDED = 504
_MAX_RANGES = 1 << 16


@dataclass(frozen=True, slots=True)
class Map:
    """What is not a hole, as (offset, length), and the file's real size; ``inside``: the map is a part of the data."""

    ranges: Ranges
    size: int
    inside: bool = False


def map_of(block: bytes, pax: Pax, read_block: Callable[[], bytes]) -> Map | None:
    """The map of a member with this header, or None when it has no holes; ``read_block`` reads what follows.

    Raises InputError.
    """
    version = (pax.get(b"GNU.sparse.major"), pax.get(b"GNU.sparse.minor"))
    if TYPE.of(block) == b"S":
        return Map(*old_header(block, read_block))
    if version == (b"1", b"0"):
        return Map(pax_1_0(read_block), pax.integer(b"GNU.sparse.realsize", 0), inside=True)
    if version != (None, None):
        raise InputError("is sparse in a way that is not known")
    if pax.get(b"GNU.sparse.size") is None:
        return None
    map_ = pax.get(b"GNU.sparse.map")
    return Map(pax_0_1(map_) if map_ is not None else pax_0_0(pax.records), pax.integer(b"GNU.sparse.size", 0))


def old_header(block: bytes, more: Callable[[], bytes]) -> tuple[Ranges, int]:
    """GNU's old form (type S): the ranges and the real size. ``more()`` reads one extension block.

    Raises InputError.
    """
    ranges = _pairs(block, _OLD_MAP, _OLD_PAIRS)
    extended = block[_OLD_EXTENDED]
    while extended:
        block_of_more = more()
        ranges += _pairs(block_of_more, 0, _MORE_PAIRS)
        extended = block_of_more[_MORE_EXTENDED]
        _limit(len(ranges))
    return ranges, number(_OLD_REAL_SIZE.of(block))


def _pairs(block: bytes, start: int, count: int) -> Ranges:
    found = []
    for at in range(start, start + 24 * count, 24):
        if block[at] == 0:  # an unused pair is all NUL; a used one has digits
            break
        found.append((number(block[at : at + 12]), number(block[at + 12 : at + 24])))
    return found


def pax_0_0(records: Iterable[tuple[bytes, bytes]]) -> Ranges:
    """PAX 0.0: repeated GNU.sparse.offset and GNU.sparse.numbytes records, in order. Raises InputError."""
    numbers = [decimal(v) for k, v in records if k in (b"GNU.sparse.offset", b"GNU.sparse.numbytes")]
    return _paired(numbers)


def pax_0_1(value: bytes) -> Ranges:
    """PAX 0.1: GNU.sparse.map, numbers with commas between them. Raises InputError."""
    return _paired([decimal(word) for word in value.split(b",")] if value else [])


def pax_1_0(read_block: Callable[[], bytes]) -> Ranges:
    """PAX 1.0: decimal lines at the head of the data, in whole blocks. Raises InputError."""
    buffer = b""

    def line() -> bytes:
        nonlocal buffer
        while b"\n" not in buffer:
            if len(buffer) > BLOCK:
                raise InputError("has a damaged map of holes")
            buffer += read_block()
        head, _, buffer = buffer.partition(b"\n")
        return head

    count = decimal(line())
    _limit(count)
    return _paired([decimal(line()) for _ in range(2 * count)])


def decimal(word: bytes) -> int:
    """A decimal number of a PAX record. Raises InputError."""
    if not word.isdigit() or len(word) > 20:
        raise InputError(f"holds {word[:30]!r} where a number should be")
    return int(word)


def _paired(numbers: list[int]) -> Ranges:
    if len(numbers) % 2:
        raise InputError("has a damaged map of holes")
    _limit(len(numbers) // 2)
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def _limit(count: int) -> None:
    if count > _MAX_RANGES:
        raise InputError(f"has more than {_MAX_RANGES:,} holes")


def checked(holes: Map, stored: int) -> tuple[tuple[int, int], ...]:
    """The ranges without empty ones, neighbours joined.

    Raises InputError unless they ascend, lie within the real size, and add up to the ``stored`` bytes; and for pieces
    of broken blocks, which GNU tar takes to begin a new block each, and other programs to lie end to end.
    """
    found: Ranges = []
    position = total = 0
    for offset, length in holes.ranges:
        if total % BLOCK and length:
            raise InputError("has a map of holes that programs read in different ways")
        if offset < position or length < 0 or offset + length > holes.size:
            raise InputError("has a map of holes that does not fit its size")
        total += length
        position = offset + length
        if found and sum(found[-1]) == offset:
            found[-1] = (found[-1][0], found[-1][1] + length)
        elif length:
            found.append((offset, length))
    if holes.size < 0:
        raise InputError("has a map of holes that does not fit its size")
    if total != stored:
        raise InputError("has a map of holes that does not fit its data")
    return tuple(found)
