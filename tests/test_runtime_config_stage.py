"""The stage in the real engine and store: what rebuilds it, what does not, and the bytes under other circumstances."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
from kata_toolkit.errors import InputError, Where
from kata_toolkit.events import ignore
from kata_toolkit.kata.request import Request
from kata_toolkit.pipeline.engine import Engine
from kata_toolkit.pipeline.inputs import BuildInputs
from kata_toolkit.pipeline.plan import plan
from kata_toolkit.pipeline.stage import Inputs, Recipe, Stage, Work
from kata_toolkit.pipeline.store import Entry, Store
from kata_toolkit.spec.model import Hypervisor
from kata_toolkit.stages.runtime_config import RuntimeConfigStage

MIB = 1 << 20
FILES = ["configuration-qemu.toml", "runtime-rs/configuration-qemu-runtime-rs.toml"]


@dataclass(frozen=True)
class Kernel(Stage):
    """A kernel whose only deed is to have a release."""

    name: ClassVar[str] = "kernel"
    title: ClassVar[str] = "kernel"
    release: str = "6.12.48"
    flavour: int = 1

    def plan(self, inputs: Inputs) -> Recipe:
        return Recipe(options={"release": self.release, "flavour": self.flavour})

    def run(self, work: Work) -> None:
        (work.out / "release").write_text(f"{self.release}\n")
        (work.out / "vmlinux").write_text(str(self.flavour))


@dataclass(frozen=True)
class Initrd(Stage):
    """An initrd of a given size."""

    name: ClassVar[str] = "initrd"
    title: ClassVar[str] = "initrd"
    size: int = MIB

    def plan(self, inputs: Inputs) -> Recipe:
        return Recipe(options={"size": self.size})

    def run(self, work: Work) -> None:
        with (work.out / "initrd").open("wb") as stream:
            stream.truncate(self.size)


def request(**settings: Any) -> Request:
    return Request("guest", "/opt/guest", "x86_64", "4.1", Hypervisor("qemu", settings=settings))


def stage(**settings: Any) -> RuntimeConfigStage:
    return RuntimeConfigStage((request(**settings),))


def build(cache: Path, config: Stage, *others: Stage) -> dict[str, Entry]:
    store = Store(cache)
    engine = Engine("guest", (*others, config), store, BuildInputs(store), ignore, io.StringIO(), 1)
    return engine.build(["runtime_config"])


def test_writes_both_files_and_nothing_else(tmp_path: Path) -> None:
    entry = build(tmp_path, stage(), Kernel())["runtime_config"]
    assert sorted(entry.files) == FILES
    for name in FILES:
        assert "/opt/guest/share/kata-containers/vmlinux-6.12.48" in entry.path(name).read_text()


def test_only_the_dialect_asked_for(tmp_path: Path) -> None:
    one = replace(request(), hypervisor=Hypervisor("qemu", dialects=("rs",)))
    entry = build(tmp_path, RuntimeConfigStage((one,)), Kernel())["runtime_config"]
    assert sorted(entry.files) == FILES[1:]


def test_a_changed_setting_rebuilds_nothing_but_the_configuration(tmp_path: Path) -> None:
    first = build(tmp_path, stage(default_memory=256), Kernel())
    second = build(tmp_path, stage(default_memory=512), Kernel())
    assert first["kernel"].id == second["kernel"].id
    assert first["runtime_config"].id != second["runtime_config"].id


def test_the_plan_names_the_key_that_changed(tmp_path: Path) -> None:
    build(tmp_path, stage(default_memory=256), Kernel())
    store = Store(tmp_path)
    steps = plan("guest", (Kernel(), stage(default_memory=512)), store, BuildInputs(store))
    assert steps[1].reasons == (
        "option configuration-qemu.toml.hypervisor.qemu.default_memory changed: 256 → 512",
        "option runtime-rs/configuration-qemu-runtime-rs.toml.hypervisor.qemu.default_memory changed: 256 → 512",
    )


def test_another_kernel_of_the_same_release_leaves_it_alone(tmp_path: Path) -> None:
    ids = {build(tmp_path, stage(), Kernel(flavour=n))["runtime_config"].id for n in (1, 2)}
    assert len(ids) == 1
    assert build(tmp_path, stage(), Kernel("6.13"))["runtime_config"].id not in ids


def test_a_setting_said_in_other_words_is_the_same_configuration(tmp_path: Path) -> None:
    ids = {
        build(tmp_path, stage(**{name: value}), Kernel())["runtime_config"].id
        for name, value in (("agent.dial_timeout", 45), ("agent.reconnect_timeout_ms", 45_000))
    }
    assert len(ids) == 1


def test_waits_for_the_kernel(tmp_path: Path) -> None:
    store = Store(tmp_path)
    steps = plan("guest", (Kernel(), stage()), store, BuildInputs(store))
    assert steps[1].waits_for == "kernel"


def test_wrong_settings_stop_the_stage(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="unknown setting nothing"):
        build(tmp_path, stage(nothing=1), Kernel())


@pytest.mark.parametrize(("size", "fits"), [(256 * MIB - 1, True), (256 * MIB, False)])
def test_an_initrd_must_fit_into_memory(tmp_path: Path, size: int, fits: bool) -> None:
    where = Where("guest.yaml", 7, 3)
    hypervisor = Hypervisor("qemu", "initrd", settings={"default_memory": 256}, where={"default_memory": where})
    config = RuntimeConfigStage((replace(request(), hypervisor=hypervisor),))
    if fits:
        assert build(tmp_path, config, Kernel(), Initrd(size))["runtime_config"]
        return
    with pytest.raises(InputError) as caught:
        build(tmp_path, config, Kernel(), Initrd(size))
    assert str(caught.value) == (
        "guest.yaml:7:3: the initrd of 256.0 MiB does not fit into default_memory, 256 MiB "
        "(give the guest more memory, or make the root file system smaller)"
    )


def test_bytes_do_not_depend_on_circumstances(tmp_path: Path) -> None:
    program = (
        "import hashlib, sys\n"
        "from kata_toolkit.kata.request import Built, Request\n"
        "from kata_toolkit.kata.render import render\n"
        "from kata_toolkit.spec.model import Hypervisor\n"
        "from kata_toolkit.stages.runtime_config import RuntimeConfigStage\n"
        "stage = RuntimeConfigStage((Request('guest', '/opt/guest', 'x86_64', '4.1', Hypervisor('qemu')),))\n"
        "for name, file in sorted(stage.files(Built('6.12.48')).items()):\n"
        "    print(name, hashlib.sha256(render(**file).encode()).hexdigest())\n"
    )
    seen = set()
    for circumstances in (
        {"LC_ALL": "C", "TZ": "UTC", "PYTHONHASHSEED": "1"},
        {"LC_ALL": "C.UTF-8", "TZ": "Asia/Tokyo", "PYTHONHASHSEED": "2", "COLUMNS": "40"},
    ):
        cwd = tmp_path / circumstances["PYTHONHASHSEED"]
        cwd.mkdir()
        env = {**os.environ, **circumstances}
        out = subprocess.run([sys.executable, "-c", program], env=env, cwd=cwd, check=True, capture_output=True)
        seen.add(out.stdout)
    assert len(seen) == 1
