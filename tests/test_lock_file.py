"""Lock files as files: the same text for the same lock, a package a line, and every mistake in one told at its line."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kata_toolkit.errors import InputError
from kata_toolkit.lock.model import Lock, Locked
from kata_toolkit.lock.paths import find_lock, lock_path
from kata_toolkit.lock.read import read_lock
from kata_toolkit.lock.text import lock_text

SHA, OTHER = "a1" * 32, "b2" * 32
KERNEL = {"kind": "debian", "package": "linux-source-6.12", "version": "6.12.9-1", "sha256": SHA, "size": 150_000_000}


def package(name: str, version: str = "1.0-1") -> dict[str, Any]:
    facts = {"architecture": "amd64", "uri": f"https://deb.example/pool/{name}.deb", "sha256": SHA, "size": 1000}
    return {"name": name, "version": version, **facts}


def lock(**inputs: Locked) -> Lock:
    named = {key.replace("_", "."): value for key, value in inputs.items()}
    return Lock("0.1.0", named, {"gcc": "gcc 12.2.0", "make": "GNU Make 4.3"})


SMALL = lock(
    kernel_source=Locked({"package": "linux-source-6.12"}, KERNEL),
    rootfs_packages=Locked(
        {"packages": ["bash", "zsh"], "suite": "bookworm"},
        {"packages": [package("bash"), package("zsh")], "releases": [], "sources": ["deb https://deb.example x main"]},
    ),
)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KATA_TOOLKIT_CACHE", str(tmp_path / "cache"))


def written(folder: Path, text: str) -> Path:
    path = folder / "s.lock.json"
    path.write_text(text)
    return path


def test_it_lies_beside_the_spec(tmp_path: Path) -> None:
    assert lock_path(Path("a/quickstart.yaml")) == Path("a/quickstart.lock.json")
    assert lock_path(Path("my.guest.yml")) == Path("my.guest.lock.json")
    assert find_lock(tmp_path / "s.yaml") is None


def test_what_is_written_is_read_again(tmp_path: Path, root: Path) -> None:
    text = lock_text(SMALL)
    jsonschema.validate(json.loads(text), json.loads((root / "schemas/lock.schema.json").read_text()))
    read = read_lock(written(tmp_path, text))
    assert (read.inputs, read.tools, read.toolkit) == (SMALL.inputs, SMALL.tools, SMALL.toolkit)
    assert lock_text(read) == text
    assert read_lock(written(tmp_path, text)) == read, "the second time it is known to be sound"


def test_a_package_has_a_line_of_its_own() -> None:
    lines = lock_text(SMALL).splitlines()
    assert sum('"name": "bash"' in line and SHA in line and '"1.0-1"' in line for line in lines) == 1
    assert any(line.strip().startswith('{"name": "bash", "version": "1.0-1", "architecture"') for line in lines)
    newer = [package("bash", "1.0-2"), package("zsh")]
    answer = {**SMALL.inputs["rootfs.packages"].answer, "packages": newer}
    changed = lock(
        kernel_source=SMALL.inputs["kernel.source"],
        rootfs_packages=Locked({"packages": ["bash", "zsh"], "suite": "bookworm"}, answer),
    )
    after = lock_text(changed).splitlines()
    assert len(after) == len(lines)
    assert sum(old != new for old, new in zip(lines, after, strict=True)) == 1


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=10), inner, max_size=5),
    max_leaves=30,
)


@given(
    st.dictionaries(st.text(max_size=10), _JSON, max_size=5), st.dictionaries(st.text(max_size=10), _JSON, max_size=5)
)
def test_any_lock_is_json_and_the_same_in_any_order(request_: dict[str, Any], answer: dict[str, Any]) -> None:
    one = Lock("1", {"a": Locked(request_, answer), "b": Locked({}, {})}, {"x": "1", "y": "2"})
    backwards = [dict(reversed(each.items())) for each in (request_, answer)]
    other = Lock("1", {"b": Locked({}, {}), "a": Locked(*backwards)}, {"y": "2", "x": "1"})
    text = lock_text(one)
    assert text == lock_text(other)
    assert json.loads(text)["inputs"]["a"] == {"request": request_, "answer": answer}


def replaced(old: str, new: str) -> Callable[[str], str]:
    def change(text: str) -> str:
        assert old in text
        return text.replace(old, new, 1)

    return change


def without(pattern: str, new: str = "") -> Callable[[str], str]:
    def change(text: str) -> str:
        assert re.search(pattern, text)
        return re.sub(pattern, new, text)

    return change


BROKEN: list[tuple[str, Callable[[str], str], str, str]] = [
    ("empty", lambda _: "", "1:1", "is no JSON"),
    ("words", lambda _: "hello\n", "1:1", "is no JSON"),
    ("cut off", lambda text: text[:200], "", "is no JSON"),
    ("a comma too many", replaced('"tools": {', '"tools": {,'), "", "is no JSON: expecting property name"),
    ("a list", lambda _: "[]\n", "1:1", "expected a mapping"),
    ("a number", lambda _: "7\n", "1:1", "expected a mapping"),
    ("null", lambda _: "null\n", "1:1", "expected a mapping"),
    ("NaN", replaced('"version": 1', '"version": NaN'), "", "NaN is no JSON"),
    ("nested deeply", lambda _: "[" * 100_000, "", "nested too deeply|is no JSON"),
    ("a merge conflict", replaced("{\n", "{\n<<<<<<< HEAD\n"), "2:1", "unresolved merge conflict"),
    ("a conflict's end", replaced('    "make"', '>>>>>>> other\n    "make"'), "", "unresolved merge conflict"),
    ("another version", replaced('"version": 1', '"version": 2'), "2:14", "is a lock file of version 2"),
    ("version 0", replaced('"version": 1', '"version": 0'), "2:14", "expected 1, the version of this format"),
    ("a version in words", replaced('"version": 1', '"version": "1"'), "2:14", "expected 1, the version"),
    ("no version", replaced('  "version": 1,\n', ""), "1:1", 'lacks "version"'),
    ("no tools", without(r',\n  "tools": \{[^}]*\}'), "1:1", 'lacks "tools"'),
    ("an unknown key", replaced('"toolkit"', '"toolkits": 1, "toolkit"'), "3:3", 'unknown key "toolkits"'),
    ("an unknown wish", replaced('"kernel.source"', '"kernel.sauce"'), "5:5", 'unknown key "kernel.sauce"'),
    ("a wish without an answer", without(r',\n      "answer": \{\n        "kind"[^}]*\}'), "5:5", 'lacks "answer"'),
    ("an answer in words", without(r'\{\n        "kind"[^}]*\}', '"it"'), "7:17", "expected a mapping"),
    ("a short digest", replaced(SHA, SHA[:40]), "", "expected a sha256, 64 hexadecimal digits"),
    ("a digest in capitals", replaced(SHA, SHA.upper()), "", "expected a sha256"),
    ("no digest", replaced(f'"sha256": "{SHA}",\n', ""), "", 'lacks "sha256"'),
    ("a size in words", replaced("150000000", '"150 MB"'), "", "expected a whole number"),
    ("a negative size", replaced("150000000", "-1"), "", "expected at least 0"),
    ("another kind", replaced('"kind": "debian"', '"kind": "rpm"'), "", "expected"),
    ("more in an answer", replaced('"kind": "debian"', '"kind": "debian", "path": "/x"'), "", 'unknown key "path"'),
    ("a package without a version", replaced('"version": "1.0-1"', '"versions": "1.0-1"'), "", 'lacks "version"'),
    ("a tool's version as a number", replaced('"GNU Make 4.3"', "4.3"), "", "expected a string"),
    ("an option for a package", replaced('linux-source-6.12",\n', '--help",\n'), "", "expected a package's name"),
    ("a way out", replaced('linux-source-6.12",\n', '../x",\n'), "", "expected a package's name"),
    ("a version with a blank", replaced('"6.12.9-1"', '"6.12.9-1 x"'), "", "expected a package's version"),
    ("a version with a line", replaced('"6.12.9-1"', '"6.12.9-1\\n"'), "", "expected a package's version"),
    ("an address without a scheme", replaced("https://deb.example/pool/bash", "-o/bash"), "", "expected an address"),
    ("another architecture's name", replaced('"amd64"', '"amd64 i386"'), "", "expected the name of an architecture"),
    ("a key twice", replaced('"gcc": ', '"gcc": "13",\n    "gcc": '), "", "gcc. is already given"),
    ("a control character", replaced("GNU Make", "GNU\x01Make"), "", "control character"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "place", "words"), [b[1:] for b in BROKEN], ids=[b[0] for b in BROKEN])
def test_a_mistake_is_told_at_its_line(tmp_path: Path, change: Callable[[str], str], place: str, words: str) -> None:
    path = written(tmp_path, change(lock_text(SMALL)))
    with pytest.raises(InputError) as caught:
        read_lock(path)
    problem = caught.value.problems[0]
    assert re.search(words, problem.message), problem
    assert problem.where is not None
    assert problem.where.file == str(path)
    if place:
        assert f"{problem.where.line}:{problem.where.column}" == place, problem
    elif "nested" not in words:
        assert problem.where.line, problem


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    text = lock_text(SMALL).replace("150000000", "-1").replace('"GNU Make 4.3"', "4")
    with pytest.raises(InputError) as caught:
        read_lock(written(tmp_path, text))
    assert len(caught.value.problems) == 2


@pytest.mark.parametrize("kind", ["folder", "dangling", "latin-1"])
def test_what_is_no_file_is_told(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "s.lock.json"
    if kind == "folder":
        path.mkdir()
    elif kind == "dangling":
        path.symlink_to("nowhere")
    else:
        path.write_bytes(lock_text(SMALL).replace("make", "mäke").encode("latin-1"))
    with pytest.raises(InputError):
        find_lock(tmp_path / "s.yaml")


def test_a_newer_format_names_its_writer(tmp_path: Path) -> None:
    text = lock_text(SMALL).replace('"version": 1', '"version": 3').replace("0.1.0", "9.9")
    with pytest.raises(InputError, match=r"kata-toolkit 9\.9"):
        read_lock(written(tmp_path, text))
