"""QEMU's machine models that guests are booted on: what each offers, and what a kernel needs to see it.

The options are those that keep a machine to what Kata gives a guest: its devices, and nothing a PC once had. Sources:
the Go runtime's govmm and qemu_ARCH.go, QEMU's docs/system/i386/microvm.rst and docs/system/{arm,riscv}/virt.rst.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from ..errors import InputError
from ..kconfig.config import read_config
from .built_set import Guest


@dataclass(frozen=True, slots=True)
class Kind:
    """One machine model. Architectures are named as Kata names them.

    ``options`` go to -machine, ``cpu`` is -cpu without KVM, both by architecture. ``bus`` ends a virtio device's
    name: pci, or device (virtio-mmio). ``plugs``: CPUs, memory and devices can be added later. ``needs``: kernel
    options without which the kernel does not see the machine, each with what it is for. ``ends``: what QEMU says
    (QMP's SHUTDOWN) of a guest that has switched itself off.
    """

    name: str
    options: Mapping[str, tuple[str, ...]]
    cpu: Mapping[str, str]
    bus: str = "pci"
    nvdimm: bool = False
    plugs: bool = False
    needs: Mapping[str, str] = field(default_factory=dict)
    ends: tuple[str, ...] = ("guest-shutdown",)


_MICROVM_OPTIONS = (
    # The devices are told on the kernel's command line, as Firecracker tells them: no table has to be interpreted.
    "acpi=off", "auto-kernel-cmdline=on",
    # PIC, PIT and RTC stay as QEMU has them: all there under TCG, where a kernel finds the TSC's frequency by the PIT,
    # and waits a second for an RTC that is not there; under KVM its clock tells both.
    "isa-serial=off", "x-option-roms=off",
)  # fmt: skip

_PCI = {"CONFIG_PCI": "the machine's bus", "CONFIG_VIRTIO_PCI": "every device of the guest"}

KINDS: Mapping[str, Kind] = MappingProxyType({
    kind.name: kind
    for kind in (
        Kind(
            "q35", {"x86_64": ()}, {"x86_64": "max"}, nvdimm=True, plugs=True,
            needs={"CONFIG_PVH": "the kernel's entry", **_PCI},
        ),
        Kind(
            "microvm", {"x86_64": _MICROVM_OPTIONS}, {"x86_64": "max"}, bus="device",
            needs={
                "CONFIG_PVH": "the kernel's entry",
                "CONFIG_VIRTIO_MMIO": "every device of the guest",
                "CONFIG_VIRTIO_MMIO_CMDLINE_DEVICES": "devices named on the kernel's command line",
            },
            # There is nothing that could cut the power: the agent restarts the machine, and --no-reboot ends QEMU.
            ends=("guest-reset", "guest-shutdown"),
        ),
        Kind(
            "virt",
            {"aarch64": ("gic-version=max",), "riscv64": ()},
            # The architected way to authenticate pointers takes QEMU most of a boot's time; its own hash does not.
            {"aarch64": "max,pauth-impdef=on", "riscv64": "rv64"},
            needs=_PCI,
        ),
    )
})  # fmt: skip

DEFAULTS: Mapping[str, str] = MappingProxyType({"x86_64": "q35", "aarch64": "virt", "riscv64": "virt"})
_ROOTS = {"nvdimm": "CONFIG_BLK_DEV_PMEM", "virtio-blk": "CONFIG_VIRTIO_BLK", "initrd": "CONFIG_BLK_DEV_INITRD"}


def kind_for(guest: Guest, wanted: str | None = None) -> Kind:
    """The machine that was asked for, or else the one of the guest's configuration, or its architecture's.

    Raises InputError for one that is not known here, or is not one of the guest's architecture.
    """
    if guest.arch not in DEFAULTS:
        raise InputError(f"a guest of architecture {guest.arch} cannot be booted here", hint=_hint(DEFAULTS))
    name = wanted or guest.machine_type or DEFAULTS[guest.arch]
    fitting = [kind.name for kind in KINDS.values() if guest.arch in kind.options]
    if name not in fitting:
        what = f"{name} is no machine of a guest for {guest.arch}" if name in KINDS else f"no machine {name} is known"
        raise InputError(what, hint=_hint(fitting))
    return KINDS[name]


def rootfs_driver(guest: Guest, kind: Kind, wanted: str | None) -> str:
    """How the image is attached. As the Go runtime does, a machine without NVDIMM gets a block device instead.

    Raises InputError when an NVDIMM is insisted on.
    """
    if kind.nvdimm:
        return wanted or guest.rootfs_driver
    if wanted == "nvdimm":
        raise InputError(f"the machine {kind.name} has no NVDIMM", hint="--rootfs-driver virtio-blk")
    return wanted or ("virtio-blk" if guest.rootfs_driver == "nvdimm" else guest.rootfs_driver)


def require_kernel(guest: Guest, kind: Kind, root: str) -> None:
    """Raises InputError when the kernel's recorded configuration shows that it cannot run on this machine.

    It would be silent, or wait for its root in vain; without a recorded configuration only booting can tell.
    """
    if guest.kernel_config is None:
        return
    try:
        config = read_config(guest.kernel_config.read_text(errors="replace"))
    except OSError:
        return  # that a recorded file is gone is for `verify` to say; the guest may well boot
    needs = {**kind.needs, _ROOTS[root]: f"the root, attached as {root}"}
    lacking = {symbol: why for symbol, why in needs.items() if config.get(symbol) not in ("y", "m")}
    if lacking:
        others = [k.name for k in KINDS.values() if guest.arch in k.options and k is not kind and _fits(k, config)]
        said = "; ".join(f"{symbol} ({why})" for symbol, why in lacking.items())
        raise InputError(
            f"the set's kernel cannot run on the machine {kind.name}: it lacks {said}",
            hint=f"it can run on: --machine {others[0]}" if others else "switch them on in the spec's kernel section",
        )


def _fits(kind: Kind, config: Mapping[str, str]) -> bool:
    return all(config.get(symbol) in ("y", "m") for symbol in kind.needs)


def _hint(names: Mapping[str, object] | list[str]) -> str:
    return f"there are: {', '.join(names)}"
