"""QEMU's command line for a guest: the devices, ids and order that Kata's Go runtime uses, on any machine.

Pure: it starts nothing. The sockets are passed by file descriptor, so a virtual machine leaves no path behind.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from ..arch import arch_of_uname
from ..errors import InputError, relative
from .built_set import Guest
from .machines import KINDS, Kind

AGENT_PORT = "kata.agent"  # virtio-serial port names; the agent finds them under /sys/class/virtio-ports
CONSOLE_PORT = "kata.console"
SHARE_TAG = "kataShared"
EVENTS = ("memory_region_ops_read", "memory_region_ops_write", "fw_cfg_select")  # what `exits.py` reads

CONSOLE_ID = "console0"  # device ids, as QMP's VSERPORT_CHANGE reports them
AGENT_ID = "agent0"
DEBUG_ID = "debug0"
MEMORY_ID = "dimm1"  # the guest's memory, where it is not QEMU's own

# default_bridges = 1: where the runtime hot-plugs block devices and network cards.
_BRIDGE = (
    "pci-bridge,bus=pcie.0,id=pci-bridge-0,chassis_nr=1,shpc=off,addr=2,io-reserve=4k,mem-reserve=1m,pref64-reserve=1m"
)
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

    @property
    def ports(self) -> int:
        """Ports of the virtio-serial device, the console's included."""
        return 1 + sum(fd is not None for fd in (self.agent, self.debug_console))

    def all(self) -> tuple[int, ...]:
        """Those that are there, for ``pass_fds``."""
        given = (self.monitor, self.console, self.agent, self.debug_console, self.vhost_vsock)
        return tuple(fd for fd in given if fd is not None)


@dataclass(frozen=True, slots=True)
class Machine:
    """One virtual machine. ``cmdline`` is the kernel's; ``share`` a host folder the guest sees read-only (9p).

    ``trace``: where QEMU writes the events of ``EVENTS``, a path.

    ``memory_backend``: what the guest's memory is made of, as -object takes it without id and size (such as
    ``memory-backend-memfd,share=on``); empty: QEMU's own. ``cpu_flags``: put behind the processor's model.
    ``extra``: words that come after those of the devices. ``shared_image``: the image on an NVDIMM is mapped shared,
    so that it is no part of a saved state. ``tb_mib``: how much translated code TCG keeps (None: QEMU's own choice).

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
    binary: str = ""
    maxmemory_mib: int = 0
    kind: Kind = KINDS["q35"]
    trace: str | None = None
    memory_backend: str = ""
    cpu_flags: str = ""
    extra: tuple[str, ...] = ()
    shared_image: bool = False
    tb_mib: int | None = None

    @property
    def program(self) -> str:
        """QEMU for the guest's architecture, unless another one was named."""
        arch = arch_of_uname(self.guest.arch)
        return self.binary or (arch.qemu if arch else f"qemu-system-{self.guest.arch}")

    @property
    def package(self) -> str:
        """The Debian package that brings it."""
        arch = arch_of_uname(self.guest.arch)
        return arch.qemu_package if arch else "qemu-system"

    @property
    def root(self) -> str:
        """How the root file system comes in: nvdimm, virtio-blk or initrd."""
        return "initrd" if self.guest.boot == "initrd" else self.rootfs_driver


def argv(machine: Machine, sockets: Sockets) -> list[str]:
    """The whole command line. Raises InputError when the image cannot be read, or a firmware is not there."""
    return [
        machine.program,
        *_machine(machine),
        *_memory(machine),
        *_firmware(machine),
        "-chardev", f"socket,id=monitor0,fd={sockets.monitor}",
        "-mon", "chardev=monitor0,mode=control",
        *([] if machine.icount or not machine.kind.plugs else ["-device", _BRIDGE]),
        *_console(machine, sockets),
        *_root(machine),
        *_extensions(machine),
        *_agent(machine, sockets),
        *([] if machine.icount else _random(machine)),
        *_share(machine),
        *_clock(machine),
        *_trace(machine),
        *machine.extra,
        "-vga", "none", "-no-user-config", "-nodefaults", "-nographic", "--no-reboot",
        *_kernel(machine),
    ]  # fmt: skip


def _virtio(machine: Machine, device: str) -> str:
    """A virtio device on the machine's bus."""
    modern = ",disable-modern=false" if machine.kind.bus == "pci" else ""
    return f"virtio-{device}-{machine.kind.bus}{modern}"


def _machine(machine: Machine) -> list[str]:
    translated = machine.tb_mib if machine.accel == "tcg" else None
    options = [machine.kind.name, *([] if translated else [f"accel={machine.accel}"])]
    if machine.root == "nvdimm":
        options.append("nvdimm=on")
    if machine.memory_backend:
        options.append(f"memory-backend={MEMORY_ID}")
    options += machine.kind.options[machine.guest.arch]
    options += [word for word in machine.guest.machine_accelerators.split(",") if word]
    # TCG has no "host" model.
    cpu = "host,pmu=off" if machine.accel == "kvm" else machine.kind.cpu[machine.guest.arch]
    cpu += f",{machine.cpu_flags}" if machine.cpu_flags else ""
    limit = max_vcpus(machine.guest, machine.vcpus) if machine.kind.plugs else machine.vcpus
    return [
        "-name", "kata-toolkit,debug-threads=on",
        "-machine", ",".join(options), "-cpu", cpu,
        *(["-accel", f"tcg,tb-size={translated}"] if translated else []),
        "-smp", f"{machine.vcpus},cores=1,threads=1,sockets={limit},maxcpus={limit}",
    ]  # fmt: skip


def _memory(machine: Machine) -> list[str]:
    backend = []
    if machine.memory_backend:
        backend = ["-object", f"{machine.memory_backend},id={MEMORY_ID},size={machine.memory_mib}M"]
    if not machine.kind.plugs:
        return ["-m", f"{machine.memory_mib}M", *backend]
    largest = machine.maxmemory_mib or machine.guest.maxmemory_mib or host_memory_mib()
    limit = max(largest, machine.memory_mib) + _NVDIMM_ROOM_MIB
    return ["-m", f"{machine.memory_mib}M,slots={machine.guest.memory_slots},maxmem={limit}M", *backend]


def _firmware(machine: Machine) -> list[str]:
    """As the Go runtime: ``firmware`` is -bios; the machine's own otherwise. ``firmware_volume`` is for TDX alone."""
    firmware = machine.guest.firmware
    if not firmware:
        return []
    if not Path(firmware).is_file():
        raise InputError(f"the firmware {firmware}, which the set's configuration names, is not there")
    return ["-bios", firmware]


def max_vcpus(guest: Guest, vcpus: int) -> int:
    """The most CPUs the guest can have: what its configuration says, where 0 means the host's count."""
    return max(vcpus, guest.maxvcpus or os.cpu_count() or 1)


def host_memory_mib() -> int:
    """The host's memory in MiB, what the runtime takes for ``default_maxmemory = 0``."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20


def _console(machine: Machine, sockets: Sockets) -> list[str]:
    words = [
        # The runtime asks for two ports; QEMU's 31 would cost the guest 64 queues.
        "-device", f"{_virtio(machine, 'serial')},id=serial0,max_ports={max(2, sockets.ports)}",
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
        shared = ",share=on" if machine.shared_image else ""
        # unarmed: the guest may not write. readonly: nor may QEMU, so one file serves many guests.
        return [
            "-device", "nvdimm,id=nv0,memdev=mem0,unarmed=on",
            "-object", f"memory-backend-file,id=mem0,mem-path={path},size={size},readonly=on{shared}",
        ]  # fmt: skip
    name = "image-0000000000000000"  # the runtime takes 16 random hex digits
    return [
        "-device", f"{_virtio(machine, 'blk')},drive={name},config-wce=off,share-rw=on,serial={name}",
        "-drive", f"id={name},file={path},aio=threads,format=raw,if=none,readonly=on",
    ]  # fmt: skip


def _extensions(machine: Machine) -> list[str]:
    """Always virtio-blk, whatever the root is: only such a disk has the serial number that the guest looks for."""
    words = []
    for extension in machine.guest.extensions:
        name = f"extension-{extension.name}"
        words += [
            "-device", f"{_virtio(machine, 'blk')},drive={name},config-wce=off,share-rw=on,serial={name}",
            "-drive", f"id={name},file={_quoted(extension.path)},aio=threads,format=raw,if=none,readonly=on",
        ]  # fmt: skip
    return words


def _agent(machine: Machine, sockets: Sockets) -> list[str]:
    if sockets.vhost_vsock is not None:
        name = _virtio(machine, "vsock").replace("virtio", "vhost", 1)
        device = f"{name},vhostfd={sockets.vhost_vsock},id=vsock-0"
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
        "-device", f"{_virtio(machine, '9p')},fsdev=share0,mount_tag={SHARE_TAG}",
    ]  # fmt: skip


def _random(machine: Machine) -> list[str]:
    device = f"virtio-rng-{machine.kind.bus},rng=rng0"
    return ["-object", "rng-random,id=rng0,filename=/dev/urandom", "-device", device]


def _trace(machine: Machine) -> list[str]:
    if machine.trace is None:
        return []
    return [word for event in EVENTS for word in ("-trace", event)] + ["-D", machine.trace]


def _clock(machine: Machine) -> list[str]:
    if machine.icount:
        # The host's time of day and random numbers would both show in the guest's instruction count.
        return ["-icount", "shift=0,sleep=off", "-rtc", "base=2000-01-01,clock=vm", "-seed", "1"]
    words = ["-rtc", "base=utc,driftfix=slew,clock=host"]
    if machine.accel == "kvm" and machine.guest.arch == "x86_64":
        words += ["-global", "kvm-pit.lost_tick_policy=discard"]
    return words


def _kernel(machine: Machine) -> list[str]:
    words = ["-kernel", str(machine.guest.kernel), "-append", machine.cmdline]
    if machine.root == "initrd":
        words += ["-initrd", str(machine.guest.initrd)]
    return words


def _quoted(path: Path) -> str:
    """A path inside an option list, where a comma is written twice."""
    return str(path.absolute()).replace(",", ",,")
