"""The host checks of programs: which there are, what they say of themselves, and none that holds the check up."""

from __future__ import annotations

from pathlib import Path

from host_trees import QEMU_DEVICES, capable, checked, program, put


def test_qemu_that_lacks_a_device(tmp_path: Path) -> None:
    capable(tmp_path)
    devices = QEMU_DEVICES.replace("vhost-user-fs-pci ", "").replace("nvdimm ", "")
    program(tmp_path, "/usr/bin/qemu-system-x86_64", version="QEMU emulator version 8.0", devices=devices)
    it = checked(tmp_path)
    assert it.not_passed() == {"qemu-devices": "fail"}
    assert it["qemu-devices"].detail == "missing: nvdimm, vhost-user-fs-pci"


def test_programs_that_hang_or_fail_do_not_hold_the_check_up(tmp_path: Path) -> None:
    capable(tmp_path)
    put(tmp_path, "/usr/bin/qemu-system-x86_64", "#!/bin/sh\nsleep 30\n", 0o755)
    put(tmp_path, "/usr/bin/containerd", "#!/bin/sh\nexit 3\n", 0o755)
    put(tmp_path, "/usr/bin/podman", "not a program\n", 0o755)
    it = checked(tmp_path)
    assert it["qemu-devices"].status == "fail"
    assert "version unknown" in it["vmm"].detail
    assert it["vmm"].status == "warn"
    assert it["container-manager"].status == "warn"
    assert it["container-manager"].detail.count("does not say its version") == 2


def test_another_vmm_instead_of_qemu(tmp_path: Path) -> None:
    capable(tmp_path)
    (tmp_path / "usr/bin/qemu-system-x86_64").unlink()
    assert checked(tmp_path).not_passed() == {"vmm": "fail", "qemu-devices": "skip", "qemu-machines": "skip"}
    program(tmp_path, "/opt/kata/bin/cloud-hypervisor", version="cloud-hypervisor v43.0")
    assert checked(tmp_path).not_passed() == {"vmm": "warn", "qemu-devices": "skip", "qemu-machines": "skip"}
    program(tmp_path, "/usr/libexec/qemu-kvm", version="QEMU emulator version 9.1", devices=QEMU_DEVICES)
    assert checked(tmp_path).not_passed() == {}


def test_the_old_virtiofsd_and_none(tmp_path: Path) -> None:
    capable(tmp_path)
    (tmp_path / "usr/libexec/virtiofsd").unlink()
    assert checked(tmp_path).not_passed() == {"virtiofsd": "warn"}
    program(tmp_path, "/usr/lib/qemu/virtiofsd", version="virtiofsd version 7.2.22", help="-o source=<PATH>")
    it = checked(tmp_path)
    assert it.not_passed() == {"virtiofsd": "warn"}
    assert "--shared-dir" in it["virtiofsd"].detail


def test_every_manager_is_named(tmp_path: Path) -> None:
    capable(tmp_path)
    program(tmp_path, "/usr/bin/crio", version="crio version 1.31.2")
    program(tmp_path, "/usr/bin/dockerd", version="Docker version 27.5.1+dfsg1, build 297e128")
    program(tmp_path, "/usr/local/bin/nerdctl", version="nerdctl version 2.0.3")
    found = checked(tmp_path)["container-manager"].detail
    assert found == "containerd 1.7.24, CRI-O 1.31.2, Docker 27.5.1, nerdctl 2.0.3"
