"""Dataclasses kept as JSON come back as they were; other JSON is refused, not believed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from kata_toolkit.errors import Where
from kata_toolkit.kconfig import library_memo
from kata_toolkit.kconfig.fragments import load_library
from kata_toolkit.kconfig.library_memo import cached_library
from kata_toolkit.records import decode, encode


@dataclass(frozen=True)
class Inner:
    where: Where | None
    names: frozenset[str]
    version: tuple[int, ...] | None


@dataclass(frozen=True)
class Outer:
    inner: Mapping[str, Inner]
    many: tuple[Inner, ...]
    flag: bool
    lines: list[str]


def test_a_record_comes_back_as_it_was() -> None:
    inner = Inner(Where("a.yaml", 3, 1), frozenset({"b", "a"}), (6, 12))
    outer = Outer({"x": inner, "y": Inner(None, frozenset(), None)}, (inner,), True, ["1"])
    text = json.dumps(encode(outer))
    assert decode(Outer, json.loads(text)) == outer
    assert text == json.dumps(encode(Outer(outer.inner, outer.many, True, ["1"])))  # sets do not shuffle it


@pytest.mark.parametrize("value", [[], [[]], "x", None, [{"x": [1]}, [], True, []], [{}, [], True, [], "more"]])
def test_other_json_is_no_record(value: Any) -> None:
    with pytest.raises((TypeError, ValueError, KeyError, AttributeError)):
        decode(Outer, value)


def test_what_cannot_be_json_is_refused() -> None:
    with pytest.raises(TypeError):
        encode(object())


def test_the_library_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = cached_library(tmp_path)
    assert first == load_library()
    library_memo._library.cache_clear()
    monkeypatch.setattr(library_memo, "load_library", lambda: pytest.fail("the YAML was read again"))
    assert cached_library(tmp_path) == first


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b"null", b'[{"x": 1}, {}]', b"\xff"])
def test_a_damaged_memo_is_made_again(tmp_path: Path, damage: bytes) -> None:
    first = cached_library(tmp_path)
    (file,) = (tmp_path / "kconfig").glob("library-*.json")
    file.write_bytes(damage)
    for _ in range(2):
        library_memo._library.cache_clear()
        assert cached_library(tmp_path) == first
