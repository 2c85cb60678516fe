"""ELF files that differ: in which section, or in which header. Layout: the System V ABI, as in elf.h."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from .fields import byte_differences, field_differences, table

MAGIC = b"\x7fELF\x02\x01"  # of 64 bits, little-endian: all that guests have
_HEADER = table("""
10 2 e_type
12 2 e_machine
14 4 e_version
18 8 e_entry
20 8 e_phoff
28 8 e_shoff
30 4 e_flags
34 2 e_ehsize
36 2 e_phentsize
38 2 e_phnum
3a 2 e_shentsize
3c 2 e_shnum
3e 2 e_shstrndx
""")
_HEADER_SIZE = 64
_SECTION = struct.Struct("<IIQQQQIIQQ")
_NOBITS = 8  # sh_type: takes no room in the file
_NO_FILE_BYTES = (0, _NOBITS)
Section = tuple[str, int, int]  # name, offset, size


def elf_differences(old: bytes, new: bytes) -> Iterator[str]:
    """What differs, by header and section; of a file without sections, by place."""
    for text in field_differences(old[:_HEADER_SIZE], new[:_HEADER_SIZE], _HEADER):
        yield f"ELF header: {text}"
    try:
        left, right = _sections(old), _sections(new)
    except (struct.error, ValueError):
        left, right = {}, {}
    for name in sorted(left.keys() ^ right.keys()):
        yield f"section {name} is {'only in the set' if name in left else 'missing in the set'}"
    told = old[_HEADER_SIZE:] == new[_HEADER_SIZE:]
    for name in left:
        if name in right:
            for text in _section_differences(old, new, left[name], right[name]):
                told = True
                yield f"section {name}: {text}"
    if not told:
        yield from byte_differences(old[_HEADER_SIZE:], new[_HEADER_SIZE:], _HEADER_SIZE)


def _section_differences(old: bytes, new: bytes, one: Section, other: Section) -> Iterator[str]:
    (_, at, size), (_, new_at, new_size) = one, other
    if size != new_size:
        yield f"{size} bytes, rebuilt {new_size}"
    yield from byte_differences(old[at : at + size], new[new_at : new_at + new_size], 0)


def _sections(data: bytes) -> dict[str, Section]:
    """The sections that have bytes in the file, by name; names that repeat are numbered."""
    (table_at,) = struct.unpack_from("<Q", data, 0x28)
    size, count, names_index = struct.unpack_from("<HHH", data, 0x3A)
    if not count or size < _SECTION.size:
        return {}
    headers = [_SECTION.unpack_from(data, table_at + number * size) for number in range(count)]
    names_at = headers[names_index][4] if names_index < count else 0
    found: dict[str, Section] = {}
    for number, header in enumerate(headers):
        if header[1] in _NO_FILE_BYTES:
            continue
        end = data.index(b"\0", names_at + header[0])
        name = data[names_at + header[0] : end].decode(errors="backslashreplace") or f"number {number}"
        found[name if name not in found else f"{name} (number {number})"] = (name, header[4], header[5])
    return found
