"""vmlinux packed for a virtual machine: the same bytes at the same addresses, in less file."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kata_toolkit.errors import ToolError
from kata_toolkit.vmlinux import Segment, compact, segments_of

LOAD, NOTE = 1, 4


def elf(segments: list[tuple[Segment, bytes]], size: int) -> bytes:
    """An ELF file with these segments, and sections and filling that nobody loads."""
    ident = b"\x7fELF\x02\x01\x01" + bytes(9)
    out = bytearray(b"\xee" * size)
    struct.pack_into(
        "<16sHHIQQQIHHHHHH", out, 0, ident, 2, 62, 1, 0x1000123, 64, size - 64, 0, 64, 56, len(segments), 64, 1, 0
    )
    for number, (s, content) in enumerate(segments):
        fields = (s.type, s.flags, s.offset, s.vaddr, s.paddr, s.filesz, s.memsz, s.align)
        struct.pack_into("<IIQQQQQQ", out, 64 + 56 * number, *fields)
        out[s.offset : s.offset + len(content)] = content
    return bytes(out)


def loaded(data: bytes) -> dict[int, tuple[bytes, int]]:
    """What a VMM makes of it: physical address → bytes and memory size; notes by their type."""
    return {s.paddr if s.type == LOAD else -s.type: (data[s.offset :][: s.filesz], s.memsz) for s in segments_of(data)}


TEXT = Segment(LOAD, 5, 0x200000, 0xFFFFFFFF81000000, 0x1000000, 5000, 5000, 0x200000)
PERCPU = Segment(LOAD, 6, 0x400000, 0, 0x1400000, 100, 100, 0x200000)
DATA = Segment(LOAD, 7, 0x600000, 0xFFFFFFFF81600000, 0x1600000, 4096, 99999, 0x200000)
NOTES = Segment(NOTE, 4, 0x200000 + 4000, 0xFFFFFFFF81000FA0, 0x1000FA0, 100, 100, 4)
KERNEL = elf([(TEXT, b"t" * 5000), (PERCPU, b"p" * 100), (DATA, b"d" * 4096), (NOTES, b"n" * 100)], 0x700000)


def test_what_is_loaded_is_the_same() -> None:
    packed = compact(KERNEL)
    assert loaded(packed) == loaded(KERNEL)
    assert loaded(packed)[-NOTE] == (b"n" * 100, 100)


def test_it_takes_no_more_file_than_its_pages() -> None:
    packed = compact(KERNEL)
    assert len(packed) == 4096 + 8192 + 4096 + 4096
    assert b"\xee" not in packed


def test_entry_and_addresses_stay_and_offsets_fit_the_alignment() -> None:
    packed = compact(KERNEL)
    (entry,) = struct.unpack_from("<Q", packed, 24)
    assert entry == 0x1000123
    for before, after in zip(segments_of(KERNEL), segments_of(packed), strict=True):
        assert (before.type, before.flags, before.vaddr, before.paddr) == (
            after.type,
            after.flags,
            after.vaddr,
            after.paddr,
        )
        assert after.offset % after.align == after.vaddr % after.align


def test_packing_twice_changes_nothing() -> None:
    assert compact(compact(KERNEL)) == compact(KERNEL)


def parts(data: bytes) -> list[tuple[int, int, int]]:
    """Physical address, bytes in the file and bytes in memory of everything that is loaded."""
    return [(s.paddr, s.filesz, s.memsz) for s in segments_of(data) if s.type == LOAD]


INT3 = b"\xcc"


def test_the_filler_around_the_entry_code_is_left_out() -> None:
    """What x86-64's linker script makes: text, int3 up to 2 MiB, entry code, int3, read-only data."""
    content = (b"t" * 5000).ljust(0x40000, INT3) + (b"e" * 4097).ljust(0x40000, INT3) + b"r" * 100
    text = Segment(LOAD, 5, 0x200000, 0xFFFFFFFF81000000, 0x1000000, len(content), len(content), 0x200000)
    note = Segment(NOTE, 4, 0x200000 + 0x80000, 0xFFFFFFFF81080000, 0x1080000, 8, 8, 4)
    packed = compact(elf([(text, content), (DATA, b"d" * 4096), (note, b"r" * 8)], 0x700000))
    assert parts(packed) == [
        (0x1000000, 0x2000, 0x2000),
        (0x1040000, 0x2000, 0x2000),
        (0x1080000, 100, 100),
        (DATA.paddr, 4096, 99999),
    ]
    got = loaded(packed)
    assert got[0x1000000][0] == (b"t" * 5000).ljust(0x2000, INT3)
    assert got[0x1040000][0] == (b"e" * 4097).ljust(0x2000, INT3)
    assert (got[0x1080000][0], got[-NOTE][0]) == (b"r" * 100, b"r" * 8)
    assert compact(packed) == packed


@pytest.mark.parametrize(
    ("content", "more", "expected"),
    [
        (INT3 * 0x40000, 0, [(0x1040000, 0, 0)]),  # nothing but filler
        (INT3 * 0x40000, 9, [(0x1040000, 0, 9)]),  # the zeros behind it stay
        (INT3 * 0x40000 + b"x", 0, [(0x1040000, 1, 1)]),
        (b"x" + INT3 * 0x40000, 0, [(0x1000000, 4096, 4096), (0x1040000, 1, 1)]),
        (b"x" + INT3 * 0x8000 + b"y", 0, [(0x1000000, 0x8002, 0x8002)]),  # too short to be worth a segment
    ],
)
def test_filler_at_the_ends(content: bytes, more: int, expected: list[tuple[int, int, int]]) -> None:
    segment = Segment(LOAD, 5, 0x200000, 0, 0x1000000, len(content), len(content) + more, 0x200000)
    assert parts(compact(elf([(segment, content)], 0x300000))) == expected


@given(st.lists(st.binary(max_size=20_000), min_size=1, max_size=4))
def test_any_contents_survive(contents: list[bytes]) -> None:
    segments = [
        (Segment(LOAD, 5, (i + 1) << 16, i << 21, i << 21, len(c), len(c) + i, 1 << 16), c)
        for i, c in enumerate(contents)
    ]
    whole = elf(segments, (len(contents) + 1) << 16)
    assert loaded(compact(whole)) == loaded(whole)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not a 64-bit ELF file"),
        (b"\x7fELF\x01\x01\x01" + bytes(100), "not a 64-bit ELF file"),
        (KERNEL[:80], "ends in its headers"),
        (KERNEL[:0x200100], "ends in the middle of a segment"),
        (elf([(NOTES, b"")], 0x300000), "loads nothing"),
        (elf([(PERCPU, b""), (NOTES, b"")], 0x500000), r"segment \(type 4\) outside of what is loaded"),
    ],
)
def test_what_is_no_kernel_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(ToolError, match=message):
        compact(data)


# Without a C library, which would look for its program headers in memory, where a kernel has none.
PROGRAM = """
static char text[] = "it runs\\n";
static long call(long number, long a, long b, long c)
{
    long result;
    __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
    return result;
}
void _start(void)
{
    text[0] = 'I';
    call(1, 1, (long)text, sizeof text - 1);
    call(60, 7, 0, 0);
}
"""


@pytest.mark.tool
def test_a_program_still_runs_and_readelf_is_content(tmp_path: Path) -> None:
    """Linux itself is as strict about program headers as any VMM."""
    (tmp_path / "p.c").write_text(PROGRAM)
    flags = ("-O2", "-static", "-no-pie", "-nostdlib", "-ffreestanding", "-Wl,--build-id=sha1")
    subprocess.run(["gcc", *flags, "-o", tmp_path / "p", tmp_path / "p.c"], check=True)
    packed = tmp_path / "packed"
    packed.write_bytes(compact((tmp_path / "p").read_bytes()))
    packed.chmod(0o755)
    result = subprocess.run([packed], capture_output=True, text=True, check=False)
    assert (result.stdout, result.returncode) == ("It runs\n", 7)
    told = subprocess.run(["readelf", "-lWn", packed], capture_output=True, text=True, check=True)
    assert "Warning" not in told.stderr
    assert "Build ID" in told.stdout
