"""Other ways to boot the same kernel: from an initrd, and with a root file system that holds no shell tools."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.vm, pytest.mark.tool]

SPEC = """\
version: 1
name: kinds
kernel: {{source: {{kind: prebuilt, vmlinux: {{path: {kernel}}}, config: {{path: {config}}}}}}}
rootfs: {{kind: minimal, busybox: {busybox}}}
initrd: {{enabled: {initrd}, compression: zstd}}
runtime: {{hypervisors: {{qemu: {{boot: {boot}, settings: {{default_vcpus: 1, default_memory: 256}}}}}}}}
"""


def build(tool: Path, built_set: Path, folder: Path, **how: str) -> Path:
    """A set with the kernel of the built one; only its small parts are made."""
    guest = json.loads((built_set / "manifest.json").read_text())["root"]
    paths = {"kernel": built_set / guest["kernel"], "config": built_set / guest["kernel_config"]}
    spec = folder / "kinds.yaml"
    spec.write_text(SPEC.format(**paths, **how))
    subprocess.run([tool, "build", "-q", spec, "-o", folder / "set"], check=True, capture_output=True)
    return folder / "set"


def statuses(tool: Path, folder: Path) -> tuple[int, dict[str, str], dict[str, Any]]:
    """The exit code of ``verify``, each check's status, the measurements."""
    done = subprocess.run([tool, "verify", "--quick", "--json", folder], capture_output=True, check=False)
    report = json.loads(done.stdout)
    return done.returncode, {c["id"]: c["status"] for c in report["checks"]}, report["measurements"]


def test_an_initrd_boots_and_runs_containers(tool: Path, built_set: Path, tmp_path: Path) -> None:
    folder = build(tool, built_set, tmp_path, busybox="true", initrd="true", boot="initrd")
    argv = [tool, "boot", folder, "-q", "--run", "sh", "-c", "cat /proc/cmdline; exit 3"]
    done = subprocess.run(argv, capture_output=True, check=False, text=True)
    assert (done.returncode, done.stderr) == (3, "")
    assert "root=" not in done.stdout
    code, status, measured = statuses(tool, folder)
    assert code == 0
    assert status["root-dax"] == "skip"
    assert {status[name] for name in ("boots", "agent-digest", "kernel-config", "container-output")} == {"pass"}
    assert measured["boot_minstr"] > 1


def test_a_guest_without_shell_tools_is_proved_with_the_hosts(tool: Path, built_set: Path, tmp_path: Path) -> None:
    folder = build(tool, built_set, tmp_path, busybox="false", initrd="false", boot="image")
    code, status, measured = statuses(tool, folder)
    assert code == 0
    assert {status[name] for name in status if not name.startswith(("budget-", "root-verity", "extensions"))} == {
        "pass"
    }
    assert measured["boot_minstr"] > 1
    assert "output_minstr" not in measured


def test_nothing_is_proved_where_no_container_could_run(tool: Path, built_set: Path, tmp_path: Path) -> None:
    folder = build(tool, built_set, tmp_path, busybox="false", initrd="false", boot="image")
    programs = tmp_path / "programs"
    programs.mkdir()
    qemu = shutil.which("qemu-system-x86_64")
    assert qemu
    (programs / "qemu-system-x86_64").symlink_to(qemu)
    argv = [tool, "verify", "--quick", folder, "--accel=tcg"]
    environment = {**os.environ, "PATH": str(programs)}
    done = subprocess.run(argv, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 1, done.stderr
    assert "this host has no busybox to lend" in done.stdout
    assert "not proved here: container-output\nNOT proved: " in done.stdout
    done = subprocess.run([*argv, "--allow-skipped"], capture_output=True, text=True, env=environment, check=False)
    assert (done.returncode, "NOT proved" in done.stdout) == (0, True)


def test_a_shell_that_is_there_but_does_not_start_is_a_failure(tool: Path, built_set: Path, tmp_path: Path) -> None:
    """The kernel says the same of a missing program and of one whose interpreter is missing."""
    folder = build(tool, built_set, tmp_path, busybox="false", initrd="false", boot="image")
    (tmp_path / "sh").write_text("#!/nowhere\n")
    (tmp_path / "commands").write_text(f"write {tmp_path}/sh bin/sh\nsif bin/sh mode 0100755\n")
    (image,) = folder.rglob("*.img")
    argv = ["debugfs", "-w", "-f", tmp_path / "commands", f"{image}?offset={3 << 20}"]
    subprocess.run(
        argv, check=True, capture_output=True, env={**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"}
    )
    code, status, _ = statuses(tool, folder)
    assert (code, status["boots"], status["power-off"]) == (1, "pass", "pass")
    assert {status[name] for name in ("root-dax", "kernel-config", "container-output")} == {"fail"}


def test_a_spec_is_booted_from_where_it_was_built_to(tool: Path, built_set: Path, tmp_path: Path) -> None:
    spec = tmp_path / "kinds.yaml"
    guest = json.loads((built_set / "manifest.json").read_text())["root"]
    paths = {"kernel": built_set / guest["kernel"], "config": built_set / guest["kernel_config"]}
    spec.write_text(SPEC.format(**paths, busybox="true", initrd="false", boot="image"))
    argv = [tool, "boot", "kinds.yaml", "-q", "--run", "echo", "from the spec"]
    missing = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert missing.returncode == 2
    assert "kinds.yaml has not been built: there is no out/kinds/manifest.json" in missing.stderr
    assert "kata-toolkit build kinds.yaml" in missing.stderr
    subprocess.run([tool, "build", "-q", spec], cwd=tmp_path, check=True, capture_output=True)
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "from the spec\n")


@pytest.mark.parametrize(
    ("image", "settings"),
    [("{dax: false}", "{default_memory: 256}"), ("{dax: true}", "{default_memory: 256, disable_image_nvdimm: true}")],
    ids=["no DAX header", "DAX header, attached as a block device"],
)
def test_the_set_is_proved_as_it_is_configured(
    tool: Path, built_set: Path, tmp_path: Path, image: str, settings: str
) -> None:
    """What boots is what the configuration says, not what we would have liked it to say."""
    root = json.loads((built_set / "manifest.json").read_text())["root"]
    spec = tmp_path / "kinds.yaml"
    spec.write_text(
        f"version: 1\nname: kinds\nimage: {image}\n"
        f"kernel: {{source: {{kind: prebuilt, vmlinux: {{path: {built_set / root['kernel']}}}}}}}\n"
        f"runtime: {{hypervisors: {{qemu: {{settings: {settings}}}}}}}\n"
    )
    subprocess.run([tool, "build", "-q", spec, "-o", tmp_path / "set"], check=True, capture_output=True)
    code, status, measured = statuses(tool, tmp_path / "set")
    assert status["root-dax"] == "skip"
    assert (code, status["boots"], status["container-output"]) == (0, "pass", "pass")
    assert measured["boot_minstr"] > 1
    argv = [tool, "boot", "--json", tmp_path / "set"]
    document = json.loads(subprocess.run(argv, check=True, capture_output=True).stdout)
    assert "root=/dev/vda1" in document["cmdline"]
    assert "agent.cdh_api_timeout=50" in document["cmdline"]
