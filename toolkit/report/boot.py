"""The way from the VMM's start to a container's first output, cut into phases.

Two clocks tell of it. Instructions are counted in the guest, and the same on every host; seconds are this host's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

# Each mark is a moment; the phase is the way to it from the one before.
_INSTRUCTIONS = (
    ("_before_kernel", "firmware, early kernel"),
    ("boot_minstr", "kernel"),
    ("check_minstr", "agent"),
    ("output_minstr", "first container"),
)
_SECONDS = (
    ("seconds_to_console", "VMM, firmware, early kernel"),
    ("seconds_to_agent_port", "kernel"),
    ("seconds_to_agent", "agent"),
    ("seconds_to_output", "first container"),
)


def instruction_phases(measurements: Mapping[str, Any]) -> list[dict[str, Any]]:
    """``[{"phase", "value"}]`` in millions of guest instructions; empty where they were not counted."""
    kernel, boot = measurements.get("kernel_minstr"), measurements.get("boot_minstr")
    known = dict(measurements)
    if kernel is not None and boot is not None:
        known["_before_kernel"] = boot - kernel  # the kernel's clock starts where the firmware has ended
    return _phases(known, _INSTRUCTIONS)


def time_phases(measurements: Mapping[str, Any]) -> list[dict[str, Any]]:
    """``[{"phase", "value"}]`` in seconds of this host; empty where nothing was timed."""
    return _phases(measurements, _SECONDS)


def _phases(known: Mapping[str, Any], marks: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
    found, before = [], 0.0
    for name, phase in marks:
        at = known.get(name)
        if at is None:
            continue
        if at > before:
            found.append({"phase": phase, "value": round(at - before, 3)})
            before = at
    return found
