"""The memory of the smallest guest that tells whether KVM can run Linux: tables, code, data; no boot firmware.

The guest starts in long mode (Intel SDM volume 3, section 4.5; AMD APM volume 2, chapter 5), uses three
instructions that a Linux kernel cannot do without and that broken hypervisors fail to emulate, and says how far it
came by writing to I/O ports, each of which brings the host back:

====  =======================================================
port  meaning
====  =======================================================
0x10  a byte: the step that was reached (see `STEPS`); four bytes: `MAGIC`, the guest is done
0x11  the instruction before gave a wrong result
0x12  an exception came that nothing asked for: its vector
====  =======================================================
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

SIZE = 0x10000  # bytes of guest memory, from guest physical address 0
PML4, PDPT, PAGE_DIRECTORY = 0x1000, 0x2000, 0x3000
GDT, IDT, TSS = 0x4000, 0x5000, 0x6000
XSAVE_AREA, OPERAND, CODE, HANDLERS, STACK = 0x7000, 0x8000, 0x9000, 0xA000, 0xF000
GDT_ENTRIES, IDT_ENTRIES = 5, 32
CODE_SELECTOR, DATA_SELECTOR, TSS_SELECTOR = 0x08, 0x10, 0x18

STEP_PORT, WRONG_PORT, EXCEPTION_PORT = 0x10, 0x11, 0x12
MAGIC = 0x6174616B  # "kata"
STEPS = ("64-bit code", "cmpxchg16b", "XRSTOR", "int3")
"""What each step proves; step n is reached when STEPS[n - 1] worked."""

_BREAKPOINT = 3  # exception vector of int3
_XMM0_MARK, _INT3_MARK = 0x1234ABCD, 0x0B8EA4BB
_XSTATE_SSE = 2  # bit of XCR0 and XSTATE_BV


def guest_memory() -> bytes:
    """The guest's memory. On a CPU model without XSAVE the guest passes over XRSTOR by itself."""
    memory = bytearray(SIZE)
    _put(memory, PML4, struct.pack("<Q", PDPT | 0x3))  # present, writable
    _put(memory, PDPT, struct.pack("<Q", PAGE_DIRECTORY | 0x3))
    _put(memory, PAGE_DIRECTORY, struct.pack("<Q", 0x83))  # one 2 MiB page from address 0
    _put(memory, GDT, _gdt())
    for vector in range(IDT_ENTRIES):
        at = HANDLERS + 16 * vector
        _put(memory, IDT + 16 * vector, _gate(at))
        _put(memory, at, _breakpoint_handler() if vector == _BREAKPOINT else _exception_handler(vector))
    _put(memory, XSAVE_AREA + 24, struct.pack("<I", 0x1F80))  # MXCSR: its value after reset
    _put(memory, XSAVE_AREA + 160, struct.pack("<I", _XMM0_MARK))
    _put(memory, XSAVE_AREA + 512, struct.pack("<Q", _XSTATE_SSE))
    _put(memory, CODE, b"".join(_listing()))
    return bytes(memory)


def _put(memory: bytearray, at: int, content: bytes) -> None:
    memory[at : at + len(content)] = content


def _gdt() -> bytes:
    """Null, 64-bit code, data, and a busy 64-bit TSS (two entries)."""
    return struct.pack("<5Q", 0, 0x00AF9B000000FFFF, 0x00CF93000000FFFF, 0x00008B0000000067 | TSS << 16, 0)


def _gate(handler: int) -> bytes:
    """A present 64-bit interrupt gate for privilege level 0."""
    return struct.pack("<HHBBHII", handler & 0xFFFF, CODE_SELECTOR, 0, 0x8E, handler >> 16 & 0xFFFF, 0, 0)


def _exception_handler(vector: int) -> bytes:
    return bytes([0xB0, vector, 0xE6, EXCEPTION_PORT, 0xF4])  # mov al, vector; out EXCEPTION_PORT, al; hlt


def _breakpoint_handler() -> bytes:
    return b"\xbd" + struct.pack("<I", _INT3_MARK) + b"\x48\xcf"  # mov ebp, mark; iretq


def _listing() -> Iterator[bytes]:
    yield _step(1)

    yield b"\xbf" + struct.pack("<I", OPERAND)  # mov edi, OPERAND (16 zero bytes)
    yield b"\x31\xc0\x31\xd2"  # xor eax, eax; xor edx, edx: expect zero
    yield b"\xbb\x11\x11\x00\x00\xb9\x22\x22\x00\x00"  # mov ebx, 0x1111; mov ecx, 0x2222: the new value
    yield b"\xf0\x48\x0f\xc7\x0f"  # lock cmpxchg16b [rdi]
    yield _wrong_unless(b"\x74")  # jz: it must have been equal
    yield b"\x81\x7f\x08\x22\x22\x00\x00"  # cmp dword [rdi + 8], 0x2222: the upper half was written
    yield _wrong_unless(b"\x74")
    yield _step(2)

    xrstor = b"".join(
        [
            b"\x31\xc9\x31\xd2\xb8\x03\x00\x00\x00",  # xor ecx, ecx; xor edx, edx; mov eax, 3: x87 and SSE
            b"\x0f\x01\xd1",  # xsetbv
            b"\xbf" + struct.pack("<I", XSAVE_AREA),  # mov edi, XSAVE_AREA
            b"\x48\x0f\xae\x2f",  # xrstor64 [rdi]
            b"\x66\x0f\x7e\xc0",  # movd eax, xmm0
            b"\x3d" + struct.pack("<I", _XMM0_MARK),  # cmp eax, mark
            _wrong_unless(b"\x74"),
        ]
    )
    yield b"\xb8\x01\x00\x00\x00\x31\xc9\x0f\xa2"  # mov eax, 1; xor ecx, ecx; cpuid
    yield b"\x0f\xba\xe1\x1b"  # bt ecx, 27: OSXSAVE
    yield b"\x73" + bytes([len(xrstor)])  # jnc over XRSTOR
    yield xrstor
    yield _step(3)

    yield b"\x31\xed"  # xor ebp, ebp
    yield b"\xcc"  # int3: its handler sets ebp
    yield b"\x81\xfd" + struct.pack("<I", _INT3_MARK)  # cmp ebp, mark
    yield _wrong_unless(b"\x74")
    yield _step(4)

    yield b"\xb8" + struct.pack("<I", MAGIC)  # mov eax, MAGIC
    yield bytes([0xE7, STEP_PORT])  # out STEP_PORT, eax
    yield b"\xf4"  # hlt


def _step(number: int) -> bytes:
    return bytes([0xB0, number, 0xE6, STEP_PORT])  # mov al, number; out STEP_PORT, al


def _wrong_unless(jump: bytes) -> bytes:
    """A conditional jump over "out WRONG_PORT, al; hlt"."""
    return jump + bytes([3, 0xE6, WRONG_PORT, 0xF4])
