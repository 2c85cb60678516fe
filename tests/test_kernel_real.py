"""A real kernel, built twice under other circumstances by the real stages: the same bytes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from kernel_harness import fake_library, later_make

pytest_plugins = ("kernel_fixtures",)
pytestmark = [pytest.mark.kernel, pytest.mark.full]

TINY = """\
feature: net
title: As little as a kernel can be and still say what it is
symbols:
  CONFIG_EXPERT: {value: y, why: "shows the switches used here"}
  CONFIG_PRINTK: {value: y, why: "its strings hold paths and line numbers"}
  CONFIG_BUG: {value: y, why: "its table holds paths and line numbers"}
  CONFIG_IKCONFIG: {value: y, why: "packs the configuration into the kernel"}
  CONFIG_BLK_DEV_INITRD: {value: y, why: "packs an initramfs, with times and owners, into the kernel"}
"""

BUILD = """
import os, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from kata_toolkit import resources, run
from kata_toolkit.spec.model import TreeKernel
from kernel_harness import Bench, kernel_stages
real, which = resources.resource, run.which
resources.resource = lambda *p: Path({library!r}) if p == ("kernel-configs",) else real(*p)
run.which = lambda tool: None if tool == "ccache" else which(tool)
os.umask({umask})
entry = Bench(Path({cache!r}), jobs={jobs}).build(kernel_stages(TreeKernel(Path({tree!r}))))["kernel"]
print(entry.path("vmlinux").parent)
"""


def build(tree: Path, library: Path, cache: Path, umask: int, jobs: int, **environment: str) -> Path:
    """Build in a process of its own, without ccache; the folder of the outputs."""
    script = BUILD.format(
        tests=str(Path(__file__).parent),
        library=str(library),
        umask=umask,
        jobs=jobs,
        cache=str(cache),
        tree=str(tree),
    )
    env = {"PATH": os.environ["PATH"], **environment}
    result = subprocess.run(
        [sys.executable, "-c", script], cwd=cache.parent, env=env, stdout=subprocess.PIPE, text=True, check=True
    )
    return Path(result.stdout.split()[-1])


def test_a_kernel_built_twice_is_the_same(real_tree: Path, tmp_path: Path) -> None:
    """Other tree, cache and working folders, clock, umask, TZ, locale, user, host name and number of jobs."""
    if shutil.which("faketime") is None:
        pytest.skip("faketime is not installed")
    library = fake_library(tmp_path / "kernel-configs")
    (library / "features" / "net.yaml").write_text(TINY)
    first = build(real_tree, library, tmp_path / "one", 0o022, 2)
    moved = tmp_path / "a-quite-different-and-longer-place" / "linux"
    moved.parent.mkdir()
    shutil.copytree(real_tree, moved, symlinks=True, copy_function=shutil.copyfile)  # times and modes differ too
    for script in ("scripts", "tools"):
        for path in (moved / script).rglob("*"):
            if path.is_file() and not path.is_symlink():
                path.chmod((real_tree / path.relative_to(moved)).stat().st_mode)
    second = build(
        moved,
        library,
        tmp_path / "two-is-elsewhere",
        0o077,
        1,
        PATH=f"{later_make(tmp_path / 'bin')}:{os.environ['PATH']}",
        TZ="Pacific/Auckland",
        LC_ALL="C.UTF-8",
        USER="somebody",
        HOSTNAME="elsewhere",
        SOURCE_DATE_EPOCH="1",
        KBUILD_BUILD_USER="me",
    )
    names = sorted(p.name for p in first.iterdir())
    assert names == ["System.map", "config", "objects", "release", "vmlinux", "vmlinuz"]
    for name in names:
        assert (first / name).read_bytes() == (second / name).read_bytes(), name
    kernel = (first / "vmlinux").read_bytes()
    for trace in (str(tmp_path), str(real_tree), "/scratch/"):
        assert trace.encode() not in kernel, f"{trace} is in the kernel"
    told = subprocess.run(["readelf", "-nW", first / "vmlinux"], capture_output=True, text=True, check=True).stdout
    assert "Build ID" in told
