"""The host checks on many kinds of host: each weakness is found by its own check, with what to do, and by no other."""

from __future__ import annotations

import json
import os
from pathlib import Path

import jsonschema
import pytest
from host_trees import BASE_FLAGS, QEMU_DEVICES, capable, checked, cpuinfo, no_modules_loaded, program, put
from kata_toolkit.host.kvm_guest import KvmVerdict
from kata_toolkit.host.table import CHECKS


def must_not_run() -> KvmVerdict:
    raise AssertionError("KVM was tried although its device cannot be used")


def test_a_bare_intel_machine_is_capable(tmp_path: Path) -> None:
    capable(tmp_path)
    it = checked(tmp_path)
    assert it.not_passed() == {}
    assert it.report.ok
    assert it["cpu-virtualization"].detail == "Intel VT-x (vmx)"
    assert it["nesting"].detail == "bare metal; its guests can run guests"
    assert it["vmm"].detail == "QEMU 9.2.0 (/usr/bin/qemu-system-x86_64)"
    assert it["virtiofsd"].detail == "1.13.0 (/usr/libexec/virtiofsd)"
    assert it["container-manager"].detail == "containerd 1.7.24"
    assert it["memory"].detail == "12000 MiB of 16000 MiB available"


def test_a_bare_amd_machine_is_as_good(tmp_path: Path) -> None:
    capable(tmp_path, vendor="AuthenticAMD", flag="svm npt", module="kvm_amd")
    it = checked(tmp_path)
    assert it.not_passed() == {}
    assert it["cpu-virtualization"].detail == "AMD-V (svm)"


def test_a_processor_of_another_maker_counts_by_what_it_can(tmp_path: Path) -> None:
    capable(tmp_path, vendor="HygonGenuine", flag="svm npt", module="kvm_amd")
    assert checked(tmp_path).report.ok


def test_virtualisation_off_in_the_firmware(tmp_path: Path) -> None:
    capable(tmp_path)
    no_modules_loaded(tmp_path, "kvm_intel", installed=["kvm_intel"])
    put(tmp_path, "/proc/cpuinfo", cpuinfo("GenuineIntel", BASE_FLAGS))
    it = checked(tmp_path, kvm=must_not_run)
    assert it.not_passed() == {"cpu-virtualization": "fail", "kvm-device": "fail", "kvm-guest": "skip"}
    assert "firmware" in (it["cpu-virtualization"].remedy or "")
    assert it["kvm-device"].remedy == "see cpu-virtualization"


@pytest.mark.parametrize(
    ("vendor", "word"),
    [
        ("VMware, Inc.", "vhv.enable"),
        ("Microsoft Corporation", "Set-VMProcessor"),
        ("QEMU", "nested=1"),
        ("", "nested=1"),
    ],
)
def test_a_vm_without_nesting_is_told_how_its_hypervisor_does_it(tmp_path: Path, vendor: str, word: str) -> None:
    capable(tmp_path)
    no_modules_loaded(tmp_path, "kvm_intel", installed=["kvm_intel"])
    put(tmp_path, "/proc/cpuinfo", cpuinfo("GenuineIntel", f"{BASE_FLAGS} hypervisor"))
    put(tmp_path, "/sys/class/dmi/id/sys_vendor", vendor + "\n")
    it = checked(tmp_path, kvm=must_not_run)
    assert it.not_passed() == {
        "cpu-virtualization": "fail",
        "kvm-device": "fail",
        "kvm-guest": "skip",
        "nesting": "warn",
    }
    assert it["cpu-virtualization"].detail == "not offered to this VM: nested virtualisation is off"
    assert word in (it["cpu-virtualization"].remedy or "")


def test_a_vm_with_nesting_is_capable_but_slower(tmp_path: Path) -> None:
    capable(tmp_path, flag="vmx ept hypervisor")
    it = checked(tmp_path)
    assert it.not_passed() == {"nesting": "warn"}
    assert it.report.ok


def test_a_vm_whose_kvm_runs_no_linux(tmp_path: Path) -> None:
    """Everything is there and looks right; only running a guest shows it."""
    capable(tmp_path, flag="svm npt hypervisor", module="kvm_amd")
    it = checked(tmp_path, kvm=KvmVerdict(False, "the guest, at cmpxchg16b, ends in a KVM internal error", "broken"))
    assert it.not_passed() == {"nesting": "warn", "kvm-guest": "fail"}
    assert "no Linux boots" in (it["kvm-guest"].remedy or "")


def test_a_hypervisor_that_hides_the_flag_but_runs_guests_is_not_refused(tmp_path: Path) -> None:
    capable(tmp_path, flag="hypervisor")
    it = checked(tmp_path)
    assert it.not_passed() == {"nesting": "warn"}


def test_the_module_is_there_but_not_loaded(tmp_path: Path) -> None:
    capable(tmp_path, vendor="AuthenticAMD", flag="svm npt", module="kvm_amd")
    no_modules_loaded(tmp_path, "kvm_amd", "vhost_vsock", installed=["kvm_amd", "vhost_vsock"])
    it = checked(tmp_path, kvm=must_not_run)
    assert it.not_passed() == {"kvm-device": "fail", "kvm-guest": "skip", "vhost-vsock": "fail"}
    assert it["kvm-device"].remedy == "sudo modprobe kvm_amd"
    assert (it["vhost-vsock"].remedy or "").startswith("sudo modprobe vhost_vsock ")


def test_a_kernel_without_what_is_needed(tmp_path: Path) -> None:
    capable(tmp_path)
    no_modules_loaded(tmp_path, "kvm_intel", "vhost_vsock", "vhost_net", "tun")
    it = checked(tmp_path, kvm=must_not_run)
    assert it.not_passed() == {
        "kvm-device": "fail",
        "kvm-guest": "skip",
        "vhost-vsock": "fail",
        "vhost-net": "warn",
        "tun": "fail",
    }
    assert it["kvm-device"].remedy == "install a kernel with CONFIG_KVM"
    assert it["vhost-vsock"].remedy == "install a kernel with CONFIG_VHOST_VSOCK"
    assert "disable_vhost_net" in (it["vhost-net"].remedy or "")


def test_a_built_in_module_needs_no_entry_in_sys_module(tmp_path: Path) -> None:
    """Upstream's check counts such a module as missing."""
    capable(tmp_path)
    devices = [tmp_path / "dev" / name for name in ("vhost-vsock", "vhost-net", "net/tun")]
    no_modules_loaded(
        tmp_path, "vhost_vsock", "vhost_net", "tun", builtin=["kvm", "kvm-intel", "vhost_vsock", "vhost_net", "tun"]
    )
    for device in devices:
        put(tmp_path, str(device.relative_to(tmp_path)))
    assert checked(tmp_path).not_passed() == {}


def test_a_node_that_loads_its_module_on_first_use_passes_and_a_stale_one_does_not(tmp_path: Path) -> None:
    capable(tmp_path)
    no_modules_loaded(tmp_path, "vhost_vsock", "tun", installed=["vhost_vsock"])
    put(tmp_path, "/dev/vhost-vsock")
    put(tmp_path, "/dev/net/tun")
    it = checked(tmp_path)
    assert it.not_passed() == {"tun": "fail"}
    assert "first use" in it["vhost-vsock"].detail


def test_a_device_that_this_user_may_not_use(tmp_path: Path) -> None:
    capable(tmp_path)
    put(tmp_path, "/dev/kvm", mode=0o660)
    it = checked(tmp_path, denied=["/dev/kvm", "/dev/vhost-vsock"], kvm=must_not_run)
    assert it.not_passed() == {"kvm-device": "fail", "kvm-guest": "skip"}
    assert "usermod -aG" in (it["kvm-device"].remedy or "")
    assert "only root" in it["vhost-vsock"].detail  # the shim runs as root
    put(tmp_path, "/dev/kvm", mode=0o600)
    assert "chmod 660" in (checked(tmp_path, denied=["/dev/kvm"])["kvm-device"].remedy or "")


def test_in_a_container_devices_must_be_passed_in(tmp_path: Path) -> None:
    capable(tmp_path)
    no_modules_loaded(tmp_path, "kvm_intel", "vhost_vsock", installed=["kvm_intel", "vhost_vsock"])
    put(tmp_path, "/.dockerenv")
    # The file alone is no proof: a VM made from a container's image has it too.
    assert checked(tmp_path)["kvm-device"].remedy == "sudo modprobe kvm_intel"
    (tmp_path / "proc/self/ns/pid").unlink()
    (tmp_path / "proc/self/ns/pid").symlink_to("pid:[4026532201]")
    it = checked(tmp_path)
    assert it["kvm-device"].remedy == "start the container with --device /dev/kvm"
    assert it["vhost-vsock"].remedy == "start the container with --device /dev/vhost-vsock"


def test_an_arm64_board(tmp_path: Path) -> None:
    capable(tmp_path)
    put(tmp_path, "/proc/cpuinfo", "processor\t: 0\nFeatures\t: fp asimd\n\nHardware\t: Raspberry Pi\n")
    program(tmp_path, "/usr/bin/qemu-system-aarch64", version="QEMU 9.2.0", devices=QEMU_DEVICES.replace("nvdimm", ""))
    it = checked(tmp_path, machine="aarch64", kvm=KvmVerdict(True, "a VM was created", "created"))
    assert it.not_passed() == {"cpu-virtualization": "skip", "cpu-features": "skip", "nesting": "skip"}
    assert it.report.ok


def test_an_s390x_partition_and_a_guest_of_it(tmp_path: Path) -> None:
    capable(tmp_path)
    ccw = QEMU_DEVICES.replace("-pci", "-ccw")
    program(tmp_path, "/usr/bin/qemu-system-s390x", version="QEMU 9.2.0", devices=ccw)
    put(tmp_path, "/proc/cpuinfo", "vendor_id       : IBM/S390\nfeatures\t: esan3 zarch sie vx\n\n")
    assert checked(tmp_path, machine="s390x").not_passed() == {"nesting": "skip"}
    put(tmp_path, "/proc/cpuinfo", "vendor_id       : IBM/S390\nfeatures\t: esan3 zarch vx\n\n")
    (tmp_path / "dev/kvm").unlink()
    it = checked(tmp_path, machine="s390x")
    assert it["cpu-virtualization"].status == it["cpu-features"].status == it["kvm-device"].status == "fail"


def test_a_32_bit_kernel_is_refused(tmp_path: Path) -> None:
    capable(tmp_path)
    it = checked(tmp_path, machine="i686")
    assert it["architecture"].status == it["vmm"].status == "fail"
    assert not it.report.ok


def test_an_old_cgroup_set_up_is_warned_about(tmp_path: Path) -> None:
    capable(tmp_path)
    mounts = "cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\ncgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0\n"
    put(tmp_path, "/proc/self/mounts", mounts)
    it = checked(tmp_path)
    assert it.not_passed() == {"cgroups": "warn"}
    assert it["cgroups"].detail == "version 1"
    put(tmp_path, "/proc/self/mounts", mounts + "cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n")
    assert checked(tmp_path)["cgroups"].detail == "version 1 beside version 2 (hybrid)"
    put(tmp_path, "/proc/self/mounts", "proc /proc proc rw 0 0\n")
    assert checked(tmp_path)["cgroups"].status == "fail"


def test_a_raspberry_pi_kernel_without_the_memory_controller(tmp_path: Path) -> None:
    capable(tmp_path)
    put(tmp_path, "/sys/fs/cgroup/cgroup.controllers", "cpuset cpu io pids\n")
    assert checked(tmp_path)["cgroups"].detail == "version 2 without memory"


def test_ubuntu_that_restricts_user_namespaces(tmp_path: Path) -> None:
    capable(tmp_path)
    put(tmp_path, "/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1\n")
    it = checked(tmp_path)
    assert it.not_passed() == {"user-namespaces": "warn"}
    assert "AppArmor" in it["user-namespaces"].detail
    assert it.report.ok


@pytest.mark.parametrize(
    ("file", "value"),
    [("/proc/sys/user/max_user_namespaces", "0\n"), ("/proc/sys/kernel/unprivileged_userns_clone", "0\n")],
)
def test_user_namespaces_that_are_switched_off(tmp_path: Path, file: str, value: str) -> None:
    capable(tmp_path)
    put(tmp_path, file, value)
    it = checked(tmp_path)
    assert it.not_passed() == {"user-namespaces": "warn"}
    assert "sysctl" in (it["user-namespaces"].remedy or "")


def test_little_memory(tmp_path: Path) -> None:
    capable(tmp_path)
    for free, status in ((3_000_000, "pass"), (1_000_000, "warn"), (400_000, "fail")):
        put(tmp_path, "/proc/meminfo", f"MemTotal: 4000000 kB\nMemAvailable: {free} kB\n")
        it = checked(tmp_path)
        assert it["memory"].status == status
        assert it.report.measurements["memory_available_mib"] == free // 1024


def test_one_weak_processor_is_enough(tmp_path: Path) -> None:
    """A guest may run on any of them; upstream's check looks at the first alone."""
    capable(tmp_path)
    good, bad = cpuinfo("GenuineIntel", f"{BASE_FLAGS} vmx ept", 1), cpuinfo("GenuineIntel", "lm nx sse4_1 ept", 1)
    put(tmp_path, "/proc/cpuinfo", good + bad)
    it = checked(tmp_path, kvm=KvmVerdict(False, "broken", "broken"))
    assert it["cpu-virtualization"].detail == "Intel VT-x (vmx): only on some processors"
    assert it["cpu-features"].detail == "missing: cx16 (cmpxchg16b)"


def test_a_processor_without_nested_paging_is_slow(tmp_path: Path) -> None:
    capable(tmp_path, flag="vmx")
    assert checked(tmp_path).not_passed() == {"cpu-virtualization": "warn"}


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
    assert it["container-manager"].detail.count("version unknown") == 2


def test_another_vmm_instead_of_qemu(tmp_path: Path) -> None:
    capable(tmp_path)
    (tmp_path / "usr/bin/qemu-system-x86_64").unlink()
    assert checked(tmp_path).not_passed() == {"vmm": "fail", "qemu-devices": "skip"}
    program(tmp_path, "/opt/kata/bin/cloud-hypervisor", version="cloud-hypervisor v43.0")
    assert checked(tmp_path).not_passed() == {"vmm": "warn", "qemu-devices": "skip"}
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
    program(tmp_path, "/usr/bin/dockerd", version="Docker version 20.10.24+dfsg1, build 297e128")
    program(tmp_path, "/usr/local/bin/nerdctl", version="nerdctl version 2.0.3")
    found = checked(tmp_path)["container-manager"].detail
    assert found == "containerd 1.7.24, CRI-O 1.31.2, Docker 20.10.24, nerdctl 2.0.3"


def test_an_empty_tree_is_answered_with_remedies_and_no_traceback(tmp_path: Path) -> None:
    it = checked(tmp_path, kvm=must_not_run)
    assert not it.report.ok
    for name, verdict in it.report.verdicts.items():
        assert verdict.status in ("pass", "skip") or verdict.remedy, name


def test_odd_bytes_in_what_is_read_do_no_harm(tmp_path: Path) -> None:
    capable(tmp_path)
    for name in ("cpuinfo", "meminfo", "self/mounts"):
        (tmp_path / "proc" / name).write_bytes(os.urandom(300) + b"\n:\n\n:::\nMemTotal:\n")
    assert not checked(tmp_path).report.ok


def test_each_report_follows_the_schema(tmp_path: Path, root: Path) -> None:
    schema = json.loads((root / "schemas/checks.schema.json").read_text())
    capable(tmp_path)
    for machine in ("x86_64", "aarch64", "i686"):
        jsonschema.validate(checked(tmp_path, machine=machine).report.as_json(), schema)


def test_the_table_names_each_check_once_and_says_why() -> None:
    assert len({entry.id for entry in CHECKS}) == len(CHECKS)
    assert all(entry.why.endswith(".") for entry in CHECKS)
