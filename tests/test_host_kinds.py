"""The host checks on many kinds of host: each weakness is found by its own check, with what to do, and by no other."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import jsonschema
import pytest
from host_kinds import KINDS, LEFT_OUT, Kind, gpu
from host_trees import (
    BASE_FLAGS,
    GOOD,
    INTEL,
    MACHINES,
    UNASKED,
    Checked,
    Entry,
    Program,
    Tree,
    checked,
    cpuinfo,
    lay,
    no_modules_loaded,
    put,
)
from kata_toolkit.host.kvm_guest import KvmVerdict
from kata_toolkit.host.table import CHECKS
from kata_toolkit.host.wanted import Wanted

GOOD_KINDS = tuple(Kind(f"good {base}", base, {}) for base in GOOD)
BY_NAME = {kind.name: kind for kind in (*KINDS, *GOOD_KINDS)}
SOFTWARE = ("programs", "managers", "security", "installed")
"""Subjects that other tests are about."""
GOOD_STATUS = {"riscv64": {"architecture": "warn"}}
"""What does not pass even on the good host of an architecture."""


def must_not_run() -> KvmVerdict:
    raise AssertionError("KVM was tried although its device cannot be used")


def without_programs(tree: Tree) -> Tree:
    """They take time to start, and are none of these tests' business."""
    return {name: entry for name, entry in tree.items() if not isinstance(entry, Program)}


def bare(root: Path, flags: str = INTEL) -> None:
    """The good Intel machine, its processor with these flags."""
    tree = without_programs(GOOD["intel"])
    lay(root, {**tree, "/proc/cpuinfo": cpuinfo("GenuineIntel", f"{BASE_FLAGS} {flags}")})


def look(root: Path, kind: Kind) -> Checked:
    lay(root, without_programs(kind.tree))
    may = "/dev/kvm" in kind.tree and "/dev/kvm" not in kind.denied
    probe = kind.probe if may else must_not_run
    machine = MACHINES.get(kind.base, kind.base)
    return checked(root, machine=machine, kvm=probe, denied=kind.denied, wanted=kind.wanted, uid=kind.uid)


def hardware(found: Mapping[str, str]) -> dict[str, str]:
    """Without the checks of programs."""
    subjects = {entry.id: entry.subject for entry in CHECKS}
    return {name: status for name, status in found.items() if subjects[name] not in SOFTWARE}


def statuses(it: Checked) -> dict[str, str]:
    return hardware({name: verdict.status for name, verdict in it.report.verdicts.items()})


@pytest.mark.parametrize("base", GOOD)
def test_a_good_host_passes(base: str) -> None:
    it = seen(f"good {base}")
    assert hardware(it.not_passed()) == GOOD_STATUS.get(base, {})
    assert {name for name, status in statuses(it).items() if status == "skip"} <= UNASKED


@cache
def seen(name: str) -> Checked:
    """A kind of host, looked at once. Its tree is gone at once as well: all of them are many thousand files."""
    with TemporaryDirectory() as root:
        return look(Path(root), BY_NAME[name])


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_kind_of_host_differs_in_these_verdicts_and_in_no_others(kind: Kind) -> None:
    good, it = statuses(seen(f"good {kind.base}")), seen(kind.name)
    found = statuses(it)
    differs = {name: found.get(name, LEFT_OUT) for name in {*good, *found} if found.get(name) != good.get(name)}
    assert differs == dict(kind.differs), {name: it[name] for name in differs if name in found}
    for name, verdict in it.report.verdicts.items():
        assert verdict.status in ("pass", "skip") or verdict.remedy, name
        assert verdict.detail, name


def test_there_are_enough_kinds() -> None:
    assert len({kind.name for kind in KINDS}) == len(KINDS) >= 20


@pytest.mark.parametrize(
    ("kind", "check", "word"),
    [
        ("virtualisation off in the firmware", "cpu-virtualization", "--firmware-setup"),
        ("virtualisation off in the firmware", "kvm-device", "see cpu-virtualization"),
        ("a VM without nesting", "cpu-virtualization", "nested=1"),
        ("KVM's module not loaded", "kvm-device", "sudo modprobe kvm_amd"),
        ("KVM's module not loaded", "kvm-module", "sudo modprobe kvm_amd"),
        ("a kernel without KVM and vhost", "kvm-device", "install a kernel with CONFIG_KVM"),
        ("a kernel without KVM and vhost", "vhost-vsock", "install a kernel with CONFIG_VHOST_VSOCK"),
        ("a kernel without KVM and vhost", "vhost-net", "disable_vhost_net"),
        ("a hypervisor that makes VMs in which no Linux boots", "kvm-guest", "no Linux boots"),
        ("a container without devices", "kvm-device", "--device /dev/kvm"),
        ("a container without devices", "vhost-vsock", "--device /dev/vhost-vsock"),
        ("a container without devices", "shared-memory", "--shm-size=2048m"),
        ("a container with little memory", "memory", "1024 MiB of 1024 MiB"),
        ("a pod of Kubernetes, which leaves no mark", "kvm-device", "--device /dev/kvm"),
        ("a node with Microsoft's hypervisor", "kvm-device", "use the hypervisor clh"),
        ("a VMware VM whose own vsock is in the way", "vhost-vsock", "modprobe -r vmw_vsock_vmci_transport"),
        ("the same, for rootless use", "vhost-vsock", "usermod -aG kvm"),
        ("nested on Hyper-V without enlightened_vmcs", "nesting-quality", "enlightened_vmcs=1"),
        ("a z/VM guest", "cpu-virtualization", "LPAR"),
        ("ppc64le in a PowerVM partition", "cpu-virtualization", "HMC"),
        ("POWER8 with SMT on", "smt", "sudo ppc64_cpu --smt=off"),
        ("s390x started without prot_virt", "secure-execution", "prot_virt=1"),
        ("an s390x LPAR for huge pages", "kvm-huge-pages", "hpage=1"),
        ("cgroups version 2 without delegation", "cgroup-delegation", "Delegate=cpu cpuset io memory pids"),
        ("cgroups version 2 without systemd", "cgroup-delegation", "+cpu +cpuset +memory +pids"),
        ("io_uring switched off", "io-uring", "sudo sysctl kernel.io_uring_disabled=0"),
        ("huge pages exhausted, asked for them", "huge-pages", "vm.nr_hugepages=1024"),
        (
            "a GPU that the host uses",
            "gpus",
            "echo vfio-pci | sudo tee /sys/bus/pci/devices/0000:65:00.0/driver_override",
        ),
        ("no IOMMU, asked for VFIO", "iommu", "intel_iommu=on"),
        ("a host without TDX, asked for it", "tdx", "6.16"),
        ("SNP kept off by iommu=pt", "sev", "remove iommu=pt"),
        ("an SEV host, asked for SNP", "sev", "kvm_amd.sev_snp=1"),
    ],
)
def test_the_remedy_is_for_this_kind_of_host(kind: str, check: str, word: str) -> None:
    verdict = seen(kind)[check]
    assert word in f"{verdict.detail} {verdict.remedy}"


@pytest.mark.parametrize(
    ("kind", "check", "detail"),
    [
        ("bare Intel", "cpu-virtualization", "Intel VT-x (vmx)"),
        ("bare Intel", "nesting", "bare metal; its guests can run guests"),
        ("bare Intel", "memory", "12000 MiB of 16000 MiB available"),
        ("bare AMD", "cpu-virtualization", "AMD-V (svm)"),
        ("nested Intel", "nesting", "this is a VM (QEMU): guests in it are slower"),
        ("virtualisation on one processor only", "cpu-virtualization", "Intel VT-x (vmx): only on some processors"),
        ("virtualisation on one processor only", "cpu-features", "missing: cx16 (cmpxchg16b)"),
        ("an arm64 Raspberry Pi", "nesting", "Raspberry Pi 4 Model B"),
        ("an arm64 Raspberry Pi", "arm-interrupts", "GICv2: a guest has at most 8 vCPUs"),
        ("an arm64 Raspberry Pi", "cgroups", "version 2 without memory"),
        ("an s390x LPAR", "cpu-info", "4: vendor_id IBM/S390"),
        ("a KVM guest on s390x with nesting", "nesting", "KVM on s390x"),
        ("riscv64", "cpu-info", "4: mvendorid 0x5b7"),
        ("riscv64", "cpu-virtualization", "the hypervisor extension (h)"),
        ("cgroups version 1", "cgroups", "version 1"),
        ("cgroups hybrid", "cgroups", "version 1 beside version 2 (hybrid)"),
        ("lockdown integrity", "kernel-lockdown", "integrity: modules must be signed"),
        ("an SNP host", "sev", "KVM runs SEV, SEV-ES, SEV-SNP guests, 99 at once"),
        ("a TDX guest", "cpu-virtualization", "this is a TDX guest"),
        ("a GPU host, ready", "gpus", "NVIDIA 0000:65:00.0 (256 MiB window, resizable): ready"),
        ("a GPU in a shared IOMMU group", "gpus", "its IOMMU group 17 has other devices: 0000:66:00.0"),
        ("a GPU that nobody asks for", "gpus", "the host's own driver has 0000:65:00.0 (nvidia); no device is to be"),
        ("modules that come when they are needed", "vhost-vsock", "loaded on first use"),
        ("a device of another group", "vhost-vsock", "only root may use it, as Kata's shim does"),
        ("io_uring for root alone", "io-uring", "only root may use it"),
        ("hypervisors with a vsock of their own", "vhost-vsock", "clh, firecracker does not need it"),
        ("a container with /proc partly hidden", "cpu-virtualization", "not shown by /proc/cpuinfo, but by KVM"),
    ],
)
def test_what_is_said_is_what_was_found(kind: str, check: str, detail: str) -> None:
    assert detail in seen(kind)[check].detail


@pytest.mark.parametrize(
    ("vendor", "word"),
    [
        ("VMware, Inc.", "vhv.enable"),
        ("innotek GmbH", "--nested-hw-virt on"),
        ("Microsoft Corporation", "Set-VMProcessor"),
        ("Google", "--enable-nested-virtualization"),
        ("Amazon EC2", ".metal"),
        ("QEMU", "nested=1"),
        ("", "nested=1"),
    ],
)
def test_a_vm_without_nesting_is_told_how_its_hypervisor_does_it(tmp_path: Path, vendor: str, word: str) -> None:
    lay(tmp_path, without_programs(BY_NAME["a VM without nesting"].tree))
    put(tmp_path, "/sys/class/dmi/id/sys_vendor", vendor + "\n")
    assert word in (checked(tmp_path, kvm=must_not_run)["cpu-virtualization"].remedy or "")


def test_a_hypervisor_that_hides_the_flag_but_runs_guests_is_not_refused(tmp_path: Path) -> None:
    bare(tmp_path, "hypervisor")
    assert checked(tmp_path)["cpu-virtualization"].status == "pass"


def test_a_xen_dom0_is_told_that_xen_is_below(tmp_path: Path) -> None:
    bare(tmp_path, "")
    no_modules_loaded(tmp_path, "kvm_intel")
    put(tmp_path, "/sys/hypervisor/type", "xen\n")
    assert "not a Xen guest" in (checked(tmp_path, kvm=must_not_run)["cpu-virtualization"].remedy or "")


def test_a_node_that_an_older_kernel_left_does_not_count(tmp_path: Path) -> None:
    bare(tmp_path)
    no_modules_loaded(tmp_path, "tun", installed=["vhost_vsock"])
    put(tmp_path, "/dev/net/tun")
    assert hardware(checked(tmp_path).not_passed()) == {"tun": "fail"}


def test_what_to_do_about_a_device_depends_on_its_mode(tmp_path: Path) -> None:
    bare(tmp_path)
    put(tmp_path, "/dev/kvm", mode=0o600)
    remedy = checked(tmp_path, denied=["/dev/kvm"], kvm=must_not_run)["kvm-device"].remedy or ""
    assert "chmod 660" in remedy
    assert "/etc/udev/rules.d/60-kvm.rules" in remedy


def test_a_container_is_known_by_its_namespace_not_by_its_mark_alone(tmp_path: Path) -> None:
    """A VM made from a container's image has the mark too."""
    bare(tmp_path)
    no_modules_loaded(tmp_path, "kvm_intel", installed=["kvm_intel"])
    put(tmp_path, "/.dockerenv")
    assert checked(tmp_path)["kvm-device"].remedy == "sudo modprobe kvm_intel"
    (tmp_path / "proc/self/ns/pid").unlink()
    (tmp_path / "proc/self/ns/pid").symlink_to("pid:[4026532201]")
    assert checked(tmp_path)["kvm-device"].remedy == "start the container with --device /dev/kvm"


def test_a_32_bit_kernel_is_refused(tmp_path: Path) -> None:
    bare(tmp_path)
    it = checked(tmp_path, machine="i686")
    assert it["architecture"].status == "fail"
    assert not it.report.ok


def test_no_cgroups_at_all(tmp_path: Path) -> None:
    bare(tmp_path)
    put(tmp_path, "/proc/self/mounts", "proc /proc proc rw 0 0\n")
    assert checked(tmp_path)["cgroups"].status == "fail"


def test_little_memory(tmp_path: Path) -> None:
    bare(tmp_path)
    for free, status in ((3_000_000, "pass"), (1_000_000, "warn"), (400_000, "fail")):
        put(tmp_path, "/proc/meminfo", f"MemTotal: 4000000 kB\nMemAvailable: {free} kB\n")
        it = checked(tmp_path)
        assert it["memory"].status == status
        assert it.report.measurements["memory_available_mib"] == free // 1024


def test_a_processor_without_nested_paging_is_slow(tmp_path: Path) -> None:
    bare(tmp_path, "vmx")
    assert hardware(checked(tmp_path).not_passed()) == {"cpu-virtualization": "warn"}


@pytest.mark.parametrize(
    ("options", "mib"),
    [("rw,size=1048576k", 1024), ("rw,size=3g", 3072), ("size=512m,rw", 512), ("rw,size=25%", 4000), ("rw", 8000)],
)
def test_the_size_of_shared_memory_is_read_as_tmpfs_writes_it(tmp_path: Path, options: str, mib: int) -> None:
    bare(tmp_path)
    mounts = f"tmpfs /dev/shm tmpfs {options} 0 0\ncgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n"
    put(tmp_path, "/proc/self/mounts", mounts)
    assert checked(tmp_path)["shared-memory"].detail.startswith(f"{mib} MiB")


def test_an_empty_tree_is_answered_with_remedies_and_no_traceback(tmp_path: Path) -> None:
    it = checked(tmp_path, kvm=must_not_run)
    assert not it.report.ok
    for name, verdict in it.report.verdicts.items():
        assert verdict.status in ("pass", "skip") or verdict.remedy, name


@pytest.mark.parametrize("base", GOOD)
def test_odd_bytes_in_what_is_read_do_no_harm(tmp_path: Path, base: str) -> None:
    """Every file of the tree, one after the other: nothing, noise, huge numbers, other encodings."""
    tree = without_programs(GOOD[base])
    lay(tmp_path, tree)
    files = [name for name, text in tree.items() if isinstance(text, str) and not name.endswith("/")]
    for name in files:
        for noise in (b"", b"\n:\n\n:::\nMemTotal:\n", b"-1\n", b"9" * 400, os.urandom(300), "⁵²²".encode()):
            (tmp_path / name.lstrip("/")).write_bytes(noise)
            verdicts = checked(tmp_path, machine=MACHINES.get(base, base)).report.verdicts
            assert all(verdict.detail for verdict in verdicts.values()), name
        put(tmp_path, name, str(tree[name]))


NOISE = (b"", b"-1\n", b"\x00\xff\n:" * 40, b"0x0 0x1 0x2\n" * 9, "⁵²²".encode())


def test_odd_bytes_in_what_makes_a_kind_do_no_harm() -> None:
    """The same for what only some hosts have: GPUs, cgroups of a user, parameters, device trees."""
    for number, kind in enumerate(KINDS):
        with TemporaryDirectory() as folder:
            root = Path(folder)
            lay(root, without_programs(kind.tree))
            files = [root / name.lstrip("/") for name, text in kind.files.items() if isinstance(text, str)]
            for noise in (NOISE[number % len(NOISE)], NOISE[(number + 2) % len(NOISE)]):
                for file in files:
                    if file.is_file():
                        file.write_bytes(noise)
                machine = MACHINES.get(kind.base, kind.base)
                report = checked(root, machine=machine, kvm=kind.probe, wanted=kind.wanted, uid=kind.uid).report
                assert all(verdict.detail for verdict in report.verdicts.values()), kind.name


def test_a_large_machine_is_looked_at_quickly(tmp_path: Path) -> None:
    """512 processors and 300 PCI functions."""
    tree: dict[str, Entry] = dict(without_programs(GOOD["intel"]))
    tree["/proc/cpuinfo"] = cpuinfo("GenuineIntel", f"{BASE_FLAGS} {INTEL} {'flag_of_some_length ' * 60}", 512)
    for number in range(300):
        tree |= gpu(f"{number // 256:04x}:{number % 256:02x}:00.0", str(number), driver="nvidia")
    lay(tmp_path, tree)
    start = time.monotonic()
    checked(tmp_path, wanted=Wanted(vfio=True))
    assert time.monotonic() - start < 0.5


def test_each_report_follows_the_schema(root: Path) -> None:
    schema = json.loads((root / "schemas/checks.schema.json").read_text())
    for kind in BY_NAME:
        report = seen(kind).report.as_json()
        jsonschema.validate(report, schema)
        assert all(entry["why"].endswith(".") and isinstance(entry["read"], list) for entry in report["checks"])


def test_what_was_read_is_told() -> None:
    it = seen("bare Intel")
    assert ("/proc/cpuinfo", "flags vmx ept") in (it["cpu-virtualization"].read or ())
    assert it["kvm-unrestricted-guest"].read == (("/sys/module/kvm_intel/parameters/unrestricted_guest", "Y"),)
    assert ("/dev/vhost-vsock", "may be used") in (it["vhost-vsock"].read or ())
    for entry in CHECKS:
        if entry.id in it.report.verdicts and entry.subject not in SOFTWARE:
            assert it[entry.id].read, entry.id


FOR_ALL = ("/proc/self/mounts", "/.dockerenv", "/run/.containerenv", "/run/systemd/container")
"""Read once, by whichever check comes first, for what all want to know: whether this is a container."""


def as_pattern(read: str) -> str:
    words = re.escape(read).replace(r"\*", "[^/]*")
    words = re.sub(r"\\\{(.*?)\\\}", lambda found: f"({found[1].replace(',', '|')})", words)
    return re.sub(r"[A-Z][A-Z_]*", "[^/]+", words)


def described(path: str, reads: Sequence[str]) -> bool:
    """Whether a path is one of those that a check says it reads, below one, or a folder on the way to one."""
    for read in (read.partition(": ")[0] for read in reads):
        above = [read[: found.start()] for found in re.finditer("/", read) if found.start()]
        if re.fullmatch(f"{as_pattern(read)}(/.*)?", path) or any(re.fullmatch(as_pattern(a), path) for a in above):
            return True
    return False


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_check_reads_what_it_says_and_no_more(kind: Kind) -> None:
    it = seen(kind.name)
    by_id: dict[str, list[str]] = {}
    for entry in CHECKS:
        by_id.setdefault(entry.id, []).extend(entry.reads)
    for name in statuses(it):
        for path, _ in it[name].read or ():
            assert path in FOR_ALL or described(path.replace("/unified/", "/"), by_id[name]), (name, path)


def test_no_value_that_was_read_is_long(tmp_path: Path) -> None:
    bare(tmp_path)
    put(tmp_path, "/proc/cpuinfo", cpuinfo("GenuineIntel", f"{BASE_FLAGS} {INTEL} {'x' * 5000}"))
    put(tmp_path, "/sys/devices/system/cpu/vulnerabilities/mds", "Vulnerable" + "x" * 5000)
    for verdict in checked(tmp_path).report.verdicts.values():
        assert all(len(value) <= 160 for _, value in verdict.read or ())


def test_the_data_follows_its_schema(root: Path) -> None:
    data = json.loads((root / "schemas/host-checks.json").read_text())
    schema = json.loads((root / "schemas/host-checks.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(data, schema)


def test_the_table_says_of_each_check_what_it_reads_and_what_helps() -> None:
    ids = [entry.id for entry in CHECKS]
    # One id may have an entry for each processor; they never meet in a report.
    assert {name for name in ids if ids.count(name) > 1} == {"kvm-paging"}
    for entry in CHECKS:
        assert entry.why.endswith("."), entry.id
        assert entry.reads, entry.id
        assert entry.remedy, entry.id
