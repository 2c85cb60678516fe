"""From a Debian with systemd, as a tar, to an image: against the way that needs root and loop devices.

Both ways get the same tar and stage on the same file system (a tmpfs where there is one), in turn, several times. The
tar is made once with mmdebstrap, which needs the network and root or user namespaces, and kept below build/bench.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

TOOL = str(Path(sys.executable).with_name("kata-toolkit"))
MEMORY = Path("/dev/shm")  # noqa: S108 -- a folder of its own is made in it
LIMITS = {"ext4": 1.3, "erofs": 0.5}
PACKAGES = (
    "systemd-sysv", "dbus", "chrony", "udev", "kmod", "ca-certificates", "ncurses-term", "linux-libc-dev",
    "manpages-dev", "xkb-data", "bash-completion", "python3", "libc6-dev",
)  # fmt: skip
# Large files that a guest's image would not have; what stays is about 170 MB in 17,000 files.
REMOVED = (
    "usr/share/perl", "usr/share/locale", "usr/lib/*/perl", "usr/lib/*/perl-base", "usr/lib/udev/hwdb.*",
    "usr/lib/*/*.a", "usr/lib/*/gconv",
)  # fmt: skip
OURS = """
import json, resource, sys, time
from pathlib import Path
from kata_toolkit.image.make import Wanted, write_image
from kata_toolkit.rootfs.tar import open_tar
with open_tar(Path(sys.argv[1])) as tar:
    tree = tar.tree()
    image = Path(sys.argv[3])
    made = write_image(tree, image, Wanted(sys.argv[2], align_mib=2), "00" * 32)
    cpu = time.process_time()
    begin = time.perf_counter()
    from kata_toolkit.image.readback import check_image
    check_image(image, made.layout, sys.argv[2], tree, None)
    blocks = sum(-(-n.size // 4096) for n in {id(n): n for _, n in tree.walk()}.values() if n.content)
print(json.dumps({
    "write_cpu_s": cpu,
    "check_s": time.perf_counter() - begin,
    "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    "file_blocks_bytes": blocks * 4096,
    "size": made.layout.size,
    "allocated": image.stat().st_blocks * 512,
    "entries": len(tree),
}))
"""
LOOP = """
set -e
truncate -s "$2" image
mkfs.ext4 -q -F image
mkdir mounted
device=$(losetup -f --show image)
trap 'umount mounted 2>/dev/null || true; losetup -d "$device"' EXIT
mount "$device" mounted
tar -x -p --xattrs --xattrs-include='*' --numeric-owner -C mounted -f "$1"
umount mounted
"""


def measured(work: Path, runs: int) -> dict[str, Any]:
    """The ratios with their limits, sizes, peak memory, and what `minimal` takes from a spec to its image."""
    tar = debian(work)
    staging = MEMORY if os.access(MEMORY, os.W_OK) else work
    with tempfile.TemporaryDirectory(dir=staging, prefix="kata-toolkit-bench-") as folder:
        there = Path(folder)
        copy = there / "root.tar"
        shutil.copyfile(tar, copy)
        found = _ratios(there, copy, runs)
        found["whole_build"] = _whole_build(there, copy, found.get("loop_mount_s"))
        found["minimal"] = _minimal(there)
    return found


def debian(work: Path) -> Path:
    """The tar; made when it is not there."""
    tar = work / "debian.tar"
    if not tar.exists():
        new = work / "new.tar"
        remove = 'cd "$1" && rm -rf ' + " ".join(REMOVED)
        argv = ["mmdebstrap", "-q", "--variant=minbase", f"--include={','.join(PACKAGES)}",
                f"--customize-hook={remove}", "bookworm", str(new)]  # fmt: skip
        subprocess.run(argv, check=True, env={**os.environ, "SOURCE_DATE_EPOCH": "1700000000"})
        new.replace(tar)
    return tar


def _ratios(folder: Path, tar: Path, runs: int) -> dict[str, Any]:
    """Each format against the loop mount, run in turn; the first round does not count."""
    loop = _can_mount()
    rounds: list[dict[str, Any]] = []
    for _ in range(runs + 1):
        row: dict[str, Any] = _loop_mount(folder, tar) if loop else {}
        for kind in LIMITS:
            row[kind] = _ours(folder, tar, kind)
        rounds.append(row)
    del rounds[0]
    found: dict[str, Any] = {"runs": runs, "tar_bytes": tar.stat().st_size, "staged_on": "tmpfs" if
                             folder.is_relative_to(MEMORY) else "disk"}  # fmt: skip
    if loop:
        found["loop_mount_s"] = round(median(row["loop"] for row in rounds), 3)
    else:
        found["note"] = "no loop devices here, or not root: no ratio to the loop mount"
    for kind, limit in LIMITS.items():
        of_kind = [row[kind] for row in rounds]
        write, check = (median(one[key] for one in of_kind) for key in ("write_s", "check_s"))
        last = of_kind[-1]
        found[kind] = {
            "write_s": round(write, 3),
            "check_s": round(check, 3),
            "check_to_write": round(median(one["check_s"] / one["write_s"] for one in of_kind), 3),
            "check_to_write_limit": 2.0,
            "peak_mib": round(max(one["peak_mib"] for one in of_kind), 1),
            "peak_limit_mib": 300,
            "size_to_file_blocks": round(last["allocated"] / last["file_blocks_bytes"], 4),
            "size_limit": 1.06,
            "apparent_bytes": last["size"],
            "entries": last["entries"],
        }
        if loop:
            ratios = [row[kind]["write_s"] / row["loop"] for row in rounds]
            cpu = [row[kind]["write_cpu_s"] / row["loop_cpu"] for row in rounds]
            found[kind] |= {"to_loop_mount": round(median(ratios), 3), "limit": limit}
            # The loop device's own thread is the kernel's, and in nobody's count.
            found[kind]["cpu_to_loop_mount"] = round(median(cpu), 3)
    return found


def _can_mount() -> bool:
    if os.geteuid() != 0 or not shutil.which("losetup"):
        return False
    return subprocess.run(["losetup", "-f"], capture_output=True, check=False).returncode == 0


def _loop_mount(folder: Path, tar: Path) -> dict[str, float]:
    """Seconds, of the clock and of processors, of the way that needs root: into an image with a tenth to spare."""
    with tempfile.TemporaryDirectory(dir=folder) as there:
        size = tar.stat().st_size * 11 // 10 + (32 << 20) >> 20
        before = _cpu(resource.getrusage(resource.RUSAGE_CHILDREN))
        seconds = _seconds(["sh", "-c", LOOP, "sh", str(tar), f"{size}M"], Path(there))
        return {"loop": seconds, "loop_cpu": _cpu(resource.getrusage(resource.RUSAGE_CHILDREN)) - before}


def _ours(folder: Path, tar: Path, kind: str) -> Mapping[str, float]:
    """Seconds of a process from its start to the written image, and what it says of reading back."""
    image = folder / "image"
    image.unlink(missing_ok=True)
    begin = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", OURS, str(tar), kind, str(image)], check=True, capture_output=True, text=True
    )
    seconds = time.perf_counter() - begin
    said = json.loads(done.stdout)
    return {**said, "write_s": seconds - said["check_s"]}


def _whole_build(folder: Path, tar: Path, loop: float | None) -> dict[str, Any]:
    """`build --only image` from that tar with an empty cache: agent, root file system, image, all checks, output."""
    spec = folder / "whole.yaml"
    spec.write_text(f"version: 1\nname: whole\nrootfs: {{kind: tarball, path: {tar}}}\n")
    found = _built(folder, spec)
    return {**found, **({"to_loop_mount": round(found["wall_s"] / loop, 3)} if loop else {})}


def _minimal(folder: Path) -> dict[str, Any]:
    """From the spec to the image, cold: the median of five."""
    spec = folder / "minimal.yaml"
    spec.write_text("version: 1\nname: minimal\n")
    found = [_built(folder, spec) for _ in range(5)]
    return {"cpu_s": median(one["cpu_s"] for one in found), "cpu_limit_s": 2.0, "peak_mib": found[-1]["peak_mib"]}


def _built(folder: Path, spec: Path) -> dict[str, Any]:
    """Seconds, processor seconds and peak memory (of the largest process) of a build with an empty cache."""
    with tempfile.TemporaryDirectory(dir=folder) as there:
        environment = {**os.environ, "KATA_TOOLKIT_CACHE": f"{there}/cache", "CCACHE_DISABLE": "1"}
        argv = [TOOL, "build", "-q", str(spec), "--only", "image", "-o", f"{there}/out"]
        begin = time.perf_counter()
        pid = os.posix_spawn(argv[0], argv, environment)
        _, status, usage = os.wait4(pid, 0)
        wall = time.perf_counter() - begin
        if status:
            raise subprocess.CalledProcessError(os.waitstatus_to_exitcode(status), argv)
    return {"wall_s": round(wall, 3), "cpu_s": round(_cpu(usage), 3), "peak_mib": round(usage.ru_maxrss / 1024, 1)}


def _cpu(usage: resource.struct_rusage) -> float:
    return usage.ru_utime + usage.ru_stime


def _seconds(argv: Sequence[str], cwd: Path) -> float:
    begin = time.perf_counter()
    subprocess.run(argv, check=True, cwd=cwd, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begin
