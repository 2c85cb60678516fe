"""The rules between settings: each broken once in every dialect that has it, and kept by a small change."""

from __future__ import annotations

from typing import Any

import pytest
from kata_toolkit.kata.keys import DIALECTS, Dialect, tables
from kata_toolkit.kata.rules import MISTAKES, RULES, SEVERITIES, STAGES, Values, broken

MIB = 1 << 20
VERITY = "root_hash=aa,salt=bb,data_blocks=8,data_block_size=4096,hash_block_size=4096"
MOUNT = {"name": "a", "src_ctr": "b", "src_path": "/x", "dst_ctr": "c", "dst_path": "/y"}
NVDIMM = {"go": False, "rs": "virtio-pmem"}

# What a file that breaks nothing says; a case is a change of it.
SOUND: dict[str, dict[str, Any]] = {
    "go": {
        "image": "/i",
        "disable_image_nvdimm": True,
        "disable_guest_selinux": True,
        "virtio_fs_daemon": "/v",
        "path": "/q",
        "runtime.create_container_timeout": 60,
        "runtime.vfio_mode": "guest-kernel",
        "block_device_driver": "virtio-blk",
    },
    "rs": {"image": "/i", "virtio_fs_daemon": "/v", "path": "/q", "agent.dial_timeout": 45000},
}
OUT = object()  # the key is left out

# Rule, dialects, VMM, architecture, what breaks it; then what mends it.
CASES: list[tuple[str, str, str, str, dict[str, Any], dict[str, Any]]] = [
    ("image-and-initrd", "go rs", "qemu", "x86_64", {"initrd": "/r"}, {"initrd": ""}),
    ("image-or-initrd", "go rs", "qemu", "x86_64", {"image": OUT}, {"initrd": "/r"}),
    ("image-or-initrd", "go rs", "clh", "x86_64", {"image": ""}, {"image": "/i"}),
    ("image-or-initrd", "rs", "firecracker", "x86_64", {"image": OUT, "initrd": "/r"}, {"image": "/i"}),
    (
        "image-or-initrd",
        "go",
        "qemu",
        "s390x",
        {"confidential_guest": True, "machine_type": "s390-ccw-virtio"},
        {"image": OUT},
    ),
    ("initrd-ignored", "rs", "firecracker", "x86_64", {"initrd": "/r"}, {"initrd": OUT}),
    (
        "initrd-size",
        "go rs",
        "qemu",
        "x86_64",
        {"default_memory": 256, "initrd.size": 256 * MIB},
        {"default_memory": 257},
    ),
    ("image-size", "go", "qemu", "x86_64", {"default_memory": 256, "image.size": 256 * MIB}, {"default_memory": 257}),
    ("empty-file", "go", "qemu", "x86_64", {"image.size": 0}, {"image.size": 1}),
    (
        "vcpus-above-maximum",
        "go rs",
        "qemu",
        "x86_64",
        {"default_vcpus": 9, "default_maxvcpus": 8},
        {"default_vcpus": 8},
    ),
    (
        "memory-above-maximum",
        "go rs",
        "qemu",
        "x86_64",
        {"default_memory": 513, "default_maxmemory": 512},
        {"default_maxmemory": 0},
    ),
    ("numa", "go", "qemu", "x86_64", {"enable_numa": True}, {"runtime.static_sandbox_resource_mgmt": True}),
    (
        "numa",
        "go",
        "qemu",
        "ppc64le",
        {"enable_numa": True, "runtime.static_sandbox_resource_mgmt": True},
        {"enable_numa": False},
    ),
    (
        "nvdimm-microvm",
        "go",
        "qemu",
        "x86_64",
        {"machine_type": "microvm", "disable_image_nvdimm": False},
        {"disable_image_nvdimm": True},
    ),
    (
        "nvdimm-confidential",
        "go rs",
        "qemu",
        "x86_64",
        {"confidential_guest": True, "disable_image_nvdimm": NVDIMM},
        {"confidential_guest": False},
    ),
    ("nvdimm-arm64", "go", "qemu", "aarch64", {"disable_image_nvdimm": False}, {"firmware": "/f"}),
    ("nvdimm-arm64", "go", "qemu", "aarch64", {"disable_image_nvdimm": False}, {"pflashes": ["/f"]}),
    (
        "nvdimm-arch",
        "rs",
        "qemu",
        "s390x",
        {"disable_image_nvdimm": "virtio-pmem"},
        {"disable_image_nvdimm": "virtio-blk-ccw"},
    ),
    ("root-device-name", "go", "qemu", "ppc64le", {}, {"image": OUT, "initrd": "/r"}),
    ("dax-arm64", "go", "qemu", "aarch64", {"disable_image_nvdimm": False}, {"disable_image_nvdimm": True}),
    ("dax-arm64", "rs", "qemu", "aarch64", {"disable_image_nvdimm": "virtio-pmem"}, {"disable_image_nvdimm": OUT}),
    (
        "mmio-confidential",
        "go",
        "qemu",
        "x86_64",
        {"confidential_guest": True, "block_device_driver": "virtio-mmio"},
        {"block_device_driver": "virtio-blk"},
    ),
    (
        "mmio-confidential",
        "rs",
        "clh",
        "x86_64",
        {"confidential_guest": True, "disable_image_nvdimm": "virtio-blk-mmio"},
        {"confidential_guest": False},
    ),
    (
        "guest-selinux-left-out",
        "go",
        "qemu",
        "x86_64",
        {"disable_guest_selinux": OUT},
        {"disable_guest_selinux": False},
    ),
    ("verity", "go rs", "qemu", "x86_64", {"kernel_verity_params": "root_hash=aa"}, {"kernel_verity_params": VERITY}),
    (
        "verity",
        "go rs",
        "qemu",
        "x86_64",
        {"kernel_verity_params": VERITY.replace("4096", "1000")},
        {"kernel_verity_params": ""},
    ),
    (
        "verity",
        "go rs",
        "qemu",
        "x86_64",
        {"kernel_verity_params": VERITY.replace("data_blocks=8", "data_blocks=0")},
        {"kernel_verity_params": VERITY},
    ),
    (
        "extension",
        "go rs",
        "qemu",
        "x86_64",
        {"guest_extension_images": [{"name": "a b"}]},
        {"guest_extension_images": [{"name": "a-b"}]},
    ),
    (
        "extension",
        "go rs",
        "qemu",
        "x86_64",
        {"guest_extension_images": [{"name": "a", "verity_params": "x"}]},
        {"guest_extension_images": [{"name": "a", "verity_params": VERITY}]},
    ),
    (
        "sector-order",
        "go rs",
        "qemu",
        "x86_64",
        {"block_device_logical_sector_size": 4096, "block_device_physical_sector_size": 512},
        {"block_device_physical_sector_size": 4096},
    ),
    (
        "hot-plug-or-cold-plug",
        "go",
        "qemu",
        "x86_64",
        {"hot_plug_vfio": "root-port", "cold_plug_vfio": "root-port"},
        {"cold_plug_vfio": "no-port"},
    ),
    (
        "root-ports-or-switch-ports",
        "rs",
        "qemu",
        "x86_64",
        {"pcie_root_port": 1, "pcie_switch_port": 1},
        {"pcie_switch_port": 0},
    ),
    (
        "sharing-daemon",
        "go rs",
        "qemu",
        "x86_64",
        {"shared_fs": "virtio-fs", "virtio_fs_daemon": OUT},
        {"shared_fs": "none"},
    ),
    (
        "no-way-to-root",
        "go rs",
        "qemu",
        "x86_64",
        {"shared_fs": "none", "disable_block_device_use": True},
        {"disable_block_device_use": False},
    ),
    (
        "no-way-to-root",
        "go",
        "qemu",
        "x86_64",
        {"shared_fs": "none", "disable_block_device_use": True},
        {"runtime.experimental_force_guest_pull": True},
    ),
    (
        "no-way-to-root",
        "rs",
        "firecracker",
        "x86_64",
        {"disable_block_device_use": True},
        {"disable_block_device_use": OUT},
    ),
    ("no-file-sharing", "rs", "firecracker", "x86_64", {"shared_fs": "virtio-fs"}, {"shared_fs": "none"}),
    (
        "block-devices-off",
        "rs",
        "qemu",
        "x86_64",
        {"disable_block_device_use": True, "enable_vhost_user_store": True},
        {"disable_block_device_use": False},
    ),
    ("dax-window", "rs", "dragonball", "x86_64", {"virtio_fs_is_dax": True, "path": OUT}, {"virtio_fs_cache_size": 64}),
    (
        "dax-window",
        "rs",
        "dragonball",
        "x86_64",
        {"virtio_fs_is_dax": False, "virtio_fs_cache_size": 64, "path": OUT},
        {"virtio_fs_is_dax": OUT},
    ),
    (
        "burst-without-rate",
        "go",
        "clh",
        "x86_64",
        {"net_rate_limiter_bw_one_time_burst": 5},
        {"net_rate_limiter_bw_max_rate": 5},
    ),
    ("rate-unit", "rs", "clh", "x86_64", {"disk_rate_limiter_bw_max_rate": 5}, {"disk_rate_limiter_bw_max_rate": 0}),
    (
        "root-driver-from-block-driver",
        "rs",
        "firecracker",
        "x86_64",
        {"disable_image_nvdimm": "virtio-blk-pci", "block_device_driver": "virtio-blk-mmio"},
        {"disable_image_nvdimm": OUT},
    ),
    (
        "root-driver-overruled",
        "rs",
        "clh",
        "x86_64",
        {"disable_image_nvdimm": "virtio-pmem"},
        {"disable_image_nvdimm": "virtio-blk-pci"},
    ),
    ("dragonball-empty", "rs", "dragonball", "x86_64", {"path": "/d"}, {"path": ""}),
    ("dragonball-empty", "rs", "dragonball", "x86_64", {"path": OUT, "default_bridges": 1}, {"default_bridges": 0}),
    ("path-needed", "rs", "firecracker", "x86_64", {"path": ""}, {"path": "/f"}),
    ("path-needed", "rs", "openvmm", "x86_64", {"path": OUT}, {"path": "/o"}),
    (
        "scsi-scan",
        "go",
        "qemu",
        "x86_64",
        {"block_device_driver": "virtio-scsi"},
        {"block_device_driver": "virtio-blk"},
    ),
    ("known-vmm", "rs", "clh", "s390x", {}, {}),
    (
        "network-namespace",
        "go",
        "qemu",
        "x86_64",
        {"runtime.disable_new_netns": True},
        {"runtime.internetworking_model": "none"},
    ),
    (
        "remote-network",
        "rs",
        "remote",
        "x86_64",
        {"image": OUT, "runtime.internetworking_model": "tcfilter"},
        {"runtime.internetworking_model": "none"},
    ),
    ("remote", "rs", "remote", "x86_64", {"image": OUT, "default_maxvcpus": 4}, {"default_maxvcpus": 0}),
    ("remote", "rs", "remote", "x86_64", {"image": OUT, "rootfs_type": "ext4"}, {"rootfs_type": ""}),
    ("template-shares-nothing", "go", "qemu", "x86_64", {"factory.enable_template": True}, {"shared_fs": "virtio-9p"}),
    (
        "template-confidential",
        "go rs",
        "qemu",
        "x86_64",
        {"factory.enable_template": True, "confidential_guest": True, "shared_fs": "none"},
        {"confidential_guest": False},
    ),
    ("cache-needs-qemu", "go", "clh", "x86_64", {"factory.vm_cache_number": 1}, {"factory.vm_cache_number": 0}),
    (
        "cache-or-template",
        "go",
        "qemu",
        "x86_64",
        {"factory.vm_cache_number": 1, "factory.enable_template": True, "shared_fs": "none"},
        {"factory.enable_template": False},
    ),
    (
        "create-timeout-left-out",
        "go",
        "qemu",
        "x86_64",
        {"runtime.create_container_timeout": OUT},
        {"runtime.create_container_timeout": 60},
    ),
    ("vfio-mode-left-out", "go", "qemu", "x86_64", {"runtime.vfio_mode": OUT}, {"runtime.vfio_mode": "vfio"}),
    (
        "dial-timeouts",
        "rs",
        "qemu",
        "x86_64",
        {"agent.dial_timeout_ms": 45000, "agent.dial_timeout": OUT},
        {"agent.dial_timeout": 45000},
    ),
    (
        "mem-agent-order",
        "rs",
        "qemu",
        "x86_64",
        {"agent.mem_agent.enable": True, "agent.mem_agent.compact_order": 8},
        {"agent.mem_agent.enable": False},
    ),
    (
        "bind-mounts",
        "go",
        "qemu",
        "x86_64",
        {"runtime.sandbox_bind_mounts": ["/a/x", "/b/x/"]},
        {"runtime.sandbox_bind_mounts": ["/a/x", "/b/y"]},
    ),
    (
        "shared-mounts",
        "rs",
        "qemu",
        "x86_64",
        {"runtime.shared_mounts": [{"name": "a"}]},
        {"runtime.shared_mounts": [MOUNT]},
    ),
    (
        "shared-mounts",
        "rs",
        "qemu",
        "x86_64",
        {"runtime.shared_mounts": [{**MOUNT, "src_path": "/a/../b"}]},
        {"runtime.shared_mounts": []},
    ),
    (
        "valid-paths",
        "go rs",
        "qemu",
        "x86_64",
        {"valid_hypervisor_paths": ["/bin/*"]},
        {"valid_hypervisor_paths": ["/q*"]},
    ),
]

EACH = [
    pytest.param(dialect, *case, id=f"{case[0]}-{dialect}-{number}")
    for number, case in enumerate(CASES)
    for dialect in case[1].split()
]


def values(dialect: Dialect, hypervisor: str, arch: str, *changes: dict[str, Any]) -> Values:
    given = dict(SOUND[dialect])
    for change in changes:
        given.update(change)
    sizes = {name.removesuffix(".size"): given.pop(name) for name in list(given) if name.endswith(".size")}
    given = {n: v[dialect] if v is NVDIMM else v for n, v in given.items() if v is not OUT}
    boot = "initrd" if given.get("initrd") and not given.get("image") else "image"
    return Values(dialect, hypervisor, arch, boot, given, sizes)


@pytest.mark.parametrize(("dialect", "rule", "dialects", "hypervisor", "arch", "breaks", "mends"), EACH)
def test_a_rule_is_broken_and_mended(
    dialect: Dialect,
    rule: str,
    dialects: str,
    hypervisor: str,
    arch: str,
    breaks: dict[str, Any],
    mends: dict[str, Any],
) -> None:
    found = [b for b in broken(values(dialect, hypervisor, arch, breaks), SEVERITIES) if b.rule == rule]
    assert found
    [wanted] = [r for r in RULES if r.id == rule]
    for one in found:
        assert (one.severity, one.stage) == wanted.verdict(dialect)
        assert all(tables().find(name) for name in one.settings)
        assert one.message[0].islower() or one.message[0] == "a"
        assert not one.message.endswith(".")
    if mends:
        mended = broken(values(dialect, hypervisor, arch, breaks, mends), SEVERITIES)
        assert rule not in {b.rule for b in mended}


def test_every_rule_is_tried_in_every_dialect_that_has_it() -> None:
    tried = {(case[0], dialect) for case in CASES for dialect in case[1].split()}
    assert tried == {(rule.id, dialect) for rule in RULES for dialect in DIALECTS if rule.verdict(dialect)}
    assert len({rule.id for rule in RULES}) == len(RULES)


def test_verdicts_are_of_known_kinds() -> None:
    stages = {"go": STAGES[:2] + STAGES[-1:], "rs": STAGES[2:]}
    for rule in RULES:
        for dialect in DIALECTS:
            verdict = rule.verdict(dialect)
            assert verdict is None or (verdict[0] in SEVERITIES and verdict[1] in stages[dialect]), rule.id


@pytest.mark.parametrize("dialect", DIALECTS)
def test_what_is_sound_breaks_nothing(dialect: Dialect) -> None:
    assert broken(values(dialect, "qemu", "x86_64"), SEVERITIES) == []


def test_what_is_only_worth_knowing_is_no_mistake() -> None:
    one = values("go", "qemu", "x86_64", {"block_device_driver": "virtio-scsi"})
    assert broken(one) == []
    assert [b.rule for b in broken(one, ["note"])] == ["scsi-scan"]
    assert set(MISTAKES) == set(SEVERITIES) - {"note"}


def test_sizes_that_nobody_knows_are_not_guessed() -> None:
    assert broken(values("go", "qemu", "x86_64", {"image": OUT, "initrd": "/r", "default_memory": 256})) == []
    small = {"image": OUT, "initrd": "/r", "default_memory": 1, "initrd.size": MIB}
    assert broken(values("go", "qemu", "x86_64", small)) == []  # the runtime does not compare files this small
