"""What a spec's settings may say: each mistake with its exact words, and values carried between the dialects."""

from __future__ import annotations

from typing import Any

import pytest
from kata_toolkit.errors import InputError, Where
from kata_toolkit.kata.keys import DIALECTS, make_tables, tables
from kata_toolkit.kata.request import Built, Request
from kata_toolkit.kata.settings import choose
from kata_toolkit.kata.values import check_settings, config_values
from kata_toolkit.spec.model import Hypervisor

GO, RS, BOTH = ("go",), ("rs",), ("go", "rs")
SECTORS = "one of 0, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536"

# (dialects, settings, message, hint)
BAD: list[tuple[tuple[str, ...], dict[str, Any], str, str | None]] = [
    # Names.
    (BOTH, {"defualt_memory": 512}, "unknown setting defualt_memory", "did you mean default_memory?"),
    (BOTH, {"Default_Memory": 512}, "unknown setting Default_Memory", "did you mean default_memory?"),
    (
        BOTH,
        {"runtime.enable-debug": True},
        "unknown setting runtime.enable-debug",
        "did you mean runtime.enable_debug?",
    ),
    (
        BOTH,
        {"enable_tracing": True},
        "unknown setting enable_tracing",
        "did you mean agent.enable_tracing or runtime.enable_tracing?",
    ),
    (
        BOTH,
        {"agent.kata.enable_debug": True},
        "unknown setting agent.kata.enable_debug",
        "did you mean agent.enable_debug?",
    ),
    (BOTH, {"agent.default_memory": 1}, "unknown setting agent.default_memory", "did you mean default_memory?"),
    (
        BOTH,
        {"hotplug_vfio_on_root_bus": True},
        "unknown setting hotplug_vfio_on_root_bus",
        "a document of Kata names it, the parser does not know it",
    ),
    (BOTH, {"zzz": 1}, "unknown setting zzz", None),
    # What is not for a spec to set.
    (BOTH, {"kernel": "/k"}, "kernel is not a setting: it follows from the spec", "see the kernel section of the spec"),
    (BOTH, {"image": "/i"}, "image is not a setting: it follows from the spec", "see boot: image"),
    (BOTH, {"initrd": "/i"}, "initrd is not a setting: it follows from the spec", "see boot: initrd"),
    (BOTH, {"rootfs_type": "xfs"}, "rootfs_type is not a setting: it follows from the spec", "see image.format"),
    (BOTH, {"kernel_params": "a"}, "kernel_params is not a setting: it follows from the spec", "see kernel.cmdline"),
    (
        RS,
        {"runtime.hypervisor_name": "clh"},
        "runtime.hypervisor_name is not a setting: it follows from the spec",
        "see the hypervisor's name in the spec",
    ),
    (RS, {"memory_path": "/m"}, "memory_path is filled in by the runtime", "remove it"),
    (
        BOTH,
        {"guest_extension_images": []},
        "guest_extension_images is a list of tables, which settings cannot hold",
        None,
    ),
    (
        BOTH,
        {"hypervisor.guest_extension_images.name": "x"},
        "hypervisor.guest_extension_images.name lies in a list of tables, which settings cannot hold",
        None,
    ),
    (RS, {"agent.mem_agent": True}, "agent.mem_agent is a table, which settings cannot hold", None),
    (RS, {"hypervisor.rootless_user.uid": 7}, "hypervisor.rootless_user.uid is filled in by the runtime", "remove it"),
    (RS, {"rootless_user": []}, "rootless_user is filled in by the runtime", "remove it"),
    # Types.
    (BOTH, {"default_memory": "2G"}, 'default_memory must be a whole number, not "2G"', "it counts MiB"),
    (BOTH, {"default_memory": 512.5}, "default_memory must be a whole number, not 512.5", "it counts MiB"),
    (BOTH, {"default_memory": True}, "default_memory must be a whole number, not true", "it counts MiB"),
    (BOTH, {"enable_iommu": 1}, "enable_iommu must be true or false, not 1", None),
    (BOTH, {"enable_iommu": "yes"}, 'enable_iommu must be true or false, not "yes"', None),
    (BOTH, {"machine_type": 35}, "machine_type must be a string, not 35", None),
    (BOTH, {"default_vcpus": "1"}, 'default_vcpus must be a number, not "1"', None),
    (BOTH, {"default_vcpus": True}, "default_vcpus must be a number, not true", None),
    (BOTH, {"default_vcpus": float("inf")}, "default_vcpus must be a finite number", None),
    (BOTH, {"enable_annotations": "x"}, 'enable_annotations must be a list of strings, not "x"', None),
    (BOTH, {"enable_annotations": ["x", 1]}, 'enable_annotations must be a list of strings, not ["x", 1]', None),
    (BOTH, {"cpu_features": "a\nb"}, "cpu_features must not hold control characters", None),
    (BOTH, {"virtio_fs_extra_args": ["a\x00"]}, "virtio_fs_extra_args must not hold control characters", None),
    (BOTH, {"path": "qemu"}, 'path must be an absolute path, not "qemu"', None),
    (BOTH, {"virtio_fs_daemon": "bin/x"}, 'virtio_fs_daemon must be an absolute path, not "bin/x"', None),
    (BOTH, {"path": "/usr/../x"}, 'path must be a path without . and .. in it, not "/usr/../x"', None),
    (GO, {"pflashes": ["/a", "b"]}, 'pflashes must be an absolute path, not "b"', None),
    (BOTH, {"runtime.dan_conf": "dans"}, 'runtime.dan_conf must be an absolute path, not "dans"', None),
    (GO, {"factory.vm_cache_endpoint": "s"}, 'factory.vm_cache_endpoint must be an absolute path, not "s"', None),
    (BOTH, {"default_vcpus": 500}, "default_vcpus: 500 is more than a VM can have in the Go runtime", "at most 240"),
    (RS, {"default_vcpus": 257}, "default_vcpus: 257 is more than a VM can have in the Rust runtime", "at most 256"),
    (
        BOTH,
        {"cpu_features": ["x" * 80]},
        f'cpu_features must be a string, not ["{"x" * 55}...',
        None,
    ),
    # Ranges and fixed values.
    (
        BOTH,
        {"default_memory": -1},
        "default_memory must lie between 0 and 4294967295 MiB in the Go runtime, not -1",
        None,
    ),
    (
        RS,
        {"agent.mem_agent.memcg_swappiness_max": 256},
        "agent.mem_agent.memcg_swappiness_max must lie between 0 and 255 in the Rust runtime, not 256",
        None,
    ),
    (
        BOTH,
        {"default_maxmemory": 1 << 32},
        "default_maxmemory must lie between 0 and 4294967295 MiB in the Rust runtime, not 4294967296",
        None,
    ),
    (
        GO,
        {"default_vcpus": 10**30},
        f"default_vcpus must lie between {-(2**63)} and {2**63 - 1} in the Go runtime, not {10**30}",
        None,
    ),
    (
        BOTH,
        {"default_memory": 128},
        "default_memory: 128 MiB is replaced by 2048 in the Go runtime",
        "at least 256 MiB",
    ),
    (RS, {"default_memory": 32}, "default_memory: 32 MiB is refused in the Rust runtime", "at least 64 MiB"),
    (
        BOTH,
        {"default_maxvcpus": 250},
        "default_maxvcpus: 250 is more than a VM can have in the Go runtime",
        "at most 240",
    ),
    (RS, {"default_maxvcpus": 300}, "default_maxvcpus: 300 is refused in the Rust runtime", "at most 256"),
    (BOTH, {"default_bridges": 6}, "default_bridges: 6 is cut to 5 in the Go runtime", "at most 5"),
    (
        BOTH,
        {"runtime.create_container_timeout": 0},
        "runtime.create_container_timeout: 0 s makes every container fail at once in the Go runtime",
        "at least 1 s",
    ),
    (
        BOTH,
        {"shared_fs": "virtiofs"},
        'shared_fs cannot be "virtiofs" in the Go runtime',
        'did you mean "virtio-fs"? one of "virtio-fs", "virtio-9p", "virtio-fs-nydus", "none"',
    ),
    (
        BOTH,
        {"block_device_logical_sector_size": 700},
        "block_device_logical_sector_size cannot be 700 in the Go runtime",
        SECTORS,
    ),
    (BOTH, {"machine_type": "pc"}, 'machine_type cannot be "pc" in the Go runtime', 'one of "q35", "microvm"'),
    (
        GO,
        {"runtime.experimental": ["x"]},
        'runtime.experimental cannot be "x" in the Go runtime',
        "the list must be empty",
    ),
    (
        RS,
        {"shared_fs": "virtiofs"},
        'shared_fs cannot be "virtiofs" in the Rust runtime',
        'did you mean "virtio-fs"? one of "virtio-fs", "inline-virtio-fs", "virtio-fs-nydus", "none"',
    ),
    (
        RS,
        {"vm_rootfs_driver": "virtio-scsi"},
        'vm_rootfs_driver cannot be "virtio-scsi" in the Rust runtime',
        'did you mean "virtio-blk-pci"? one of "virtio-pmem", "virtio-blk-pci", "virtio-blk-ccw"',
    ),
    (BOTH, {"enable_guest_swap": True}, "enable_guest_swap cannot be true in the Rust runtime", "only false"),
    # What one of the dialects cannot say.
    (
        BOTH,
        {"msize_9p": 4096},
        "msize_9p: the Rust runtime has no such setting",
        "remove it, write dialects: [go], or ignored_by: {rs: [msize_9p]}",
    ),
    (RS, {"msize_9p": 8192}, "msize_9p: the Rust runtime has no such setting", "remove it"),
    (
        BOTH,
        {"overhead_vcpus": 0.5},
        "overhead_vcpus: the Go runtime has no such setting",
        "remove it, write dialects: [rs], or ignored_by: {go: [overhead_vcpus]}",
    ),
    (
        BOTH,
        {"memory_offset": 64},
        "memory_offset: it does nothing in the Rust runtime, where nothing reads it",
        "remove it, write dialects: [go], or ignored_by: {rs: [memory_offset]}",
    ),
    (
        BOTH,
        {"disk_rate_limiter_bw_max_rate": 8},
        "disk_rate_limiter_bw_max_rate: it does nothing with qemu in the Go runtime, only with clh",
        "remove it",
    ),
    (
        BOTH,
        {"shared_fs": "virtio-9p"},
        'shared_fs: "virtio-9p" has no counterpart for the Rust runtime',
        'both dialects know "virtio-fs", "virtio-fs-nydus", "none"',
    ),
    (
        BOTH,
        {"shared_fs": "inline-virtio-fs"},
        'shared_fs: "inline-virtio-fs" has no counterpart for the Go runtime',
        'both dialects know "virtio-fs", "virtio-fs-nydus", "none"',
    ),
    (
        BOTH,
        {"cold_plug_vfio": "bridge-port"},
        'cold_plug_vfio: "bridge-port" has no counterpart for the Rust runtime',
        'both dialects know "no-port", "root-port"',
    ),
    (
        BOTH,
        {"agent.reconnect_timeout_ms": 45_500},
        "agent.reconnect_timeout_ms: 45500 is not a whole number of s for the Go runtime",
        None,
    ),
    (
        BOTH,
        {"agent.dial_timeout": 4294968},
        "agent.dial_timeout must lie between 0 and 4294967295 ms in the Rust runtime, not 4294968000",
        None,
    ),
    (
        BOTH,
        {"agent.reconnect_timeout_ms": 45_000, "agent.dial_timeout": 45},
        "agent.dial_timeout sets the same as agent.reconnect_timeout_ms",
        "keep one of them",
    ),
    (
        RS,
        {"runtime.experimental": [], "runtime.experimental_force_guest_pull": True},
        "runtime.experimental_force_guest_pull and runtime.experimental are one key in the Rust runtime",
        "keep one",
    ),
    # Settings that do not fit together.
    (
        BOTH,
        {"default_vcpus": 4, "default_maxvcpus": 2},
        "default_vcpus 4 is above default_maxvcpus 2",
        "0 as default_maxvcpus means the host's CPUs",
    ),
    (
        BOTH,
        {"default_maxmemory": 1024},
        "default_memory 2048 MiB is above default_maxmemory 1024 MiB",
        "0 as default_maxmemory means the host's memory",
    ),
    (
        BOTH,
        {"block_device_logical_sector_size": 4096, "block_device_physical_sector_size": 512},
        "block_device_logical_sector_size 4096 is above block_device_physical_sector_size 512",
        None,
    ),
    (
        GO,
        {"hot_plug_vfio": "root-port", "cold_plug_vfio": "root-port"},
        "hot_plug_vfio and cold_plug_vfio exclude each other",
        'set one of them to "no-port"',
    ),
    (
        BOTH,
        {"pcie_root_port": 1, "pcie_switch_port": 1},
        "pcie_root_port and pcie_switch_port exclude each other in the Rust runtime",
        "set one of them to 0",
    ),
    (
        BOTH,
        {"runtime.disable_new_netns": True},
        'runtime.disable_new_netns needs runtime.internetworking_model "none", not "tcfilter"',
        None,
    ),
    (GO, {"enable_numa": True}, "enable_numa needs runtime.static_sandbox_resource_mgmt: true", None),
    (BOTH, {"virtio_fs_daemon": ""}, 'shared_fs "virtio-fs" needs a virtio_fs_daemon', None),
    (
        BOTH,
        {"shared_fs": "none", "disable_block_device_use": True},
        'shared_fs "none" with disable_block_device_use leaves a container no way to its root file system',
        "set disable_block_device_use: false",
    ),
    (
        BOTH,
        {"factory.enable_template": True},
        'factory.enable_template excludes shared_fs "virtio-fs" in the Go runtime',
        'a template cannot hold the connection to virtiofsd: set shared_fs: "virtio-9p" or "none"',
    ),
    (
        BOTH,
        {"machine_type": "microvm"},
        "machine_type microvm has no NVDIMM: the image would silently become a block device",
        "set disable_image_nvdimm: true",
    ),
    (
        BOTH,
        {"confidential_guest": True},
        "confidential_guest has no NVDIMM: its memory is encrypted",
        "set disable_image_nvdimm: true",
    ),
    (
        BOTH,
        {"valid_hypervisor_paths": ["/opt/*/qemu"]},
        "valid_hypervisor_paths does not admit path, /usr/bin/qemu-system-x86_64",
        "add /usr/bin/qemu-system-x86_64",
    ),
    (
        GO,
        {"entropy_source": "/dev/hwrng"},
        "valid_entropy_sources does not admit entropy_source, /dev/hwrng",
        "add /dev/hwrng",
    ),
    (
        RS,
        {"agent.dial_timeout_ms": 50_000},
        "agent.dial_timeout_ms 50000 ms, the pause between attempts, is longer than the whole time, 45000 ms",
        None,
    ),
    (
        GO,
        {"confidential_guest": True, "disable_image_nvdimm": True, "block_device_driver": "virtio-mmio"},
        'block_device_driver "virtio-mmio" is refused for a confidential_guest',
        None,
    ),
]


@pytest.mark.parametrize(("dialects", "settings", "message", "hint"), BAD, ids=[b[2][:50] for b in BAD])
def test_each_mistake_is_told_once(
    dialects: tuple[str, ...], settings: dict[str, Any], message: str, hint: str | None
) -> None:
    problems = check_settings(Hypervisor("qemu", dialects=dialects, settings=settings), "4.1")
    assert [(p.message, p.hint) for p in problems] == [(message, hint)]


def test_all_mistakes_at_once_in_the_order_of_the_spec_with_their_places() -> None:
    settings = {"defualt_memory": 1, "default_vcpus": 1, "enable_iommu": "on", "kernel": "x"}
    where = {name: Where("guest.yaml", line, 9) for line, name in enumerate(settings, 10)}
    problems = check_settings(Hypervisor("qemu", settings=settings, where=where), "4.1")
    assert [str(p) for p in problems] == [
        "guest.yaml:10:9: unknown setting defualt_memory (did you mean default_memory?)",
        'guest.yaml:12:9: enable_iommu must be true or false, not "on"',
        "guest.yaml:13:9: kernel is not a setting: it follows from the spec (see the kernel section of the spec)",
    ]


def test_a_rule_points_at_what_the_spec_wrote() -> None:
    where = {"default_maxmemory": Where("guest.yaml", 3, 5)}
    problems = check_settings(Hypervisor("qemu", settings={"default_maxmemory": 1024}, where=where), "4.1")
    assert [p.where for p in problems] == [where["default_maxmemory"]]


def test_a_plain_image_cannot_be_an_nvdimm() -> None:
    hypervisor = Hypervisor("qemu", settings={"vm_rootfs_driver": "virtio-pmem"})
    problems = check_settings(hypervisor, "4.1", dax=False)
    assert [(p.message, p.hint) for p in problems] == [
        ("vm_rootfs_driver asks for an NVDIMM, but the image has no DAX header", "set image.dax: true")
    ]


def test_an_unknown_hypervisor() -> None:
    problems = check_settings(Hypervisor("xen"), "4.1")
    assert [p.message for p in problems] == ["no configuration is known for xen"]


def test_a_key_of_another_kata_version() -> None:
    entry = {"name": "shiny", "group": "runtime", "type": "boolean", "meaning": "A."}
    document = {
        "tables": [
            {
                "table": "runtime",
                "settings": [
                    {**entry, "go": {"since": "4.2"}, "rs": {}},
                    {**entry, "name": "rusty", "go": {"until": "4.1"}, "rs": {"until": "4.0"}},
                ],
            }
        ]
    }
    known = make_tables([document], tables().dialects)
    hypervisor = Hypervisor("qemu", settings={"runtime.shiny": True, "runtime.rusty": True})
    since = "runtime.shiny: the Go runtime knows it since Kata 4.2, the spec is for 4.1"
    assert [str(p) for p in choose(hypervisor, "4.1", known=known)[1]] == [
        f"{since} (remove it, write dialects: [rs], or ignored_by: {{go: [runtime.shiny]}})",
        "runtime.rusty: the Go runtime knows it only before Kata 4.1, the spec is for 4.1 (remove it)",
    ]
    assert [str(p) for p in choose(hypervisor, "4.2", known=known)[1]] == [
        "runtime.rusty: the Go runtime knows it only before Kata 4.1, the spec is for 4.2 (remove it)"
    ]


# What a spec says, and what it becomes: (settings, {dialect: {setting: value}}).
CARRIED: list[tuple[dict[str, Any], dict[str, dict[str, Any]]]] = [
    ({"agent.dial_timeout": 12}, {"go": {"agent.dial_timeout": 12}, "rs": {"agent.dial_timeout": 12_000}}),
    ({"agent.reconnect_timeout_ms": 12_000}, {"go": {"agent.dial_timeout": 12}, "rs": {"agent.dial_timeout": 12_000}}),
    # 0 stands for 30 s in the Go runtime, and for nothing in the Rust one.
    ({"agent.dial_timeout": 0}, {"go": {"agent.dial_timeout": 0}, "rs": {"agent.dial_timeout": 30_000}}),
    ({"agent.cdh_api_timeout_ms": 7000}, {"go": {"agent.cdh_api_timeout": 7}, "rs": {"agent.cdh_api_timeout": 7000}}),
    (
        {"disable_image_nvdimm": True},
        {"go": {"disable_image_nvdimm": True}, "rs": {"disable_image_nvdimm": "virtio-blk-pci"}},
    ),
    (
        {"vm_rootfs_driver": "virtio-blk-pci"},
        {"go": {"disable_image_nvdimm": True}, "rs": {"disable_image_nvdimm": "virtio-blk-pci"}},
    ),
    (
        {"block_device_driver": "virtio-blk"},
        {"go": {"block_device_driver": "virtio-blk"}, "rs": {"block_device_driver": "virtio-blk-pci"}},
    ),
    (
        {"block_device_driver": "virtio-blk-pci"},
        {"go": {"block_device_driver": "virtio-blk"}, "rs": {"block_device_driver": "virtio-blk-pci"}},
    ),
    (
        {"runtime.experimental_force_guest_pull": True},
        {
            "go": {"runtime.experimental_force_guest_pull": True},
            "rs": {"runtime.experimental_force_guest_pull": ["force_guest_pull"]},
        },
    ),
    (
        {"agent.create_container_timeout": 99},
        {"go": {"runtime.create_container_timeout": 99}, "rs": {"runtime.create_container_timeout": 99}},
    ),
    (
        {"runtime.internetworking_model": "default"},
        {"go": {"runtime.internetworking_model": "default"}, "rs": {"runtime.internetworking_model": "tcfilter"}},
    ),
    # A value that changes nothing may be said to a runtime that has no words for it.
    ({"use_legacy_serial": False}, {"go": {"use_legacy_serial": False}, "rs": {"use_legacy_serial": None}}),
    ({"overhead_memory": 0}, {"go": {"overhead_memory": None}, "rs": {"overhead_memory": 0}}),
    ({"dbg_monitor_socket": "qmp"}, {"go": {"extra_monitor_socket": "qmp"}, "rs": {"extra_monitor_socket": "qmp"}}),
    ({"enable_iommu": True}, {"go": {"enable_iommu": True}, "rs": {"enable_iommu": True}}),
    ({"default_vcpus": 1.5}, {"go": {"default_vcpus": 1.5}, "rs": {"default_vcpus": 1.5}}),
    ({"path": "/opt/qemu"}, {"go": {"valid_hypervisor_paths": ["/opt/qemu"]}, "rs": {"path": "/opt/qemu"}}),
    (
        {"shared_fs": "none"},
        {
            "go": {"shared_fs": "none", "virtio_fs_daemon": None, "disable_block_device_use": None},
            "rs": {"shared_fs": "none", "virtio_fs_cache": None, "disable_block_device_use": False},
        },
    ),
]


@pytest.mark.parametrize(("settings", "expected"), CARRIED, ids=[str(c[0]) for c in CARRIED])
def test_one_vocabulary_for_both_dialects(settings: dict[str, Any], expected: dict[str, dict[str, Any]]) -> None:
    request = Request("guest", "/opt/guest", "x86_64", "4.1", Hypervisor("qemu", settings=settings))
    values: dict[str, dict[str, Any]] = {**config_values(request, Built("6.12"))}
    for dialect, wanted in expected.items():
        assert {name: values[dialect].get(name) for name in wanted} == wanted


def test_only_the_dialects_asked_for_are_written() -> None:
    for dialects in (("go",), ("rs",), ("rs", "go")):
        request = Request("guest", "/opt/guest", "x86_64", "4.1", Hypervisor("qemu", dialects=dialects))
        assert list(config_values(request, Built("6.12"))) == [d for d in DIALECTS if d in dialects]


def test_values_of_a_wrong_spec_are_refused_with_every_mistake() -> None:
    request = Request("guest", "/opt/guest", "x86_64", "4.1", Hypervisor("qemu", settings={"a": 1, "b": 2}))
    with pytest.raises(InputError) as caught:
        config_values(request, Built("6.12"))
    assert [p.message for p in caught.value.problems] == ["unknown setting a", "unknown setting b"]


SETTABLE = [
    (dialect, side)
    for dialect in DIALECTS
    for setting in tables().settings
    if (side := setting.side(dialect))
    and not (side.internal or side.inert or side.type in ("table", "tables") or setting.name in tables().decided)
    and side.heeded_by("qemu")
    and side.table in ("hypervisor", "hypervisor.factory", "factory", "agent", "agent.mem_agent", "runtime")
]


@pytest.mark.parametrize(("dialect", "side"), SETTABLE, ids=[f"{d}:{s.name}" for d, s in SETTABLE])
def test_every_default_of_a_runtime_may_be_written_out(dialect: str, side: Any) -> None:
    # A person who copies a commented line of the file into the spec must not be refused.
    default = side.default_of("qemu")
    # Not every default is a value: 0 as a time-out breaks things, "" stands for a choice that the runtime makes.
    unusable = default is None or (side.low and not default) or (default == "" and side.choices("qemu", "x86_64"))
    if not unusable:
        assert _told(dialect, side.name, default) == []


WRONG_TYPE: dict[str, Any] = {
    "boolean": "true",
    "integer": "1",
    "float": [1],
    "string": 1,
    "strings": "a",
    "integers": 1,
}


def _told(dialect: str, name: str, value: Any) -> list[tuple[str, str | None]]:
    problems = choose(Hypervisor("qemu", dialects=(dialect,), settings={name: value}), "4.1", "x86_64")[1]
    return [(p.message, p.hint) for p in problems]


@pytest.mark.parametrize(("dialect", "side"), SETTABLE, ids=[f"{d}:{s.name}" for d, s in SETTABLE])
def test_every_mutation_of_every_setting(dialect: str, side: Any) -> None:
    middle = len(side.name) - len(side.key) // 2
    misspelt = side.name[:middle] + side.name[middle + 1 :]
    [(message, hint)] = _told(dialect, misspelt, True)
    assert message == f"unknown setting {misspelt}"
    assert hint == f"did you mean {side.name}?"
    [(message, _)] = _told(dialect, side.name, WRONG_TYPE[side.type])
    assert message.startswith(f"{side.name} must be ")
    if side.minimum is not None and not side.choices("qemu", "x86_64"):
        for value in (side.minimum - 1, side.maximum + 1):
            [(message, _)] = _told(dialect, side.name, value)
            assert message.startswith(f"{side.name} must lie between {side.minimum} and {side.maximum}")
    for limit, step in ((side.low, -1), (side.high, 1)):
        beyond = limit.at("qemu", "x86_64") + step if limit else None
        if beyond is not None and not (beyond == 0 and side.zero is not None):
            [(message, _)] = _told(dialect, side.name, beyond)
            assert limit.effect in message
    if side.choices("qemu", "x86_64") is not None and side.type in ("string", "strings"):
        wrong = "nonsense" if side.type == "string" else ["nonsense"]
        [(message, _)] = _told(dialect, side.name, wrong)
        assert message.startswith(f'{side.name} cannot be "nonsense"')
    moved = f"factory.{side.key}" if not side.name.startswith("factory.") else f"agent.{side.key}"
    if tables().find(moved) is None:
        [(message, hint)] = _told(dialect, moved, True)
        assert message == f"unknown setting {moved}"
        assert hint
        assert side.key in hint
