"""What runs below this machine: nothing, a hypervisor, or it does not say. Each architecture tells it elsewhere."""

from __future__ import annotations

from dataclasses import dataclass

from .arches import VIRTUAL_BOARDS, VIRTUAL_CLOUDS, VIRTUAL_MACHINES
from .host import Host

DEVICE_TREE = "/sys/firmware/devicetree/base"


@dataclass(frozen=True, slots=True)
class Below:
    """``vm``: whether there is a hypervisor, None: not told. ``name``: whose, or the machine's; may be empty."""

    vm: bool | None
    name: str = ""


def below(host: Host) -> Below:
    """Ask what this architecture has: flags (x86), /proc/sysinfo (s390x), the platform (POWER), else the firmware."""
    if host.machine in ("x86_64", "i686"):
        return _x86(host)
    if host.machine == "s390x":
        return _s390(host)
    if host.machine == "ppc64le":
        return _power(host)
    return _by_firmware(host)


def _x86(host: Host) -> Below:
    if not host.cpu_flags:
        return Below(None)
    host.note("/proc/cpuinfo", "flag hypervisor" if host.is_vm else "no flag hypervisor")
    # A Xen dom0 is on bare metal but has Xen below it, and Xen keeps the processor's virtualisation for itself.
    if host.text("/sys/hypervisor/type") == "xen":
        return Below(True, "Xen")
    return Below(host.is_vm, host.vendor)


def _s390(host: Host) -> Below:
    text = host.text("/proc/sysinfo")
    if text is None:
        return Below(None)
    program = next(
        (line.partition(":")[2] for line in text.splitlines() if line.startswith("VM00 Control Program")), ""
    )
    host.note("/proc/sysinfo", f"VM00 Control Program:{program}" if program else "no VM00: an LPAR")
    name = "KVM on s390x" if "KVM" in program else program.strip()
    return Below(bool(program), name or "an LPAR")


def _power(host: Host) -> Below:
    platform = next((block["platform"] for block in host.processors if "platform" in block), None)
    machine = next((block["machine"] for block in host.processors if "machine" in block), "")
    host.note("/proc/cpuinfo", f"platform {platform}, machine {machine}")
    if platform is None:
        return Below(None)
    if platform == "PowerNV":
        return Below(False, machine)
    return Below(True, "KVM on POWER" if "qemu" in machine else "PowerVM")


def _by_firmware(host: Host) -> Below:
    board = (host.text(f"{DEVICE_TREE}/compatible") or "").replace("\0", " ")
    hypervisor = host.text(f"{DEVICE_TREE}/hypervisor/compatible")
    if hypervisor:
        return Below(True, hypervisor.partition("\0")[0])
    if any(word in board for word in VIRTUAL_BOARDS):
        return Below(True, board.split(" ", maxsplit=1)[0])
    vendor = host.vendor
    if any(word in vendor for word in VIRTUAL_MACHINES):
        return Below(True, vendor)
    if any(word in vendor for word in VIRTUAL_CLOUDS):
        return Below("metal" not in vendor, vendor)
    model = (host.text(f"{DEVICE_TREE}/model") or "").partition("\0")[0]
    return Below(False, model or vendor) if model or vendor else Below(None)
