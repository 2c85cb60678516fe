"""Accesses to emulated devices: told apart in a trace, and the same number in each boot of a set."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from kata_toolkit.vm.built_set import BuiltSet
from kata_toolkit.vm.exits import count, head
from kata_toolkit.vm.measure import measure


def access(kind: str, name: str, address: int, cpu: int = 0) -> bytes:
    return b"memory_region_ops_%s cpu %d mr 0x55ec addr 0x%x value 0x1 size 4 name '%s'\n" % (
        kind.encode(), cpu, address, name.encode(),
    )  # fmt: skip


def test_ports_memory_and_the_irqchip_are_told_apart() -> None:
    lines = [
        access("write", "rtc-index", 0x70),
        access("write", "virtio-pci-common-virtio-serial", 0xFEBF0014),
        access("write", "virtio-pci-common-virtio-blk", 0xFEBF1014),
        access("write", "pic", 0x21),
        access("write", "ioapic", 0xFEC00000),
        access("write", "apic-msi", 0xFEE00000, cpu=-1),  # sent by a device
        b"some other event\n",
    ]
    found = count(lines)
    assert (found.exits_port, found.exits_mmio, found.exits_irqchip, found.exits_polls) == (1, 2, 2, 0)
    assert found.by_device == {"virtio-pci-common": 2, "rtc-index": 1}


def test_a_read_repeated_without_a_write_is_a_wait() -> None:
    wait = [access("read", "ahci", 0xFEBF0128), access("read", "acpi-tmr", 0x608)] * 50
    found = count([*wait, access("write", "ahci", 0xFEBF0110), *wait])
    assert (found.exits_port, found.exits_mmio, found.exits_polls) == (2, 3, 196)
    # Looking through PCI writes an index before each read of the same port.
    scan = [access("write", "pci-conf-idx", 0xCF8), access("read", "pci-conf-data", 0xCFC)] * 50
    assert (count(scan).exits_port, count(scan).exits_polls) == (100, 0)


def test_the_firmware_ends_where_it_has_fetched_the_kernel() -> None:
    lines = [
        access("write", "fwcfg", 0x510),
        b"fw_cfg_select 0x55ec key 0x0015 'cmdline_data', ret: 1\n",
        access("write", "pci-conf-idx", 0xCF8),
        b"fw_cfg_select 0x55ec key 0x0000 'signature', ret: 1\n",
        access("read", "fwcfg", 0x511),
    ]
    assert (count(lines).exits_firmware, count(lines).exits_port) == (1, 3)


def test_only_what_had_been_written_by_then_counts() -> None:
    line = access("write", "rtc-index", 0x70)
    assert list(head(io.BytesIO(line * 3), 2 * len(line) + 5)) == [line, line]
    assert list(head(io.BytesIO(b""), 10)) == []


@pytest.mark.vm
def test_a_boot_makes_the_same_accesses_each_time_and_fewer_without_sata(built_set: Path) -> None:
    guest = BuiltSet.load(built_set).bootable()
    first, again = (measure(guest, container=False) for _ in range(2))
    assert first.exits_port is not None
    assert first.exits_mmio is not None
    assert (first.exits_port, first.exits_mmio) == (again.exits_port, again.exits_mmio)
    assert first.exits_firmware == again.exits_firmware
    assert sum(first.exits_by_device.values()) == first.exits_port + first.exits_mmio
    assert first.exits_by_device["pci-conf-data"] > 100
    assert "ahci" not in first.exits_by_device  # the configuration switches the SATA controller off
    stock = measure(replace(guest, machine_accelerators=""), container=False)
    assert "ahci" in stock.exits_by_device
    assert stock.exits_port is not None
    assert first.exits_port < stock.exits_port
    assert first.boot_minstr is not None
    assert stock.boot_minstr is not None
    assert first.boot_minstr < 0.93 * stock.boot_minstr  # the firmware waits 10 ms for disks
