"""What VM a workload becomes, in each runtime as that one does it.

Go, hot-plug: boots with the defaults; each container that starts adds its limits (virtcontainers/sandbox.go,
updateResources). Go, static: the defaults and the limits of the whole sandbox. Rust, static: the limits and the
overhead, or the defaults where there are no limits (how-to-size-sandbox-overhead-runtime-rs); Rust, hot-plug: as Go.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from .keys import tables
from .size_settings import Settings
from .size_workload import Container, Workload, f32

_PREFIX = "io.katacontainers.config.hypervisor."
_VCPUS, _MEMORY = "default_vcpus", "default_memory"
_BLOCK = 128
"""MiB: the size of a memory block of an x86_64 guest; a DIMM is a multiple of it."""

_PLUGGABLE = {"go": ("qemu", "clh"), "rs": ("qemu", "clh", "dragonball")}
"""VMMs to which a runtime adds CPUs and memory while they run."""

_GUEST = 32
"""MiB that kernel and agent take at least, where a configuration says no overhead."""


@dataclass(slots=True)
class Machine:
    """The VM that a workload becomes. Memory in MiB; ``fails``: why there is none.

    ``boot_*`` is what the VM starts with, ``vcpus`` and ``memory`` what it has when all containers run, ``peak_*`` what
    it had at most. ``slots``: how many memory slots are taken, and of how many; None where none are.
    """

    settings: Settings
    boot_vcpus: int = 0
    boot_memory: int = 0
    vcpus: int = 0
    memory: int = 0
    peak_vcpus: int = 0
    peak_memory: int = 0
    slots: tuple[int, int] | None = None
    steps: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    fails: str | None = None

    @property
    def mode(self) -> str:
        """How it gets its size: ``static`` or ``hot-plug``."""
        return "static" if self.settings.static else "hot-plug"

    def as_json(self) -> dict[str, Any]:
        """As the JSON document has it."""
        return {
            "runtime": self.settings.dialect,
            "mode": self.mode,
            "hypervisor": self.settings.hypervisor,
            "settings": self.settings.label,
            "boot": {"vcpus": self.boot_vcpus, "memory_mib": self.boot_memory},
            "vcpus": self.vcpus,
            "memory_mib": self.memory,
            "peak": {"vcpus": self.peak_vcpus, "memory_mib": self.peak_memory},
            "slots": {"used": self.slots[0], "of": self.slots[1]} if self.slots else None,
            "steps": self.steps,
            "warnings": self.warnings,
            "fails": self.fails,
        }


def size(workload: Workload, settings: Settings) -> Machine:
    """The VM of a workload under one runtime's settings."""
    machine = Machine(settings)
    machine.settings = settings = _annotated(workload, settings, machine)
    if machine.fails:
        return machine
    if settings.vcpus == 0:
        machine.warnings.append("default_vcpus is negative: as many as the host has; counted as 1 here")
        machine.settings = settings = replace(settings, vcpus=1.0)
    if not settings.static:
        _plugged(workload, machine)
    elif settings.dialect == "go":
        _static_go(workload, machine)
    else:
        _static_rust(workload, machine)
    if not machine.fails:
        machine.warnings += _warnings(workload, machine)
    return machine


def _annotated(workload: Workload, settings: Settings, machine: Machine) -> Settings:
    """The settings as the pod's annotations change them, where enable_annotations admits that."""
    for name in (_VCPUS, _MEMORY):
        text, _ = workload.annotations.get(_PREFIX + name, (None, None))
        if text is None:
            continue
        if not any(_matches(pattern, name) for pattern in settings.admitted):
            machine.fails = f"the annotation {name} is not in enable_annotations: the {settings.title} refuses the pod"
            return settings
        number = _number(text, whole=name == _MEMORY)
        if number is None:
            machine.fails = f"the annotation {name} is no number: {text[:40]!r}"
            return settings
        if name == _MEMORY and number < settings.least_memory:
            machine.fails = (
                f"the annotation {name} is {int(number)} MiB, less than the least, {settings.least_memory} MiB"
            )
            return settings
        changed = {"vcpus": number or 1.0} if name == _VCPUS else {"memory": int(number)}
        settings = replace(settings, **changed)
        machine.steps.append(f"the pod's annotation sets {name} to {_plain(number)}")
    return settings


def _matches(pattern: str, name: str) -> bool:
    try:
        return re.search(pattern, name) is not None
    except re.error:
        return False


def _number(text: str, *, whole: bool) -> float | None:
    if not re.fullmatch(r"[0-9]{1,9}" if whole else r"[0-9]{1,6}(\.[0-9]{1,9})?", text):
        return None
    return float(text)


def _static_go(workload: Workload, machine: Machine) -> None:
    settings, total = machine.settings, workload.total
    cpus, mib = total.cpus, total.mib
    vcpus = _ceil(f32(f32(settings.vcpus) + cpus))
    memory = settings.memory + mib
    machine.steps += [
        f"vCPUs: default_vcpus {_plain(settings.vcpus)} + {_plain(cpus)} by the limits, rounded up: {vcpus}",
        f"memory: default_memory {settings.memory} MiB + {mib} MiB by the limits: {memory} MiB",
    ]
    _fixed(machine, vcpus, memory)
    if settings.max_vcpus and vcpus > settings.max_vcpus:
        machine.warnings.append(
            f"default_maxvcpus {settings.max_vcpus} is set aside: sized statically, {vcpus} are made"
        )


def _static_rust(workload: Workload, machine: Machine) -> None:
    settings, total = machine.settings, workload.total
    cpus, mib = total.cpus, total.mib
    if not cpus and not mib:
        vcpus, memory = _ceil(f32(settings.vcpus)), settings.memory
        machine.steps.append(f"no limits: default_vcpus {_plain(settings.vcpus)}, default_memory {memory} MiB")
        _fixed(machine, vcpus, memory)
        return
    even = mib + mib % 2
    vcpus = max(1, _ceil(f32(cpus + f32(settings.overhead_vcpus))))
    memory = even + settings.overhead_memory
    odd = f" (an odd {mib} made even)" if even != mib else ""
    machine.steps += [
        f"vCPUs: {_plain(cpus)} by the limits + overhead_vcpus {_plain(settings.overhead_vcpus)}, rounded up: {vcpus}",
        f"memory: {even} MiB by the limits{odd} + overhead_memory {settings.overhead_memory} MiB: {memory} MiB",
    ]
    if memory == 0:
        machine.fails = "there is a CPU limit, no memory limit and no overhead_memory: the VM would have no memory"
        return
    _fixed(machine, vcpus, memory)
    if settings.max_vcpus and vcpus > settings.max_vcpus:
        machine.warnings.append(f"{vcpus} vCPUs are above default_maxvcpus, {settings.max_vcpus}")
    if memory < settings.least_memory:
        least = f"the least that {settings.hypervisor} takes, {settings.least_memory} MiB"
        machine.warnings.append(f"{memory} MiB is less than {least}")


def _fixed(machine: Machine, vcpus: int, memory: int) -> None:
    machine.boot_vcpus = machine.vcpus = machine.peak_vcpus = vcpus
    machine.boot_memory = machine.memory = machine.peak_memory = memory
    most = machine.settings.max_memory
    if most and memory > most:
        machine.warnings.append(f"{memory} MiB of memory are above default_maxmemory, {most} MiB")


def _plugged(workload: Workload, machine: Machine) -> None:
    """Boot with the defaults, then let the containers start in order."""
    settings = machine.settings
    _fixed(machine, _ceil(f32(settings.vcpus)), settings.memory)
    machine.steps.append(f"boots with {machine.vcpus} vCPU and {machine.memory} MiB")
    if settings.hypervisor not in _PLUGGABLE[settings.dialect]:
        machine.warnings.append(f"{settings.hypervisor} takes nothing while it runs: containers get no more than that")
        return
    dimms = settings.hypervisor == "qemu" and not settings.virtio_mem
    used = 1 if dimms and settings.nvdimm else 0
    machine.slots = (used, settings.slots) if dimms else None
    running: list[Container] = []
    for container in workload.containers:
        _start(container, [*running, container], machine)
        if container.role != "init":
            running.append(container)
    _cpus(running, machine)  # init containers have ended


def _start(container: Container, running: list[Container], machine: Machine) -> None:
    """One container starts beside others: CPUs are set to what all of them need, memory only grows."""
    before = machine.vcpus, machine.memory
    _cpus(running, machine)
    settings = machine.settings
    wanted = settings.memory + (sum(max(c.limits.memory or 0, 0) + c.limits.hugepages for c in running) >> 20)
    missing = wanted - machine.memory
    if settings.max_memory and wanted > settings.max_memory:
        missing = settings.max_memory - machine.memory
        machine.warnings.append(
            f"{container.name}: {wanted} MiB are wanted, default_maxmemory allows {settings.max_memory} MiB"
        )
    if missing > 0:
        added = missing if settings.virtio_mem else -(-missing // _BLOCK) * _BLOCK
        _add(container, added, machine)
    machine.peak_vcpus = max(machine.peak_vcpus, machine.vcpus)
    machine.peak_memory = max(machine.peak_memory, machine.memory)
    vcpus, memory = machine.vcpus - before[0], machine.memory - before[1]
    changes = [*([f"{vcpus:+} vCPU"] if vcpus else []), *([f"+{memory} MiB"] if memory else [])]
    kind = {"container": "", "init": " (init)", "sidecar": " (sidecar)"}[container.role]
    now = f"{machine.vcpus} vCPU, {machine.memory} MiB"
    machine.steps.append(f"{container.name}{kind}: {', '.join(changes) or 'nothing to add'}: {now}")


def _add(container: Container, added: int, machine: Machine) -> None:
    """Plug memory in, which takes a slot where it is a DIMM."""
    if machine.slots is None:
        machine.memory += added
        return
    used, slots = machine.slots
    if used >= slots:
        machine.fails = f"{container.name}: no memory slot is left (memory_slots {slots}), so it cannot start"
        return
    machine.slots = (used + 1, slots)
    machine.memory += added


def _cpus(running: list[Container], machine: Machine) -> None:
    settings = machine.settings
    cpus = 0.0
    for container in running:
        cpus = f32(cpus + container.limits.cpus)
    if cpus == 0:  # bound to CPUs and not limited otherwise
        cpus = float(sum(container.limits.cpuset for container in running))
    wanted = _ceil(f32(f32(settings.vcpus) + cpus))
    if settings.max_vcpus and wanted > settings.max_vcpus:
        told = f"{wanted} vCPUs are wanted, default_maxvcpus allows {settings.max_vcpus}"
        if told not in machine.warnings:
            machine.warnings.append(told)
        wanted = settings.max_vcpus
    machine.vcpus = wanted


def _warnings(workload: Workload, machine: Machine) -> Iterator[str]:
    settings, total = machine.settings, workload.total
    cpus, mib = total.cpus, total.mib
    both = not cpus and not mib
    if both:
        yield "no limits: the VM has what the configuration's defaults say, whatever runs in it"
    elif not mib and settings.static and settings.dialect == "rs":
        yield f"no memory limit: all that the VM has is overhead_memory, {settings.overhead_memory} MiB"
    elif not mib:
        yield f"no memory limit: the containers share default_memory, {settings.memory} MiB"
    most = _most_vcpus(settings)
    if settings.static and most and machine.peak_vcpus > most:
        yield f"{machine.peak_vcpus} vCPUs: more than {most} in a VM of {settings.hypervisor} are refused everywhere"
    guest = settings.overhead_memory or _GUEST
    if 0 < mib < guest:
        yield f"the memory limit, {mib} MiB, is less than what the guest itself takes, about {guest} MiB"
    everything_limited = all(c.limits.memory for c in workload.containers if c.role != "init")
    if workload.overhead and everything_limited and mib:
        cgroup = mib + (workload.overhead.memory >> 20)
        if machine.peak_memory > cgroup:
            yield (
                f"the VM may take {machine.peak_memory} MiB; limits and the RuntimeClass's overhead give the pod "
                f"{cgroup} MiB, and it is killed there"
            )


def _most_vcpus(settings: Settings) -> int | None:
    """The most that default_maxvcpus can be there, on the architecture with the most."""
    setting = tables().find("default_maxvcpus")
    side = setting.side(settings.dialect) if setting else None
    if side is None or side.high is None or not side.heeded_by(settings.hypervisor):
        return None
    return max([side.high.at(settings.hypervisor, None) or 0, *side.high.by_arch.values()])


def _ceil(value: float) -> int:
    return math.ceil(value)


def _plain(value: float) -> str:
    return f"{round(value, 3):g}"
