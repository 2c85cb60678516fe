"""Small guests of the tests' own, for what a good guest never does: an init that sleeps, floods, dies, restarts."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from kata_toolkit.vm.built_set import BuiltSet, Guest

# The Go runtime's command line for an initrd, without the root device.
CMDLINE = "reboot=k pci=lastbus=0 console=hvc0 quiet panic=1 nr_cpus=1"

_SOURCE = r"""
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/reboot.h>
#include <unistd.h>
int main(int argc, char **argv)
{
    int console = open("/dev/console", O_RDWR);
    const char *act = argc > 1 ? argv[1] : "sleep";
    dprintf(console, "stub init: %s\n", act);
    if (!strcmp(act, "off")) reboot(RB_POWER_OFF);
    if (!strcmp(act, "restart")) reboot(RB_AUTOBOOT);
    if (!strcmp(act, "die")) return 3;
    while (!strcmp(act, "flood")) dprintf(console, "%0512d\n", 7);
    for (;;) pause();
}
"""


def stub_guest(built: Path, folder: Path) -> Guest:
    """The set's kernel with our init; the kernel hands the init what follows ``--`` on its command line."""
    guest = BuiltSet.load(built).guest
    assert guest is not None
    return Guest(kernel=guest.kernel, boot="initrd", initrd=stub_initrd(folder))


def stub_initrd(folder: Path) -> Path:
    """An initrd with only the init and the console it writes to."""
    source, program, initrd = folder / "init.c", folder / "init", folder / "stub.initrd"
    source.write_text(_SOURCE)
    compiler = "musl-gcc" if shutil.which("musl-gcc") else "gcc"
    subprocess.run([compiler, "-static", "-Os", "-o", program, source], check=True)
    entries = [
        ("dev", 0o040755, b"", (0, 0)),
        ("dev/console", 0o020600, b"", (5, 1)),
        ("init", 0o100755, program.read_bytes(), (0, 0)),
        ("TRAILER!!!", 0, b"", (0, 0)),
    ]
    initrd.write_bytes(b"".join(_newc(*entry) for entry in entries))
    return initrd


def _newc(name: str, mode: int, data: bytes, device: tuple[int, int]) -> bytes:
    """One entry of a newc cpio archive: ino, mode, uid, gid, nlink, mtime, size, dev, rdev, name size, check."""
    fields = (0, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(name) + 1, 0)
    head = b"070701" + b"".join(b"%08X" % value for value in fields) + name.encode() + b"\0"
    return head + bytes(-len(head) % 4) + data + bytes(-len(data) % 4)


def altered_set(built: Path, folder: Path, *, without: str = "", agent_kind: str = "", **guest: object) -> Path:
    """A copy of a built set (its files hard-linked where possible) with another guest configuration.

    The values go to the manifest, its root or its guest, wherever that name is.
    """
    folder.mkdir(exist_ok=True)
    copy = folder / "set"
    shutil.copytree(built, copy, symlinks=True, copy_function=_link_or_copy)
    manifest = json.loads((built / "manifest.json").read_text())
    for key, value in guest.items():
        places = (manifest, manifest["root"], manifest["guests"][0])
        next(place for place in places if key in place)[key] = value
    if agent_kind:
        manifest["root"]["agent"]["kind"] = agent_kind
    if without:
        (copy / manifest["root"][without]).unlink()
    (copy / "manifest.json").unlink()
    (copy / "manifest.json").write_text(json.dumps(manifest))
    return copy


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def children(pid: int) -> list[int]:
    """The processes a process has started and not yet buried."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += [int(word) for word in task.read_text().split()]
    return found


T = TypeVar("T")


def wait_for(condition: Callable[[], T], seconds: float = 15) -> T:
    """The first truthy value of a condition; fails when it stays false."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.02)
    raise AssertionError("it did not come true in time")
