"""Images without any privilege: no root, no user namespace, no mount, no device node, no chown. The same bytes."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import NOBODY
from worlds import IMAGES, INITRDS, TESTS, World, built

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="the filter knows the calls of x86_64")

AS_NOBODY = (
    "setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--no-new-privs", "--inh-caps=-all",
    "--bounding-set=-all",
)  # fmt: skip
CONFINED = (*(AS_NOBODY if os.geteuid() == 0 else ()), sys.executable, str(TESTS / "confined.py"))
PROBE = """
import ctypes, errno, os, subprocess
libc = ctypes.CDLL(None, use_errno=True)
def refused(name, *arguments):
    ctypes.set_errno(0)
    print(name, getattr(libc, name)(*arguments) == -1 and errno.errorcode[ctypes.get_errno()])
for flag in (0x10000000, 0x00020000, 0x20000000):
    refused("unshare", flag)
refused("mount", b"none", b"/tmp", b"tmpfs", 0, None)
refused("mknod", b"%s/x", 0o20600, 0x501)
refused("mkfifo", b"%s/y", 0o600)
refused("chown", b".", os.getuid(), os.getgid())
refused("chroot", b"/")
refused("ioctl", 0, 0x4C82)
print("clone", subprocess.run(["unshare", "--user", "true"], capture_output=True).returncode != 0)
status = dict(line.split(":\\t", 1) for line in open("/proc/self/status").read().splitlines() if ":\\t" in line)
print("NoNewPrivs", status["NoNewPrivs"], "Seccomp", status["Seccomp"])
print("CapEff", int(status["CapEff"], 16), "CapBnd", int(status["CapBnd"], 16))
print("threads and children", subprocess.run(["true"]).returncode)
"""


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A folder that everybody may enter."""
    with tempfile.TemporaryDirectory(prefix="kata-toolkit-rootless-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.mark.tool
def test_the_confinement_is_one(place: Path) -> None:
    """Else nothing would be proved."""
    script = PROBE.replace("%s", str(place))
    done = subprocess.run([*CONFINED, sys.executable, "-c", script], capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert lines[:9] == [f"{line.split()[0]} EPERM" for line in lines[:9]]
    assert lines[9:11] == ["clone True", "NoNewPrivs 1 Seccomp 2"]
    if os.geteuid() == 0:
        assert lines[11] == "CapEff 0 CapBnd 0"
    assert lines[12] == "threads and children 0"


@pytest.mark.tool
def test_every_source_in_every_format(place: Path) -> None:
    """Tars with device nodes, owners, capabilities and access lists among them."""
    images = tuple(name for name in IMAGES if name != "tarball-ext4-packed")
    initrds = tuple(n for n in INITRDS if n in ("folder-initrd", "oci-initrd", "minimal-initrd", "tarball-initrd-gzip"))
    plain = built(place / "plain", World(), images, initrds)
    confined = built(place / "confined", World(CONFINED, owner=NOBODY if os.geteuid() == 0 else None), images, initrds)
    assert sorted(path for path in plain | confined if plain.get(path) != confined.get(path)) == []
    assert sum(path.endswith((".img", ".initrd")) for path in confined) == len(images) + len(initrds)
