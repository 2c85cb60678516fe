"""How a guest is to be booted, and the machine that follows: with the command line that Kata's Go runtime writes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from ..kata.cmdline import GuestBoot, kernel_cmdline
from . import device_state, machines, qemu
from .built_set import Guest

DEFAULT_TIMEOUT_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Options:
    """How to boot. None: as the set says. ``timeout_seconds`` is from QEMU's start to the agent's answer.

    ``channel``: how the agent is reached: serial (virtio-serial, works everywhere), vsock, or auto (vsock only for
    an agent that knows nothing else). ``verbose``: the runtime's ``enable_debug``, the kernel's messages shown.
    ``machine``: q35, microvm or virt. ``trace``: where QEMU writes the events that `exits.py` counts.
    ``memory_backend``, ``cpu_flags``, ``extra``, ``shared_image`` and ``tb_mib`` as `qemu.Machine` takes them.
    ``restore``: a device state that the guest goes on from, instead of booting (see `template.py`).
    ``kernel_params`` come last on the kernel's command line; the words of ``without_params`` are left out of it.
    """

    accel: str = "auto"
    rootfs_driver: str | None = None
    memory_mib: int | None = None
    vcpus: int | None = None
    timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS
    channel: str = "auto"
    debug_console: bool = False
    verbose: bool = False
    share: Path | None = None
    kernel_params: tuple[str, ...] = ()
    without_params: tuple[str, ...] = ()
    icount: bool = False
    machine: str | None = None
    trace: str | None = None
    memory_backend: str = ""
    cpu_flags: str = ""
    extra: tuple[str, ...] = ()
    shared_image: bool = False
    tb_mib: int | None = None
    restore: Path | None = None


def needs_vsock(guest: Guest) -> bool:
    """Only vsock leads to this agent: it is not the built-in one, which also serves virtio-serial."""
    return guest.agent is not None and guest.agent.kind != "builtin"


def machine_for(guest: Guest, options: Options, accel: str, cid: int | None = None) -> qemu.Machine:
    """The machine that the options describe, with the command line that Kata's Go runtime would write.

    Raises InputError for a machine that is not one of the guest's architecture, or that its kernel cannot run on.
    """
    kind = machines.kind_for(guest, options.machine)
    vcpus = options.vcpus or guest.vcpus
    agent_params = guest.agent_params
    if options.debug_console and "agent.debug_console" not in agent_params:
        agent_params = (*agent_params, "agent.debug_console", "agent.debug_console_vport=1026")
    machine = qemu.Machine(
        guest=guest,
        cmdline="",
        accel=accel,
        rootfs_driver=machines.rootfs_driver(guest, kind, options.rootfs_driver),
        memory_mib=options.memory_mib or guest.memory_mib,
        vcpus=vcpus,
        guest_cid=cid,
        share=options.share,
        icount=options.icount,
        binary=str(guest.vmm) if guest.vmm else "",
        kind=kind,
        trace=options.trace,
        memory_backend=options.memory_backend,
        cpu_flags=options.cpu_flags,
        extra=(*options.extra, *(device_state.INCOMING if options.restore else ())),
        shared_image=options.shared_image,
        tb_mib=options.tb_mib,
    )
    machines.require_kernel(guest, kind, machine.root)
    boot = GuestBoot(
        runtime="go",
        hypervisor="qemu",
        arch=guest.arch,
        boot=machine.root,
        rootfs_type=guest.rootfs_type,
        verity=guest.verity,
        maxvcpus=qemu.max_vcpus(guest, vcpus) if kind.plugs else vcpus,
        machine_type=kind.name,
        debug=options.verbose or guest.debug,
        guest_selinux=not guest.disable_guest_selinux,
        block_device_driver=guest.block_device_driver,
        agent_params=agent_params,
        kernel_params=(*guest.kernel_params, *options.kernel_params),
        extensions=[(extension.name, extension.verity) for extension in guest.extensions],
    )
    words = kernel_cmdline(boot).split(" ")
    return replace(machine, cmdline=" ".join(word for word in words if word not in options.without_params))
