"""The machine on which figures were taken, in a few words: a time means nothing without it."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

_MIB = 1 << 20


def machine(accel: str | None = None) -> dict[str, Any]:
    """Processor, memory (MiB), system; ``accel``: what ran the guests (kvm or tcg)."""
    return {
        "processor": _field(Path("/proc/cpuinfo"), ("model name", "Model", "cpu", "vendor_id")) or platform.machine(),
        "processors": len(os.sched_getaffinity(0)),
        "memory_mib": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // _MIB,
        "arch": platform.machine(),
        "kernel": platform.release(),
        "system": _field(Path("/etc/os-release"), ("PRETTY_NAME",), "=") or platform.system(),
        "accel": accel,
    }


def _field(file: Path, names: tuple[str, ...], separator: str = ":") -> str | None:
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    for name in names:
        for line in lines:
            key, found, value = line.partition(separator)
            if found and key.strip() == name:
                return value.strip().strip('"')
    return None
