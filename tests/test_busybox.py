"""The guest's busybox when it is of another architecture than this machine: what is in it, without running it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from kata_toolkit.arch import arch_of, arches, native
from kata_toolkit.elf import read_program
from kata_toolkit.errors import InputError, ToolError
from kata_toolkit.pipeline.inputs import BuildInputs
from kata_toolkit.pipeline.store import Store
from kata_toolkit.recipe import stages_of
from kata_toolkit.rootfs.applets import applets_of, version_of
from kata_toolkit.rootfs.minimal import applet_paths
from kata_toolkit.rootfs.stage_files import APPLETS, BUSYBOX, VERSION
from kata_toolkit.spec.load import load_spec
from kata_toolkit.stages.busybox import BusyboxStage
from kernel_harness import Bench

pytestmark = pytest.mark.tool

FOREIGN = "arm64" if native().name != "arm64" else "x86_64"


@pytest.fixture(scope="module")
def own() -> Path:
    found = shutil.which("busybox")
    if found is None:
        pytest.skip("busybox is not installed")
    return Path(found)


def test_what_its_bytes_say_is_what_it_says_itself(own: Path) -> None:
    """The names and the places, which are read from the bytes and from a table of ours, against its own list."""
    told = subprocess.run([own, "--list-full"], capture_output=True, text=True, check=True).stdout
    assert applets_of(own.read_bytes()) == applet_paths(told)
    banner = subprocess.run([own, "--help"], capture_output=True, text=True, check=True).stdout.partition("\n")[0]
    assert banner.startswith(version_of(own.read_bytes()))


@pytest.mark.parametrize("program", [b"", b"\x7fELF", b"\0[\0[[\0acpid\0", b"\0[\0[[\0zcat\0sh\0"])
def test_what_is_no_busybox_is_refused(program: bytes) -> None:
    with pytest.raises(InputError):
        applets_of(program)
    with pytest.raises(InputError):
        version_of(program)


def test_only_a_guest_of_another_architecture_needs_one_fetched(tmp_path: Path) -> None:
    def stages(extra: str) -> set[str]:
        spec = tmp_path / "guest.yaml"
        spec.write_text(f"version: 1\nname: guest\n{extra}\n")
        return {stage.name for stage in stages_of(load_spec(spec))}

    assert "busybox" in stages(f"arch: {FOREIGN}")
    assert "busybox" not in stages(f"arch: {native().name}")
    assert "busybox" not in stages(f"arch: {FOREIGN}\nrootfs: {{kind: minimal, busybox: false}}")


def test_offline_without_lists_it_says_how_to_go_on(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with pytest.raises(ToolError) as caught:
        BusyboxStage(FOREIGN).plan(BuildInputs(store, offline=True))
    assert f"busybox for {FOREIGN}" in str(caught.value)
    assert "busybox: false" in str(caught.value.problems[0].hint)


@pytest.mark.full
def test_debians_is_fetched_and_understood(tmp_path: Path) -> None:
    """From the host's apt sources, with lists of our own for that architecture."""
    assert FOREIGN in arches()
    bench = Bench(tmp_path / "cache")
    try:
        entry = bench.build([BusyboxStage(FOREIGN)])["busybox"]
    except ToolError as error:
        pytest.skip(f"it cannot be fetched: {error}")
    program = read_program(entry.path(BUSYBOX))
    assert (program.machine, program.interpreter) == (arch_of(FOREIGN).machine, None)
    assert "bin/sh" in entry.path(APPLETS).read_text().splitlines()
    assert entry.path(VERSION).read_text().startswith("BusyBox v")
