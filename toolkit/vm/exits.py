"""What a boot asks of the VMM: accesses to emulated devices, each of which leaves the guest when KVM runs it.

QEMU's trace events tell every access to a port or to memory that no RAM is behind. Under TCG none of them is an exit,
but they are the same accesses. They are told apart by what would become of them under KVM:

| figure | what |
|---|---|
| exits_port, exits_mmio | accesses that the VMM answers: some microseconds each |
| exits_firmware | those of them that the firmware made, before it had loaded the kernel |
| exits_polls | reads repeated with no write in between: waits, whose number depends on how fast they are answered |
| exits_irqchip | accesses to interrupt controllers and the PIT, which KVM answers itself: cheaper, but exits too |

The first three are repeatable. Not seen here: doorbells of virtio queues (ioeventfd, answered in the host's kernel),
the CPU's own exits (MSR, CPUID, HLT), page faults of the second level.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import BinaryIO

_PORTS = 0x10000  # x86 has that many; no emulated device's memory lies as low
_ACCESS = re.compile(
    rb"memory_region_ops_(read|write) cpu (-?\d+) mr \w+ addr 0x([0-9a-f]+) value \w+ size \d+ name '(.*)'"
)
_SELECT = re.compile(rb"fw_cfg_select \w+ key 0x\w+ '([^']*)'")
# What the firmware fetches to start a kernel: fw_cfg's names, docs/specs/fw_cfg.rst.
_BOOT_KEYS = re.compile(rb"(kernel|initrd|cmdline|setup)_")
# Regions that KVM's own models stand in for, with the default kernel_irqchip=on.
_IRQCHIP = re.compile(r"apic-msi|ioapic|pic|elcr|pit|pcspk|kvmvapic|kvm-.*|gic.*|.*imsic.*|.*aplic.*|.*\.plic")
_VIRTIO = re.compile(r"(virtio-pci-\w+)-virtio-.*")


@dataclass(frozen=True, slots=True)
class Exits:
    """Numbers of accesses; ``by_device`` sums port and mmio by QEMU's name of the region, most first."""

    exits_port: int = 0
    exits_mmio: int = 0
    exits_firmware: int = 0
    exits_polls: int = 0
    exits_irqchip: int = 0
    by_device: Mapping[str, int] = field(default_factory=dict)


def count(lines: Iterable[bytes]) -> Exits:
    """Count the accesses of a trace (QEMU's log backend, one event a line). Other lines are passed over."""
    counts: Counter[str] = Counter()
    devices: Counter[str] = Counter()
    read: set[tuple[str, int]] = set()
    firmware = 0
    for line in lines:
        found = _ACCESS.search(line)
        if found is None:
            key = _SELECT.search(line)
            if key and _BOOT_KEYS.match(key[1]):
                firmware = counts["port"] + counts["mmio"]
            continue
        if found[2].startswith(b"-"):  # a device's own access, such as a message-signalled interrupt
            continue
        name, address, is_read = found[4].decode(errors="replace"), int(found[3], 16), found[1] == b"read"
        if _IRQCHIP.fullmatch(name):
            counts["irqchip"] += 1
        elif is_read and (name, address) in read:
            counts["polls"] += 1
        else:
            counts["port" if address < _PORTS else "mmio"] += 1
            devices[_VIRTIO.sub(r"\1", name)] += 1
        if is_read:
            read.add((name, address))
        else:
            read.clear()
    return Exits(
        exits_port=counts["port"],
        exits_mmio=counts["mmio"],
        exits_firmware=firmware,
        exits_polls=counts["polls"],
        exits_irqchip=counts["irqchip"],
        by_device=dict(devices.most_common()),
    )


def head(trace: BinaryIO, size: int) -> Iterator[bytes]:
    """The lines of a trace that end within its first ``size`` bytes."""
    for line in trace:
        size -= len(line)
        if size < 0:
            return
        yield line
