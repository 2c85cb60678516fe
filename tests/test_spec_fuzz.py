"""Whatever stands in the file, the answer is a spec, or an InputError whose problems lie inside the file."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kata_toolkit.cli.render_problems import render
from kata_toolkit.errors import InputError, Problem
from kata_toolkit.spec.load import load_spec
from kata_toolkit.spec.model import Spec
from kata_toolkit.spec.schema import Schema, branches, load_schema, resolve_ref

CALM = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)


def outcome(data: bytes) -> Spec | None:
    """Load a spec of these bytes; check whatever is reported."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "spec.yaml"
        path.write_bytes(data)
        try:
            return load_spec(path)
        except InputError as error:
            found = error.problems
        render(found).encode("utf-8")
    check(found, len(data.decode("utf-8", "replace").splitlines()))
    return None


def check(problems: tuple[Problem, ...], lines: int) -> None:
    """Each problem has a place in the file (or right after it), they are in order, and none is told twice."""
    places = []
    for problem in problems:
        assert problem.where is not None
        assert problem.where.line <= lines + 1
        assert "\n" not in problem.message
        json.dumps(problem.as_json())
        places.append((problem.where.line, problem.where.column))
    assert places == sorted(places)
    assert len(set(problems)) == len(problems)


def names(schema: Schema) -> Iterator[str]:
    """Every key that the schema knows."""
    root = load_schema("spec")
    for key, sub in schema.get("properties", {}).items():
        yield key
        yield from names(resolve_ref(root, sub))
    for branch in branches(root, schema).values():
        yield from names(branch)


KEYS = [*sorted(set(names(load_schema("spec")))), "CONFIG_NR_CPUS", "default_memory", "kimd"]
WORDS = [
    "x86_64", "debian", "tarball", "tree", "prebuilt", "builtin", "binary", "minimal", "ext4", "gzip", "initrd",
    "image", "go", "rs", "default", "4.1", "guest", "/opt/x", "allow-all", "", ".", "~", "\n", "\x7f", "\ud800",
]  # fmt: skip
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.sampled_from(WORDS), st.text(max_size=8))
DOCUMENTS = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=4), inner, max_size=6),
    ),
    max_leaves=20,
)


@CALM
@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    outcome(data)


@CALM
@given(st.text(st.sampled_from("abc:-?[]{},&*!|>'\"%@`# \t\n01._~<=\\"), max_size=60))
def test_any_punctuation(text: str) -> None:
    outcome(f"version: 1\nname: guest\n{text}".encode())


@CALM
@given(DOCUMENTS)
def test_any_document(document: Any) -> None:
    outcome(json.dumps(document).encode())  # JSON is YAML, and escapes what a file may not hold


@CALM
@given(st.data())
def test_any_change_of_a_good_spec(data: st.DataObject) -> None:
    """One value replaced, one key removed or renamed: deep inside, where random documents never get."""
    document: Any = {
        "version": 1,
        "name": "guest",
        "kernel": {"source": {"kind": "debian", "package": "linux-source-6.12"}, "options": {"CONFIG_A": 1},
                   "patches": ["a"], "cmdline": ["b"]},
        "agent": {"kind": "binary", "path": "x", "policy": "allow-all"},
        "rootfs": {"kind": "minimal", "busybox": True},
        "image": {"dax": True, "align_mib": 2},
        "runtime": {"kata": "4.1", "hypervisors": {"qemu": {"dialects": ["go"], "settings": {"default_memory": 256}}}},
        "budgets": {"image_mib": 4, "guest_overhead_mib": 48},
    }  # fmt: skip
    place = document
    while True:
        key = data.draw(st.sampled_from(list(place) if isinstance(place, dict) else list(range(len(place)))))
        if not isinstance(place[key], dict | list) or data.draw(st.booleans()):
            break
        place = place[key]
    change = data.draw(st.sampled_from(["replace", "remove", "rename"]))
    if change == "replace" or isinstance(place, list):
        place[key] = data.draw(DOCUMENTS)
    else:
        value = place.pop(key)
        if change == "rename":
            place[data.draw(st.sampled_from(KEYS))] = value
    outcome(json.dumps(document).encode())


@pytest.mark.parametrize("text", ["version: 1\nname: guest\n"])
def test_a_good_text_gives_a_spec(text: str) -> None:
    # Without this, a loader that always failed would pass all of the above.
    assert isinstance(outcome(text.encode()), Spec)
