"""The files themselves: read back, checked against each parser's keys, compared with what was meant, and shown."""

from __future__ import annotations

import itertools
import os
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kata_toolkit import resources
from kata_toolkit.errors import InternalError
from kata_toolkit.kata.guest import guest_settings
from kata_toolkit.kata.keys import DIALECTS, Dialect, tables
from kata_toolkit.kata.render import compare, render, toml_value
from kata_toolkit.kata.request import Built, Request
from kata_toolkit.kata.tree import config_tree, file_name
from kata_toolkit.kata.values import config_values
from kata_toolkit.spec.load import load_spec
from kata_toolkit.spec.model import Hypervisor, Spec
from kata_toolkit.stages.runtime_config import RuntimeConfigStage

ROOT = Path(__file__).parent.parent
SNAPSHOTS = Path(__file__).parent / "snapshots"


def quickstart() -> Spec:
    return load_spec(ROOT / "examples" / "quickstart.yaml")


def request(boot: str = "image", *, dax: bool = True, rootfs_type: str = "ext4", **settings: Any) -> Request:
    hypervisor = Hypervisor("qemu", boot=boot, settings=settings)
    return Request("guest", "/opt/guest", "x86_64", "4.1", hypervisor, rootfs_type, dax, ("mitigations=off",))


def files(wanted: Request) -> dict[Dialect, str]:
    """The text of each file, by dialect."""
    found = {}
    for dialect, values in config_values(wanted, Built("6.12.48")).items():
        tree = config_tree(dialect, "qemu", values)
        found[dialect] = render(dialect, "qemu", "4.1", "x86_64", tree, ["About."])
    return found


def unknown_keys(dialect: Dialect, tree: dict[str, Any]) -> list[str]:
    """Keys of a file that the dialect's parser does not know, tables included."""
    found = []
    paths = {tables().table_path(side.table, dialect, "qemu"): side.table for side in _sides(dialect)}
    parents = {path[:depth] for path in paths for depth in range(len(path))}

    def walk(path: tuple[str, ...], table: dict[str, Any]) -> None:
        known = tables().keys(dialect, paths[path]) if path in paths else frozenset()
        for key, value in table.items():
            place = (*path, key)
            if isinstance(value, dict):
                if place not in paths and place not in parents:
                    found.append(".".join(place))
                walk(place, value)
            elif key not in known:
                found.append(".".join(place))

    walk((), tree)
    return found


def _sides(dialect: Dialect) -> list[Any]:
    return [side for s in tables().settings if (side := s.side(dialect))]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_quickstart(dialect: Dialect) -> None:
    """$KATA_TOOLKIT_UPDATE_SNAPSHOTS=1 writes the snapshots anew; look at the difference before you commit it."""
    [wanted] = RuntimeConfigStage.of(quickstart()).requests
    name = file_name(dialect, "qemu")
    text = render(**RuntimeConfigStage((wanted,)).files(Built("6.12.48"))[name])
    snapshot = SNAPSHOTS / "quickstart" / name
    if os.environ.get("KATA_TOOLKIT_UPDATE_SNAPSHOTS"):
        snapshot.parent.mkdir(parents=True, exist_ok=True)
        snapshot.write_text(text)
    assert text == snapshot.read_text()


COMBINATIONS = [
    (boot, dax, rootfs_type, extra)
    for boot, dax, rootfs_type in itertools.product(("image", "initrd"), (True, False), ("ext4", "erofs", "xfs"))
    for extra in (
        {},
        {"default_vcpus": 2.5, "default_maxvcpus": 8, "default_memory": 512, "default_maxmemory": 4096},
        {"shared_fs": "none"},
        {"shared_fs": "virtio-fs-nydus", "virtio_fs_daemon": "/usr/bin/nydusd", "virtio_fs_cache": "always"},
        {"agent.enable_debug": True, "agent.debug_console_enabled": True, "runtime.enable_debug": True},
        {"disable_image_nvdimm": True, "confidential_guest": True, "firmware": "/usr/share/ovmf/OVMF.fd"},
        {"shared_fs": "none", "factory.enable_template": True, "factory.template_path": "/run/t"},
        {"agent.kernel_modules": ["e1000e InterruptThrottleRate=3000", 'a "b" \\c'], "cpu_features": 'ü"\\'},
        {"runtime.experimental_force_guest_pull": True, "agent.launch_process_timeout": 9},
    )
]


@pytest.mark.parametrize(("boot", "dax", "rootfs_type", "extra"), COMBINATIONS)
def test_every_file_says_what_was_meant_in_keys_the_parser_knows(
    boot: str, dax: bool, rootfs_type: str, extra: dict[str, Any]
) -> None:
    wanted = request(boot, dax=dax, rootfs_type=rootfs_type, **extra)
    texts = files(wanted)
    assert set(texts) == {"go", "rs"}
    for dialect, text in texts.items():
        tree = tomllib.loads(text)
        assert unknown_keys(dialect, tree) == []
        assert tree == config_tree(dialect, "qemu", config_values(wanted, Built("6.12.48"))[dialect])
        hypervisor = tree["hypervisor"]["qemu"]
        assert list(tree["hypervisor"]) == ["qemu"]  # with two tables the Go runtime picks one at random
        assert ("image" in hypervisor) != ("initrd" in hypervisor)
        assert hypervisor["kernel"] == "/opt/guest/share/kata-containers/vmlinux-6.12.48"
        assert hypervisor["kernel_params"].endswith(" mitigations=off")
        assert hypervisor["path"] in hypervisor["valid_hypervisor_paths"]
        assert max(map(len, text.splitlines())) <= 120


def test_the_root_file_system_decides_how_the_image_is_attached() -> None:
    for dax, go, rs in ((True, False, "virtio-pmem"), (False, True, "virtio-blk-pci")):
        trees = {
            dialect: tomllib.loads(text)["hypervisor"]["qemu"] for dialect, text in files(request(dax=dax)).items()
        }
        assert trees["go"]["disable_image_nvdimm"] is go
        assert trees["rs"]["vm_rootfs_driver"] == rs
        # The Rust parser knows the Go key too, and nothing reads it.
        assert "disable_image_nvdimm" not in trees["rs"]


def test_an_initrd_has_no_image_keys() -> None:
    for text in files(request("initrd")).values():
        hypervisor = tomllib.loads(text)["hypervisor"]["qemu"]
        assert hypervisor["initrd"] == "/opt/guest/share/kata-containers/guest.initrd"
        assert not {"image", "rootfs_type", "disable_image_nvdimm", "vm_rootfs_driver"} & hypervisor.keys()


@pytest.mark.parametrize("prefix", ["/", "/usr", "/opt/guest/"])
def test_paths_start_with_the_prefix(prefix: str) -> None:
    wanted = Request("guest", prefix, "x86_64", "4.1", Hypervisor("qemu"))
    image = config_values(wanted, Built("6"))["go"]["image"]
    assert image == f"{prefix.rstrip('/')}/share/kata-containers/guest.img"


def test_the_rust_file_names_its_tables() -> None:
    runtime = tomllib.loads(files(request())["rs"])["runtime"]
    named = {key: runtime[key] for key in ("name", "hypervisor_name", "agent_name")}
    assert named == {"name": "virt_container", "hypervisor_name": "qemu", "agent_name": "kata"}


def test_values_that_differ_only_in_default_are_always_written() -> None:
    # Left out, each of them means one thing to Go and another to Rust.
    for dialect, text in files(request()).items():
        tree = tomllib.loads(text)
        written = {*tree["hypervisor"]["qemu"], *tree["runtime"]}
        assert {"shared_fs", "default_memory", "memory_slots", "disable_guest_selinux", "vfio_mode"} <= written, dialect


@pytest.mark.parametrize("dialect", DIALECTS)
def test_optional_lines_are_true_once_the_mark_is_taken_away(dialect: Dialect) -> None:
    text = files(request())[dialect]
    uncommented = "\n".join(
        line[1:] if line.startswith("#") and line[1:2].isalpha() else line for line in text.splitlines()
    )
    tree = tomllib.loads(uncommented)
    assert unknown_keys(dialect, tree) == []
    assert len(tree["hypervisor"]["qemu"]) > len(tomllib.loads(text)["hypervisor"]["qemu"]) + 20


def test_every_key_has_a_comment() -> None:
    for text in files(request()).values():
        lines = text.splitlines()
        for before, line in itertools.pairwise(lines):
            if "=" in line and not line.startswith("# "):
                assert before.startswith("# "), line


class TestComparison:
    """`compare` is what stands between a wrong template and a file that says something else."""

    TREE: ClassVar[dict[str, Any]] = {"a": {"n": 1, "f": 1.0, "b": True, "s": "x", "l": ["x"]}}
    TEXT = '[a]\nn = 1\nf = 1.0\nb = true\ns = "x"\nl = ["x"]\n'

    def test_equal(self) -> None:
        compare(self.TEXT, self.TREE)

    @pytest.mark.parametrize(
        ("old", "new", "message"),
        [
            ("n = 1", "n = 1.0", "the configuration written lacks a.n = 1"),
            ("n = 1", "n = true", "the configuration written lacks a.n = 1"),
            ("b = true\n", "", "the configuration written lacks a.b = true"),
            ('["x"]', '["x"]\nm = 2', "the configuration written has besides, or in another form, a.m = 2"),
            ("[a]", "[b]", 'the configuration written lacks a.b = true, a.f = 1.0, a.l = ["x"]'),
            ("n = 1", "n =", "the configuration written is not TOML: Invalid value (at line 2, column 4)"),
        ],
    )
    def test_not_equal(self, old: str, new: str, message: str) -> None:
        with pytest.raises(InternalError) as caught:
            compare(self.TEXT.replace(old, new, 1), self.TREE)
        assert str(caught.value) == message


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{ nothing }}", "the template configuration.toml.j2 is wrong: 'nothing' is undefined"),
        (
            "{% if %}",
            "the template configuration.toml.j2 is wrong: Expected an expression, got 'end of statement block'",
        ),
        ("", "the configuration written lacks agent.kata."),
        ("a = ", "the configuration written is not TOML: "),
    ],
)
def test_a_wrong_template_is_our_bug(
    template: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "configuration.toml.j2").write_text(template)
    real = resources.resource
    monkeypatch.setattr(resources, "resource", lambda *p: tmp_path if p == ("templates",) else real(*p))
    with pytest.raises(InternalError) as caught:
        files(request())
    assert str(caught.value).startswith(message)
    assert caught.value.exit_code == 70


TEXT = st.text(st.characters(exclude_categories=["Cs"]))
VALUES = st.one_of(
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    TEXT,
    st.lists(TEXT),
)


@given(VALUES)
def test_any_value_survives_toml(value: Any) -> None:
    read = tomllib.loads(f"k = {toml_value(value)}")["k"]
    assert read == value
    assert type(read) is type(value)


def test_guest_settings_of_the_quickstart() -> None:
    settings = guest_settings(quickstart())
    assert (settings.vcpus, settings.maxvcpus, settings.memory_mib) == (1, 0, 256)
    assert (settings.memory_slots, settings.maxmemory_mib, settings.rootfs_driver) == (10, 0, "nvdimm")
    assert settings.kernel_params == ("cgroup_no_v1=all", "systemd.unified_cgroup_hierarchy=1")
    assert settings.agent_params == ("agent.cdh_api_timeout=50",)
    assert not settings.debug


def spec_with(boot: str = "image", **settings: Any) -> Spec:
    return replace(quickstart(), hypervisors=(Hypervisor("qemu", boot=boot, settings=settings),))


@pytest.mark.parametrize(
    ("boot", "settings", "expected"),
    [
        ("image", {"default_vcpus": 1.2}, {"vcpus": 2}),
        ("image", {"default_vcpus": 0}, {"vcpus": 1}),
        ("image", {"default_vcpus": -1}, {"vcpus": 1}),
        ("image", {"memory_slots": 0}, {"memory_slots": 10}),
        ("image", {"disable_image_nvdimm": True}, {"rootfs_driver": "virtio-blk"}),
        ("image", {"enable_debug": True}, {"debug": True}),
        ("image", {"agent.cdh_api_timeout": 0, "agent.enable_debug": True}, {"agent_params": ("agent.log=debug",)}),
        ("initrd", {}, {"rootfs_driver": "initrd"}),
        ("image", {}, {"machine_type": "q35", "machine_accelerators": "sata=off,smbus=off", "firmware": ""}),
        ("image", {"machine_accelerators": "hpet=off"}, {"machine_accelerators": "hpet=off"}),
        ("image", {"firmware": "/bios.bin"}, {"firmware": "/bios.bin"}),
        (
            "image",
            {"machine_type": "microvm", "disable_image_nvdimm": True},
            {"machine_type": "microvm", "rootfs_driver": "virtio-blk"},
        ),
        ("image", {"block_device_driver": "virtio-blk"}, {"block_device_driver": "virtio-blk"}),
    ],
)
def test_guest_settings_follow_the_spec(boot: str, settings: dict[str, Any], expected: dict[str, Any]) -> None:
    found = guest_settings(spec_with(boot, **settings), "qemu", "go")
    assert {name: getattr(found, name) for name in expected} == expected


def test_guest_settings_of_the_rust_dialect() -> None:
    found = guest_settings(spec_with(memory_slots=0, **{"agent.mem_agent.enable": False}), dialect="rs")
    assert found.memory_slots == 128
    assert found.agent_params == ("agent.cdh_api_timeout=50",)
