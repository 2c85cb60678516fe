"""`kata-toolkit density`: mappings told apart, parts that add up, and a small measuring of real guests."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import jsonschema
import pytest
from kata_toolkit.vm import memory
from kata_toolkit.vm.burst import Burst
from vm_guests import children

SMAPS = """\
55d000000000-55d000001000 r-xp 00000000 fe:01 77 /usr/bin/qemu-system-x86_64
Size:                  4 kB
Rss:                   4 kB
Pss:                   2 kB
Shared_Clean:          4 kB
Private_Dirty:         0 kB
VmFlags: rd ex
55d100000000-55d100100000 rw-p 00000000 00:00 0 [heap]
Rss:                 100 kB
Pss:                 100 kB
Private_Dirty:       100 kB
7f0000000000-7f0010000000 rw-p 00000000 00:00 0
Rss:               40960 kB
Pss:               40960 kB
Private_Dirty:     40960 kB
7f1000000000-7f1000100000 rwxp 00000000 00:00 0
Pss:                 512 kB
Rss:                 512 kB
7f2000000000-7f2000001000 r--p 00000000 fe:01 9 /usr/lib/libglib-2.0.so.0.7400.6
Pss:                   1 kB
Rss:                   4 kB
7f3000000000-7f3000010000 r--s 00000000 fe:01 8 /a b/root.img
Pss:                   7 kB
Rss:                  64 kB
7f4000000000-7f4000001000 rw-p 00000000 00:00 0 [stack]
Pss:                   8 kB
Rss:                   8 kB
"""
MEMINFO = (
    "MemTotal:         235000 kB\nMemFree:          228000 kB\nSlab: 4000 kB\nAnonPages: 100 kB\nHugePages_Total: 0\n"
)
DMESG = (
    "[0.1] Memory: 230000K/261600K available (10240K kernel code, 1000K rwdata, 500K rodata, 800K init, 600K bss, "
    "31000K reserved, 0K cma-reserved)"
)


def test_mappings_are_told_apart_by_what_they_are_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_read", lambda pid, name: SMAPS)
    monkeypatch.setattr(Path, "readlink", lambda self: Path("/usr/bin/qemu-system-x86_64"))
    parts = memory.by_part(os.getpid(), memory.Files(256, image="/a b/root.img"))
    assert {name: part.pss_kib for name, part in parts.items()} == {
        "guest memory": 40960, "image": 7, "kernel file": 0, "translated code": 512, "program": 2, "libraries": 1,
        "heap": 100, "other": 8,
    }  # fmt: skip
    assert parts["image"].rss_kib == 64
    assert parts["program"].shared_kib == 4


def test_parts_of_a_process_add_up_to_what_the_kernel_says() -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        time.sleep(0.1)
        parts = memory.by_part(process.pid, memory.Files(256))
        whole = memory.footprint(process.pid)
        process.kill()
    # The kernel rounds each mapping's share down.
    assert abs(sum(part.pss_kib for part in parts.values()) - whole.pss_kib) < 40
    assert sum(part.rss_kib for part in parts.values()) == whole.rss_kib


@pytest.mark.parametrize("dmesg", [DMESG, ""])
def test_parts_of_a_guest_add_up_to_its_memory(dmesg: str) -> None:
    parts = memory.guest_parts(256, memory.meminfo(MEMINFO), dmesg)
    assert sum(parts.values()) == 256 * 1024
    assert min(parts.values()) >= 0
    assert ("kernel text" in parts) == bool(dmesg)
    assert parts["slab"] == 4000


@pytest.mark.parametrize(("percent", "wanted"), [(0, 1.0), (5, 1.0), (50, 10.0), (95, 19.0), (99, 20.0), (100, 20.0)])
def test_percentiles_are_of_the_nearest_rank(percent: float, wanted: float) -> None:
    assert Burst(tuple(float(n) for n in range(1, 21))).percentile(percent) == wanted


@pytest.mark.parametrize(
    "words",
    [
        ["--vms", "0"], ["--vms", "1,x"], ["--vms", ""], ["--vms", "201"], ["--vms", "1,,2"], ["--vms", "-1"],
        ["--vms", "99999999999"], ["--vms", "1.5"], ["--way", "cold"], ["--rounds", "-1"], ["--burst", "-2"],
        ["--burst", "1000"], ["--memory", "1"], ["--accel", "xen"],
    ],
)  # fmt: skip
def test_bad_words_are_the_users_mistake(tool: Path, tmp_path: Path, words: list[str]) -> None:
    done = subprocess.run([tool, "density", tmp_path, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.vm
def test_guests_are_measured(tool: Path, built_set: Path, root: Path) -> None:
    argv = [tool, "density", built_set, "--json", "--vms", "1,2", "--burst", "2", "--rounds", "1", "--accel", "tcg",
            "--way", "dax", "--way", "clone"]  # fmt: skip
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    schema = json.loads((root / "schemas" / "density.schema.json").read_text())
    jsonschema.Draft202012Validator(schema).validate(found)
    dax, clone = found["ways"]["dax"]["vms"], found["ways"]["clone"]["vms"]
    for row in (*dax, *clone):
        # Parts are rounded a mapping, of which QEMU has hundreds.
        assert abs(sum(row["last_parts_kib"].values()) - row["last"]["pss_kib"]) < 1024
    assert clone[1]["last"]["pss_kib"] < 0.6 * dax[1]["last"]["pss_kib"]
    assert clone[1]["last_parts_kib"]["guest memory"] < 0.5 * dax[1]["last_parts_kib"]["guest memory"]
    assert dax[1]["last_image_rss_kib"] > 0
    assert sum(found["guest"]["parts_kib"].values()) == 256 * 1024
    assert found["template"]["clone_to_cold"] < 0.5
    assert found["burst"]["clone"]["p50_seconds"] < found["burst"]["cold"]["p50_seconds"]
    assert found["pods"][1]["guest_kib"] > found["pods"][0]["guest_kib"]


@pytest.mark.vm
def test_an_interrupt_leaves_nothing(tool: Path, built_set: Path) -> None:
    shm = set(Path("/dev/shm").iterdir())
    argv = [tool, "density", built_set, "--json", "--vms", "3", "--burst", "0", "--accel", "tcg"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        deadline = time.monotonic() + 20
        while not children(process.pid) and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(1.5)
        started = children(process.pid)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)
    assert process.returncode == 130
    assert started
    assert not [pid for pid in started if Path(f"/proc/{pid}").exists()]
    ours = {path for path in set(Path("/dev/shm").iterdir()) - shm if path.name.startswith("kata-toolkit")}
    assert not ours
