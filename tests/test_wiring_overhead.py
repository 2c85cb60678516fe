"""The figures of the overhead, held to guests that run: what QEMU and the guest take must fit into their parts."""

from __future__ import annotations

import re
import subprocess
import time
from pathlib import Path

import pytest
from kata_toolkit.wiring.overhead import overhead

pytestmark = pytest.mark.vm

_KIB = 1024


def child(parent: int) -> int | None:
    """The QEMU that a process has started, if there is one."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text().rpartition(")")
        except OSError:
            continue
        if "(qemu-system" in fields[0] and int(fields[2].split()[1]) == parent:
            return int(entry.name)
    return None


def guest_and_vmm(pid: int, memory_mib: int) -> tuple[float, float]:
    """MiB of the guest's memory that the host has given, and of all else but translated code (proc(5): smaps)."""
    guest = total = size = 0
    translated = False  # TCG's code, which there is none of under KVM
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        found = re.fullmatch(r"(Size|Pss):\s+(\d+) kB", line)
        mapping = re.match(r"[0-9a-f]+-[0-9a-f]+ (....) ", line)
        if mapping is not None:
            translated = mapping[1].startswith("rwx")
        if found is None:
            continue
        kib = int(found[2])
        if found[1] == "Size":
            size = kib
        elif not translated:
            total += kib
            guest += kib if size == memory_mib * _KIB else 0
    return guest / _KIB, (total - guest) / _KIB


@pytest.mark.parametrize("memory_mib", [256, 2048])
def test_a_guest_and_its_vmm_fit_into_their_parts(tool: Path, built_set: Path, memory_mib: int) -> None:
    argv = [
        tool,
        "boot",
        built_set,
        "--accel",
        "tcg",
        "--memory",
        str(memory_mib),
        "--run",
        "sh",
        "-c",
        "echo ready; cat",
    ]
    boot = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert boot.stdin is not None
    assert boot.stdout is not None
    try:
        assert boot.stdout.readline() == b"ready\n", boot.communicate()[1].decode()
        time.sleep(0.3)  # what the guest does of itself right after
        pid = child(boot.pid)
        assert pid is not None
        guest, vmm = guest_and_vmm(pid, memory_mib)
    finally:
        boot.communicate(timeout=20)
    parts = {part.name: part.mib for part in overhead("qemu", memory_mib, virtiofsd=True).parts}
    # A quarter is added on top; the figures themselves may be missed by what a kernel of another profile takes.
    assert guest <= parts["guest kernel and agent"] * 1.15
    assert vmm <= parts["VMM"] * 1.1
    assert guest > parts["guest kernel and agent"] * 0.5  # else the measurement, or the figure, is wrong
    assert vmm > parts["VMM"] * 0.5
