"""The figures of one kernel, and the difference of two."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from ..pipeline.store import Entry
from ..vmlinux import segments_of


@dataclass(frozen=True, slots=True)
class Figures:
    """What a kernel takes; in a difference, what it takes more. None: not known.

    ``objects``: what vmlinux was linked from. ``bzimage``, ``vmlinux`` (packed), ``text``: bytes. ``boot_minstr`` (T)
    and ``kernel_minstr`` (K): millions of instructions; ``overhead_mib`` (O): MiB of a guest of 256 MiB; all three as
    ``vm/measure.py`` defines them. ``exits``: accesses to ports and devices on the way, each an exit under KVM.
    """

    objects: int | None = None
    bzimage: int | None = None
    vmlinux: int | None = None
    text: int | None = None
    boot_minstr: float | None = None
    kernel_minstr: float | None = None
    overhead_mib: float | None = None
    exits: int | None = None

    def __sub__(self, other: Figures) -> Figures:
        """The difference, figure by figure; None where one of the two is."""
        pairs = {f.name: (getattr(self, f.name), getattr(other, f.name)) for f in fields(self)}
        return Figures(**{n: None if a is None or b is None else round(a - b, 3) for n, (a, b) in pairs.items()})

    def as_json(self) -> dict[str, float | None]:
        """The figures by name; null where one is not known."""
        return asdict(self)


def sizes(kernel: Entry) -> dict[str, int | None]:
    """The figures that an entry of the kernel stage tells without being booted, for `Figures`."""
    objects = kernel.path("objects").read_text().splitlines()
    return {
        "objects": len(objects) or None,
        "bzimage": kernel.files["vmlinuz"].stamp.size,
        "vmlinux": kernel.files["vmlinux"].stamp.size,
        "text": text_bytes(kernel.path("System.map"), kernel.path("vmlinux")),
    }


def text_bytes(system_map: Path, kernel: Path) -> int | None:
    """The bytes of a kernel's code, from ``_stext`` to ``_etext``, without the padding to large pages in between.

    ``kernel``: an ELF file, or arm64's and riscv64's Image, which begins at ``_text``. None when its map does not
    name the two, or its file does not hold them.
    """
    found = {name: int(address, 16) for address, name in _BOUNDS.findall(system_map.read_text())}
    start, end = found.get("_stext"), found.get("_etext")
    if start is None or end is None:
        return None
    code = _loaded(kernel.read_bytes(), start, end, found.get("_text", start))
    return len(code) - sum(len(padding) for padding in _PADDING.findall(code)) if code else None


_BOUNDS = re.compile(r"^([0-9a-f]+) \S (_text|_stext|_etext)$", re.MULTILINE)
# Linker scripts fill with int3 (x86), nop or zero; code never repeats one of them this often.
_PADDING = re.compile(rb"\xcc{256,}|\x90{256,}|\x00{256,}")
_PT_LOAD = 1  # elf(5)


def _loaded(data: bytes, start: int, end: int, image_start: int) -> bytes:
    """The bytes at an address range, as far as the file has them: packing leaves long padding out."""
    if not data.startswith(b"\x7fELF"):
        return data[start - image_start : end - image_start]
    found = bytearray()
    for segment in segments_of(data):
        first, last = max(start, segment.vaddr), min(end, segment.vaddr + segment.filesz)
        if segment.type == _PT_LOAD and first < last:
            offset = segment.offset - segment.vaddr
            found += data[first + offset : last + offset]
    return bytes(found)
