"""Every flavour of Kata's configuration, in each dialect and on each architecture that has it."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kata_toolkit.errors import InputError
from kata_toolkit.kata.cmdline import GuestBoot, kernel_cmdline
from kata_toolkit.kata.flavours import flavour, flavours, make_flavours
from kata_toolkit.kata.guest import boots_in_qemu, guest_settings
from kata_toolkit.kata.keys import DIALECTS, Dialect, tables
from kata_toolkit.kata.render import render
from kata_toolkit.kata.request import Built, Request
from kata_toolkit.kata.rules import SEVERITIES, broken
from kata_toolkit.kata.settings import choose
from kata_toolkit.kata.tree import config_tree, file_name
from kata_toolkit.kata.values import check_settings, config_values, facts_of
from kata_toolkit.spec.load import load_spec
from kata_toolkit.spec.model import Hypervisor

SCHEMAS = Path(__file__).parent.parent / "schemas"
PMEM_ROOT = ("ppc64le", "riscv64")  # where the Go runtime and QEMU cannot boot an image


def everything() -> Iterator[Any]:
    for name, kind in flavours().items():
        for dialect in kind.files:
            for arch in kind.arches[dialect]:
                for boot in kind.boots[dialect]:
                    if dialect == "go" and kind.vmm == "qemu" and boot == "image" and arch in PMEM_ROOT:
                        continue
                    yield pytest.param(name, dialect, arch, boot, id=f"{name}-{dialect}-{arch}-{boot}")


EVERYTHING = list(everything())


def request(name: str, dialect: Dialect, arch: str, boot: str, **settings: Any) -> Request:
    hypervisor = Hypervisor(name, boot, (dialect,), settings)
    return Request("guest", "/opt/guest", arch, "4.1", hypervisor, kernel_params=("mitigations=off",))


def unknown(dialect: Dialect, vmm: str, tree: dict[str, Any]) -> list[str]:
    """Tables and keys that the dialect does not know."""
    sides = [side for s in tables().settings if (side := s.side(dialect))]
    paths = {tables().table_path(side.table, dialect, vmm): side.table for side in sides}
    parents = {path[:depth] for path in paths for depth in range(len(path))}
    found = []

    def walk(path: tuple[str, ...], table: dict[str, Any]) -> None:
        for key, value in table.items():
            place = (*path, key)
            if isinstance(value, dict):
                found.extend([] if place in paths or place in parents else [".".join(place)])
                walk(place, value)
            elif path not in paths or key not in tables().keys(dialect, paths[path]):
                found.append(".".join(place))

    walk((), tree)
    return found


@pytest.mark.parametrize(("name", "dialect", "arch", "boot"), EVERYTHING)
def test_the_file_is_sound(name: str, dialect: Dialect, arch: str, boot: str) -> None:
    wanted, kind = request(name, dialect, arch, boot), flavour(name)
    values = config_values(wanted, Built("6.12.48"))[dialect]
    tree = config_tree(dialect, kind.vmm, values)
    read = tomllib.loads(render(dialect, name, "4.1", arch, tree, ["About."]))
    assert read == tree
    assert list(read["hypervisor"]) == [kind.vmm]
    assert unknown(dialect, kind.vmm, read) == []
    # Every value as a person would write it, by the dialect's own name: typed, in range, heeded by the VMM.
    for setting_name, value in values.items():
        if setting_name in tables().decided or setting_name == "guest_extension_images":
            continue
        setting = tables().find(setting_name)
        assert setting
        side = setting.side(dialect)
        assert side
        one = Hypervisor(name, boot, (dialect,), {side.name: value})
        assert choose(one, "4.1", arch)[1] == [], setting_name
    # Nothing that a runtime refuses or overrules; what is merely worth knowing may be there.
    assert broken(facts_of(dialect, wanted, values), [s for s in SEVERITIES if s != "note"]) == []


@pytest.mark.parametrize(("name", "dialect", "arch", "boot"), EVERYTHING)
def test_what_boots_is_said_once(name: str, dialect: Dialect, arch: str, boot: str) -> None:
    kind = flavour(name)
    values = config_values(request(name, dialect, arch, boot), Built("6.12.48"))[dialect]
    roots = {key for key in ("image", "initrd") if key in values}
    assert roots == (set() if kind.kernel in ("sealed", "none") else {boot})
    if kind.kernel == "none":
        assert not {"kernel", "kernel_params", "rootfs_type"} & set(values)
        return
    compressed = kind.kernel == "bzimage" and arch == "x86_64"
    expected = "vmlinuz-6.12.48" if compressed else "guest-se.img" if kind.kernel == "sealed" else "vmlinux-6.12.48"
    assert values["kernel"] == f"/opt/guest/share/kata-containers/{expected}"
    assert values["kernel_params"].endswith(" mitigations=off")
    assert ("path" in values) == (kind.vmm != "dragonball")
    if dialect == "rs":
        assert values["runtime.hypervisor_name"] == kind.vmm


@pytest.mark.parametrize(("name", "dialect", "arch", "boot"), EVERYTHING)
def test_its_command_line_is_known(name: str, dialect: Dialect, arch: str, boot: str) -> None:
    kind = flavour(name)
    if kind.kernel in ("sealed", "none"):
        return
    values = config_values(request(name, dialect, arch, boot), Built("6.12.48"))[dialect]
    root = "initrd" if boot == "initrd" else "nvdimm" if values.get("disable_image_nvdimm") is False else "virtio-blk"
    if dialect == "rs" and root == "virtio-blk":
        block = "mmio" if kind.vmm == "firecracker" else "ccw" if arch == "s390x" else "pci"
        root = "virtio-pmem" if values.get("disable_image_nvdimm") == "virtio-pmem" else f"virtio-blk-{block}"
    line = kernel_cmdline(GuestBoot(dialect, kind.vmm, arch, root, kernel_params=values["kernel_params"].split()))
    assert "mitigations=off" in line.split()


def test_the_stock_files_of_kata_are_all_there() -> None:
    # Kata 4.1.0 comes with 14 files for the Go runtime and 15 for the Rust one.
    # `openvmm` is ours, for hosts that are not Azure's.
    go = {kind.files["go"] for kind in flavours().values() if "go" in kind.files}
    rs = {kind.files["rs"] for kind in flavours().values() if "rs" in kind.files and kind.name != "openvmm"}
    assert (len(go), len(rs)) == (14, 15)
    assert all(path.startswith("runtime-rs/") for path in rs)
    assert not any("/" in path for path in go)


def test_the_data_is_a_small_difference_from_its_base() -> None:
    document = json.loads((SCHEMAS / "kata" / "flavours.json").read_text())
    for name, data in document["flavours"].items():
        if "base" not in data:
            continue
        base = flavour(data["base"])
        assert len(data.get("written", ())) < len(base.written) / 2, name
        for setting in data.get("unwritten", ()):
            assert any(entry["setting"] == setting for entry in base.written), (name, setting)
        for entry in data.get("written", ()):
            assert entry not in base.written, f"{name} repeats what {data['base']} says"


def test_a_difference_replaces_all_that_its_base_says_of_a_setting() -> None:
    common = [{"setting": "enable_debug", "value": False}, {"setting": "default_vcpus", "value": 1}]
    both = {"files": {"go": "a.toml"}, "arches": {"go": ["x86_64"]}, "title": "A"}
    base = {**both, "vmm": "qemu", "boots": {"go": ["image"]}, "kernel_params": ["a"], "written": []}
    small = {
        **both,
        "base": "one",
        "written": [{"setting": "enable_debug", "value": True}],
        "unwritten": ["default_vcpus"],
    }
    made = make_flavours({"common": common, "flavours": {"one": base, "two": small}})
    assert made["two"].vmm == "qemu"
    assert made["two"].kernel_params == ("a",)
    assert made["two"].written == ({"setting": "enable_debug", "value": True},)
    assert made["one"].written == tuple(common)


SPEC = "version: 1\nname: guest\nkernel: {features: {add: [virtio-mmio, snp, tdx]}}\n"
BAD = [
    ("dragonball: {dialects: [go]}", "4:49: the Go runtime has no dragonball", "write dialects: [rs]"),
    ("dragonball: {dialects: [rs, go]}", "4:53: the Go runtime has no dragonball", "write dialects: [rs]"),
    ("stratovirt: {dialects: [go, rs]}", "4:53: the Rust runtime has no stratovirt", "write dialects: [go]"),
    ("openvmm: {boot: initrd}", "4:41: openvmm does not boot from the initrd with the Rust runtime", "set boot: image"),
    ("fc: {boot: initrd}", "4:36: fc does not boot from the initrd with the Rust runtime", "set boot: image"),
    ("qemu-se: {}", "4:25: the Go runtime has no qemu-se on x86_64", "Kata has it on s390x"),
    (
        "qemu-tdx: {settings: {default_memory: 32}}",
        "4:47: default_memory: 32 MiB is replaced by 2048",
        "at least 256 MiB",
    ),
    ("clh: {settings: {shared_fs: virtio-9p}}", '4:42: shared_fs cannot be "virtio-9p" in the Go runtime', None),
    ("clh: {settings: {use_legacy_serial: true}}", "4:42: use_legacy_serial: it does nothing with clh", None),
    ("remote: {settings: {path: /x}}", "4:45: path: it does nothing with remote", None),
    ("clh: {boot: initrd}", "4:37: clh boots the initrd, which is not built", "set initrd.enabled: true"),
    ("qemuu: {}", '4:25: unknown key "qemuu"', 'did you mean "qemu"?'),
    ("firecracker: {}", '4:25: unknown key "firecracker"', None),
]


@pytest.mark.parametrize(("text", "message", "hint"), BAD, ids=[b[0] for b in BAD])
def test_what_kata_does_not_have_is_told_at_its_place(
    text: str, message: str, hint: str | None, tmp_path: Path
) -> None:
    spec = tmp_path / "guest.yaml"
    spec.write_text(f"{SPEC}runtime: {{hypervisors: {{{text}}}}}\n")
    with pytest.raises(InputError) as error:
        load_spec(spec)
    first = error.value.problems[0]
    assert str(first).removeprefix(f"{spec}:").startswith(message)
    assert hint is None or first.hint == hint


def spec_of(tmp_path: Path, hypervisors: str, rest: str = "") -> Any:
    path = tmp_path / "guest.yaml"
    path.write_text(f"{SPEC}{rest}runtime: {{hypervisors: {{{hypervisors}}}}}\n")
    return load_spec(path)


def test_runtimes_that_have_a_flavour_are_the_default(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, "qemu: {}, dragonball: {}, stratovirt: {}, clh: {}")
    assert [h.dialects for h in spec.hypervisors] == [("go", "rs"), ("rs",), ("go",), ("go", "rs")]


def test_a_vmm_without_pci_needs_a_kernel_for_it(tmp_path: Path) -> None:
    path = tmp_path / "guest.yaml"
    path.write_text("version: 1\nname: guest\nruntime: {hypervisors: {fc: {}, qemu-snp: {}}}\n")
    with pytest.raises(InputError) as error:
        load_spec(path)
    found = {(p.message.partition(" (")[0].rpartition(": ")[2], p.hint) for p in error.value.problems}
    assert found == {
        ("the devices of a VM without PCI", "kernel: {features: {add: [virtio-mmio]}}"),
        ("a guest encrypted by AMD SEV-SNP", "kernel: {features: {add: [snp]}}"),
    }


def test_what_qemu_boots_anywhere(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, "qemu: {}, qemu-snp: {}, clh: {}, remote: {}, qemu-nvidia-cpu: {}")
    assert [h.name for h in spec.hypervisors if boots_in_qemu(spec, h.name)] == ["qemu", "qemu-nvidia-cpu"]
    for hypervisor in spec.hypervisors:
        for dialect in hypervisor.dialects:
            guest = guest_settings(spec, hypervisor.name, dialect)
            assert guest.memory_mib >= 64
            assert guest.rootfs_driver == ("nvdimm" if hypervisor.name == "qemu" else "virtio-blk")


def test_machines_of_other_architectures() -> None:
    expected = {
        "aarch64": ("virt", "/usr/bin/qemu-system-aarch64", True, "virtio-blk-pci", "virtio-scsi"),
        "s390x": ("s390-ccw-virtio", "/usr/bin/qemu-system-s390x", True, "virtio-blk-ccw", "virtio-blk-ccw"),
        "ppc64le": ("pseries", "/usr/bin/qemu-system-ppc64", True, "virtio-blk-pci", "virtio-scsi"),
    }
    for arch, (machine, path, go_root, rs_root, block) in expected.items():
        rs = config_values(request("qemu", "rs", arch, "image"))["rs"]
        assert (rs["machine_type"], rs["path"], rs["disable_image_nvdimm"]) == (machine, path, rs_root)
        assert rs["block_device_driver"] == block
        if arch not in PMEM_ROOT:
            go = config_values(request("qemu", "go", arch, "image"))["go"]
            assert (go["machine_type"], go["disable_image_nvdimm"]) == (machine, go_root)
    [problem] = check_settings(Hypervisor("qemu", dialects=("go",)), "4.1", arch="ppc64le")
    assert problem.hint == "boot the initrd there (boot: initrd), or leave the Go runtime out (dialects: [rs])"


def test_defects_of_stock_files_are_not_repeated() -> None:
    fc = config_values(request("fc", "rs", "x86_64", "image"))["rs"]
    assert fc["agent.dial_timeout"] > fc.get("agent.dial_timeout_ms", 10)  # stock: 3 s in all, 45 s between attempts
    assert fc["default_maxvcpus"] == 32  # stock: 0, which a host with more CPUs refuses
    remote = config_tree("rs", "remote", config_values(request("remote", "rs", "x86_64", "image"))["rs"])
    assert remote["hypervisor"]["remote"]["hypervisor_socket"] == "/run/peerpod/hypervisor.sock"
    se = config_values(request("qemu-se", "rs", "s390x", "initrd"))["rs"]
    assert se["disable_image_nvdimm"] == "virtio-blk-ccw"
    for name in ("qemu-nvidia-gpu", "qemu-nvidia-cpu"):
        assert "firmware_volume" not in config_values(request(name, "rs", "x86_64", "image"))["rs"]


def test_several_flavours_have_files_of_their_own() -> None:
    names = [file_name(dialect, name) for name in flavours() for dialect in flavour(name).files]
    assert len(set(names)) == len(names)
    assert set(DIALECTS) == {d for kind in flavours().values() for d in kind.files}


def test_a_setting_that_a_runtime_does_without() -> None:
    hypervisor = Hypervisor("qemu", settings={"msize_9p": 16384}, ignored_by={"rs": {"msize_9p": None}})
    values = config_values(Request("g", "/opt/g", "x86_64", "4.1", hypervisor))
    assert values["go"]["msize_9p"] == 16384
    assert "msize_9p" not in values["rs"]


IGNORED = [
    (
        {"enable_iommu": True},
        {"rs": ["enable_iommu"]},
        "enable_iommu is not ignored by the Rust runtime, which knows it",
    ),
    ({"msize_9p": 9}, {"rs": ["msize_9"]}, "msize_9p: the Rust runtime has no such setting"),
    ({"default_vcpus": 2}, {"go": ["default_vcpu"]}, "ignored_by names default_vcpu, which is not among the settings"),
    (
        {"msize_9p": 9},
        {"rs": ["msize_9p"], "go": ["msize_9p"]},
        "msize_9p is not ignored by the Go runtime, which knows it",
    ),
    ({"memory_offset": 5, "default_memory": 1}, {"rs": ["memory_offset"]}, "default_memory: 1 MiB is replaced by 2048"),
]


@pytest.mark.parametrize(("settings", "ignored", "message"), IGNORED)
def test_ignored_by_must_be_true(settings: dict[str, Any], ignored: dict[Any, list[str]], message: str) -> None:
    by = {dialect: dict.fromkeys(names) for dialect, names in ignored.items()}
    problems = check_settings(Hypervisor("qemu", settings=settings, ignored_by=by), "4.1")
    assert problems[0].message.startswith(message)


def test_ignored_by_is_told_at_its_place(tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        spec_of(tmp_path, "qemu: {settings: {enable_iommu: true}, ignored_by: {rs: [enable_iommu]}}")
    [problem] = error.value.problems
    assert str(problem).removeprefix(f"{tmp_path}/guest.yaml:").startswith("4:82: enable_iommu is not ignored")
