"""What an ELF program needs, from its headers. Layout: the System V ABI, as in elf.h."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

from .arch import arches
from .errors import InputError

_MAGIC_64_LITTLE = b"\x7fELF\x02\x01"
_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_PROGRAM = struct.Struct("<IIQQQQQQ")
_EXECUTABLE, _SHARED = 2, 3  # e_type; position-independent programs are ET_DYN
_INTERP = 3  # p_type: names the dynamic linker
_MAX_INTERP = 4096


@dataclass(frozen=True, slots=True)
class Program:
    """An executable: the number of its machine (e_machine), and its dynamic linker or None if it is static."""

    machine: int
    interpreter: str | None

    @property
    def arch(self) -> str:
        """The machine's name, for messages."""
        return next((a.name for a in arches().values() if a.machine == self.machine), f"machine {self.machine}")


def read_program(path: Path, name: str | None = None) -> Program:
    """Read the headers of an executable. ``name``: what messages call it.

    Raises InputError when the file cannot be read or is not a whole 64-bit little-endian ELF executable.
    """
    name = name or path.name
    try:
        with path.open("rb") as stream:
            head = stream.read(_HEADER.size)
            if not head.startswith(_MAGIC_64_LITTLE) or len(head) < _HEADER.size:
                raise InputError(f"{name} is not a 64-bit little-endian ELF file")
            fields = _HEADER.unpack(head)
            kind, machine, starts_at, table, entry, count = (fields[at] for at in (1, 2, 4, 5, 9, 10))
            stream.seek(table)
            headers = stream.read(entry * count)
            if kind not in (_EXECUTABLE, _SHARED) or not count or not starts_at:
                raise InputError(f"{name} is an ELF file, but not a program")
            if entry < _PROGRAM.size or len(headers) < entry * count:
                raise InputError(f"{name} is cut off: its program headers are not all there")
            segments = [_PROGRAM.unpack_from(headers, at) for at in range(0, entry * count, entry)]
            _require_whole(stream.seek(0, 2), segments, name)
            interpreter = None
            for segment in segments:
                if segment[0] == _INTERP:
                    stream.seek(segment[2])
                    raw = stream.read(min(segment[5], _MAX_INTERP))
                    interpreter = raw.rstrip(b"\0").decode(errors="replace")
    except (OSError, OverflowError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "its headers make no sense"
        raise InputError(f"cannot read {name}: {reason}") from error
    return Program(machine, interpreter)


def _require_whole(size: int, segments: list[tuple[int, ...]], name: str) -> None:
    if any(offset + in_file > size for _, _, offset, _, _, in_file, _, _ in segments):
        raise InputError(f"{name} is cut off: its headers name more than its {size} bytes")
