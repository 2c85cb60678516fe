"""The figures of a boot: counted in guest instructions, so that they mean the same on every host.

Under ``-icount shift=0,sleep=off`` QEMU's virtual clock advances one nanosecond an instruction, and the TSC one tick:
the figures repeat to a few parts in 100,000 whatever else the host does. They are instructions, not time. The
machine is a q35 with one CPU, 256 MiB, the root on an nvdimm, a console and the agent's port, and nothing else.

| figure | what |
|---|---|
| K | CLOCK_MONOTONIC at the agent's ``main()``: the kernel's own part |
| T | the TSC there, counted from reset, firmware included |
| R | the TSC when the agent answered its first health check |
| C | the TSC when a container's first process wrote its first byte, less the wait for the host's first request |
| O | guest memory overhead: configured memory minus MemAvailable at R |
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

from ..errors import CheckError
from .built_set import Guest
from .options import Options
from .session import CHECK_AVAILABLE_KIB, MAIN_NS, Session
from .ttrpc import AgentError

MEMORY_MIB = 256
# Under TCG the calibration of the APIC timer costs about 216 million instructions that no real host spends.
MEASURE_PARAMS = ("quiet", "noapictimer", "hpet=disable")
_TIMEOUT_SECONDS = 180.0  # counting instructions makes a boot four to five times longer
_MAXMEMORY_MIB = 1024  # a fixed amount: the room for hot-plug must not depend on the host's memory

MAIN_TSC = "kata_toolkit_main_tsc"
CHECK_TSC = "kata_toolkit_first_check_tsc"
OUTPUT_TSC = "kata_toolkit_first_output_tsc"
WAIT_TSC = "kata_toolkit_first_request_wait_tsc"  # spent idle before the host's first request


@dataclass(frozen=True, slots=True)
class Figures:
    """K, T, R, C in millions of instructions, O in MiB; None where the agent does not tell."""

    kernel_minstr: float | None = None  # K
    boot_minstr: float | None = None  # T
    check_minstr: float | None = None  # R
    output_minstr: float | None = None  # C
    guest_overhead_mib: float | None = None  # O

    def as_json(self) -> dict[str, float]:
        """The figures that are known."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def measure(guest: Guest, *, container: bool = True) -> Figures:
    """Boot a guest once under instruction counting, and read its figures. TCG, 1 CPU, 256 MiB.

    ``container``: also start one, for C. Raises what `Session.boot` raises; CheckError when the container fails.
    """
    fixed = replace(guest, maxvcpus=1, vcpus=1, maxmemory_mib=_MAXMEMORY_MIB)
    options = Options(
        accel="tcg",
        memory_mib=MEMORY_MIB,
        vcpus=1,
        timeout_seconds=_TIMEOUT_SECONDS,
        kernel_params=MEASURE_PARAMS,
        icount=True,
    )
    with Session.boot(fixed, options, note=_nothing) as session:
        if container:
            first_output(session)
        return figures(session.agent.metrics(), MEMORY_MIB)


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


def figures(gauges: Mapping[str, float], memory_mib: int) -> Figures:
    """The figures from an agent's gauges."""

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
