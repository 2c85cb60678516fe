"""PCI devices as /sys shows them (kernel: Documentation/ABI/testing/sysfs-bus-pci), and their IOMMU groups."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .host import Host

DEVICES = "/sys/bus/pci/devices"
GROUPS = "/sys/kernel/iommu_groups"
_ADDRESS = re.compile(r"[0-9a-f]{4,}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]", re.ASCII)
_GPU_CLASSES = ("0x03", "0x1200")  # display controllers; processing accelerators
_BRIDGE_CLASS = "0x06"  # host and PCI bridges, which need not be handed over (Documentation/driver-api/vfio.rst)
_BARS = 6  # lines of `resource` that are base address registers
_MAKERS = {"0x10de": "NVIDIA", "0x1002": "AMD", "0x8086": "Intel"}


@dataclass(frozen=True, slots=True)
class Device:
    """One function. ``group``: its IOMMU group, None without one. ``bars_mib``: the sizes of its memory windows."""

    address: str
    kind: str
    maker: str
    driver: str | None
    group: str | None
    bars_mib: tuple[int, ...]
    resizable: bool

    @property
    def is_bridge(self) -> bool:
        """Whether it may stay with the host when its group is passed on."""
        return self.kind.startswith(_BRIDGE_CLASS)

    @property
    def name(self) -> str:
        """The address, with the maker where we know one that makes GPUs."""
        return f"{_MAKERS[self.maker]} {self.address}" if self.maker in _MAKERS else self.address


def device(host: Host, address: str) -> Device:
    """Read one function."""
    folder = f"{DEVICES}/{address}"
    sizes = []
    for line in (host.text(f"{folder}/resource") or "").splitlines()[:_BARS]:
        words = line.split()
        if len(words) == 3 and all(word.startswith("0x") for word in words):
            start, end, _ = (int(word, 16) for word in words)
            sizes.append((end - start + 1) >> 20 if end > start else 0)
    found = Device(
        address,
        host.text(f"{folder}/class") or "",
        host.text(f"{folder}/vendor") or "",
        host.link(f"{folder}/driver"),
        host.link(f"{folder}/iommu_group"),
        tuple(size for size in sizes if size),
        any(name.endswith("_resize") for name in host.names(folder)),
    )
    host.note(folder, f"class {found.kind}, driver {found.driver}, IOMMU group {found.group}")
    return found


def gpus(host: Host) -> tuple[Device, ...]:
    """The GPUs and accelerators, by address."""
    addresses = [name for name in host.names(DEVICES) if _ADDRESS.fullmatch(name)]
    kinds = {address: host.text(f"{DEVICES}/{address}/class") or "" for address in addresses}
    return tuple(device(host, address) for address in addresses if kinds[address].startswith(_GPU_CLASSES))


def group_members(host: Host, group: str) -> tuple[Device, ...]:
    """All functions of an IOMMU group."""
    names = host.names(f"{GROUPS}/{group}/devices")
    return tuple(device(host, name) for name in names if _ADDRESS.fullmatch(name))
