"""config show: every setting can be asked for by all its names, and what is said of it is what the tables hold."""

from __future__ import annotations

import json
import os
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from kata_toolkit.errors import InputError
from kata_toolkit.kata.keys import DIALECTS, tables
from kata_toolkit.kata.lint.files import read_stdin
from kata_toolkit.kata.lint.lint import lint
from kata_toolkit.kata.rules import RULES
from kata_toolkit.kata.show import constraints, document, find, hypervisor_named, listed

SETTINGS = tables().settings


def run(tool: Path, *words: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "NO_COLOR": "1"}
    return subprocess.run([tool, "config", "show", *words], env=env, capture_output=True, text=True, check=False)


def test_every_rule_has_its_words_and_every_word_its_rule() -> None:
    assert [entry["rule"] for entry in constraints()] == sorted(
        {entry["rule"] for entry in constraints()}, key=[rule.id for rule in RULES].index
    )
    assert {entry["rule"] for entry in constraints()} == {rule.id for rule in RULES}
    known = {setting.name for setting in SETTINGS}
    assert {name for entry in constraints() for name in entry["settings"]} <= known


@pytest.mark.parametrize("setting", SETTINGS, ids=[s.name for s in SETTINGS])
def test_every_setting_is_found_by_its_names(setting: Any) -> None:
    assert setting in find(setting.name)
    for dialect in DIALECTS:
        side = setting.side(dialect)
        if side:
            path = tables().table_path(side.table, dialect, "qemu")
            for word in (".".join((*path, side.key)), f"[{'.'.join(path)}] {side.key}", side.key.upper()):
                assert setting in find(word), word


def test_the_document_of_every_setting_has_the_shape_of_the_schema(root: Path) -> None:
    schema = json.loads((root / "schemas" / "config-show.schema.json").read_text())
    for hypervisor in (None, "qemu", "firecracker"):
        entries = [document(setting, None, hypervisor) for setting in SETTINGS]
        jsonschema.validate({"version": 1, "kata": "4.1.0", "settings": entries}, schema)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_example_is_toml_with_keys_that_the_runtime_knows(dialect: Any) -> None:
    for setting in SETTINGS:
        side = document(setting)[dialect]
        if side is None:
            continue
        tomllib.loads(side["example"])
        found = lint(read_stdin(side["example"].encode()))
        wrong = {f.rule for f in found.findings if f.dialect == dialect} & {"unknown-key", "wrong-table", "wrong-type"}
        assert not wrong, side["example"]


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("io.katacontainers.config.hypervisor.default_memory", "default_memory"),
        ("io.katacontainers.config.runtime.disable_new_netns", "runtime.disable_new_netns"),
        ("Default_Memory", "default_memory"),
        ("reconnect_timeout_ms", "agent.dial_timeout"),
        ("vm_rootfs_driver", "disable_image_nvdimm"),
        ("hypervisor_socket", "remote_hypervisor_socket"),
        ("hypervisor.qemu.factory.enable_template", "factory.enable_template"),
    ],
)
def test_other_names(word: str, name: str) -> None:
    assert [setting.name for setting in find(word)] == [name]


def test_a_key_that_is_in_several_tables_means_all_of_them() -> None:
    assert [s.name for s in find("enable_debug")] == ["enable_debug", "agent.enable_debug", "runtime.enable_debug"]


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("defualt_memory", "did you mean default_memory?"),
        ("agent.dail_timeout", "did you mean agent.dial_timeout?"),
        ("reconnect_timeout", "did you mean reconnect_timeout_ms?"),
        ("xyzzy", "--search"),
        ("", "--search"),
        ("hypervisor.qemu.", "did you mean"),
    ],
)
def test_a_word_that_means_nothing(word: str, hint: str) -> None:
    with pytest.raises(InputError) as caught:
        find(word)
    assert hint in str(caught.value)


def test_a_dead_key_is_explained() -> None:
    with pytest.raises(InputError, match="a document of Kata names it"):
        find("hotplug_vfio_on_root_bus")


def test_what_is_said_follows_the_hypervisor() -> None:
    (memory,) = find("default_memory")
    both = document(memory)
    assert both["rs"]["default"]["remote"] == 64
    assert both["go"]["default"]["qemu"] == 2048
    assert document(memory, "rs", "firecracker")["rs"]["limits"][0]["value"] == 128
    assert "go" not in document(memory, "rs")
    assert [c["rule"] for c in document(memory, "rs")["constraints"]] == ["initrd-size", "memory-above-maximum"]
    assert hypervisor_named("qemu-tdx") == "qemu"
    assert hypervisor_named("fc") == "firecracker"
    with pytest.raises(InputError, match="did you mean"):
        hypervisor_named("qmeu")


def test_lists_can_be_narrowed_down() -> None:
    everything = {s.name for s in listed(None, None, None)}
    assert everything == {s.name for s in SETTINGS}
    assert "overhead_vcpus" not in {s.name for s in listed("go", None, None)}
    assert "enable_virtio_mem" not in {s.name for s in listed("go", "firecracker", None)}
    assert {s.name for s in listed(None, None, "huge pages")} == {"enable_hugepages", "hugepage_type"}
    assert listed(None, None, "xyzzy") == []


def test_the_command(tool: Path, root: Path) -> None:
    done = run(tool, "dial_timeout", "default_vcpus")
    assert done.returncode == 0
    for text in (
        "reconnect_timeout_ms in [agent.kata]",
        "counted in ms",
        "times 1000",
        "known to Kata",
        "default_vcpus",
    ):
        assert text in done.stdout
    found = json.loads(run(tool, "dial_timeout", "--json").stdout)
    jsonschema.validate(found, json.loads((root / "schemas" / "config-show.schema.json").read_text()))
    assert [entry["name"] for entry in found["settings"]] == ["agent.dial_timeout"]
    assert len(json.loads(run(tool, "--json").stdout)["settings"]) == len(SETTINGS)
    lines = run(tool, "--search", "template").stdout.splitlines()
    assert any(line.strip().startswith("factory.enable_template") for line in lines)


@pytest.mark.parametrize(
    "words",
    [
        ["no_such_key"],
        ["--dialect", "java"],
        ["--hypervisor", "vmware"],
        ["--search", "xyzzy"],
        ["x", "--search", "y"],
        ["default_memory", "no_such_key"],
    ],
)
def test_bad_words(tool: Path, words: list[str]) -> None:
    done = run(tool, *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ")
    document = json.loads(run(tool, *words, "--json").stdout)
    assert document["errors"]
