"""The guests that a proof boots: one for each thing that has to be booted differently, each by its name.

``main`` is the guest as the set configures it, and what can be seen there is looked at there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType

from ..checks import Skipped
from ..kconfig.config import read_config
from . import machines, other_roots, sharing
from .built_set import Guest
from .options import Options

MAIN = "main"


@dataclass(frozen=True)
class Basis:
    """What every guest starts from: the set's own, how to boot it, and room for files that last as the proof does."""

    guest: Guest
    options: Options
    folder: Callable[[], Path]

    @cached_property
    def config(self) -> Mapping[str, str]:
        """The kernel's configuration as recorded; empty when it is not."""
        return kernel_config(self.guest)

    @property
    def scratch(self) -> Path:
        """A folder for files that are needed until the end of the proof."""
        return self.folder()

    def needs(self, symbol: str, what: str) -> None:
        """Raises Skipped when the kernel is built without a symbol: ``what`` was not promised."""
        if self.config.get(symbol) not in ("y", "m"):
            raise Skipped(f"the set's kernel is built without {symbol}: {what} is not promised")

    def needs_pc(self, what: str) -> None:
        """Raises Skipped on a machine that is not x86_64's q35 with what can be plugged into it."""
        kind = machines.kind_for(self.guest, self.options.machine)
        if not kind.plugs:
            raise Skipped(f"{what} is for the machine q35; this set's is {kind.name}")


def kernel_config(guest: Guest) -> Mapping[str, str]:
    """The recorded configuration of a guest's kernel; empty when it is not there."""
    try:
        return read_config(guest.kernel_config.read_text(errors="replace")) if guest.kernel_config else {}
    except OSError:
        return {}


@dataclass(frozen=True, slots=True)
class Plan:
    """A guest and how to boot it. ``undo`` is closed when the guest has ended: daemons beside it, files it used."""

    guest: Guest
    options: Options
    undo: ExitStack
    shares: sharing.Shares = field(default_factory=sharing.Shares)


@dataclass(frozen=True, slots=True)
class Purpose:
    """Why a guest is booted, in the words of "a guest …". ``plan`` raises Skipped when the set does not promise it."""

    what: str
    plan: Callable[[Basis], Plan]


def _main(basis: Basis) -> Plan:
    return Plan(basis.guest, basis.options, ExitStack())


def _console(basis: Basis) -> Plan:
    """Verbose as ``enable_debug`` makes it, so that the kernel's own messages can be looked at."""
    return Plan(basis.guest, replace(basis.options, debug_console=True), ExitStack())


def _virtio_blk(basis: Basis) -> Plan:
    if basis.guest.boot != "image":
        raise Skipped("the set boots an initrd, and has no image")
    basis.needs("CONFIG_VIRTIO_BLK", "an image attached as a disk")
    return Plan(basis.guest, replace(basis.options, rootfs_driver="virtio-blk"), ExitStack())


def _other_root(
    make: Callable[[Guest, Path], Guest], driver: str | None, *needs: tuple[str, str]
) -> Callable[[Basis], Plan]:
    def plan(basis: Basis) -> Plan:
        for symbol, what in needs:
            basis.needs(symbol, what)
        if driver == "nvdimm":
            basis.needs_pc("an NVDIMM")
        guest = make(basis.guest, basis.scratch)
        return Plan(guest, replace(basis.options, rootfs_driver=driver), ExitStack())

    return plan


def _tampered(basis: Basis) -> Plan:
    """An init that cannot be read must end the guest: the kernel would look for another, and find a shell perhaps."""
    sound = GUESTS["verity"].plan(basis)
    guest = other_roots.tampered(sound.guest, basis.scratch)
    options = replace(sound.options, timeout_seconds=min(sound.options.timeout_seconds, _REFUSAL_SECONDS))
    if guest.agent and guest.agent.kind == "builtin":
        options = replace(options, kernel_params=(*options.kernel_params, f"init={guest.agent.path}"))
    return Plan(guest, options, sound.undo)


_REFUSAL_SECONDS = 30.0


def _plugged(basis: Basis) -> Plan:
    """What Kata plugs into comes from QEMU's monitor later; only what no host without KVM shows has to be helped."""
    basis.needs_pc("hot-plug")
    guest = replace(basis.guest, maxvcpus=max(basis.guest.maxvcpus, 4), vcpus=1, maxmemory_mib=_PLUG_MAXMEMORY_MIB)
    options = replace(basis.options, vcpus=1)
    if options.accel != "kvm":
        # Linux starts no CPU that comes later when it knows no hypervisor, and TCG is none that it knows: see
        # arch/x86/kernel/acpi/boot.c. As on VMware, which it tells by the machine's serial number, it does.
        extra = (*options.extra, "-smbios", "type=1,serial=VMware-56")
        options = replace(options, cpu_flags="-hypervisor", extra=extra)
        # The port by which it asks VMware belongs to the keyboard controller's chip, which may be trimmed.
        kept = [word for word in guest.machine_accelerators.split(",") if word and word != "i8042=off"]
        guest = replace(guest, machine_accelerators=",".join(kept))
    return Plan(guest, options, ExitStack())


_PLUG_MAXMEMORY_MIB = 4096


def _shared(basis: Basis) -> Plan:
    kind = machines.kind_for(basis.guest, basis.options.machine)
    if kind.bus != "pci":
        raise Skipped(f"sharing folders needs a PCI bus, which the machine {kind.name} lacks")
    with ExitStack() as undo:
        options, shares = sharing.share(basis.options, basis.config, undo)
        return Plan(basis.guest, options, undo.pop_all(), shares)


GUESTS: Mapping[str, Purpose] = MappingProxyType({
    MAIN: Purpose("as its configuration says", _main),
    "console": Purpose("with the debug console", _console),
    "virtio-blk": Purpose("with its image as a virtio-blk disk", _virtio_blk),
    "ext4": Purpose("with its root as an ext4 image with DAX", _other_root(
        other_roots.ext4, "nvdimm", ("CONFIG_EXT4_FS", "a root of ext4"), ("CONFIG_FS_DAX", "DAX"),
        ("CONFIG_BLK_DEV_PMEM", "a root on an NVDIMM"))),
    "erofs": Purpose("with its root as an EROFS image with DAX", _other_root(
        other_roots.erofs, "nvdimm", ("CONFIG_EROFS_FS", "a root of EROFS"), ("CONFIG_FS_DAX", "DAX"),
        ("CONFIG_BLK_DEV_PMEM", "a root on an NVDIMM"))),
    "initrd": Purpose("with its root as an initrd", _other_root(
        other_roots.initrd, None, ("CONFIG_BLK_DEV_INITRD", "an initrd"))),
    "verity": Purpose("with its root under dm-verity", _other_root(
        other_roots.verity, "virtio-blk", ("CONFIG_DM_VERITY", "dm-verity"), ("CONFIG_DM_INIT", "dm-verity"),
        ("CONFIG_VIRTIO_BLK", "an image attached as a disk"))),
    "verity-tampered": Purpose("with a changed byte in its root under dm-verity", _tampered),
    "hot-plug": Purpose("that devices are plugged into", _plugged),
    "sharing": Purpose("with folders of the host", _shared),
})  # fmt: skip
