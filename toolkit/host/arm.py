"""Checks that only arm64 needs: the interrupt controller, and how much memory a guest can address."""

from __future__ import annotations

import re

from ..checks import FAIL, PASS, WARN, Skipped, Verdict
from .entry import HostCheck
from .host import Host
from .kvm import KVM

GICV2_VCPUS = 8  # the most that GICv2 serves (Documentation/virt/kvm/devices/arm-vgic.rst)
_GIC = re.compile(r"\bGIC[v-]?([0-9])", re.ASCII)


def interrupts(host: Host) -> Verdict:
    """The host's interrupt controller is its guests' (QEMU's gic-version=host, which Kata uses)."""
    found = _GIC.search(host.text("/proc/interrupts") or "")
    if found is None:
        raise Skipped("/proc/interrupts does not name the interrupt controller, or is hidden")
    # GICv2 calls itself GIC-0: its number is that of the controller, not of the version.
    is_v3 = found[0].startswith("GICv") and int(found[1]) >= 3
    host.note("/proc/interrupts", found[0])
    if is_v3:
        return Verdict(PASS, f"GICv{found[1]}")
    vcpus = host.wanted.vcpus
    detail = f"GICv2: a guest has at most {GICV2_VCPUS} vCPUs"
    if vcpus > GICV2_VCPUS:
        return Verdict(FAIL, f"{detail}, but {vcpus} are wanted", f"set default_vcpus to {GICV2_VCPUS} or less")
    return Verdict(PASS, detail)


def address_space(host: Host) -> Verdict:
    """KVM says how many bits a guest's physical addresses may have."""
    if not host.may_use(KVM):
        raise Skipped(f"{KVM} cannot be opened", "see kvm-device")
    bits = host.kvm_verdict.ipa_bits
    if bits is None:
        raise Skipped(f"KVM did not say: {host.kvm_verdict.detail}", "see kvm-guest")
    if not bits:
        return Verdict(PASS, "40 bits (the kernel knows no other size)")
    # Kata's machine `virt` has its memory from 1 GiB on, and its high PCI window above; QEMU's default needs 40 bits.
    if bits < 40:
        return Verdict(
            WARN,
            f"{bits} bits: a machine with memory and a large PCI window does not fit",
            'machine_accelerators = "highmem=off" in the configuration',
        )
    return Verdict(PASS, f"{bits} bits")


CHECKS = (
    HostCheck(
        "arm-interrupts",
        "interrupt controller",
        interrupts,
        "A guest has the host's kind: with GICv2 it cannot have more than eight vCPUs.",
        "KVM",
        ("/proc/interrupts",),
        "set default_vcpus to 8 or less",
        ("aarch64",),
    ),
    HostCheck(
        "arm-address-space",
        "guest address space",
        address_space,
        "A guest with more memory and devices than its addresses reach does not start.",
        "KVM",
        (f"{KVM}: KVM_CHECK_EXTENSION(KVM_CAP_ARM_VM_IPA_SIZE)",),
        'machine_accelerators = "highmem=off" in the configuration',
        ("aarch64",),
    ),
)
