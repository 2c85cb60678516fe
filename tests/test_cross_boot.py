"""A guest for another architecture: compiled here, and booted under emulation to a container."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from kata_toolkit.arch import arch_of
from kata_toolkit.elf import read_program

pytestmark = [pytest.mark.kernel, pytest.mark.vm, pytest.mark.full]

ARM64 = arch_of("arm64")


@pytest.fixture(scope="module")
def arm64_set(root: Path, tool: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    if ARM64.native:
        pytest.skip("this machine is arm64 itself")
    for program in (f"{ARM64.cross_prefix}gcc", ARM64.qemu):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    target = tmp_path_factory.mktemp("set") / "arm64"
    subprocess.run([tool, "build", "-q", root / "examples" / "arm64.yaml", "-o", target], check=True)
    return target


def test_every_part_is_for_that_machine(arm64_set: Path) -> None:
    manifest = json.loads((arm64_set / "manifest.json").read_text())
    assert manifest["arch"] == "aarch64"
    kernel = (arm64_set / manifest["root"]["kernel"]).read_bytes()
    assert kernel[56:60] == b"ARMd", "QEMU's -kernel boots an Image there, no ELF file"
    assert (arm64_set / manifest["root"]["bzimage"]).read_bytes().startswith(b"\x1f\x8b")
    wrapper = read_program(arm64_set / "bin" / "kata-arm64")
    assert (wrapper.machine, wrapper.interpreter) == (ARM64.machine, None)


def test_it_boots_to_a_container(arm64_set: Path, tool: Path) -> None:
    done = subprocess.run(
        [tool, "boot", arm64_set, "--run", "uname", "-m"], capture_output=True, text=True, check=False, timeout=500
    )
    assert (done.returncode, done.stdout.strip()) == (0, "aarch64"), done.stderr


def test_it_is_proved_as_any_other(arm64_set: Path, tool: Path) -> None:
    done = subprocess.run([tool, "verify", arm64_set, "--json"], capture_output=True, check=False, timeout=500)
    status = {check["id"]: check["status"] for check in json.loads(done.stdout)["checks"]}
    assert done.returncode == 0, done.stdout
    for name in ("boots", "root-virtio-blk", "root-initrd", "container-oom", "share-9p", "clock", "panic", "power-off"):
        assert status[name] == "pass", name
    assert status["root-dax"] == "skip"
