"""QEMU's command line: the ids and the layout of Kata's Go runtime, for each way a root file system can come in."""

from __future__ import annotations

from pathlib import Path

import pytest
from kata_toolkit.errors import InputError
from kata_toolkit.vm import qemu
from kata_toolkit.vm.built_set import Guest

SOCKETS = qemu.Sockets(monitor=10, console=11, agent=12)


def guest(tmp_path: Path, **changes: object) -> Guest:
    image = tmp_path / "mini.img"
    image.write_bytes(bytes(6 << 20))
    base = {"kernel": tmp_path / "vmlinux", "boot": "image", "image": image, "initrd": tmp_path / "initrd"}
    return Guest(**{**base, "maxmemory_mib": 1024, **changes})  # type: ignore[arg-type]  # a table of fields


def line(machine: qemu.Machine, sockets: qemu.Sockets = SOCKETS) -> str:
    return " ".join(qemu.argv(machine, sockets))


def test_nvdimm_is_read_only_unarmed_and_sized_by_the_file(tmp_path: Path) -> None:
    text = line(qemu.Machine(guest(tmp_path), "CMD"))
    assert "-machine q35,accel=tcg,nvdimm=on -cpu max" in text
    assert (
        "-device nvdimm,id=nv0,memdev=mem0,unarmed=on "
        f"-object memory-backend-file,id=mem0,mem-path={tmp_path}/mini.img,size={6 << 20},readonly=on" in text
    )
    assert "-m 256M,slots=10,maxmem=2048M" in text
    assert f"-kernel {tmp_path}/vmlinux -append CMD" in text
    assert "-initrd" not in text


def test_virtio_blk_and_initrd_leave_nvdimm_out(tmp_path: Path) -> None:
    disk = line(qemu.Machine(guest(tmp_path), "CMD", rootfs_driver="virtio-blk"))
    assert "nvdimm" not in disk
    assert "virtio-blk-pci,disable-modern=false,drive=image-0000000000000000,config-wce=off,share-rw=on" in disk
    assert f"file={tmp_path}/mini.img,aio=threads,format=raw,if=none,readonly=on" in disk
    ram = line(qemu.Machine(guest(tmp_path, boot="initrd"), "CMD"))
    assert "mini.img" not in ram
    assert ram.endswith(f"-initrd {tmp_path}/initrd")


def test_kvm_uses_the_hosts_cpu_without_its_pmu(tmp_path: Path) -> None:
    assert "accel=kvm,nvdimm=on -cpu host,pmu=off" in line(qemu.Machine(guest(tmp_path), "CMD", accel="kvm"))


def test_console_and_agent_ports_have_the_names_the_agent_looks_for(tmp_path: Path) -> None:
    text = line(qemu.Machine(guest(tmp_path), "CMD"), qemu.Sockets(10, 11, agent=12, debug_console=13))
    assert "virtio-serial-pci,disable-modern=false,id=serial0" in text
    assert "virtconsole,chardev=charconsole0,id=console0" in text
    assert "virtserialport,chardev=charagent0,id=agent0,name=kata.agent" in text
    assert "virtserialport,chardev=chardebug0,id=debug0,name=kata.console" in text
    assert "name=kata.console" not in line(qemu.Machine(guest(tmp_path), "CMD"))


def test_vsock_replaces_the_agents_port(tmp_path: Path) -> None:
    text = line(qemu.Machine(guest(tmp_path), "CMD", guest_cid=77), qemu.Sockets(10, 11, vhost_vsock=14))
    assert "vhost-vsock-pci,disable-modern=false,vhostfd=14,id=vsock-0,guest-cid=77" in text
    assert "kata.agent" not in text


def test_measuring_keeps_the_hosts_clock_out(tmp_path: Path) -> None:
    text = line(qemu.Machine(guest(tmp_path), "CMD", icount=True))
    assert "-icount shift=0,sleep=off" in text
    assert "clock=vm -seed 1" in text
    assert "clock=host" not in text
    assert "virtio-rng-pci" not in text
    assert "pci-bridge" not in text
    plain = line(qemu.Machine(guest(tmp_path), "CMD"))
    assert "virtio-rng-pci,rng=rng0" in plain
    assert "pci-bridge,bus=pcie.0,id=pci-bridge-0" in plain


def test_a_comma_in_a_path_is_escaped_and_a_share_is_read_only(tmp_path: Path) -> None:
    odd = tmp_path / "a,b"
    odd.mkdir()
    text = line(qemu.Machine(guest(odd), "CMD", share=odd))
    assert f"mem-path={tmp_path}/a,,b/mini.img," in text
    assert f"local,id=share0,path={tmp_path}/a,,b,security_model=none,readonly=on" in text
    assert "mount_tag=kataShared" in text


def test_cpus_can_grow_to_what_the_configuration_allows(tmp_path: Path) -> None:
    assert "-smp 1,cores=1,threads=1,sockets=4,maxcpus=4" in line(qemu.Machine(guest(tmp_path, maxvcpus=4), "CMD"))
    assert "-smp 6,cores=1,threads=1,sockets=6,maxcpus=6" in line(
        qemu.Machine(guest(tmp_path, maxvcpus=4), "CMD", vcpus=6)
    )


def test_an_image_that_is_gone_is_an_input_error(tmp_path: Path) -> None:
    machine = qemu.Machine(guest(tmp_path, image=tmp_path / "gone.img"), "CMD")
    with pytest.raises(InputError, match=r"cannot read the image .*gone\.img"):
        qemu.argv(machine, SOCKETS)
