"""Checks of what earlier work left here: sandboxes that are gone, and a store that grows."""

from __future__ import annotations

import shutil

from ..checks import FAIL, PASS, WARN, Verdict
from .entry import HostCheck
from .host import Host

STORE_GIB, SCRATCH_GIB = 8, 3
"""Below the first a store fills up after a few kernels; below the second no kernel can be compiled."""

_VM_FOLDERS = ("/run/vc/sbs", "/run/vc/vm", "/run/kata-containers/shared/sandboxes", "/run/kata")
_ID = 12  # characters of a sandbox's id that are enough to know it by


def sandboxes(host: Host) -> Verdict:
    """Nothing is left of sandboxes that are gone."""
    found: dict[str, list[str]] = {}
    for folder in _VM_FOLDERS:
        for name in host.names(folder):
            found.setdefault(name, []).append(f"{folder}/{name}")
    if not found:
        return Verdict(PASS, "no sandbox, and nothing left of one")
    running = _commands(host)
    left = [name for name in found if name[:_ID] not in running]
    if left:
        folders = [folder for name in left for folder in found[name]]
        return Verdict(
            WARN, f"{len(left)} without a process: {', '.join(left[:3])}", f"sudo rm -r {' '.join(folders[:6])}"
        )
    return Verdict(PASS, f"{len(found)} running")


def _commands(host: Host) -> str:
    """All command lines: a VMM, a shim and a daemon have their sandbox's id on it."""
    try:
        folders = [entry for entry in host.at("/proc").iterdir() if entry.name.isdecimal()]
    except OSError:
        return ""
    lines = []
    for folder in folders:
        try:
            lines.append((folder / "cmdline").read_bytes().decode(errors="replace"))
        except OSError:
            continue  # it ended
    return "\n".join(lines)


def store_space(host: Host) -> Verdict:
    """Room for the store, where sets are built."""
    from ..pipeline.store import cache_folder

    folder = cache_folder()
    there = next(place for place in (folder, *folder.parents) if host.exists(str(place)))
    free = shutil.disk_usage(host.at(str(there))).free / (1 << 30)
    host.note(str(there), f"{free:.1f} GiB free")
    host.measurements["store_free_gib"] = round(free, 1)
    detail = f"{free:.1f} GiB free for {folder}"
    if free < STORE_GIB:
        status = FAIL if free < SCRATCH_GIB else WARN
        return Verdict(status, detail, "kata-toolkit gc, or KATA_TOOLKIT_CACHE= another disk")
    return Verdict(PASS, detail)


CHECKS = (
    HostCheck(
        "sandboxes",
        "sandboxes",
        sandboxes,
        "What a crashed sandbox left behind holds memory, mounts and names.",
        "installed",
        ("/run/vc/sbs, /run/vc/vm", "/run/kata-containers/shared/sandboxes, /run/kata", "/proc/PID/cmdline"),
        "sudo rm -r /run/vc/sbs/ID",
    ),
    HostCheck(
        "store-space",
        "room for the store",
        store_space,
        "A kernel is compiled in 2 GB of scratch, and all that was built is kept.",
        "installed",
        ("the folder of the store",),
        "kata-toolkit gc",
        when=lambda host: host.wanted.builds,
    ),
)
