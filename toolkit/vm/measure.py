"""The figures of a boot: counted in guest instructions, so that they mean the same on every host.

Under ``-icount shift=0,sleep=off`` QEMU's virtual clock advances one nanosecond an instruction, and the TSC one tick:
the figures repeat to a few parts in 100,000 whatever else the host does. They are instructions, not time. The
machine is the one of the guest's configuration (a q35 with the root on an nvdimm, if it names no other) with one CPU,
256 MiB, a console and the agent's port, and nothing else.

| figure | what |
|---|---|
| K | CLOCK_MONOTONIC at the agent's ``main()``: the kernel's own part |
| T | the TSC there, counted from reset, firmware included |
| R | the TSC when the agent answered its first health check |
| C | the TSC when a container's first process wrote its first byte, less the wait for the host's first request |
| O | guest memory overhead: configured memory minus MemAvailable at R |
| O2048 | the same with 2,048 MiB |
| exits | accesses to emulated devices up to R: see ``exits.py`` |

T, R and C are known on x86_64 only: other processors' counters do not count from reset at one tick an instruction.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from .. import warden
from ..errors import CheckError
from . import exits, machines
from .built_set import Guest
from .options import Options
from .session import CHECK_AVAILABLE_KIB, MAIN_NS, Session
from .ttrpc import AgentError

MEMORY_MIB = 256
LARGE_MEMORY_MIB = 2048
# Under TCG the calibration of the APIC timer costs about 216 million instructions that no real host spends.
MEASURE_PARAMS = ("quiet", "noapictimer", "hpet=disable")  # x86's; other kernels pass over them
# While a CPU that waits for a disk sleeps, virtual time leaps from timer to timer, as often as the host is slow: a
# loaded one doubles a boot. One that turns in a loop instead is done in the same number of instructions anywhere.
_DISK_PARAMS = ("idle=poll",)
_TIMEOUT_SECONDS = 180.0  # counting instructions makes a boot four to five times longer
_MAXMEMORY_MIB = 1024  # a fixed amount: the room for hot-plug must not depend on the host's memory

MAIN_TSC = "kata_toolkit_main_tsc"
CHECK_TSC = "kata_toolkit_first_check_tsc"
OUTPUT_TSC = "kata_toolkit_first_output_tsc"
WAIT_TSC = "kata_toolkit_first_request_wait_tsc"  # spent idle before the host's first request


@dataclass(frozen=True, slots=True)
class Figures:
    """K, T, R, C in millions of instructions, O in MiB, exits as `Exits` has them; None where nobody tells."""

    kernel_minstr: float | None = None  # K
    boot_minstr: float | None = None  # T
    check_minstr: float | None = None  # R
    output_minstr: float | None = None  # C
    guest_overhead_mib: float | None = None  # O
    guest_overhead_2048_mib: float | None = None  # O2048
    exits_port: int | None = None
    exits_mmio: int | None = None
    exits_firmware: int | None = None
    exits_polls: int | None = None
    exits_irqchip: int | None = None
    exits_by_device: Mapping[str, int] = field(default_factory=dict)

    def as_json(self) -> dict[str, float]:
        """The figures that are known, but for those of single devices."""
        known = asdict(self)
        del known["exits_by_device"]
        return {name: value for name, value in known.items() if value is not None}


def measure(guest: Guest, *, container: bool = True, large: bool = False, without: Collection[str] = ()) -> Figures:
    """Boot a guest once under instruction counting, and read its figures. TCG, 1 CPU, 256 MiB.

    ``container``: also start one, for C. ``large``: boot once more, with 2,048 MiB, for O2048. ``without``: words of
    the kernel's command line to leave out. Raises what `Session.boot` raises; CheckError when the container fails.
    """
    options = replace(_options(guest), without_params=tuple(without))
    with warden.temporary_folder("trace") as folder:
        trace = folder / "events"
        with Session.boot(_fixed(guest), replace(options, trace=str(trace)), note=_nothing) as session:
            answered = trace.stat().st_size  # the events up to now; QEMU writes each out at once
            if container:
                first_output(session)
            found = figures(session.agent.metrics(), MEMORY_MIB, guest.arch)
        found = replace(found, **_exits(trace, answered))
    if large:
        options = replace(options, memory_mib=LARGE_MEMORY_MIB)
        with Session.boot(_fixed(guest), options, note=_nothing) as session:
            more = figures(session.agent.metrics(), LARGE_MEMORY_MIB, guest.arch)
        found = replace(found, guest_overhead_2048_mib=more.guest_overhead_mib)
    return found


def _fixed(guest: Guest) -> Guest:
    return replace(guest, maxvcpus=1, vcpus=1, maxmemory_mib=_MAXMEMORY_MIB)


def _options(guest: Guest) -> Options:
    disk = machines.rootfs_driver(guest, machines.kind_for(guest), None) == "virtio-blk"
    return Options(
        accel="tcg",
        memory_mib=MEMORY_MIB,
        vcpus=1,
        timeout_seconds=_TIMEOUT_SECONDS,
        kernel_params=(*MEASURE_PARAMS, *(_DISK_PARAMS if disk else ())),
        icount=True,
    )


def _exits(trace: Path, size: int) -> dict[str, Any]:
    with trace.open("rb") as file:
        counted = asdict(exits.count(exits.head(file, size)))
    devices = counted.pop("by_device")
    return {**counted, "exits_by_device": devices}


def first_output(session: Session) -> None:
    """Run the container whose first byte of output counts for C. Raises CheckError when it does not come.

    Every call is sent before any answer is waited for: C is to count the guest's work, not its waits for the host.
    """
    try:
        done = session.agent.run_at_once(["/bin/echo", "ready"])
    except AgentError as error:
        if os.strerror(errno.ENOENT) in error.text:  # a guest without shell tools has no C
            return
        raise
    if done.stdout != b"ready\n" or done.status != 0:
        raise CheckError(f"the container's output was {done.stdout!r}, its exit code {done.status}")


def figures(gauges: Mapping[str, float], memory_mib: int, arch: str = "x86_64") -> Figures:
    """The figures from an agent's gauges."""
    if arch != "x86_64":
        gauges = {name: value for name, value in gauges.items() if not name.endswith("_tsc")}

    def millions(name: str, waited: float = 0.0) -> float | None:
        value = gauges.get(name)
        return round((value - waited) / 1e6, 3) if value else None

    available = gauges.get(CHECK_AVAILABLE_KIB)
    return Figures(
        kernel_minstr=millions(MAIN_NS),
        boot_minstr=millions(MAIN_TSC),
        check_minstr=millions(CHECK_TSC),
        output_minstr=millions(OUTPUT_TSC, gauges.get(WAIT_TSC, 0.0)),
        guest_overhead_mib=round(memory_mib - available / 1024, 2) if available else None,
    )


def _nothing(note: str) -> None:
    """Measuring uses TCG by definition: there is no choice to tell of."""
