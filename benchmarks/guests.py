"""The guests of each kernel profile: booted and counted, their sizes, and what compiling their kernels takes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
TOOL = str(Path(sys.executable).with_name("kata-toolkit"))
REFERENCE = "upstream"
"""The guest with the options of Kata's own kernel: the others are ratios to it."""
GUESTS = (REFERENCE, "parity", "default", "default-virtio-mem", "minimal", "firecracker")
COMPARED = (
    "kernel_minstr", "boot_minstr", "guest_overhead_mib", "guest_overhead_2048_mib", "vmlinux_bytes",
    "vmlinuz_bytes", "exits", "build_cpu_s",
)  # fmt: skip


def measured(work: Path, names: Sequence[str], *, cold: bool) -> dict[str, Any]:
    """The figures of each guest, and their ratios to upstream's option set. ``cold``: compile each kernel anew."""
    figures = {name: _figures(work, name, cold=cold) for name in names}
    for found in figures.values() if REFERENCE in figures else ():
        base = figures[REFERENCE]
        found["to_upstream"] = {key: round(found[key] / base[key], 4) for key in COMPARED if found.get(key)}
    return figures


def _figures(work: Path, name: str, *, cold: bool) -> dict[str, Any]:
    """K, T, R, C, O, accesses to devices, and sizes; with ``cold`` also the processor seconds of the kernel."""
    from kata_toolkit.vm.built_set import BuiltSet
    from kata_toolkit.vm.measure import measure

    target = work / name
    extra: dict[str, Any] = {}
    environment = dict(os.environ)
    if cold:
        # An empty store of its own, kept for the next run of anything but this; ccache would make it no measurement.
        environment |= {"KATA_TOOLKIT_CACHE": str(work / f"cold-{name}"), "CCACHE_DISABLE": "1"}
    subprocess.run(
        [TOOL, "build", str(HERE / "specs" / f"{name}.yaml"), "-o", str(target)], check=True, env=environment
    )
    if cold:
        timings = json.loads((work / f"{name}.report" / "timings.json").read_text())
        extra["build_cpu_s"] = round(timings["cpu_seconds"]["kernel"], 1)
    found = measure(BuiltSet.load(target).bootable(), large=True)
    exits = {"exits": sum(found.exits_by_device.values()), "exits_by_device": dict(found.exits_by_device)}
    return {**found.as_json(), **exits, **_sizes(target), **extra}


def _sizes(target: Path) -> Mapping[str, int]:
    """Bytes of the kernel's forms and of the image as it lies on the disk."""
    share = target / "share/kata-containers"
    image = next(share.glob("*.img")).stat()
    return {
        "vmlinux_bytes": next(share.glob("vmlinux-*")).stat().st_size,
        "vmlinuz_bytes": next(share.glob("vmlinuz-*")).stat().st_size,
        "image_bytes": image.st_size,
        "image_allocated_bytes": image.st_blocks * 512,
    }
