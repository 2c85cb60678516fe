"""config translate: each flavour there and back, and what becomes of single keys, in both directions."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from kata_toolkit.errors import CheckError, InputError
from kata_toolkit.kata.flavours import flavours
from kata_toolkit.kata.lint.files import read_stdin
from kata_toolkit.kata.lint.lint import lint
from kata_toolkit.kata.translate import translate
from kata_toolkit.kata.translate_result import Translation
from kata_toolkit.spec.model import Dialect
from translate_files import cases, usable

GO = "[hypervisor.qemu]\n{}\n[factory]\n{}\n[agent.kata]\n{}\n[runtime]\n{}\n"
RS = '[hypervisor.qemu]\n{}\n[hypervisor.qemu.factory]\n{}\n[agent.kata]\n{}\n[runtime]\nhypervisor_name = "qemu"\n{}\n'
TABLES = ("hypervisor", "factory", "agent", "runtime")


def one(source: Dialect, table: str, line: str, **options: Any) -> Translation:
    """A file with one line of interest, translated."""
    form = GO if source == "go" else RS
    text = form.format(*(line if table == name else "" for name in TABLES))
    return translate(None, text.encode(), source=source, **options)


def flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in tree.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return found


CASES = list(cases())


@pytest.mark.parametrize(("name", "dialect", "arch", "boot"), CASES, ids=["-".join(case) for case in CASES])
def test_there_and_back_is_the_same_but_for_what_is_told(name: str, dialect: Dialect, arch: str, boot: str) -> None:
    text = usable(name, dialect, arch, boot)
    if text is None:
        pytest.skip("our generator refuses it")
    if flavours()[name].vmm in ("stratovirt", "openvmm"):
        with pytest.raises(CheckError):
            translate(None, text.encode(), source=dialect)
        return
    there = translate(None, text.encode(), source=dialect)
    back = translate(None, there.text.encode(), source=there.target)
    old, new = flat(tomllib.loads(text)), flat(tomllib.loads(back.text))
    told = {entry.key for entry in (*there.lost, *back.lost)}
    assert {key: value for key, value in old.items() if key not in told and new.get(key) != value} == {}
    assert not [entry for entry in back.lost if entry.matters], "what came from there can go back"
    # Every key of the translated file is one that its parser knows, in the right type and place.
    rules = {finding.rule for finding in lint(read_stdin(there.text.encode())).findings if finding.level == "error"}
    assert not rules & {"unknown-key", "wrong-table", "other-dialect", "wrong-type", "not-allowed", "out-of-range"}


@pytest.mark.parametrize(("name", "dialect", "arch", "boot"), CASES[:4], ids=["-".join(case) for case in CASES[:4]])
def test_no_comment_is_lost(name: str, dialect: Dialect, arch: str, boot: str) -> None:
    text = usable(name, dialect, arch, boot)
    assert text is not None
    there = translate(None, text.encode(), source=dialect).text

    def comments(of: str) -> list[str]:
        return sorted(line for line in of.splitlines()[1:] if line.startswith("# "))

    assert set(comments(text)) <= set(comments(there))
    optional = [line for line in text.splitlines() if re.match(r"#\w+ = ", line)]
    assert [line for line in there.splitlines() if line in optional] == optional, "and in the order of the file"


VALUES = [
    # Go: table, line; Rust: table, line
    ("agent", "dial_timeout = 45", "agent", "reconnect_timeout_ms = 45000"),
    ("agent", "cdh_api_timeout = 50", "agent", "cdh_api_timeout_ms = 50000"),
    ("runtime", "create_container_timeout = 60", "agent", "create_container_timeout = 60"),
    ("factory", "enable_template = true", "factory", "enable_template = true"),
    ("factory", 'template_path = "/t"', "factory", 'template_path = "/t"'),
    ("hypervisor", 'seccompsandbox = "on"', "hypervisor", 'seccomp_sandbox = "on"'),
    ("hypervisor", "hypervisor_loglevel = 3", "hypervisor", 'log_level = "trace"'),
    ("hypervisor", "disable_image_nvdimm = true", "hypervisor", 'vm_rootfs_driver = "virtio-blk-pci"'),
    ("hypervisor", "disable_image_nvdimm = false", "hypervisor", 'vm_rootfs_driver = "virtio-pmem"'),
    ("hypervisor", 'block_device_driver = "virtio-blk"', "hypervisor", 'block_device_driver = "virtio-blk-pci"'),
    ("hypervisor", 'block_device_driver = "virtio-scsi"', "hypervisor", 'block_device_driver = "virtio-scsi"'),
    ("hypervisor", 'shared_fs = "none"', "hypervisor", 'shared_fs = "none"'),
    ("hypervisor", 'cold_plug_vfio = "root-port"', "hypervisor", 'cold_plug_vfio = "root-port"'),
    ("hypervisor", "default_vcpus = 1.5", "hypervisor", "default_vcpus = 1.5"),
    ("runtime", "experimental_force_guest_pull = true", "runtime", 'experimental = ["force_guest_pull"]'),
    ("runtime", 'internetworking_model = "macvtap"', "runtime", 'internetworking_model = "macvtap"'),
    ("runtime", "experimental = []", "runtime", "experimental = []"),
]


def stated(dialect: Dialect, table: str, line: str) -> tuple[str, Any]:
    """The full key and the value of one line."""
    form = GO if dialect == "go" else RS
    tree = flat(tomllib.loads(form.format(*(line if table == name else "" for name in TABLES))))
    tree.pop("runtime.hypervisor_name", None)
    ((key, value),) = tree.items()
    return key, value


@pytest.mark.parametrize(("go_table", "go", "rs_table", "rs"), VALUES, ids=[case[1] for case in VALUES])
def test_one_value_in_both_directions(go_table: str, go: str, rs_table: str, rs: str) -> None:
    key, value = stated("rs", rs_table, rs)
    there = flat(tomllib.loads(one("go", go_table, go).text))
    assert (there[key], type(there[key])) == (value, type(value))
    key, value = stated("go", go_table, go)
    back = flat(tomllib.loads(one("rs", rs_table, rs).text))
    assert (back[key], type(back[key])) == (value, type(value))


ONE_WAY = [
    ("go", "agent", "dial_timeout = 0", "agent.kata.reconnect_timeout_ms", 30000),
    ("go", "runtime", 'internetworking_model = "default"', "runtime.internetworking_model", "tcfilter"),
    (
        "go",
        "hypervisor",
        "disable_image_nvdimm = false\nconfidential_guest = true",
        "hypervisor.qemu.vm_rootfs_driver",
        "virtio-blk-pci",
    ),
    (
        "go",
        "hypervisor",
        'disable_image_nvdimm = false\nmachine_type = "microvm"',
        "hypervisor.qemu.vm_rootfs_driver",
        "virtio-blk-pci",
    ),
    (
        "go",
        "hypervisor",
        'disable_image_nvdimm = true\nmachine_type = "s390-ccw-virtio"',
        "hypervisor.qemu.vm_rootfs_driver",
        "virtio-blk-ccw",
    ),
    (
        "go",
        "hypervisor",
        'disable_image_nvdimm = false\npath = "/usr/bin/qemu-system-aarch64"',
        "hypervisor.qemu.vm_rootfs_driver",
        "virtio-blk-pci",
    ),
    ("go", "hypervisor", "DEFAULT_Memory = 512", "hypervisor.qemu.default_memory", 512),
    ("rs", "agent", "reconnect_timeout_ms = 3500", "agent.kata.dial_timeout", 4),
    ("go", "hypervisor", "disk_rate_limiter_bw_max_rate = 8001", "hypervisor.qemu.disk_rate_limiter_bw_max_rate", 1000),
    ("go", "hypervisor", "disk_rate_limiter_bw_max_rate = 3", "hypervisor.qemu.disk_rate_limiter_bw_max_rate", 1),
    ("go", "hypervisor", "disk_rate_limiter_bw_max_rate = 0", "hypervisor.qemu.disk_rate_limiter_bw_max_rate", 0),
    ("rs", "hypervisor", 'vm_rootfs_driver = "virtio-blk-ccw"', "hypervisor.qemu.disable_image_nvdimm", True),
    # What a runtime takes for a key that is left out is written where the other would take something else.
    ("go", "hypervisor", "", "hypervisor.qemu.shared_fs", "virtio-fs"),
    ("go", "hypervisor", "", "hypervisor.qemu.memory_slots", 10),
    ("go", "hypervisor", "", "hypervisor.qemu.default_memory", 2048),
    ("go", "hypervisor", "", "hypervisor.qemu.disable_guest_selinux", False),
    ("go", "hypervisor", 'image = "/i"', "hypervisor.qemu.vm_rootfs_driver", "virtio-pmem"),
    ("go", "runtime", "", "runtime.vfio_mode", "vfio"),
    ("go", "agent", "", "agent.kata.reconnect_timeout_ms", 30000),
    ("go", "runtime", "", "runtime.name", "virt_container"),
    ("go", "runtime", "", "runtime.hypervisor_name", "qemu"),
    ("go", "runtime", "", "runtime.agent_name", "kata"),
    ("rs", "runtime", "", "runtime.create_container_timeout", 30),
    ("rs", "hypervisor", "", "hypervisor.qemu.default_memory", 128),
    ("rs", "runtime", "", "runtime.vfio_mode", "guest-kernel"),
]


@pytest.mark.parametrize(("source", "table", "line", "key", "value"), ONE_WAY)
def test_one_value_one_way(source: Dialect, table: str, line: str, key: str, value: Any) -> None:
    there = flat(tomllib.loads(one(source, table, line).text))
    assert (there[key], type(there[key])) == (value, type(value))


LOST = [
    ("go", "hypervisor", 'measurement_algo = "sha384"', "no such setting", True),
    ("go", "hypervisor", 'virtio_fs_cache = "metadata"', "no counterpart", True),
    ("go", "hypervisor", 'shared_fs = "virtio-9p"', "no counterpart", True),
    ("go", "hypervisor", 'cold_plug_vfio = "switch-port"', "no counterpart", True),
    ("go", "hypervisor", 'hot_plug_vfio = "root-port"', "no such setting", True),
    ("go", "hypervisor", 'hot_plug_vfio = "no-port"', "no such setting", False),
    ("go", "hypervisor", "enable_numa = false", "no such setting", False),
    ("go", "hypervisor", "default_maxmemory = 5000000000", "takes 0 to", True),
    ("go", "hypervisor", "frobnicate = 1", "does not know", False),
    ("go", "factory", "vm_cache_number = 3", "no such setting", True),
    ("go", "factory", "vm_cache_number = 0", "no such setting", False),
    ("go", "runtime", 'guest_selinux_label = "x"', "no such setting", True),
    ("rs", "hypervisor", "overhead_vcpus = 0.5", "no such setting", True),
    ("rs", "hypervisor", "overhead_vcpus = 0.0", "no such setting", False),
    ("rs", "hypervisor", "disable_image_nvdimm = true", "in its place", False),
    ("rs", "hypervisor", 'vm_rootfs_driver = "virtio-scsi"', "no counterpart", True),
    ("rs", "hypervisor", 'shared_fs = "inline-virtio-fs"', "no counterpart", True),
    ("rs", "runtime", 'internetworking_model = "l3forwarding"', "no counterpart", True),
    ("rs", "runtime", "kubelet_root_dir = '/k'", "does not know", False),
    ("rs", "agent", "dial_timeout_ms = 10", "no such setting", False),
    ("rs", "agent", "dial_timeout_ms = 20", "no such setting", True),
]


@pytest.mark.parametrize(("source", "table", "line", "why", "matters"), LOST)
def test_what_cannot_be_carried_is_told_and_stays_as_a_comment(
    source: Dialect, table: str, line: str, why: str, matters: bool
) -> None:
    done = one(source, table, line)
    (entry,) = [entry for entry in done.lost if not entry.key.startswith("runtime.hypervisor_name")]
    assert why in entry.why
    assert entry.matters == matters
    assert entry.where.line > 0
    assert done.lossy == matters
    assert f"#{line}  # {entry.why}" in done.text.splitlines()


def test_what_does_nothing_there_is_carried_and_told() -> None:
    done = one("go", "runtime", "enable_pprof = true")
    assert [(entry.key, entry.matters) for entry in done.inert] == [("runtime.enable_pprof", True)]
    assert tomllib.loads(done.text)["runtime"]["enable_pprof"] is True
    assert not one("go", "runtime", "enable_pprof = false").lossy


def test_strict_tables_get_no_key_that_they_refuse() -> None:
    done = translate(
        None,
        b"[hypervisor.qemu]\n[factory]\nvm_cache_endpoint = '/x'\nenable_template = true\n"
        b"[agent.kata]\ndial_timeout = 3\nmystery = 1\n",
        source="go",
    )
    tree = tomllib.loads(done.text)
    assert tree["hypervisor"]["qemu"]["factory"] == {"enable_template": True}
    assert set(tree["agent"]["kata"]) == {"reconnect_timeout_ms"}


FORMS = """\
factory.template_path = "/t" # dotted
[hypervisor.qemu] # the VMM
Default_Memory = 1024   # in MiB
valid_hypervisor_paths = [ # which
   "/usr/bin/*",  # all
]
kernel_params = '''a
b'''

[[hypervisor.qemu.guest_extension_images]]
name = "a" # first
path = "/a"
[[hypervisor.qemu.guest_extension_images]]
name = "b"

# about the agent
[agent]
kata = {kernel_modules = ["e1000e"]}
[runtime] # the end
"""


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_every_form_of_toml_is_taken_apart(end: str) -> None:
    done = translate(None, FORMS.replace("\n", end).encode(), source="go")
    tree = tomllib.loads(done.text)
    qemu = tree["hypervisor"]["qemu"]
    assert qemu["factory"] == {"template_path": "/t"}
    assert qemu["default_memory"] == 1024
    assert qemu["kernel_params"] == "a\nb"
    assert qemu["guest_extension_images"] == [{"name": "a", "path": "/a"}, {"name": "b"}]
    assert tree["agent"]["kata"]["kernel_modules"] == ["e1000e"]
    for comment in (
        "# dotted",
        "# the VMM",
        "# in MiB",
        "# which",
        "# all",
        "# first",
        "# about the agent",
        "# the end",
    ):
        assert done.text.count(comment) == 1, comment
    assert "\r" not in done.text


def test_drop_ins_are_merged_as_the_runtime_merges_them(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(
        '[hypervisor.qemu]\n# the base\ndefault_vcpus = 1\nmeasurement_algo = "sha384"\npflashes = ["a"]\n'
        '[[hypervisor.qemu.guest_extension_images]]\nname = "x"\n[agent.kata]\n[runtime]\n'
    )
    folder = tmp_path / "config.d"
    folder.mkdir()
    (folder / "10.toml").write_text("[hypervisor.qemu]\n# ten\ndefault_vcpus = 2\ndefault_memory = 512\n")
    (folder / "20.toml").write_text(
        '[hypervisor.qemu]\ndefault_vcpus = 3\npflashes = []\n[[hypervisor.qemu.guest_extension_images]]\nname = "y"\n'
        "[agent.kata]\ndial_timeout = 7\n"
    )
    alone = tomllib.loads(translate(tmp_path / "c.toml", source="go").text)["hypervisor"]["qemu"]
    assert (alone["default_vcpus"], alone["default_memory"]) == (1, 2048)
    done = translate(tmp_path / "c.toml", source="go", drop_ins=True)
    tree = tomllib.loads(done.text)
    qemu = tree["hypervisor"]["qemu"]
    assert (qemu["default_vcpus"], qemu["default_memory"], qemu["pflashes"]) == (3, 512, [])
    assert qemu["guest_extension_images"] == [{"name": "y"}]
    assert tree["agent"]["kata"]["reconnect_timeout_ms"] == 7000
    assert "# ten\ndefault_vcpus = 3" in done.text


def test_a_drop_in_alone_gets_nothing_added(tmp_path: Path) -> None:
    folder = tmp_path / "config.d"
    folder.mkdir()
    (folder / "10.toml").write_text("[agent.kata]\ndial_timeout = 7\n")
    with pytest.raises(InputError, match="--hypervisor"):
        translate(folder / "10.toml", source="go")
    done = translate(folder / "10.toml", source="go", hypervisor="qemu")
    assert done.text == "[agent.kata]\nreconnect_timeout_ms = 7000\n"
    assert done.added == []


def test_the_heading_of_a_file_of_ours_names_the_other_runtime() -> None:
    text = usable("qemu", "go", "x86_64", "image")
    assert text is not None
    assert text.startswith("# Kata Containers 4.1: Go runtime, qemu\n")
    assert translate(None, text.encode()).text.startswith("# Kata Containers 4.1: Rust runtime, qemu\n")


def test_a_drop_in_may_take_back_what_the_base_says(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text('[hypervisor.qemu]\nvirtio_fs_cache = "auto"\n')
    (tmp_path / "config.d").mkdir()
    (tmp_path / "config.d" / "10.toml").write_text('[hypervisor.qemu]\nvirtio_fs_cache = "metadata"\n')
    done = translate(tmp_path / "c.toml", source="go", drop_ins=True)
    assert "virtio_fs_cache" not in tomllib.loads(done.text)["hypervisor"]["qemu"]
    assert [entry.key for entry in done.lost] == ["hypervisor.qemu.virtio_fs_cache"]


def test_a_table_that_means_nothing_may_have_the_name_of_one_that_does_there() -> None:
    done = translate(
        None, b"factory.enable_template = true\n[hypervisor.qemu]\n[hypervisor.qemu.factory]\nx = 1\n", source="go"
    )
    assert tomllib.loads(done.text)["hypervisor"]["qemu"]["factory"] == {"enable_template": True}
    assert "#[hypervisor.qemu.factory]\n#x = 1  # the Go runtime does not know it\n" in done.text


@pytest.mark.parametrize(
    ("source", "line", "told"),
    [
        ("rs", "default_memory = 128", "in the Go runtime, 128 is replaced by 2048"),
        ("rs", "pcie_root_port = 20", "in the Go runtime, 20 is cut to 16"),
        ("rs", "default_memory = 256", None),
        ("rs", "default_maxvcpus = 0", None),
        ("go", "default_maxvcpus = 300", "in the Rust runtime, 300 is refused"),
    ],
)
def test_a_number_that_the_other_runtime_does_not_use_is_told(source: Dialect, line: str, told: str | None) -> None:
    done = one(source, "hypervisor", line)
    assert [entry.why for entry in done.inert if entry.matters] == ([told] if told else [])
    assert done.lossy is (told is not None)


def test_a_default_that_the_other_runtime_does_not_use_is_told() -> None:
    done = translate(None, b'[hypervisor.qemu]\nimage = "/i"\n[runtime]\nhypervisor_name = "qemu"\n')
    (memory,) = [entry for entry in done.added if entry.key == "hypervisor.qemu.default_memory"]
    assert "128 is replaced by 2048" in memory.why
