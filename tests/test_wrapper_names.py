"""Which names a set's wrapper gets, and that each of them means the configuration it is named for."""

from __future__ import annotations

from pathlib import Path

import pytest
from kata_toolkit.pipeline.files import Stamp
from kata_toolkit.pipeline.layout import artifacts
from kata_toolkit.pipeline.store import Entry, StoredFile
from kata_toolkit.spec.load import load_spec
from kata_toolkit.stages.wrapper import RuntimeConfig
from kata_toolkit.wiring.handlers import handler_names

SPEC = "version: 1\nname: toy\nwrapper: {name: toy}\nruntime:\n  kata: '4.1'\n  hypervisors:\n"
BOTH = ["containerd-shim-toy-qemu-runtime-rs-v2", "containerd-shim-toy-v2", "toy"]


def programs(tmp_path: Path, hypervisors: str) -> list[str]:
    file = tmp_path / "toy.yaml"
    file.write_text(SPEC + "".join(f"    {line}\n" for line in hypervisors.split("; ")))
    wrapper = StoredFile("0" * 64, True, Stamp.of(file))
    entries = {"wrapper": Entry("wrapper", "1", tmp_path, {"wrapper": wrapper})}
    return sorted(Path(a.path).name for a in artifacts(load_spec(file), None, entries) if a.stage == "wrapper")


@pytest.mark.parametrize(
    ("hypervisors", "expected"),
    [
        ("qemu: {dialects: [go]}", ["containerd-shim-toy-v2", "toy"]),
        ("qemu: {dialects: [rs]}", ["containerd-shim-toy-v2", "toy"]),
        ("qemu: {}", BOTH),
        ("qemu: {dialects: [rs, go]}", ["containerd-shim-toy-qemu-v2", "containerd-shim-toy-v2", "toy", "toy-qemu"]),
        (
            "qemu: {dialects: [go]}; clh: {dialects: [go, rs]}",
            [
                "containerd-shim-toy-clh-runtime-rs-v2",
                "containerd-shim-toy-clh-v2",
                "containerd-shim-toy-qemu-v2",
                "containerd-shim-toy-v2",
                "toy",
                "toy-clh",
                "toy-qemu",
            ],
        ),
    ],
)
def test_the_names_in_a_set(tmp_path: Path, hypervisors: str, expected: list[str]) -> None:
    assert programs(tmp_path, hypervisors) == expected


@pytest.mark.parametrize("hypervisors", ["qemu: {}", "qemu: {}; clh: {}", "qemu: {dialects: [go]}; qemu-coco-dev: {}"])
def test_every_handler_has_its_shim(tmp_path: Path, hypervisors: str) -> None:
    names = programs(tmp_path, hypervisors)
    spec = load_spec(tmp_path / "toy.yaml")
    files = [(d, RuntimeConfig.of(h.name, d).path) for h in spec.hypervisors for d in h.dialects]
    handlers = handler_names("toy", files, several=len(spec.hypervisors) > 1)
    assert {f"containerd-shim-{name}-v2" for name, _, _ in handlers} == {n for n in names if n.startswith("containerd")}
