"""A set's own QEMU: what is refused, what is configured, and (`make test-full`) what is built, boots, is measured."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from kata_toolkit.cli.app import run
from kata_toolkit.errors import InputError, ToolError
from kata_toolkit.pipeline.inputs import BuildInputs
from kata_toolkit.pipeline.store import Store
from kata_toolkit.spec.load import load_spec
from kata_toolkit.stages.qemu import QemuStage
from kata_toolkit.stages.qemu_source import QemuSourceStage
from kata_toolkit.vm.built_set import BuiltSet
from kata_toolkit.vm.measure import measure

SPEC = """\
version: 1
name: lean
{more}
runtime:
  hypervisors:
    {flavour}:
      {what}
      settings: {settings}
"""


def spec(
    folder: Path, what: str, *, flavour: str = "qemu", settings: str = "{default_memory: 256}", more: str = ""
) -> Path:
    file = folder / "lean.yaml"
    file.write_text(SPEC.format(what=what, flavour=flavour, settings=settings, more=more))
    return file


WRONG = [
    ({"what": "build: {}", "flavour": "clh"}, "is built for the flavour qemu on x86_64, not for clh"),
    ({"what": "build: {}", "flavour": "qemu-tdx"}, "not for qemu-tdx"),
    ({"what": "build: {}", "more": "arch: arm64"}, "not for qemu on arm64"),
    ({"what": "build: {}", "settings": "{path: /usr/bin/qemu}"}, "path is another QEMU than the one that build: makes"),
    ({"what": "build: true"}, "expected a mapping"),
    ({"what": "build: {package: qemu}"}, "package"),
    ({"what": "build: {version: 7}"}, "expected a string"),
    ({"what": "build: {version: ''}"}, "a version without blanks"),
    ({"what": "trim: everything"}, "devices"),
    ({"what": "trim: devices", "flavour": "fc"}, "nothing can be trimmed of fc"),
    ({"what": "trim: devices", "more": "arch: arm64"}, "nothing can be trimmed of qemu on arm64"),
    (
        {"what": "trim: devices", "settings": "{machine_type: microvm, disable_image_nvdimm: true}"},
        "with the machine microvm",
    ),
    ({"what": "trim: devices", "settings": "{machine_accelerators: sata=off}"}, "machine_accelerators says itself"),
]


@pytest.mark.parametrize(("words", "message"), WRONG, ids=[message for _, message in WRONG])
def test_what_cannot_be_made_is_refused_at_its_line(words: dict[str, str], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        load_spec(spec(tmp_path, **words))
    problem = next(p for p in caught.value.problems if message in p.message or message in (p.hint or ""))
    assert problem.where is not None
    assert problem.where.line


def test_the_configuration_names_the_sets_own_and_trims_its_devices(tmp_path: Path) -> None:
    from kata_toolkit.kata.request import Request
    from kata_toolkit.kata.values import config_values

    loaded = load_spec(spec(tmp_path, "build: {}\n      trim: devices"))
    for values in config_values(Request.of(loaded, loaded.hypervisors[0])).values():
        assert values["path"] == "/opt/lean/bin/qemu-system-x86_64"
        assert values["valid_hypervisor_paths"] == ["/opt/lean/bin/qemu-system-x86_64"]
        assert values["machine_accelerators"].split(",") == [
            f"{device}=off" for device in ("sata", "smbus", "hpet", "i8042", "smm")
        ]


def test_all_that_is_missing_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolError) as caught:
        QemuStage("x86_64").plan(BuildInputs(Store(tmp_path), offline=True, lock=None))
    hint = caught.value.problems[0].hint or ""
    assert hint.startswith("apt-get install ")
    assert {"gcc", "g++", "meson", "ninja-build", "pkg-config"} <= set(hint.split())


def test_a_source_that_is_not_here_cannot_be_found_offline(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="offline"):
        QemuSourceStage().plan(BuildInputs(Store(tmp_path), offline=True, lock=None))


@pytest.fixture(scope="module")
def lean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set with its own QEMU, compiled unless the store has it."""
    folder = tmp_path_factory.mktemp("lean")
    assert run(["build", "-q", str(spec(folder, "build: {}\n      trim: devices")), "-o", str(folder / "set")]) == 0
    return folder / "set"


@pytest.mark.full
@pytest.mark.vm
def test_the_sets_own_qemu_proves_the_set(lean: Path, tool: Path) -> None:
    done = subprocess.run([tool, "verify", lean], capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stdout


@pytest.mark.full
@pytest.mark.vm
def test_it_is_smaller_and_boots_in_no_more_instructions(lean: Path) -> None:
    guest = BuiltSet.load(lean).bootable()
    assert guest.vmm is not None
    stock = Path("/usr/bin/qemu-system-x86_64")
    assert guest.vmm.stat().st_size < 0.6 * stock.stat().st_size
    own = measure(guest, container=False)
    other = measure(replace(guest, vmm=None, machine_accelerators="sata=off,smbus=off"), container=False)
    assert own.boot_minstr is not None
    assert other.boot_minstr is not None
    assert own.boot_minstr < other.boot_minstr
    assert (own.exits_port or 0) < (other.exits_port or 0)


@pytest.mark.full
@pytest.mark.tool
def test_the_same_bytes_come_out_of_another_folder(lean: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    again = tmp_path / "cache"
    monkeypatch.setenv("KATA_TOOLKIT_CACHE", str(again))
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    old = os.umask(0o077)
    try:
        words = ["build", "-q", "--only", "qemu", "-j", "3"]
        assert run([*words, str(spec(tmp_path, "build: {}")), "-o", str(tmp_path / "set")]) == 0
    finally:
        os.umask(old)
    one, other = (folder / "bin" / "qemu-system-x86_64" for folder in (lean, tmp_path / "set"))
    assert one.read_bytes() == other.read_bytes()
