"""Runs one guest under KVM and reports, on stdout, what happened: one JSON object a line.

Started as a program of its own, by its path and without the rest of the package, since KVM can hang or kill whoever
asks it to run a broken guest. It judges nothing; `kvm_guest` does. The arguments: ``create`` (make a VM and stop) or
``run``; the guest's memory (see `kvm_code`) comes on stdin. Ioctls and structures: linux/kvm.h and
Documentation/virt/kvm/api.rst of the kernel.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import mmap
import os
import struct
import sys
from typing import Any, NoReturn

# _IO() has a bit of its own on POWER (arch/powerpc/include/uapi/asm/ioctl.h).
_IO = 0x20000000 if os.uname().machine.startswith("ppc") else 0
KVM_GET_API_VERSION, KVM_CREATE_VM, KVM_CHECK_EXTENSION = _IO | 0xAE00, _IO | 0xAE01, _IO | 0xAE03
KVM_GET_VCPU_MMAP_SIZE = 0xAE04
KVM_CAP_ARM_VM_IPA_SIZE, DEFAULT_IPA_BITS = 165, 40
KVM_GET_SUPPORTED_CPUID, KVM_SET_CPUID2 = 0xC008AE05, 0x4008AE90
KVM_CREATE_VCPU, KVM_RUN = 0xAE41, 0xAE80
KVM_SET_USER_MEMORY_REGION, KVM_SET_TSS_ADDR = 0x4020AE46, 0xAE47
KVM_GET_REGS, KVM_SET_REGS = 0x8090AE81, 0x4090AE82
KVM_GET_SREGS, KVM_SET_SREGS = 0x8138AE83, 0x4138AE84
KVM_EXIT_IO = 2

REGS = struct.Struct("<18Q")  # rax … r15, rip, rflags
SREGS_SIZE = 312
RUN_EXIT_REASON, RUN_DETAILS = 8, 32  # offsets in struct kvm_run
CPUID_ENTRIES, CPUID_ENTRY = 256, struct.Struct("<10I")
TSS_ADDRESS = 0x1000000  # three pages that Intel's VMX wants beside the guest's memory
MOST_EXITS = 64  # a sound guest needs six


def say(**event: Any) -> None:
    """One event for the parent, at once: what comes next may kill us."""
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


def stop(doing: str, error: OSError) -> NoReturn:
    """Report a step of the set-up that KVM refused, and end."""
    say(event="refused", doing=doing, errno=errno.errorcode.get(error.errno or 0, "?"), text=error.strerror)
    sys.exit(0)


def ask(fd: int, request: int, argument: int | bytearray, doing: str) -> int:
    """An ioctl; a refusal ends the program with a report."""
    try:
        return fcntl.ioctl(fd, request, argument)
    except OSError as error:
        stop(doing, error)


def segment(base: int, limit: int, selector: int, kind: int, *, code: bool = False, system: bool = False) -> bytes:
    """A struct kvm_segment: present, privilege level 0."""
    long_mode, big = (1, 0) if code else (0, 0 if system else 1)
    return struct.pack(
        "<QIH10B", base, limit, selector, kind, 1, 0, big, 0 if system else 1, long_mode, 0 if system else 1, 0, 0, 0
    )


def set_registers(vcpu: int, layout: dict[str, int], *, with_xsave: bool) -> None:
    """Put the vCPU into long mode at the guest's first instruction."""
    sregs = bytearray(SREGS_SIZE)
    ask(vcpu, KVM_GET_SREGS, sregs, "read the vCPU's registers")
    data = segment(0, 0xFFFFFFFF, layout["data_selector"], 3)
    segments = [segment(0, 0xFFFFFFFF, layout["code_selector"], 11, code=True), *[data] * 5]
    segments.append(segment(layout["tss"], 0x67, layout["tss_selector"], 11, system=True))
    segments.append(struct.pack("<QIH10B", 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 1, 0))  # LDT: unusable
    tables = [struct.pack("<QH3H", layout[name], layout[f"{name}_limit"], 0, 0, 0) for name in ("gdt", "idt")]
    cr0 = 0x80010033  # PG, WP, NE, ET, MP, PE
    cr4 = 0x620 | (1 << 18 if with_xsave else 0)  # OSXMMEXCPT, OSFXSR, PAE; OSXSAVE
    efer = 0x500  # LMA, LME
    fixed = b"".join([*segments, *tables, struct.pack("<6Q", cr0, 0, layout["cr3"], cr4, 0, efer)])
    sregs[: len(fixed)] = fixed  # what follows (APIC base, pending interrupts) stays
    ask(vcpu, KVM_SET_SREGS, sregs, "set up 64-bit mode")
    regs = [0] * 18
    regs[6], regs[16], regs[17] = layout["stack"], layout["code"], 0x2  # rsp, rip, rflags
    ask(vcpu, KVM_SET_REGS, bytearray(REGS.pack(*regs)), "set the vCPU's registers")


def set_cpuid(kvm: int, vcpu: int) -> bool:
    """Offer the guest every feature KVM offers, as QEMU's ``-cpu host`` does. True: XSAVE is among them."""
    table = bytearray(8 + CPUID_ENTRIES * CPUID_ENTRY.size)
    struct.pack_into("<I", table, 0, CPUID_ENTRIES)
    ask(kvm, KVM_GET_SUPPORTED_CPUID, table, "ask for the CPU features")
    ask(vcpu, KVM_SET_CPUID2, table, "set the CPU features")
    (count,) = struct.unpack_from("<I", table, 0)
    entries = (CPUID_ENTRY.unpack_from(table, 8 + i * CPUID_ENTRY.size) for i in range(count))
    # function, index, flags, eax, ebx, ecx: leaf 1, ECX bit 26
    return any(entry[0] == 1 and entry[5] >> 26 & 1 for entry in entries)


def run_guest(vcpu: int, state: mmap.mmap) -> None:
    """Run until the guest halts or KVM gives up; each return from the guest is reported."""
    for _ in range(MOST_EXITS):
        ask(vcpu, KVM_RUN, 0, "run the guest")
        (reason,) = struct.unpack_from("<I", state, RUN_EXIT_REASON)
        if reason == KVM_EXIT_IO:
            _, size, port, _, offset = struct.unpack_from("<BBHIQ", state, RUN_DETAILS)
            say(event="io", port=port, value=int.from_bytes(state[offset : offset + size], "little"), size=size)
            continue
        regs = bytearray(REGS.size)
        ask(vcpu, KVM_GET_REGS, regs, "read the vCPU's registers")
        details = struct.unpack_from("<2I", state, RUN_DETAILS)
        say(event="exit", reason=reason, details=details, rip=REGS.unpack(regs)[16])
        return
    say(event="endless")


def vm_type(kvm: int) -> int:
    """What KVM_CREATE_VM is asked for: on arm64 a guest's address bits, where the processor has fewer than 40."""
    if os.uname().machine != "aarch64":
        return 0
    bits = ask(kvm, KVM_CHECK_EXTENSION, KVM_CAP_ARM_VM_IPA_SIZE, "ask for the size of a guest's addresses")
    say(event="ipa", bits=bits)
    return bits if 0 < bits < DEFAULT_IPA_BITS else 0


def main(action: str, layout: dict[str, int]) -> None:
    """Open KVM and go as far as ``action`` says."""
    try:
        kvm = os.open("/dev/kvm", os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        stop("open", error)
    say(event="version", number=ask(kvm, KVM_GET_API_VERSION, 0, "ask for the version"))
    vm = ask(kvm, KVM_CREATE_VM, vm_type(kvm), "create a VM")
    say(event="created")
    if action != "run":
        return
    content = sys.stdin.buffer.read()
    memory = mmap.mmap(-1, len(content))
    memory[:] = content
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    region = bytearray(struct.pack("<IIQQQ", 0, 0, 0, len(content), address))
    ask(vm, KVM_SET_USER_MEMORY_REGION, region, "give the VM memory")
    ask(vm, KVM_SET_TSS_ADDR, TSS_ADDRESS, "set the TSS address")
    vcpu = ask(vm, KVM_CREATE_VCPU, 0, "create a vCPU")
    state = mmap.mmap(vcpu, ask(kvm, KVM_GET_VCPU_MMAP_SIZE, 0, "ask for the vCPU's state"))
    with_xsave = set_cpuid(kvm, vcpu)
    say(event="cpuid", xsave=with_xsave)
    set_registers(vcpu, layout, with_xsave=with_xsave)
    run_guest(vcpu, state)


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]) if len(sys.argv) > 2 else {})
