"""Checks of what passing a device of the host on to a guest needs: an IOMMU, VFIO, and GPUs that are free for it."""

from __future__ import annotations

from ..checks import FAIL, PASS, SKIP, WARN, Skipped, Verdict
from .devices import device as check_device
from .entry import HostCheck
from .host import AVAILABLE, MISSING, Host
from .pci import DEVICES, GROUPS, Device, gpus, group_members

_NOT_ASKED = "no device is to be passed on"
_VFIO = "vfio-pci"


def iommu(host: Host) -> Verdict:
    """Devices are in IOMMU groups: without, VFIO gives none to a guest."""
    groups = host.names(GROUPS)
    if groups:
        passed = host.argument("iommu")
        return Verdict(PASS, f"{len(groups)} groups" + (f", iommu={passed}" if passed else ""))
    # Intel's is off until the kernel is asked; the others are on where the firmware has them.
    words = "add intel_iommu=on to" if "vmx" in host.cpu_flags else "remove iommu=off and amd_iommu=off from"
    remedy = (
        f"switch the IOMMU (VT-d, AMD-Vi, SMMU) on in the firmware, {words} GRUB_CMDLINE_LINUX in /etc/default/grub, "
        "sudo update-grub, then restart"
    )
    detail = "no IOMMU groups: the IOMMU is off, or there is none"
    return Verdict(FAIL, detail, remedy) if host.wanted.vfio else Verdict(SKIP, f"{detail}; {_NOT_ASKED}")


def vfio(host: Host) -> Verdict:
    """The driver that hands PCI devices to a VMM."""
    state = host.module("vfio_pci")
    if not host.wanted.vfio:
        return Verdict(SKIP, f"vfio-pci is {state}; {_NOT_ASKED}")
    if state == MISSING:
        return Verdict(FAIL, "the kernel lacks vfio-pci", "install a kernel with CONFIG_VFIO_PCI")
    if state == AVAILABLE:
        keep = "echo vfio-pci | sudo tee /etc/modules-load.d/vfio-pci.conf"
        return Verdict(FAIL, "the module vfio-pci is not loaded", f"sudo modprobe vfio-pci && {keep}")
    unsafe = host.text("/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts")
    if unsafe == "Y":
        return Verdict(
            WARN,
            "allow_unsafe_interrupts=Y: a guest may send any interrupt to the host",
            "sudo rm /etc/modprobe.d/*vfio*.conf (the one with allow_unsafe_interrupts), then restart",
        )
    return check_device(host, "/dev/vfio/vfio", "vfio", "CONFIG_VFIO", FAIL)


def gpu(host: Host) -> Verdict:
    """Each GPU, and whether it could be passed on as it is."""
    found = gpus(host)
    if not host.exists(DEVICES):
        raise Skipped("/sys/bus/pci is not there, or hidden", "sudo mount -t sysfs sysfs /sys")
    if not found:
        detail = "there is none"
        return Verdict(FAIL, detail, "lspci -nn") if host.wanted.vfio else Verdict(SKIP, f"{detail}; {_NOT_ASKED}")
    obstacles = {one.address: _obstacle(host, one) for one in found}
    said = [f"{one.name} {_bars(one)}: {(obstacles[one.address] or ('ready', ''))[0]}" for one in found]
    first = next((obstacle for obstacle in obstacles.values() if obstacle), None)
    if first is None:
        return Verdict(PASS, "; ".join(said))
    if not host.wanted.vfio:
        return Verdict(SKIP, f"{'; '.join(said)}; {_NOT_ASKED}")
    ready = any(obstacle is None for obstacle in obstacles.values())
    return Verdict(WARN if ready else FAIL, "; ".join(said), first[1])


def _bars(one: Device) -> str:
    if not one.bars_mib:
        return "(no memory windows)"
    return f"({max(one.bars_mib)} MiB window{', resizable' if one.resizable else ''})"


def _obstacle(host: Host, one: Device) -> tuple[str, str] | None:
    """What keeps a device from being passed on, and what to do; None: nothing."""
    if one.group is None:
        return "no IOMMU group", "see iommu"
    members = [member for member in group_members(host, one.group) if not member.is_bridge]
    slot = one.address.rpartition(".")[0]
    strangers = [member for member in members if member.address.rpartition(".")[0] != slot]
    if strangers:
        return (
            f"its IOMMU group {one.group} has other devices: {', '.join(member.address for member in strangers)}",
            "put the card into another slot, or switch ACS on in the firmware: all of a group is passed on, or none",
        )
    bound = [member for member in members or [one] if member.driver not in (None, _VFIO)]
    if bound:
        names = ", ".join(f"{member.address} ({member.driver})" for member in bound)
        return f"the host's own driver has {names}", " && ".join(_hand_over(member) for member in bound)
    if one.driver is None:
        return f"no driver has it, not {_VFIO} either", _hand_over(one)
    return None


def _hand_over(one: Device) -> str:
    """The kernel's way to give one device to a driver that would not take it by itself (driver_override)."""
    folder = f"{DEVICES}/{one.address}"
    free = f"echo {one.address} | sudo tee {folder}/driver/unbind && " if one.driver else ""
    return (
        f"echo {_VFIO} | sudo tee {folder}/driver_override && {free}"
        f"echo {one.address} | sudo tee /sys/bus/pci/drivers_probe"
    )


CHECKS = (
    HostCheck(
        "iommu",
        "IOMMU",
        iommu,
        "It keeps a device that a guest has from the rest of the host's memory.",
        "passthrough",
        (GROUPS, "/proc/cmdline"),
        "add intel_iommu=on to GRUB_CMDLINE_LINUX in /etc/default/grub, sudo update-grub, then restart",
    ),
    HostCheck(
        "vfio",
        "VFIO",
        vfio,
        "It hands a device to a VMM.",
        "passthrough",
        (
            "/sys/module/vfio_pci",
            "/sys/module/vfio",
            "/lib/modules/RELEASE",
            "/dev/vfio/vfio",
            "/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts",
        ),
        "sudo modprobe vfio-pci",
    ),
    HostCheck(
        "gpus",
        "GPUs",
        gpu,
        "A GPU goes to a guest only with all of its IOMMU group, and only when the host's drivers let go of it.",
        "passthrough",
        (f"{DEVICES}/*/{{class,vendor,driver,iommu_group,resource}}", f"{GROUPS}/N/devices"),
        f"echo vfio-pci | sudo tee {DEVICES}/ADDRESS/driver_override",
    ),
)
