"""Trees that look like /proc, /sys and /dev of many kinds of host, for the host checks.

A tree is a mapping: a path to its text, `Link` or `Program`; a path that ends in a slash is a folder. `GOOD` has one
for each architecture on which everything is as it should be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from kata_toolkit.checks import PASS, SKIP, Report, Verdict
from kata_toolkit.host.host import Host
from kata_toolkit.host.kvm_guest import KvmVerdict
from kata_toolkit.host.table import check
from kata_toolkit.host.wanted import Wanted

RUNS = KvmVerdict(True, "a guest ran", "runs")
CREATED = KvmVerdict(True, "a VM was created", "created", 48)
BASE_FLAGS = "fpu lm nx cx16 sse4_1 xsave"
INTEL, AMD = "vmx ept vpid flexpriority", "svm npt nrip_save vgif v_vmsave_vmload flushbyasid"
RELEASE = "6.12.1"
QEMU_DEVICES = (
    "nvdimm pcie-root-port vhost-user-fs-pci vhost-vsock-pci virtio-9p-pci virtio-blk-pci virtio-net-pci "
    "virtio-rng-pci virtio-scsi-pci virtio-serial-pci"
)
UNASKED = frozenset({"iommu", "vfio", "gpus", "tdx", "sev", "sgx", "secure-execution"})
"""Checks that say nothing unless somebody asks for what they look at."""


MACHINE_TYPES = ("none", "pc", "q35", "virt", "pseries", "s390-ccw-virtio")
VIRTIOFSD_OPTIONS = "--shared-dir <DIR>\n --fd <FD>\n --socket-path <PATH>\n --cache <CACHE>\n --sandbox <SANDBOX>"
CONTAINERD_CONFIG = """version = 2
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.kata]
runtime_type = "io.containerd.kata.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.kata.options]
ConfigPath = "/opt/kata/share/defaults/kata-containers/configuration-qemu.toml"
"""


@dataclass(frozen=True)
class Link:
    """A symbolic link."""

    to: str


@dataclass(frozen=True)
class Program:
    """A program that answers options: ``{"--version": "1.0"}``."""

    answers: Mapping[str, str]

    def script(self) -> str:
        cases = "".join(f"{option}) cat <<'EOF'\n{text}\nEOF\n;;\n" for option, text in self.answers.items())
        return f'#!/bin/sh\ncase "$1" in\n{cases}*) exit 1;;\nesac\n'


Entry = str | Link | Program
Tree = Mapping[str, Entry]


def qemu(devices: str = QEMU_DEVICES, version: str = "QEMU emulator version 9.2.0") -> Program:
    listed = "\n".join(f'name "{device}", bus PCI' for device in devices.split())
    machines = "Supported machines are:\n" + "".join(f"{name:20} a machine\n" for name in MACHINE_TYPES)
    accelerators = "Accelerators supported in QEMU binary:\ntcg\nkvm"
    return Program({"--version": version, "-device": listed, "-machine": machines, "-accel": accelerators})


def cpuinfo(vendor: str, flags: str, count: int = 2) -> str:
    return "\n\n".join(f"processor\t: {i}\nvendor_id\t: {vendor}\nflags\t\t: {flags}" for i in range(count)) + "\n\n"


def blocks(count: int, **fields: str) -> str:
    """/proc/cpuinfo with ``count`` blocks of the same fields; underscores stand for blanks."""
    lines = "".join(f"{name.replace('_', ' ')}\t: {value}\n" for name, value in fields.items())
    return "".join(f"processor\t: {i}\n{lines}\n" for i in range(count))


LIMITS = (
    "Limit                     Soft Limit           Hard Limit           Units\n"
    "Max locked memory         8388608              8388608              bytes\n"
)
COMMON: Tree = {
    "/proc/cmdline": "BOOT_IMAGE=/vmlinuz root=/dev/sda1 ro quiet\n",
    "/proc/meminfo": "MemTotal:       16384000 kB\nMemFree:  1000000 kB\nMemAvailable:   12288000 kB\n",
    "/proc/self/cgroup": "0::/user.slice/user-1000.slice/session-1.scope\n",
    "/proc/self/limits": LIMITS,
    "/proc/self/mounts": (
        "proc /proc proc rw 0 0\ntmpfs /dev/shm tmpfs rw,nosuid 0 0\ncgroup2 /sys/fs/cgroup cgroup2 rw,nosuid 0 0\n"
    ),
    "/proc/self/ns/pid": Link("pid:[4026531836]"),
    "/proc/sys/kernel/io_uring_disabled": "0\n",
    "/proc/sys/kernel/modules_disabled": "0\n",
    "/proc/sys/kernel/osrelease": RELEASE + "\n",
    "/proc/sys/kernel/random/entropy_avail": "256\n",
    "/proc/sys/user/max_user_namespaces": "63000\n",
    "/proc/sys/vm/overcommit_memory": "0\n",
    "/sys/devices/system/clocksource/clocksource0/current_clocksource": "tsc\n",
    "/sys/devices/system/cpu/online": "0-3\n",
    "/sys/devices/system/cpu/smt/active": "1\n",
    "/sys/devices/system/cpu/vulnerabilities/meltdown": "Not affected\n",
    "/sys/devices/system/cpu/vulnerabilities/spectre_v2": "Mitigation: Enhanced IBRS; RSB filling\n",
    "/sys/fs/cgroup/cgroup.controllers": "cpuset cpu io memory pids\n",
    "/sys/fs/cgroup/cgroup.subtree_control": "cpuset cpu io memory pids\n",
    "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages": "0\n",
    "/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages": "0\n",
    "/sys/kernel/mm/hugepages/hugepages-2048kB/resv_hugepages": "0\n",
    "/sys/kernel/mm/transparent_hugepage/enabled": "always [madvise] never\n",
    "/sys/kernel/security/lockdown": "[none] integrity confidentiality\n",
    **{f"/sys/module/{name}/": "" for name in ("vhost_vsock", "vhost_net", "tun", "overlay")},
    **{f"/sys/module/{name}/": "" for name in ("sch_ingress", "cls_u32", "act_mirred")},
    **{f"/dev/{name}": "" for name in ("kvm", "vhost-vsock", "vhost-net", "net/tun")},
    "/sys/bus/pci/devices/": "",
    "/usr/libexec/virtiofsd": Program({"--version": "virtiofsd 1.13.0", "--help": VIRTIOFSD_OPTIONS}),
    "/usr/bin/containerd": Program({"--version": "containerd containerd.io 1.7.24 abc"}),
    "/etc/containerd/config.toml": CONTAINERD_CONFIG,
    "/opt/kata/share/defaults/kata-containers/configuration-qemu.toml": "[hypervisor.qemu]\n",
    "/usr/local/bin/containerd-shim-kata-v2": Program({"--version": "Kata Containers 4.1.0"}),
    "/proc/self/status": "Name:\tx\nNoNewPrivs:\t0\nSeccomp:\t0\n",
}
X86: Tree = {
    **COMMON,
    "/sys/module/kvm/parameters/kvmclock_periodic_sync": "Y\n",
    "/sys/class/dmi/id/sys_vendor": "Dell Inc.\n",
    "/usr/bin/qemu-system-x86_64": qemu(),
}
GOOD: Mapping[str, Tree] = {
    "intel": {
        **X86,
        "/proc/cpuinfo": cpuinfo("GenuineIntel", f"{BASE_FLAGS} {INTEL}"),
        "/sys/module/kvm_intel/parameters/ept": "Y\n",
        "/sys/module/kvm_intel/parameters/nested": "Y\n",
        "/sys/module/kvm_intel/parameters/unrestricted_guest": "Y\n",
    },
    "amd": {
        **X86,
        "/proc/cpuinfo": cpuinfo("AuthenticAMD", f"{BASE_FLAGS} {AMD}"),
        "/sys/module/kvm_amd/parameters/nested": "1\n",
        "/sys/module/kvm_amd/parameters/npt": "Y\n",
    },
    "arm64": {
        **COMMON,
        "/proc/cpuinfo": blocks(4, Features="fp asimd atomics", CPU_implementer="0x41", CPU_part="0xd0c"),
        "/proc/interrupts": "           CPU0  CPU1\n 11:   5   6  GICv3  30 Level  arch_timer\n",
        "/sys/class/dmi/id/sys_vendor": "Ampere\n",
        "/sys/devices/system/clocksource/clocksource0/current_clocksource": "arch_sys_counter\n",
        "/sys/devices/system/cpu/smt/active": "0\n",
        "/sys/module/kvm/parameters/halt_poll_ns": "500000\n",
        "/usr/bin/qemu-system-aarch64": qemu(),
    },
    "s390x": {
        **COMMON,
        "/proc/cpuinfo": (
            "vendor_id       : IBM/S390\n# processors    : 4\nfeatures\t: esan3 zarch stfle sie vx\n"
            "facilities      : 0 1 2 3 4 6 7 158\n\nprocessor 0: version = FF\n"
        ),
        "/proc/sysinfo": "Manufacturer:         IBM\nLPAR Name:            KATA1\n",
        "/sys/devices/system/clocksource/clocksource0/current_clocksource": "tod\n",
        "/sys/module/kvm/parameters/nested": "0\n",
        "/usr/bin/qemu-system-s390x": qemu(QEMU_DEVICES.replace("-pci", "-ccw")),
    },
    "ppc64le": {
        **COMMON,
        "/proc/cpuinfo": (
            blocks(4, cpu="POWER9, altivec supported", clock="2300MHz")
            + "timebase\t: 512000000\nplatform\t: PowerNV\nmodel\t\t: 9006-22P\nmachine\t\t: PowerNV 9006-22P\n"
        ),
        "/sys/devices/system/clocksource/clocksource0/current_clocksource": "timebase\n",
        "/sys/module/kvm_hv/parameters/nested": "N\n",
        "/usr/bin/qemu-system-ppc64": qemu(),
    },
    "riscv64": {
        **COMMON,
        "/proc/cpuinfo": blocks(4, hart="0", isa="rv64imafdch_zicsr_zifencei", mmu="sv48", mvendorid="0x5b7"),
        "/sys/devices/system/clocksource/clocksource0/current_clocksource": "riscv_clocksource\n",
        "/sys/devices/system/cpu/smt/active": "0\n",
        "/sys/firmware/devicetree/base/model": "Milk-V Megrez\0",
        "/sys/module/kvm/parameters/halt_poll_ns": "500000\n",
        "/usr/bin/qemu-system-riscv64": qemu(),
    },
}
MACHINES = {"intel": "x86_64", "amd": "x86_64", "arm64": "aarch64"}
"""As ``uname -m`` says it, where that is another name."""


@dataclass
class HostWithDenials(Host):
    """A host on which some devices may not be used. File modes cannot say so when the tests run as root."""

    denied: frozenset[str] = field(default_factory=frozenset)

    def may_use(self, device: str) -> bool:
        may = device not in self.denied and self.exists(device)
        self.note(device, "may be used" if may else "may not be used")
        return may


def put(root: Path, name: str, text: str = "", mode: int = 0o644) -> None:
    file = root / name.lstrip("/")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    file.chmod(mode)


def lay(root: Path, tree: Tree) -> None:
    """Write a tree."""
    for name, entry in tree.items():
        place = root / name.lstrip("/")
        if isinstance(entry, Link):
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(entry.to)
        elif isinstance(entry, Program):
            put(root, name, entry.script(), 0o755)
        elif name.endswith("/"):
            place.mkdir(parents=True, exist_ok=True)
        else:
            put(root, name, entry, 0o666 if name.startswith("/dev/") else 0o644)


def program(root: Path, name: str, **answers: str) -> None:
    """A program that answers options: ``version="1.0"`` to --version, ``help=…`` to --help, ``devices=…``: QEMU's."""
    texts = {f"--{option}": text for option, text in answers.items() if option != "devices"}
    if "devices" in answers:
        texts = {**qemu(answers["devices"]).answers, **texts}
    put(root, name, Program(texts).script(), 0o755)


def capable(root: Path, *, vendor: str = "GenuineIntel", flag: str = INTEL, module: str = "kvm_intel") -> None:
    """A bare-metal x86 machine on which everything is as it should be."""
    lay(root, {**GOOD[module.removeprefix("kvm_")], "/proc/cpuinfo": cpuinfo(vendor, f"{BASE_FLAGS} {flag}")})


def no_modules_loaded(root: Path, *names: str, installed: Iterable[str] = (), builtin: Iterable[str] = ()) -> None:
    """The named modules are not loaded, and their devices are gone."""
    devices = {"tun": "net/tun", "kvm_intel": "kvm", "kvm_amd": "kvm"}
    for name in names:
        folder = root / "sys/module" / name
        for file in sorted(folder.rglob("*"), reverse=True):
            file.rmdir() if file.is_dir() else file.unlink()
        if folder.exists():
            folder.rmdir()
        (root / "dev" / devices.get(name, name.replace("_", "-"))).unlink(missing_ok=True)
    lay(root, modules_listed(installed, builtin))


def modules_listed(installed: Iterable[str] = (), builtin: Iterable[str] = ()) -> Tree:
    """The kernel's own lists of its modules."""
    listed = "".join(f"kernel/drivers/{name.replace('_', '-')}.ko.xz: kernel/x.ko.xz\n" for name in installed)
    return {
        f"/lib/modules/{RELEASE}/modules.dep": f"kernel/fs/other.ko:\n{listed}",
        f"/lib/modules/{RELEASE}/modules.builtin": "".join(f"kernel/{name}.ko\n" for name in builtin),
    }


@dataclass(frozen=True)
class Checked:
    """A report with its verdicts at hand."""

    report: Report

    def __getitem__(self, name: str) -> Verdict:
        return self.report.verdicts[name]

    def not_passed(self) -> dict[str, str]:
        """The statuses of all that did not pass, but for what nobody asked for."""
        return {
            name: v.status
            for name, v in self.report.verdicts.items()
            if v.status != PASS and not (v.status == SKIP and name in UNASKED)
        }


def checked(
    root: Path,
    *,
    machine: str = "x86_64",
    kvm: KvmVerdict | Callable[[], KvmVerdict] = RUNS,
    denied: Iterable[str] = (),
    wanted: Wanted | None = None,
    uid: int = 0,
) -> Checked:
    """Check the host whose tree lies below ``root``; KVM itself cannot be put into a tree."""
    probe = kvm if callable(kvm) else lambda: kvm
    host = HostWithDenials(root, machine, probe, wanted or Wanted(), uid, denied=frozenset(denied))
    return Checked(check(host))
