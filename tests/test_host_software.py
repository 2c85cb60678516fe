"""The host checks of software: VMMs, virtiofsd, what confines them, and what is installed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from host_trees import GOOD, VIRTIOFSD_OPTIONS, Checked, Link, Program, Tree, checked, lay, qemu
from kata_toolkit.host import ask
from kata_toolkit.host.host import Host
from kata_toolkit.host.wanted import Wanted

QEMU = "/usr/bin/qemu-system-x86_64"
CLH, FC = "/opt/kata/bin/cloud-hypervisor", "/opt/kata/bin/firecracker"


def host(tmp_path: Path, files: Tree, wanted: Wanted | None = None) -> Checked:
    """A good host with ``files``; an empty program: none."""
    tree = {**GOOD["intel"], **files}
    lay(tmp_path, {name: entry for name, entry in tree.items() if entry != ""})
    return checked(tmp_path, wanted=wanted)


def asks(*hypervisors: str, **more: object) -> Wanted:
    return Wanted(hypervisors=hypervisors, **more)  # type: ignore[arg-type]  # the fields' own types


@pytest.mark.parametrize(
    ("files", "wanted", "status", "says"),
    [
        ({QEMU: qemu(version="QEMU emulator version 5.2.0 (Debian 1:5.2)")}, None, "fail", "older than 6.0"),
        ({QEMU: qemu(version="QEMU emulator version 7.2.22")}, asks("qemu"), "pass", "QEMU 7.2.22"),
        ({QEMU: qemu(version="QEMU emulator version 10.1.0")}, asks("qemu-tdx"), "pass", "QEMU 10.1.0"),
        ({}, asks("clh"), "fail", "no Cloud Hypervisor, which is asked for"),
        ({}, asks("qemu", "fc"), "fail", "no Firecracker"),
        ({CLH: Program({"--version": "cloud-hypervisor v48.0.0"})}, asks("clh"), "pass", "Cloud Hypervisor 48.0.0"),
        ({CLH: Program({"--version": "cloud-hypervisor v27.0.0"})}, asks("clh"), "fail", "older than 28.0"),
        ({CLH: Program({"--version": "cloud-hypervisor v27.0.0"})}, asks("qemu"), "pass", "QEMU"),
        ({CLH: Program({"--version": "cloud-hypervisor v27.0.0"})}, None, "warn", "older than 28.0"),
        ({FC: Program({"--version": "Firecracker v0.20.0"})}, asks("fc"), "fail", "older than 0.21.1"),
        ({FC: Program({"--version": "Firecracker v1.12.1"})}, asks("firecracker"), "pass", "Firecracker 1.12.1"),
        ({}, asks("stratovirt"), "fail", "no StratoVirt"),
        ({}, asks("openvmm-azure"), "fail", "no OpenVMM"),
        ({QEMU: ""}, asks("dragonball"), "pass", "none is needed"),
        ({QEMU: ""}, None, "fail", "neither QEMU nor another VMM"),
        ({QEMU: Program({"--version": "nothing to say"})}, asks("qemu"), "pass", "version unknown"),
    ],
)
def test_vmms(tmp_path: Path, files: Tree, wanted: Wanted | None, status: str, says: str) -> None:
    verdict = host(tmp_path, files, wanted)["vmm"]
    assert verdict.status == status, verdict
    assert says in verdict.detail
    assert status == "pass" or verdict.remedy


def test_qemu_without_kvm_or_its_machine(tmp_path: Path) -> None:
    answers = {**qemu().answers, "-accel": "Accelerators supported in QEMU binary:\ntcg"}
    assert "without KVM" in host(tmp_path / "a", {QEMU: Program(answers)})["qemu-machines"].detail
    answers = {**qemu().answers, "-machine": "microvm  a machine"}
    assert "no machine q35" in host(tmp_path / "b", {QEMU: Program(answers)})["qemu-machines"].detail
    del answers["-machine"]
    assert host(tmp_path / "c", {QEMU: Program(answers)})["qemu-machines"].status == "skip"
    assert host(tmp_path / "d", {CLH: Program({"--version": "48.0"})}, asks("clh"))["qemu-machines"].status == "skip"


@pytest.mark.parametrize(("kind", "word"), [("tdx", "tdx-guest"), ("snp", "sev-snp-guest"), ("se", "s390-pv-guest")])
def test_qemu_for_confidential_guests(tmp_path: Path, kind: str, word: str) -> None:
    wanted = asks(f"qemu-{kind}", confidential=kind)
    old = Program({**qemu().answers, "-object": "List of user creatable objects:\n  rng-random"})
    new = Program({**qemu().answers, "-object": f"List of user creatable objects:\n  {word}"})
    verdict = host(tmp_path / "old", {QEMU: old}, wanted)["qemu-confidential"]
    assert (verdict.status, word in verdict.detail) == ("fail", True)
    assert host(tmp_path / "new", {QEMU: new}, wanted)["qemu-confidential"].status == "pass"
    assert host(tmp_path / "mute", {}, wanted)["qemu-confidential"].status == "skip"
    assert "qemu-confidential" not in host(tmp_path / "un", {QEMU: new}).report.verdicts


OLD_DAEMON = Program({"--version": "virtiofsd version 7.2.22", "--help": "--fd=FD --socket-path=P\n -o source=PATH"})


@pytest.mark.parametrize(
    ("files", "wanted", "status", "says"),
    [
        ({}, None, "pass", "--shared-dir"),
        ({"/usr/libexec/virtiofsd": ""}, None, "warn", "there is none"),
        ({"/usr/libexec/virtiofsd": ""}, asks("qemu"), "fail", "there is none"),
        ({"/usr/libexec/virtiofsd": ""}, asks("qemu", virtio_fs=False), "skip", "shares folders"),
        ({"/usr/libexec/virtiofsd": OLD_DAEMON}, None, "warn", "the old one in C of QEMU"),
        ({"/usr/libexec/virtiofsd": OLD_DAEMON}, asks("clh"), "fail", "without --shared-dir, --cache, --sandbox"),
        ({"/usr/libexec/virtiofsd": Program({"--version": "virtiofsd 1.13.0"})}, None, "warn", "does not tell"),
        (
            {
                "/opt/kata/libexec/virtiofsd": Program({"--version": "virtiofsd 1.13.3", "--help": VIRTIOFSD_OPTIONS}),
                "/usr/libexec/virtiofsd": OLD_DAEMON,
            },
            None,
            "pass",
            "/opt/kata/libexec/virtiofsd",
        ),
    ],
)
def test_virtiofsd(tmp_path: Path, files: Tree, wanted: Wanted | None, status: str, says: str) -> None:
    verdict = host(tmp_path, files, wanted)["virtiofsd"]
    assert verdict.status == status, verdict
    assert says in verdict.detail


@pytest.mark.skipif(not Path("/usr/lib/qemu/virtiofsd").exists(), reason="QEMU 7's virtiofsd is not installed")
def test_the_real_old_daemon_is_known_for_what_it_is() -> None:
    from kata_toolkit.host.programs import virtiofsd

    if Host().which("virtiofsd", "/opt/kata/libexec", "/usr/libexec"):
        pytest.skip("there is another one")
    verdict = virtiofsd(Host())
    assert (verdict.status, "the old one in C" in verdict.detail) == ("warn", True)


ENFORCED = "/usr/bin/man (enforce)\n/usr/libexec/virtiofsd (enforce)\nlibvirtd (complain)\n"
APPARMOR = "/sys/module/apparmor/parameters/enabled"
KVM_POLICY = "/var/lib/selinux/targeted/active/modules/200/container/"


@pytest.mark.parametrize(
    ("files", "check", "status", "says"),
    [
        ({}, "apparmor", "pass", "not in use"),
        ({APPARMOR: "N\n"}, "apparmor", "pass", "not in use"),
        ({APPARMOR: "Y\n"}, "apparmor", "pass", "no profile installed"),
        ({APPARMOR: "Y\n", "/proc/self/attr/current": "docker-default (enforce)\n"}, "apparmor", "warn", "docker-def"),
        ({APPARMOR: "Y\n", "/proc/self/attr/current": "unconfined\n"}, "apparmor", "pass", "no profile"),
        ({APPARMOR: "Y\n", "/sys/kernel/security/apparmor/profiles": ENFORCED}, "apparmor", "warn", "virtiofsd"),
        (
            {APPARMOR: "Y\n", "/sys/kernel/security/apparmor/profiles": "/usr/bin/man (enforce)\n"},
            "apparmor",
            "pass",
            "no profile in force",
        ),
        ({APPARMOR: "Y\n", "/etc/apparmor.d/usr.bin.qemu-system-x86_64": ""}, "apparmor", "warn", "installed: usr"),
        (
            {
                APPARMOR: "Y\n",
                "/etc/apparmor.d/usr.sbin.containerd": "",
                "/etc/apparmor.d/disable/usr.sbin.containerd": "",
            },
            "apparmor",
            "pass",
            "no profile",
        ),
        ({}, "selinux", "pass", "not in use"),
        ({"/sys/fs/selinux/enforce": "0"}, "selinux", "pass", "permissive"),
        ({"/sys/fs/selinux/enforce": "1"}, "selinux", "warn", "container-selinux is not seen"),
        ({"/sys/fs/selinux/enforce": "1", KVM_POLICY: ""}, "selinux", "pass", "container_kvm_t"),
        (
            {"/sys/fs/selinux/enforce": "1", "/usr/share/selinux/packages/container.pp.bz2": "x"},
            "selinux",
            "pass",
            "container_kvm_t",
        ),
        (
            {"/sys/fs/selinux/enforce": "1", "/proc/self/attr/current": "system_u:system_r:container_t:s0:c1,c2\0"},
            "selinux",
            "fail",
            "container_t",
        ),
        ({}, "seccomp", "pass", "no filter"),
        ({"/proc/self/status": "Seccomp:\t2\n"}, "seccomp", "pass", "this session"),
        (
            {"/proc/self/status": "Seccomp:\t2\n", "/proc/self/ns/pid": Link("pid:[4026532000]"), "/.dockerenv": "x"},
            "seccomp",
            "warn",
            "this container",
        ),
        ({"/proc/self/status": "Name:\tx\n"}, "seccomp", "skip", "does not tell"),
        ({}, "snaps", "pass", "none"),
        ({"/snap/docker/": " "}, "snaps", "warn", "docker is a snap"),
        ({"/var/lib/snapd/snap/docker/": " "}, "snaps", "warn", "docker is a snap"),
        ({"/snap/microk8s/": " "}, "snaps", "pass", "microk8s"),
        ({}, "sandboxes", "pass", "no sandbox"),
        ({"/run/vc/sbs/0123456789abcdef/": " "}, "sandboxes", "warn", "1 without a process"),
        (
            {"/run/vc/sbs/0123456789abcdef/": " ", "/proc/77/cmdline": "qemu\0-name\0sandbox-0123456789abcdef\0"},
            "sandboxes",
            "pass",
            "1 running",
        ),
        ({"/run/vc/vm/aaaa/": " ", "/run/vc/sbs/aaaa/": " "}, "sandboxes", "warn", "1 without a process: aaaa"),
    ],
)
def test_what_confines_and_what_is_left(tmp_path: Path, files: Tree, check: str, status: str, says: str) -> None:
    full = {name: entry if entry != "" else "\n" for name, entry in files.items()}
    verdict = host(tmp_path, full)[check]
    assert verdict.status == status, verdict
    assert says in verdict.detail
    assert status == "pass" or verdict.remedy


PREFIX = "/opt/toy"
TOML = f"{PREFIX}/share/defaults/kata-containers/configuration-qemu.toml"
KERNEL_CONFIG = (
    "CONFIG_EXT4_FS=y\nCONFIG_FS_DAX=y\nCONFIG_BLK_DEV_PMEM=y\nCONFIG_VIRTIO_PCI=y\nCONFIG_VIRTIO_VSOCKETS=y\n"
    "CONFIG_VIRTIO_FS=y\n# CONFIG_EROFS_FS is not set\n"
)


def toy(**changes: str) -> Tree:
    """A small set, installed; ``changes``: other texts of files, by name; empty: without the file."""
    texts = {
        "vmlinux": "kernel",
        "image": "root",
        "config": KERNEL_CONFIG,
        "toml": f'[hypervisor.qemu]\npath = "{QEMU}"\nkernel = "{PREFIX}/vmlinux"\nimage = "{PREFIX}/image"\n'
        'shared_fs = "virtio-fs"\nvirtio_fs_daemon = "/usr/libexec/virtiofsd"\n',
    }
    files = {"vmlinux": f"{PREFIX}/vmlinux", "image": f"{PREFIX}/image", "config": f"{PREFIX}/config", "toml": TOML}
    roles = {"vmlinux": "kernel", "image": "image", "config": "kernel_config", "toml": "runtime_config"}
    manifest = {
        "toolkit": {"version": "1"},
        "name": "toy",
        "kata": "4.1",
        "prefix": PREFIX,
        "root": {"image": "image", "rootfs_type": "ext4", "dax": True, "verity": "", "initrd": None},
        "artifacts": [
            {"path": files[name].removeprefix(f"{PREFIX}/"), "role": roles[name], "size": len(text)}
            for name, text in texts.items()
        ],
    }
    now = {**texts, **changes}
    return {f"{PREFIX}/manifest.json": json.dumps(manifest)} | {files[k]: v for k, v in now.items() if v}


@pytest.mark.parametrize(
    ("files", "check", "status", "says"),
    [
        (toy(), "set-files", "pass", "toy (/opt/toy)"),
        (toy(), "set-config", "pass", "where the configurations say"),
        (toy(), "set-kernel", "pass", "DAX"),
        (toy(), "set-runtime", "pass", "4.1.0"),
        (toy(vmlinux="another kernel"), "set-files", "fail", "has 14 bytes, not 6"),
        (toy(image=""), "set-files", "fail", "/opt/toy/image: no such file"),
        (toy(image=""), "set-config", "fail", "qemu.image = /opt/toy/image does not exist"),
        (toy(toml="[hypervisor.qemu]\nshared_fs = 'none'\nvirtio_fs_daemon = '/x'\n"), "set-config", "pass", "where"),
        (toy(toml="[hypervisor.qemu]\nvirtio_fs_daemon = '/x'\n"), "set-config", "fail", "virtio_fs_daemon = /x"),
        (toy(toml="[hypervisor.clh]\npath = '/y'\n"), "set-config", "fail", "clh.path = /y does not exist"),
        (toy(toml="[hypervisor"), "set-config", "fail", "is no TOML"),
        (toy(toml="hypervisor = 3\n"), "set-config", "pass", "where"),
        (toy(toml="edited = 1\n"), "set-files", "pass", "toy"),
        (toy(config="CONFIG_EXT4_FS=y\n"), "set-kernel", "fail", "CONFIG_VIRTIO_PCI"),
        (
            toy() | {"/usr/local/bin/containerd-shim-kata-v2": Program({"--version": "shim, version: 3.21.0"})},
            "set-runtime",
            "warn",
            "was built for Kata 4.1",
        ),
        (toy() | {"/opt/other/manifest.json": "{"}, "set-files", "pass", "toy (/opt/toy)"),
        (toy() | {"/opt/other/manifest.json": "[]"}, "set-files", "pass", "toy (/opt/toy)"),
    ],
)
def test_installed_sets(tmp_path: Path, files: Tree, check: str, status: str, says: str) -> None:
    verdict = host(tmp_path, files)[check]
    assert verdict.status == status, verdict
    assert says in verdict.detail


def test_a_set_without_any_runtime(tmp_path: Path) -> None:
    lay(tmp_path, {**GOOD["intel"], **toy()})
    (tmp_path / "usr/local/bin/containerd-shim-kata-v2").unlink()
    verdict = checked(tmp_path)["set-runtime"]
    assert (verdict.status, "no containerd-shim-kata-v2" in verdict.detail) == ("warn", True)


def test_a_set_that_is_asked_for_and_not_installed(tmp_path: Path) -> None:
    it = host(tmp_path, {}, Wanted(sets=("/opt/absent",)))
    assert it["set-files"].status == "warn"
    assert "cp -aT DIR /opt/absent" in (it["set-files"].remedy or "")
    assert {it[name].status for name in ("set-config", "set-runtime", "set-kernel")} == {"skip"}


def test_room_for_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for free, status in ((2, "fail"), (5, "warn"), (100, "pass")):
        usage = shutil._ntuple_diskusage(1 << 50, 0, free << 30)  # type: ignore[attr-defined]  # what it returns
        monkeypatch.setattr(shutil, "disk_usage", lambda _, usage=usage: usage)
        assert host(tmp_path / str(free), {}, Wanted(builds=True))["store-space"].status == status


def test_programs_are_asked_at_once_and_none_holds_the_others_up(tmp_path: Path) -> None:
    scripts = {"slow": "sleep 30", "fails": "exit 3", "says": "echo yes", "forks": "sleep 30 & echo no"}
    for name, script in scripts.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    calls = [[str(tmp_path / name)] for name in ("slow", "fails", "says", "forks", "absent", "says", "says")]
    answers = ask.ask(calls, 0.5, 1.5)
    assert answers[:3] == [None, None, "yes\n"]
    assert answers[4:] == [None, "yes\n", "yes\n"]


def test_nothing_is_asked_when_there_is_no_time() -> None:
    assert ask.ask([["/bin/true"]], 1.0, 0.0) == [None]
