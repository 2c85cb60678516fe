"""A real containerd starts our wrapper by its runtime type, and real containers run behind it.

Kata's shim cannot be had everywhere: containerd's own shim of runc stands in for it. It is a Go program too, speaks the
same protocol, and says in the container it runs that it was really reached.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from kata_toolkit.stages.wrapper import RuntimeConfig
from managers import Containerd, containerd, needs_containerd
from wrapper_harness import GO, Install, Installed, read_record

pytest_plugins = ("wrapper_fixtures",)
pytestmark = pytest.mark.tool

CLH = RuntimeConfig("clh", "go", "share/defaults/kata-containers/configuration-clh.toml")
SHIM = "bin/containerd-shim-kata-v2"


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder with a name short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="ctd", dir="/tmp") as folder:
        yield Path(folder)


@pytest.fixture
def root(short: Path) -> Path:
    """A root file system with busybox in it."""
    busybox = shutil.which("busybox")
    if not busybox:
        pytest.skip("needs busybox")
    (short / "rootfs/bin").mkdir(parents=True)
    shutil.copy(busybox, short / "rootfs/bin/busybox")
    return short / "rootfs"


def real_shim() -> Path:
    needs_containerd()
    shim = shutil.which("containerd-shim-runc-v2")
    if not shim:
        pytest.skip("needs containerd-shim-runc-v2")
    return Path(shim)


def installed(install: Install, kata: str) -> Installed:
    it = install(kata=kata, configs=(GO, CLH))
    shutil.copy(it.shim, it.prefix / "bin/containerd-shim-toy-clh-v2")
    return it


def run(daemon: Containerd, root: Path, *words: str) -> tuple[int, str, str]:
    done = daemon.ctr("run", "--rm", *words, "--rootfs", root, "c1", "/bin/busybox", "echo", "it ran")
    return done.returncode, done.stdout, done.stderr


def test_a_container_runs_through_the_wrapper_and_is_cleared_away(install: Install, short: Path, root: Path) -> None:
    """Its configuration is told by KATA_CONF_FILE up to 3.x, so no options are needed."""
    shim = real_shim()
    it = installed(install, "3.21")
    it.put(it.prefix / SHIM, shim)
    with containerd(short, [it.prefix / "bin"]) as daemon:
        status, out, err = run(daemon, root, "--runtime", "io.containerd.toy-clh.v2")
        assert (status, out) == (0, "it ran\n"), err + daemon.log.read_text()
        assert daemon.ctr("tasks", "ls", "-q").stdout == ""
        assert not list((short / "state/io.containerd.runtime.v2.task/default").glob("*"))  # delete went through too


def test_how_containerd_calls_it(install: Install, short: Path, root: Path) -> None:
    """What containerd really gives to a shim, as a stand-in sees it behind the wrapper."""
    needs_containerd()
    it = installed(install, "4.1")
    wrapped = it.put(it.prefix / SHIM, it.go)
    record, config = short / "record", it.prefix / CLH.path
    with containerd(short, [it.prefix / "bin"], env={"RECORD": str(record)}) as daemon:
        words = ("--runtime", "io.containerd.toy-clh.v2", "--runtime-config-path", str(config))
        assert run(daemon, root, *words)[0] != 0  # the stand-in makes no sandbox
    seen = read_record(record)
    assert seen is not None
    argv = [word.decode() for word in seen["argv"]]
    assert argv[0] == str(wrapped)
    assert {"-namespace", "-address", "-publish-binary", "-id"} <= set(argv)
    assert str(daemon.socket) in argv


def test_without_a_configuration_containerd_shows_what_to_do(install: Install, short: Path, root: Path) -> None:
    shim = real_shim()
    it = installed(install, "4.1")
    it.put(it.prefix / SHIM, shim)
    with containerd(short, [it.prefix / "bin"]) as daemon:
        status, _, err = run(daemon, root, "--runtime", "io.containerd.toy-clh.v2")
        assert status != 0
        assert f'ConfigPath = "{it.prefix / CLH.path}"' in err.replace("\\", "")
        other = str(it.prefix / GO.path)
        status, _, err = run(daemon, root, "--runtime", "io.containerd.toy-clh.v2", "--runtime-config-path", other)
        assert status != 0
        assert "the shim was called for clh" in err
