"""QEMU's command line for a guest: the devices, ids and order that Kata's Go runtime uses.

Pure: it starts nothing. The sockets are passed by file descriptor, so a virtual machine leaves no path behind.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import InputError, relative
from .built_set import Guest

BINARY = "qemu-system-x86_64"
INSTALL_HINT = "apt-get install qemu-system-x86"

ROOTFS_DRIVERS = ("nvdimm", "virtio-blk")
AGENT_PORT = "kata.agent"  # virtio-serial port names; the agent finds them under /sys/class/virtio-ports
CONSOLE_PORT = "kata.console"
SHARE_TAG = "kataShared"

CONSOLE_ID = "console0"  # device ids, as QMP's VSERPORT_CHANGE reports them
AGENT_ID = "agent0"
DEBUG_ID = "debug0"

# default_bridges = 1: where the runtime hot-plugs block devices and network cards.
_BRIDGE = (
    "pci-bridge,bus=pcie.0,id=pci-bridge-0,chassis_nr=1,shpc=off,addr=2,io-reserve=4k,mem-reserve=1m,pref64-reserve=1m"
)
_RANDOM = ("-object", "rng-random,id=rng0,filename=/dev/urandom", "-device", "virtio-rng-pci,rng=rng0")
# The runtime adds this much to maxmem so that the image fits beside the memory (boot-time room for nvdimm).
_NVDIMM_ROOM_MIB = 1024


@dataclass(frozen=True, slots=True)
class Sockets:
    """File descriptors QEMU inherits: our ends talk to its monitor, console, agent port and debug console."""

    monitor: int
    console: int
    agent: int | None = None
    debug_console: int | None = None
    vhost_vsock: int | None = None

    def all(self) -> tuple[int, ...]:
        """Those that are there, for ``pass_fds``."""
        given = (self.monitor, self.console, self.agent, self.debug_console, self.vhost_vsock)
        return tuple(fd for fd in given if fd is not None)


@dataclass(frozen=True, slots=True)
class Machine:
    """One virtual machine. ``cmdline`` is the kernel's; ``share`` a host folder the guest sees read-only (9p).

    ``icount``: for measuring (TCG only): deterministic virtual time, one nanosecond an instruction, and only the
    devices that the figures' definition names, so that they are the guest's and not those of a bridge.
    """

    guest: Guest
    cmdline: str
    accel: str = "tcg"  # kvm | tcg
    rootfs_driver: str = "nvdimm"
    memory_mib: int = 256
    vcpus: int = 1
    guest_cid: int | None = None
    share: Path | None = None
    icount: bool = False
    binary: str = BINARY
    maxmemory_mib: int = field(default=0)

    @property
    def root(self) -> str:
        """How the root file system comes in: nvdimm, virtio-blk or initrd."""
        return "initrd" if self.guest.boot == "initrd" else self.rootfs_driver


def argv(machine: Machine, sockets: Sockets) -> list[str]:
    """The whole command line. Raises InputError when the image cannot be read."""
    return [
        machine.binary,
        *_machine(machine),
        *_memory(machine),
        "-chardev", f"socket,id=monitor0,fd={sockets.monitor}",
        "-mon", "chardev=monitor0,mode=control",
        *([] if machine.icount else ["-device", _BRIDGE]),
        *_console(sockets),
        *_root(machine),
        *_agent(machine, sockets),
        *([] if machine.icount else _RANDOM),
        *_share(machine),
        *_clock(machine),
        "-vga", "none", "-no-user-config", "-nodefaults", "-nographic", "--no-reboot",
        *_kernel(machine),
    ]  # fmt: skip


def _machine(machine: Machine) -> list[str]:
    nvdimm = ",nvdimm=on" if machine.root == "nvdimm" else ""
    kind = f"q35,accel={machine.accel}{nvdimm}"
    # TCG has no "host" model; "max" is everything it can emulate.
    cpu = "host,pmu=off" if machine.accel == "kvm" else "max"
    limit = max_vcpus(machine.guest, machine.vcpus)
    return [
        "-name", "kata-toolkit,debug-threads=on",
        "-machine", kind, "-cpu", cpu,
        "-smp", f"{machine.vcpus},cores=1,threads=1,sockets={limit},maxcpus={limit}",
    ]  # fmt: skip


def _memory(machine: Machine) -> list[str]:
    largest = machine.maxmemory_mib or machine.guest.maxmemory_mib or host_memory_mib()
    limit = max(largest, machine.memory_mib) + _NVDIMM_ROOM_MIB
    return ["-m", f"{machine.memory_mib}M,slots={machine.guest.memory_slots},maxmem={limit}M"]


def max_vcpus(guest: Guest, vcpus: int) -> int:
    """The most CPUs the guest can have: what its configuration says, where 0 means the host's count."""
    return max(vcpus, guest.maxvcpus or os.cpu_count() or 1)


def host_memory_mib() -> int:
    """The host's memory in MiB, what the runtime takes for ``default_maxmemory = 0``."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20


def _console(sockets: Sockets) -> list[str]:
    words = [
        "-device", "virtio-serial-pci,disable-modern=false,id=serial0",
        "-device", f"virtconsole,chardev=charconsole0,id={CONSOLE_ID}",
        "-chardev", f"socket,id=charconsole0,fd={sockets.console}",
    ]  # fmt: skip
    if sockets.debug_console is not None:
        words += [
            "-chardev", f"socket,id=chardebug0,fd={sockets.debug_console}",
            "-device", f"virtserialport,chardev=chardebug0,id={DEBUG_ID},name={CONSOLE_PORT}",
        ]  # fmt: skip
    return words


def _root(machine: Machine) -> list[str]:
    if machine.root == "initrd":
        return []
    image = machine.guest.image
    assert image is not None  # noqa: S101 -- Guest.require() saw to it
    path = _quoted(image)
    if machine.root == "nvdimm":
        try:
            size = image.stat().st_size
        except OSError as error:
            raise InputError(f"cannot read the image {relative(image)}: {error.strerror}") from error
        # unarmed: the guest may not write. readonly: nor may QEMU, so one file serves many guests.
        return [
            "-device", "nvdimm,id=nv0,memdev=mem0,unarmed=on",
            "-object", f"memory-backend-file,id=mem0,mem-path={path},size={size},readonly=on",
        ]  # fmt: skip
    name = "image-0000000000000000"  # the runtime takes 16 random hex digits
    return [
        "-device", f"virtio-blk-pci,disable-modern=false,drive={name},config-wce=off,share-rw=on,serial={name}",
        "-drive", f"id={name},file={path},aio=threads,format=raw,if=none,readonly=on",
    ]  # fmt: skip


def _agent(machine: Machine, sockets: Sockets) -> list[str]:
    if sockets.vhost_vsock is not None:
        device = f"vhost-vsock-pci,disable-modern=false,vhostfd={sockets.vhost_vsock},id=vsock-0"
        return ["-device", f"{device},guest-cid={machine.guest_cid}"]
    if sockets.agent is None:
        return []
    return [
        "-chardev", f"socket,id=charagent0,fd={sockets.agent}",
        "-device", f"virtserialport,chardev=charagent0,id={AGENT_ID},name={AGENT_PORT}",
    ]  # fmt: skip


def _share(machine: Machine) -> list[str]:
    if machine.share is None:
        return []
    folder = _quoted(machine.share)
    return [
        "-fsdev", f"local,id=share0,path={folder},security_model=none,readonly=on,multidevs=remap",
        "-device", f"virtio-9p-pci,disable-modern=false,fsdev=share0,mount_tag={SHARE_TAG}",
    ]  # fmt: skip


def _clock(machine: Machine) -> list[str]:
    if machine.icount:
        # The host's time of day and random numbers would both show in the guest's instruction count.
        return ["-icount", "shift=0,sleep=off", "-rtc", "base=2000-01-01,clock=vm", "-seed", "1"]
    words = ["-rtc", "base=utc,driftfix=slew,clock=host"]
    return [*words, "-global", "kvm-pit.lost_tick_policy=discard"] if machine.accel == "kvm" else words


def _kernel(machine: Machine) -> list[str]:
    words = ["-kernel", str(machine.guest.kernel), "-append", machine.cmdline]
    if machine.root == "initrd":
        words += ["-initrd", str(machine.guest.initrd)]
    return words


def _quoted(path: Path) -> str:
    """A path inside an option list, where a comma is written twice."""
    return str(path.absolute()).replace(",", ",,")
