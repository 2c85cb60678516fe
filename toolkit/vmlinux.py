"""Packs vmlinux down to what a virtual machine loads: its segments and program headers, without holes or sections.

The linker aligns each segment of the file to 2 MiB; that is a third of a small kernel, and means nothing to a VMM,
which copies each segment to its physical address. Source: the ELF-64 object file format, version 1.5, draft 2.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace

from .errors import ToolError

PAGE = 4096
_IDENT = b"\x7fELF\x02\x01\x01"  # 64 bits, little endian, version 1
# ident, type, machine, version, entry, phoff, shoff, flags, ehsize, phentsize, phnum, shentsize, shnum, shstrndx
_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SEGMENT = struct.Struct("<IIQQQQQQ")
_PT_LOAD = 1


@dataclass(frozen=True, slots=True)
class Segment:
    """A program header: ``offset`` and ``filesz`` are what of the file is loaded."""

    type: int
    flags: int
    offset: int
    vaddr: int
    paddr: int
    filesz: int
    memsz: int
    align: int


def segments_of(data: bytes) -> list[Segment]:
    """The program headers of a 64-bit little-endian ELF file. Raises ToolError when it is none."""
    try:
        if not data.startswith(_IDENT):
            raise ToolError("make left a vmlinux that is not a 64-bit ELF file")
        fields = _HEADER.unpack_from(data)
        return [Segment(*_SEGMENT.unpack_from(data, fields[5] + i * fields[9])) for i in range(fields[10])]
    except struct.error as error:
        raise ToolError("make left a vmlinux that ends in its headers") from error


def compact(data: bytes) -> bytes:
    """The same program in as few bytes as it needs. Raises ToolError for an ELF file that is not a kernel."""
    segments = segments_of(data)
    if not any(s.type == _PT_LOAD for s in segments):
        raise ToolError("make left a vmlinux that loads nothing")
    out = bytearray(_HEADER.size + len(segments) * _SEGMENT.size)
    placed: list[tuple[Segment, int]] = []
    for segment in (s for s in segments if s.type == _PT_LOAD):
        out += bytes(-len(out) % PAGE)
        placed.append((segment, len(out)))
        content = data[segment.offset : segment.offset + segment.filesz]
        if len(content) < segment.filesz:
            raise ToolError("make left a vmlinux that ends in the middle of a segment")
        out += content
    for number, segment in enumerate(segments):
        moved = _moved(segment, placed)
        _SEGMENT.pack_into(out, _HEADER.size + number * _SEGMENT.size, *_values(moved))
    header = list(_HEADER.unpack_from(data))
    header[5], header[6], header[11:14] = _HEADER.size, 0, (0, 0, 0)  # program headers follow; no sections
    _HEADER.pack_into(out, 0, *header)
    return bytes(out)


def _moved(segment: Segment, placed: list[tuple[Segment, int]]) -> Segment:
    """A segment at its new offset; what is not loaded itself (notes) lies in one that is."""
    for load, offset in placed:
        if load.offset <= segment.offset and segment.offset + segment.filesz <= load.offset + load.filesz:
            align = PAGE if segment.type == _PT_LOAD else segment.align
            return replace(segment, offset=offset + segment.offset - load.offset, align=align)
    raise ToolError(f"make left a vmlinux with a segment (type {segment.type}) outside of what is loaded")


def _values(segment: Segment) -> tuple[int, ...]:
    return (
        segment.type,
        segment.flags,
        segment.offset,
        segment.vaddr,
        segment.paddr,
        segment.filesz,
        segment.memsz,
        segment.align,
    )
