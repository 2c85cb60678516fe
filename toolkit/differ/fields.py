"""Headers of fixed layout, compared field by field; and plain bytes, where nothing better is known."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_SHOWN = 16  # bytes of a value


@dataclass(frozen=True, slots=True)
class Field:
    """A field's name, offset and length in bytes. ``number``: it is a little-endian number."""

    name: str
    offset: int
    length: int
    number: bool = True


def table(rows: str) -> tuple[Field, ...]:
    """Fields from lines of "OFFSET LENGTH NAME"; ``OFFSET`` in hex, ``*`` behind the length: no number."""
    found = []
    for row in rows.strip().splitlines():
        offset, length, name = row.split(None, 2)
        found.append(Field(name, int(offset, 16), int(length.rstrip("*")), not length.endswith("*")))
    return tuple(found)


def field_differences(old: bytes, new: bytes, fields: Sequence[Field]) -> Iterator[str]:
    """Each field that differs, with both values; then whatever differs outside of all fields."""
    left, right = bytearray(old), bytearray(new)
    for field in fields:
        place = slice(field.offset, field.offset + field.length)
        if old[place] != new[place]:
            yield f"{field.name} is {_shown(old[place], field)}, rebuilt {_shown(new[place], field)}"
        left[place] = right[place] = bytes(field.length)
    yield from byte_differences(bytes(left), bytes(right), 0)


def byte_differences(old: bytes, new: bytes, start: int) -> Iterator[str]:
    """One sentence on bytes that differ; ``start``: where both begin, as it is told."""
    if old == new:
        return
    at = first_difference(old, new)
    count = sum(a != b for a, b in zip(old, new, strict=False)) + abs(len(old) - len(new))
    both = f"{old[at : at + 4].hex()}, rebuilt {new[at : at + 4].hex()}"
    yield f"{count} byte{'s differ' if count > 1 else ' differs'}, from byte {start + at} on: {both}"


def first_difference(old: bytes, new: bytes) -> int:
    """The index of the first byte that differs, or the length of the shorter."""
    low, high = 0, min(len(old), len(new))
    if old[:high] == new[:high]:
        return high
    while high - low > 1:  # the halves are compared as wholes, which is quick
        middle = (low + high) // 2
        if old[low:middle] == new[low:middle]:
            low = middle
        else:
            high = middle
    return low


def _shown(value: bytes, field: Field) -> str:
    if field.number:
        number = int.from_bytes(value, "little")
        return f"{number} ({number:#x})" if number > 9 else str(number)
    return value[:_SHOWN].hex()
