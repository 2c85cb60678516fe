"""Packs vmlinux down to what a virtual machine loads: its segments and program headers, without holes or sections.

The linker aligns each segment of the file to 2 MiB, and the entry code within one; that is a third of a small kernel,
and means nothing to a VMM, which copies each segment to its physical address.
Source: the ELF-64 object file format, version 1.5, draft 2.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass, replace

from .errors import ToolError

PAGE = 4096
_IDENT = b"\x7fELF\x02\x01\x01"  # 64 bits, little endian, version 1
# ident, type, machine, version, entry, phoff, shoff, flags, ehsize, phentsize, phnum, shentsize, shnum, shstrndx
_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SEGMENT = struct.Struct("<IIQQQQQQ")
_PT_LOAD = 1
_FILLER = re.compile(rb"\xcc{65536,}")


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
    except (struct.error, OverflowError) as error:
        raise ToolError("make left a vmlinux that ends in its headers") from error


def compact(data: bytes) -> bytes:
    """The same program in as few bytes as it needs. Raises ToolError for an ELF file that is not a kernel."""
    segments = segments_of(data)
    if not any(s.type == _PT_LOAD for s in segments):
        raise ToolError("make left a vmlinux that loads nothing")
    parts = [part for s in segments for part in (_without_filler(s, data) if s.type == _PT_LOAD else [s])]
    out = bytearray(_HEADER.size + len(parts) * _SEGMENT.size)
    placed: list[tuple[Segment, int]] = []
    for part in (p for p in parts if p.type == _PT_LOAD):
        out += bytes(-len(out) % PAGE)
        placed.append((part, len(out)))
        out += data[part.offset : part.offset + part.filesz]
    for number, part in enumerate(parts):
        _SEGMENT.pack_into(out, _HEADER.size + number * _SEGMENT.size, *_values(_moved(part, placed)))
    header = list(_HEADER.unpack_from(data))
    header[5], header[6], header[10], header[11:14] = _HEADER.size, 0, len(parts), (0, 0, 0)
    _HEADER.pack_into(out, 0, *header)  # program headers follow; no sections
    return bytes(out)


def _without_filler(segment: Segment, data: bytes) -> list[Segment]:
    """A segment as the parts between its long runs of filler; what is left out reads as zero in a new guest.

    x86-64 puts its entry code alone into 2 MiB, for page-table isolation: 2 to 4 MiB around it are int3
    (arch/x86/kernel/vmlinux.lds.S, ALIGN_ENTRY_TEXT_BEGIN). Nothing runs there, and a host that does not write
    them does not have to back them with memory.
    """
    content = data[segment.offset : segment.offset + segment.filesz]
    if len(content) < segment.filesz:
        raise ToolError("make left a vmlinux that ends in the middle of a segment")
    parts, start = [], 0
    for run in _FILLER.finditer(content):
        begin = run.start() + -(segment.vaddr + run.start()) % PAGE
        end = run.end() - (segment.vaddr + run.end()) % PAGE
        if begin > start:
            parts.append(_part(segment, start, begin - start, begin - start))
        start = end
    if start < segment.memsz or not parts:
        parts.append(_part(segment, start, segment.filesz - start, segment.memsz - start))
    return parts


def _part(segment: Segment, start: int, filesz: int, memsz: int) -> Segment:
    """What of a segment begins ``start`` bytes into it."""
    return replace(
        segment,
        offset=segment.offset + start,
        vaddr=segment.vaddr + start,
        paddr=segment.paddr + start,
        filesz=filesz,
        memsz=memsz,
    )


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
