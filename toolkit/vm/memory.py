"""Where a guest's memory goes, on the host and inside it: in KiB, in parts that add up.

On the host: what the kernel says of each mapping of QEMU's process (/proc/PID/smaps). A page that several processes
map counts to each of them by its share (PSS), so that the sum over all VMs is what they take together; RSS counts it
to each in full. Source: the kernel's Documentation/filesystems/proc.rst.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from ..errors import ToolError

PARTS: Mapping[str, str] = {
    "guest memory": "what the guest has touched of its memory",
    "image": "what the guest reads of its image directly (DAX)",
    "kernel file": "the kernel, as QEMU maps it to load it",
    "translated code": "the guest's code as TCG translated it; none under KVM",
    "program": "QEMU itself",
    "libraries": "the libraries that QEMU is linked with",
    "heap": "QEMU's heap",
    "other": "firmware, tables, threads and their heaps",
}
"""What the memory of a VMM's process is made of, in the order of telling."""

_HEAD = re.compile(r"^([0-9a-f]+)-([0-9a-f]+) (\S{4}) \S+ \S+ \S+ *(.*)$")
_LIBRARY = re.compile(r"\.so(\.[0-9.]+)?( \(deleted\))?$")
_DMESG = re.compile(
    r"Memory: (?P<available>\d+)K/(?P<present>\d+)K available \((?P<code>\d+)K kernel code, (?P<rwdata>\d+)K rwdata, "
    r"(?P<rodata>\d+)K rodata, (?P<init>\d+)K init, (?P<bss>\d+)K bss, (?P<reserved>\d+)K reserved"
)
_DESCRIPTOR_BYTES, _PAGE_KIB = 64, 4  # struct page


@dataclass(frozen=True, slots=True)
class Footprint:
    """Memory in KiB. ``private``: pages that nobody else maps; ``shared``: those that somebody else maps too."""

    pss_kib: int = 0
    rss_kib: int = 0
    private_kib: int = 0
    shared_kib: int = 0

    def __add__(self, other: Footprint) -> Footprint:
        return Footprint(*(a + b for a, b in zip(asdict(self).values(), asdict(other).values(), strict=True)))


@dataclass(frozen=True, slots=True)
class Region:
    """One mapping of a process: its size in KiB, its permissions as /proc writes them, its file, its footprint."""

    size_kib: int
    permissions: str
    path: str
    footprint: Footprint


def mappings(smaps: str) -> Iterator[Region]:
    """The mappings of an smaps file's text."""
    head: re.Match[str] | None = None
    values: dict[str, int] = {}
    for line in [*smaps.splitlines(), "0-0 ---- 0 0:0 0"]:
        found = _HEAD.match(line)
        if not found:
            name, _, rest = line.partition(":")
            number = rest.split()[:1]
            if number and number[0].isdigit():
                values[name] = int(number[0])
            continue
        if head:
            size = (int(head[2], 16) - int(head[1], 16)) >> 10
            yield Region(size, head[3], head[4].strip(), _footprint(values))
        head, values = found, {}


def _footprint(values: Mapping[str, int]) -> Footprint:
    return Footprint(
        values.get("Pss", 0),
        values.get("Rss", 0),
        values.get("Private_Clean", 0) + values.get("Private_Dirty", 0),
        values.get("Shared_Clean", 0) + values.get("Shared_Dirty", 0),
    )


def footprint(pid: int) -> Footprint:
    """What a process takes in all. Raises ToolError when it is gone."""
    values: dict[str, int] = {}
    for line in _read(pid, "smaps_rollup").splitlines()[1:]:
        name, _, rest = line.partition(":")
        values[name] = int(rest.split()[0])
    return _footprint(values)


@dataclass(frozen=True, slots=True)
class Files:
    """How QEMU's mappings are told apart: by their paths, and the guest's memory by its size where it has none."""

    memory_mib: int
    memory: str = ""
    image: str = ""
    kernel: str = ""


def by_part(pid: int, files: Files) -> dict[str, Footprint]:
    """QEMU's memory by `PARTS`, all of it. Raises ToolError when the process is gone."""
    program = str(Path(f"/proc/{pid}/exe").readlink()) if Path(f"/proc/{pid}/exe").exists() else ""
    found = dict.fromkeys(PARTS, Footprint())
    for mapping in mappings(_read(pid, "smaps")):
        part = _part(mapping, files, program)
        found[part] += mapping.footprint
    return found


def _part(mapping: Region, files: Files, program: str) -> str:
    path = mapping.path
    named = {files.memory: "guest memory", files.image: "image", files.kernel: "kernel file", program: "program"}
    if path and path in named:
        return named[path]
    if path.startswith("/memfd:") or (not path and mapping.size_kib == files.memory_mib << 10):
        return "guest memory"
    if not path and "x" in mapping.permissions:
        return "translated code"
    if path == "[heap]":
        return "heap"
    return "libraries" if _LIBRARY.search(path) else "other"


def descendants(name: str) -> list[int]:
    """The processes of that name that we, or a process that we started, have started."""
    found, parents = [], [os.getpid()]
    while parents:
        for task in Path(f"/proc/{parents.pop()}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                parents += (children := [int(word) for word in task.read_text().split()])
                found += [pid for pid in children if Path(f"/proc/{pid}/comm").read_text().strip() == name]
    return found


def _read(pid: int, name: str) -> str:
    try:
        return Path(f"/proc/{pid}/{name}").read_text()
    except OSError as error:
        raise ToolError(f"the memory of process {pid} cannot be read: {error.strerror}") from error


# ---- inside the guest ----


def meminfo(text: str) -> dict[str, int]:
    """/proc/meminfo as numbers, in KiB."""
    found = {}
    for line in text.splitlines():
        name, _, rest = line.partition(":")
        words = rest.split()
        if words and words[0].isdigit():
            found[name] = int(words[0])
    return found


def guest_parts(memory_mib: int, info: Mapping[str, int], dmesg: str) -> dict[str, int]:
    """A guest's memory by what it is used for, in KiB; the parts add up to ``memory_mib``.

    ``info``: its /proc/meminfo; ``dmesg``: its kernel's messages, whose line "Memory:" tells of the kernel's own parts
    (without it they are one).
    """
    total = memory_mib << 10
    parts: dict[str, int] = {}
    own = total - info["MemTotal"]
    line = _DMESG.search(dmesg)
    if line:
        present = int(line["present"])
        parts["kernel text"] = int(line["code"])
        parts["kernel data"] = int(line["rwdata"]) + int(line["rodata"]) + int(line["bss"])
        parts["page structures"] = present // _PAGE_KIB * _DESCRIPTOR_BYTES >> 10
        parts["firmware's"] = total - present
    parts["kernel, reserved"] = own - sum(parts.values())
    used = info["MemTotal"] - info["MemFree"]
    shown = {
        "slab": info.get("Slab", 0),
        "per CPU": info.get("Percpu", 0),
        "page tables": info.get("PageTables", 0) + info.get("SecPageTables", 0),
        "kernel stacks": info.get("KernelStack", 0),
        "programs": info.get("AnonPages", 0),
        "files and tmpfs": info.get("Cached", 0) + info.get("Buffers", 0),
    }
    parts |= shown
    parts["kernel, other"] = used - sum(shown.values())
    parts["free"] = info["MemFree"]
    return parts
