"""The guest's command line, against what the runtimes themselves wrote, and the parts those samples leave out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from kata_toolkit.errors import InputError
from kata_toolkit.kata.cmdline import GuestBoot, agent_params, kernel_cmdline, segments
from kata_toolkit.kata.keys import tables

VECTORS = json.loads((Path(__file__).parent / "data" / "kata-cmdlines.json").read_text())["vectors"]
VERITY = "root_hash=aa,salt=bb,data_blocks=10,data_block_size=4096,hash_block_size=4096"


@pytest.mark.parametrize("vector", VECTORS, ids=[v["id"] for v in VECTORS])
def test_as_the_runtime_writes_it(vector: dict[str, Any]) -> None:
    guest = {**vector["guest"], "extensions": [tuple(e) for e in vector["guest"].get("extensions", [])]}
    if vector["cmdline"] is None:
        with pytest.raises(InputError):
            segments(GuestBoot(**guest))
        return
    left_out, kept = set(vector.get("without", ())), set(vector.get("only", ()))
    parts = [s for s in segments(GuestBoot(**guest)) if s.name not in left_out and (not kept or s.name in kept)]
    assert " ".join(word for part in parts for word in part.words) == vector["cmdline"]


def test_all_thirty_samples_are_there() -> None:
    assert len({v["id"] for v in VECTORS}) == 30


def test_whole_go_command_line() -> None:
    # The samples leave out what the configuration's loader adds: its place between selinux= and the user's words.
    line = kernel_cmdline(GuestBoot(
        runtime="go", hypervisor="qemu", arch="x86_64", boot="nvdimm", maxvcpus=4,
        agent_params=["agent.log=debug"], kernel_params=["cgroup_no_v1=all"],
    ))  # fmt: skip
    assert line == (
        "tsc=reliable no_timer_check rcupdate.rcu_expedited=1 i8042.direct=1 i8042.dumbkbd=1 i8042.nopnp=1 "
        "i8042.noaux=1 noreplace-smp reboot=k cryptomgr.notests net.ifnames=0 pci=lastbus=0 root=/dev/pmem0p1 "
        "rootflags=dax,data=ordered,errors=remount-ro ro rootfstype=ext4 console=hvc0 console=hvc1 quiet "
        "systemd.show_status=false panic=1 nr_cpus=4 selinux=0 systemd.unit=kata-containers.target "
        "systemd.mask=systemd-networkd.service systemd.mask=systemd-networkd.socket scsi_mod.scan=none "
        "agent.log=debug cgroup_no_v1=all"
    )


def test_whole_rust_command_line() -> None:
    line = kernel_cmdline(GuestBoot(
        runtime="rs", hypervisor="qemu", arch="x86_64", boot="virtio-pmem", debug=True,
        agent_params=["agent.log=debug"], kernel_params=["cgroup_no_v1=all"],
    ))  # fmt: skip
    assert line == (
        "reboot=k panic=1 systemd.unit=kata-containers.target systemd.mask=systemd-networkd.service "
        "systemd.mask=systemd-networkd.socket agent.log_vport=1025 root=/dev/pmem0p1 "
        "rootflags=dax,data=ordered,errors=remount-ro ro rootfstype=ext4 agent.log=debug cgroup_no_v1=all selinux=0 "
        "console=hvc0"
    )


@pytest.mark.parametrize(("runtime", "systemd"), [("go", False), ("rs", True)])
def test_initrd_has_no_root_and_in_go_no_systemd(runtime: Any, systemd: bool) -> None:
    line = kernel_cmdline(GuestBoot(runtime=runtime, hypervisor="qemu", arch="x86_64", boot="initrd"))
    assert "root" not in line
    assert ("systemd.unit=" in line) is systemd


@pytest.mark.parametrize(("runtime", "hypervisor"), [("go", "clh"), ("go", "firecracker"), ("rs", "clh")])
def test_some_write_a_root_for_an_initrd_too(runtime: Any, hypervisor: str) -> None:
    line = kernel_cmdline(GuestBoot(runtime=runtime, hypervisor=hypervisor, arch="x86_64", boot="initrd"))
    assert "root=/dev/vda1 rootflags=data=ordered,errors=remount-ro ro rootfstype=ext4" in line


def test_scsi_scan_follows_the_block_driver() -> None:
    words = {
        driver: kernel_cmdline(
            GuestBoot(runtime="go", hypervisor="qemu", arch="x86_64", boot="nvdimm", block_device_driver=driver)
        ).split()
        for driver in ("virtio-scsi", "virtio-blk")
    }
    assert "scsi_mod.scan=none" in words["virtio-scsi"]
    assert "scsi_mod.scan=none" not in words["virtio-blk"]


def test_confidential_guest_has_no_cpu_limit() -> None:
    line = kernel_cmdline(
        GuestBoot(runtime="go", hypervisor="qemu", arch="x86_64", boot="virtio-blk", confidential=True)
    )
    assert "nr_cpus" not in line


def test_openvmm_has_its_own_console() -> None:
    line = kernel_cmdline(
        GuestBoot(
            runtime="rs", hypervisor="openvmm", arch="x86_64", boot="virtio-blk-pci", kernel_params=["console=hvc0"]
        )
    )
    assert line.endswith("console=ttyS0")


def test_dragonball_tells_its_descriptor_port() -> None:
    line = kernel_cmdline(
        GuestBoot(runtime="rs", hypervisor="dragonball", arch="x86_64", boot="virtio-blk-pci", passfd_port=1027)
    )
    assert line.endswith("agent.passfd_listener_port=1027")


@pytest.mark.parametrize("arch", ["x86_64", "aarch64"])
def test_dax_only_where_the_architecture_has_it(arch: str) -> None:
    line = kernel_cmdline(GuestBoot(runtime="go", hypervisor="qemu", arch=arch, boot="nvdimm", rootfs_type="xfs"))
    assert ("rootflags=dax ro" in line) is (arch == "x86_64")


def test_blank_verity_is_none() -> None:
    line = kernel_cmdline(GuestBoot(runtime="go", hypervisor="qemu", arch="x86_64", boot="nvdimm", verity="  "))
    assert "dm-mod.create" not in line


@pytest.mark.parametrize(
    ("verity", "message"),
    [
        ("root_hash=aa", "kernel_verity_params lacks salt, data_blocks, data_block_size, hash_block_size"),
        (VERITY.replace("aa", ""), "kernel_verity_params lacks root_hash"),
        (VERITY.replace("=10", "=0"), "kernel_verity_params: data_blocks must be a number above 0, not 0"),
        (VERITY.replace("=10", "=-1"), "kernel_verity_params: data_blocks must be a number above 0, not -1"),
        (VERITY.replace("=10", "=²"), "kernel_verity_params: data_blocks must be a number above 0, not ²"),
        (
            VERITY.replace("hash_block_size=4096", "hash_block_size=1000"),
            "kernel_verity_params: hash_block_size must be a multiple of 512, not 1000",
        ),
    ],
)
def test_malformed_verity(verity: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        kernel_cmdline(GuestBoot(runtime="go", hypervisor="qemu", arch="x86_64", boot="nvdimm", verity=verity))
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"runtime": "go", "hypervisor": "openvmm", "boot": "nvdimm"},
            "no command line is known for openvmm under the go runtime",
        ),
        (
            {"runtime": "rs", "hypervisor": "firecracker", "boot": "initrd"},
            "firecracker cannot boot from initrd under the rs runtime (it boots from: virtio-blk-mmio, virtio-blk-pci)",
        ),
        (
            {"runtime": "go", "hypervisor": "qemu", "boot": "nvdimm", "rootfs_type": "btrfs"},
            "no runtime mounts a root of type btrfs (there are: ext4, xfs, erofs)",
        ),
    ],
)
def test_what_cannot_boot(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        kernel_cmdline(GuestBoot(arch="x86_64", **arguments))
    assert str(caught.value) == message


def test_number_of_cpus_is_the_effective_one() -> None:
    with pytest.raises(ValueError, match="maxvcpus"):
        kernel_cmdline(GuestBoot(runtime="go", hypervisor="qemu", arch="x86_64", boot="nvdimm", maxvcpus=0))


def test_agent_words_in_the_order_of_the_go_runtime() -> None:
    values = {
        "agent.enable_debug": True,
        "agent.enable_tracing": True,
        "agent.debug_console_enabled": True,
        "agent.cdh_api_timeout": 50,
        "agent.launch_process_timeout": 6,
        "agent.visible_cdi_devices": True,
    }
    assert agent_params("go", values.get, values) == [
        "agent.log=debug",
        "agent.trace=true",
        "agent.debug_console",
        "agent.debug_console_vport=1026",
        "agent.cdh_api_timeout=50",
        "agent.launch_process_timeout=6",
        "agent.visible_cdi_devices=true",
    ]


def test_agent_words_in_the_order_of_the_rust_runtime() -> None:
    values = {
        "agent.enable_debug": True,
        "agent.debug_console_enabled": True,
        "agent.cdh_api_timeout": 50_000,  # ms there, whole seconds for the agent
        "agent.container_pipe_size": 4096,
        "agent.mem_agent.enable": True,
        "agent.mem_agent.memcg_swap": True,
        "agent.mem_agent.compact_order": 0,
    }
    words = agent_params("rs", values.get, values)
    assert words == sorted(words)
    assert words == [
        "agent.cdh_api_timeout=50",
        "agent.container_pipe_size=4096",
        "agent.debug_console",
        "agent.debug_console_vport=1026",
        "agent.log=debug",
        "agent.mem_agent_compact_order=0",
        "agent.mem_agent_enable=1",
        "agent.mem_agent_memcg_swap=true",
        "psi=1",
    ]


def test_no_agent_words_without_reason() -> None:
    for runtime in ("go", "rs"):
        assert agent_params(runtime, lambda name: None, {}) == []  # type: ignore[arg-type] -- str is not Literal


def test_every_agent_word_comes_from_a_setting_of_that_dialect() -> None:
    data = json.loads((Path(__file__).parent.parent / "schemas" / "kata" / "boot.json").read_text())
    for runtime, listed in data["agent"].items():
        for param in listed["params"]:
            for name in (param["setting"], param.get("needs", param["setting"])):
                setting = tables().find(name)
                assert setting, name
                assert setting.side(runtime), name
