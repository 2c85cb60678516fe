"""What each word of the kernel's command line is worth: `python benchmarks/params.py DIR` for a built set.

Every parameter that Kata's Go runtime writes is left out once, every candidate added once; each time the guest is
booted under instruction counting. The table shows the change against the boot with the runtime's own command line.
SATA is off throughout: the firmware's wait for disks is the one thing that does not repeat to the last instruction.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from kata_toolkit.errors import KataToolkitError
from kata_toolkit.vm.built_set import BuiltSet, Guest
from kata_toolkit.vm.measure import MEASURE_PARAMS, Figures, measure

BASE = "sata=off"
WRITTEN = (
    "i8042.direct=1 i8042.dumbkbd=1 i8042.nopnp=1 i8042.noaux=1",  # they belong together
    "tsc=reliable", "no_timer_check", "rcupdate.rcu_expedited=1", "noreplace-smp", "reboot=k", "cryptomgr.notests",
    "net.ifnames=0", "pci=lastbus=0", "console=hvc1", "quiet", "panic=1", "nr_cpus=1", "selinux=0",
    "scsi_mod.scan=none", "cgroup_no_v1=all", *MEASURE_PARAMS[1:],
)  # fmt: skip
CANDIDATES = (
    "nokaslr", "mitigations=off", "random.trust_cpu=on", "random.trust_bootloader=on", "8250.nr_uarts=0",
    "lpj=10000000", "tsc_early_khz=1000000", "tsc=nowatchdog", "clocksource=tsc", "init_on_alloc=0", "init_on_free=0",
    "page_alloc.shuffle=0", "hash_pointers=never", "hashdist=0", "slab_nomerge", "loglevel=0", "audit=0", "nowatchdog",
    "numa=off", "swiotlb=noforce", "iommu=off", "transparent_hugepage=never", "pci=nommconf", "pci=noacpi",
    "pci=conf1", "pci=norom", "pcie_ports=compat", "pnpacpi=off", "acpi_osi=!*", "acpi=noirq", "acpi_pm_good", "noapic",
    "nox2apic", "noxsave", "no-kvmclock", "nopvspin", "rcupdate.rcu_normal_after_boot=0", "cgroup_disable=pressure",
    "psi=0", "fb_tunnels=none", "ipv6.disable=1", "dhash_entries=4096 ihash_entries=4096", "thash_entries=512",
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One change of the command line and what became of the figures; None: the guest did not come up."""

    what: str
    figures: Figures | None


def rows(guest: Guest) -> Iterator[Row]:
    """Measure each change, in the order of the lists above."""
    for words in WRITTEN:
        yield Row(f"without `{words}`", _try(guest, without=words.split()))
    for word in CANDIDATES:
        yield Row(f"with `{word}`", _try(replace(guest, kernel_params=(*guest.kernel_params, *word.split()))))


def _try(guest: Guest, without: Sequence[str] = ()) -> Figures | None:
    try:
        return measure(guest, container=False, without=without)
    except KataToolkitError as error:
        sys.stderr.write(f"{error.problems[0].message.splitlines()[0]}\n")
        return None


def exits(figures: Figures) -> int:
    """Accesses that the VMM answers."""
    return sum(figures.exits_by_device.values())


def line(row: Row, base: Figures) -> str:
    """The row as Markdown."""
    found = row.figures
    if found is None or found.boot_minstr is None or base.boot_minstr is None:
        return f"| {row.what} | does not boot | | | |"
    change = found.boot_minstr - base.boot_minstr
    memory = (found.guest_overhead_mib or 0) - (base.guest_overhead_mib or 0)
    irqchip = (found.exits_irqchip or 0) - (base.exits_irqchip or 0)
    return f"| {row.what} | {change:+.2f} | {memory:+.2f} | {exits(found) - exits(base):+d} | {irqchip:+d} |"


def main() -> None:
    """Measure and print, largest effect first."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="a built set")
    guest = replace(BuiltSet.load(parser.parse_args().folder).bootable(), machine_accelerators=BASE)
    base = measure(guest, container=False)
    found = []
    for row in rows(guest):
        sys.stderr.write(f"{line(row, base)}\n")
        found.append(row)
    print(
        f"T {base.boot_minstr} M, O {base.guest_overhead_mib} MiB, {exits(base)} exits, {base.exits_irqchip} irqchip\n"
    )
    print("| command line | T, M instructions | O, MiB | exits | irqchip |\n|---|--:|--:|--:|--:|")
    for row in sorted(found, key=lambda row: -_effect(row, base)):
        print(line(row, base))


def _effect(row: Row, base: Figures) -> float:
    """How far T went, in M instructions; a guest that does not boot comes last."""
    if row.figures is None:
        return -1.0
    return abs((row.figures.boot_minstr or 0) - (base.boot_minstr or 0))


if __name__ == "__main__":
    main()
