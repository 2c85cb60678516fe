"""Debian's own kernel, booted to a container: fetched with apt, its modules in an initrd, loaded before the agent."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from kata_toolkit.vm.built_set import BuiltSet
from kata_toolkit.vm.oci import Mount, Process
from kata_toolkit.vm.options import Options
from kata_toolkit.vm.session import Session

pytestmark = [pytest.mark.vm, pytest.mark.tool]


@pytest.fixture(scope="module")
def debian(tool: Path, root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example, built; nothing is compiled but the agent and the loader."""
    target = tmp_path_factory.mktemp("debian") / "set"
    argv = [tool, "build", "-q", root / "examples/debian-kernel.yaml", "-o", target]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode == 3:
        pytest.skip(f"no Debian kernel here, and it cannot be fetched: {done.stderr}")
    assert done.returncode == 0, done.stderr
    return target


def test_it_is_proved_and_says_which_package_it_is(tool: Path, debian: Path, root: Path) -> None:
    done = subprocess.run([tool, "verify", "--json", debian], capture_output=True, text=True, check=False)
    report = json.loads(done.stdout)
    status = {check["id"]: check["status"] for check in report["checks"]}
    assert done.returncode == 0, report
    assert {status[name] for name in ("boots", "agent-digest", "container-output", "container-stdin", "power-off")} == {
        "pass"
    }
    assert status["kernel-config"] == "skip", "Debian's kernel cannot tell its configuration"
    measured = report["measurements"]
    # What was measured was 705 M and 79 MiB; twice that would mean that something is loaded, or checked, for nothing.
    assert 200 < measured["boot_minstr"] < 1000
    assert 20 < measured["guest_overhead_mib"] < 110
    manifest: dict[str, Any] = json.loads((debian / "manifest.json").read_text())
    jsonschema.validate(manifest, json.loads((root / "schemas/manifest.schema.json").read_text()))
    package = manifest["kernel_package"]
    release = next((debian / "share/kata-containers").glob("vmlinux-*")).name.removeprefix("vmlinux-")
    assert package["package"] == f"linux-image-{release}"
    assert package["source"]["name"].startswith("linux-signed-")
    assert manifest["sources"]["kernel"] == {
        "kind": "debian",
        "package": package["package"],
        "version": package["version"],
        "sha256": package["sha256"],
    }
    assert (debian / "share/kata-containers" / f"vmlinuz-{release}").is_file()


def test_modules_are_loaded_at_boot_and_when_they_are_asked_for(debian: Path) -> None:
    guest = BuiltSet.load(debian).bootable()
    with Session.boot(guest, Options(accel="tcg"), note=print) as session:
        loaded = session.run(["cat", "/proc/modules"]).stdout.decode()
        names = {line.split()[0] for line in loaded.splitlines()}
        assert {"virtio_blk", "virtio_net", "vmw_vsock_virtio_transport", "overlay", "virtio_scsi"} <= names
        assert "binfmt_misc" not in names
        # The agent mounts it; the kernel asks the guest's modprobe for fs-binfmt_misc.
        mount = Mount("/mnt", "binfmt_misc", "binfmt_misc")
        done = session.container(Process(["cat", "/mnt/status", "/proc/modules"]), mounts=[mount])
        assert done.stdout.startswith(b"enabled\n"), done
        assert b"\nbinfmt_misc " in done.stdout
        assert session.power_off().clean


def test_an_image_of_it_is_refused_at_the_line_that_asks_for_it(tool: Path, root: Path, tmp_path: Path) -> None:
    text = (root / "examples/debian-kernel.yaml").read_text()
    spec = tmp_path / "image.yaml"
    spec.write_text(text.replace("boot: initrd", "boot: image"))
    argv = [tool, "build", "--json", spec, "-o", tmp_path / "set"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode == 3:
        pytest.skip("no Debian kernel here, and it cannot be fetched")
    assert done.returncode == 2
    (error,) = json.loads(done.stdout.splitlines()[-1])["errors"]
    lines = spec.read_text().splitlines()
    assert "boot: image" in lines[error["line"] - 1]
    assert "cannot boot the image of qemu: the root on an NVDIMM needs a module" in error["message"]
    assert "initrd: {enabled: true}" in error["hint"]
    assert not (tmp_path / "set").exists()
