"""Each machine's command lines as a whole, QEMU's and the kernel's, and what is said where they do not fit."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

import pytest
from kata_toolkit.errors import InputError, ToolError
from kata_toolkit.vm import accel, machines, qemu
from kata_toolkit.vm.built_set import Guest
from kata_toolkit.vm.options import Options, machine_for
from kata_toolkit.vm.vmm import Vmm

SOCKETS = qemu.Sockets(monitor=10, console=11, agent=12)
SNAPSHOTS = Path(__file__).parent / "snapshots" / "machines"
PCI = "CONFIG_PVH=y\nCONFIG_PCI=y\nCONFIG_VIRTIO_PCI=y\nCONFIG_VIRTIO_BLK=y\nCONFIG_BLK_DEV_PMEM=y\n"
MMIO = "CONFIG_PVH=y\nCONFIG_VIRTIO_MMIO=y\nCONFIG_VIRTIO_MMIO_CMDLINE_DEVICES=y\nCONFIG_VIRTIO_BLK=y\n"
EVERYTHING = PCI + MMIO + "CONFIG_BLK_DEV_INITRD=y\n"


def guest(folder: Path, config: str = EVERYTHING, **changes: Any) -> Guest:
    for name, data in {"vmlinux": b"", "mini.img": bytes(6 << 20), "config": config.encode()}.items():
        (folder / name).write_bytes(data)
    return Guest(
        kernel=folder / "vmlinux",
        boot="image",
        image=folder / "mini.img",
        kernel_config=folder / "config",
        maxvcpus=4,
        maxmemory_mib=1024,
        **changes,
    )


def whole(folder: Path, options: Options, accel_name: str = "tcg", cid: int | None = None, **changes: Any) -> str:
    """One option a line; the folder replaced, so that the lines are the same everywhere."""
    machine = machine_for(guest(folder, **changes), options, accel_name, cid)
    sockets = SOCKETS if cid is None else qemu.Sockets(monitor=10, console=11, vhost_vsock=13)
    words = [word.replace(str(folder), "DIR") for word in qemu.argv(machine, sockets)]
    return "\n".join(words).replace("\n-", "\n\n-").replace("\n", " ").replace("  -", "\n-") + "\n"


CASES: dict[str, dict[str, Any]] = {
    "q35": {"options": Options()},
    "q35-kvm-vsock": {"options": Options(channel="vsock"), "accel_name": "kvm", "cid": 77},
    "microvm": {"options": Options(machine="microvm")},
    "microvm-kvm-vsock": {"options": Options(machine="microvm"), "accel_name": "kvm", "cid": 77},
    "microvm-measured": {"options": Options(machine="microvm", icount=True)},
    "virt-arm64": {"options": Options(), "arch": "aarch64"},
    "virt-arm64-kvm": {"options": Options(), "arch": "aarch64", "accel_name": "kvm"},
    "virt-riscv64": {"options": Options(), "arch": "riscv64", "rootfs_driver": "virtio-blk"},
}


@pytest.mark.parametrize("name", CASES)
def test_the_whole_command_line(tmp_path: Path, name: str) -> None:
    assert whole(tmp_path, **CASES[name]) == (SNAPSHOTS / f"{name}.txt").read_text()


def test_the_configuration_chooses_machine_options_and_firmware(tmp_path: Path) -> None:
    bios = tmp_path / "bios.bin"
    bios.touch()
    text = whole(tmp_path, Options(), machine_type="microvm", machine_accelerators="ioapic2=off", firmware=str(bios))
    assert text.splitlines()[2].startswith("-machine microvm,accel=tcg,")
    assert "x-option-roms=off,ioapic2=off\n" in text
    assert "\n-bios DIR/bios.bin\n" in text
    with pytest.raises(InputError, match=r"the firmware .*gone.bin, which the set's configuration names, is not there"):
        whole(tmp_path, Options(), firmware=str(tmp_path / "gone.bin"))


def test_a_machine_without_nvdimm_gets_a_block_device_as_in_the_runtime(tmp_path: Path) -> None:
    machine = machine_for(guest(tmp_path, rootfs_driver="nvdimm"), Options(machine="microvm"), "tcg")
    assert machine.root == "virtio-blk"
    assert "root=/dev/vda1 rootflags=data=ordered,errors=remount-ro" in machine.cmdline
    with pytest.raises(InputError, match="microvm has no NVDIMM"):
        machine_for(guest(tmp_path), Options(machine="microvm", rootfs_driver="nvdimm"), "tcg")


@pytest.mark.parametrize(
    ("config", "machine", "message", "hint"),
    [
        (MMIO, "q35", r"cannot run on the machine q35: it lacks CONFIG_PCI \(.*CONFIG_BLK_DEV_PMEM", "microvm"),
        (PCI, "microvm", "it lacks CONFIG_VIRTIO_MMIO", "--machine q35"),
        (PCI.replace("PVH", "NO"), "q35", "it lacks CONFIG_PVH", "kernel section"),
        (PCI.replace("CONFIG_PCI=y", "# CONFIG_PCI is not set"), "q35", "it lacks CONFIG_PCI", "kernel section"),
    ],
)
def test_a_kernel_that_does_not_fit_is_told_before_booting(
    tmp_path: Path, config: str, machine: str, message: str, hint: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        machine_for(guest(tmp_path, config), Options(machine=machine), "tcg")
    assert hint in str(caught.value.problems[0].hint)


def test_modules_count_and_a_kernel_without_a_recorded_config_is_tried(tmp_path: Path) -> None:
    machine_for(guest(tmp_path, PCI.replace("=y", "=m")), Options(), "tcg")
    unknown = guest(tmp_path, "")
    machines.require_kernel(Guest(kernel=unknown.kernel, boot="image"), machines.KINDS["microvm"], "virtio-blk")


@pytest.mark.parametrize(
    ("arch", "machine", "message"),
    [
        ("x86_64", "virt", "virt is no machine of a guest for x86_64"),
        ("aarch64", "q35", "q35 is no machine of a guest for aarch64"),
        ("x86_64", "isapc", "no machine isapc is known"),
        ("s390x", None, "a guest of architecture s390x cannot be booted here"),
    ],
)
def test_a_machine_of_another_architecture_is_refused(
    tmp_path: Path, arch: str, machine: str | None, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        machine_for(guest(tmp_path, arch=arch), Options(machine=machine), "tcg")


def test_kvm_is_for_the_hosts_own_architecture_only() -> None:
    other = "riscv64" if platform.machine() != "riscv64" else "x86_64"
    with pytest.raises(ToolError, match=f"and this one is for {other}"):
        accel.plan("kvm", other)
    plan = accel.plan("auto", other)
    assert plan.accels == ("tcg",)
    assert plan.note is not None


def test_a_qemu_that_is_not_installed_is_named_with_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = machine_for(guest(tmp_path, arch="aarch64"), Options(), "tcg")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolError, match="qemu-system-aarch64 is not installed") as caught:
        Vmm(machine)
    assert caught.value.problems[0].hint == "apt-get install qemu-system-arm"
