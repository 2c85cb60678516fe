"""Trees that look like /proc, /sys and /dev of many kinds of host, for the host checks."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from kata_toolkit.checks import Report, Verdict
from kata_toolkit.host.host import Host
from kata_toolkit.host.kvm_guest import KvmVerdict
from kata_toolkit.host.table import check

RUNS = KvmVerdict(True, "a guest ran", "runs")
BASE_FLAGS = "fpu lm nx cx16 sse4_1 xsave"
RELEASE = "6.12.1"
QEMU_DEVICES = (
    "nvdimm pcie-root-port vhost-user-fs-pci vhost-vsock-pci virtio-9p-pci virtio-blk-pci virtio-net-pci "
    "virtio-rng-pci virtio-scsi-pci virtio-serial-pci"
)


@dataclass
class HostWithDenials(Host):
    """A host on which some devices may not be used. File modes cannot say so when the tests run as root."""

    denied: frozenset[str] = field(default_factory=frozenset)

    def may_use(self, device: str) -> bool:
        return device not in self.denied and self.exists(device)


def put(root: Path, name: str, text: str = "", mode: int = 0o644) -> None:
    file = root / name.lstrip("/")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    file.chmod(mode)


def program(root: Path, name: str, **answers: str) -> None:
    """A program that answers options by shell patterns: ``version="1.0"`` to --version, ``help=…`` to --help."""
    texts = {f"--{option}": text for option, text in answers.items() if option != "devices"}
    if "devices" in answers:
        texts["-device"] = "\n".join(f'name "{device}", bus PCI' for device in answers["devices"].split())
    cases = "".join(f"{option}) cat <<'EOF'\n{text}\nEOF\n;;\n" for option, text in texts.items())
    put(root, name, f'#!/bin/sh\ncase "$1" in\n{cases}*) exit 1;;\nesac\n', 0o755)


def cpuinfo(vendor: str, flags: str, count: int = 2) -> str:
    return "\n\n".join(f"processor\t: {i}\nvendor_id\t: {vendor}\nflags\t\t: {flags}" for i in range(count)) + "\n\n"


def capable(root: Path, *, vendor: str = "GenuineIntel", flag: str = "vmx ept", module: str = "kvm_intel") -> None:
    """A bare-metal machine on which everything is as it should be."""
    put(root, "/proc/cpuinfo", cpuinfo(vendor, f"{BASE_FLAGS} {flag}"))
    put(root, "/proc/meminfo", "MemTotal:       16384000 kB\nMemFree:  1000000 kB\nMemAvailable:   12288000 kB\n")
    put(root, "/proc/self/mounts", "proc /proc proc rw 0 0\ncgroup2 /sys/fs/cgroup cgroup2 rw,nosuid 0 0\n")
    put(root, "/sys/fs/cgroup/cgroup.controllers", "cpuset cpu io memory pids\n")
    put(root, "/proc/sys/user/max_user_namespaces", "63000\n")
    put(root, "/proc/sys/kernel/osrelease", RELEASE + "\n")
    (root / "proc/self/ns").mkdir(parents=True)
    (root / "proc/self/ns/pid").symlink_to("pid:[4026531836]")
    put(root, f"/sys/module/{module}/parameters/nested", "1\n")
    for name in ("vhost_vsock", "vhost_net", "tun"):
        (root / "sys/module" / name).mkdir()
    for device in ("kvm", "vhost-vsock", "vhost-net", "net/tun"):
        put(root, f"/dev/{device}", mode=0o666)
    program(root, "/usr/bin/qemu-system-x86_64", version="QEMU emulator version 9.2.0", devices=QEMU_DEVICES)
    program(root, "/usr/libexec/virtiofsd", version="virtiofsd 1.13.0", help="      --shared-dir <DIR>")
    program(root, "/usr/bin/containerd", version="containerd containerd.io 1.7.24 abc")


def no_modules_loaded(root: Path, *names: str, installed: Iterable[str] = (), builtin: Iterable[str] = ()) -> None:
    """The named modules are not loaded, and their devices are gone."""
    devices = {"tun": "net/tun", "kvm_intel": "kvm", "kvm_amd": "kvm"}
    for name in names:
        folder = root / "sys/module" / name
        for file in folder.rglob("*"):
            if file.is_file():
                file.unlink()
        for sub in sorted(folder.rglob("*"), reverse=True):
            sub.rmdir()
        if folder.exists():
            folder.rmdir()
        (root / "dev" / devices.get(name, name.replace("_", "-"))).unlink(missing_ok=True)
    listed = "".join(f"kernel/drivers/{name.replace('_', '-')}.ko.xz: kernel/x.ko.xz\n" for name in installed)
    put(root, f"/lib/modules/{RELEASE}/modules.dep", f"kernel/fs/other.ko:\n{listed}")
    put(root, f"/lib/modules/{RELEASE}/modules.builtin", "".join(f"kernel/{name}.ko\n" for name in builtin))


@dataclass(frozen=True)
class Checked:
    """A report with its verdicts at hand."""

    report: Report

    def __getitem__(self, name: str) -> Verdict:
        return self.report.verdicts[name]

    def not_passed(self) -> dict[str, str]:
        return {name: v.status for name, v in self.report.verdicts.items() if v.status != "pass"}


def checked(
    root: Path,
    *,
    machine: str = "x86_64",
    kvm: KvmVerdict | Callable[[], KvmVerdict] = RUNS,
    denied: Iterable[str] = (),
) -> Checked:
    """Check the host whose tree lies below ``root``; KVM itself cannot be put into a tree."""
    probe = kvm if callable(kvm) else lambda: kvm
    return Checked(check(HostWithDenials(root=root, machine=machine, kvm=probe, denied=frozenset(denied))))
