"""``config lint`` as a person and a pipeline call it: what is shown, the documents, the exit status."""

from __future__ import annotations

import io
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from kata_toolkit.cli.app import run
from kata_toolkit.kata.lint.page import page

GOOD = """\
[hypervisor.qemu]
path = "/p"
kernel = "/k"
image = "/i"
shared_fs = "none"
disable_guest_selinux = true
[factory]
enable_template = false
[runtime]
vfio_mode = "guest-kernel"
create_container_timeout = 60
"""
BAD = GOOD.replace('path = "/p"', 'path = "/p"\nenable_iommuu = true\ndefault_memory = 100')
WARNS = GOOD.replace('path = "/p"', 'path = "/p"\ndefault_memory = 100')


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, text in (("good", GOOD), ("bad", BAD), ("warns", WARNS)):
        (tmp_path / f"{name}.toml").write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NO_COLOR", "1")
    return tmp_path


def call(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    status = run(["config", "lint", *words])
    out, err = capsys.readouterr()
    return status, out, err


def document(root: Path, out: str) -> Any:
    found = json.loads(out)
    jsonschema.validate(found, json.loads((root / "schemas" / "lint.schema.json").read_text()))
    return found


def test_a_good_file_is_one_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(capsys, "good.toml") == (0, "good.toml (Go runtime): ok\n", "")


def test_a_bad_file_is_told_with_its_lines(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = call(capsys, "bad.toml")
    assert (status, err) == (1, "")
    assert out == (
        "bad.toml:3:1: error: unknown key enable_iommuu in [hypervisor.qemu] [unknown-key]\n"
        "    3 | enable_iommuu = true\n"
        "      | ^\n"
        "    the Go runtime ignores it without a word\n"
        "  hint: did you mean enable_iommu?\n"
        "bad.toml:4:18: warning: default_memory: 100 MiB is replaced by 2048 [clamped]\n"
        "    4 | default_memory = 100\n"
        "      |                  ^\n"
        "    in the Go runtime it is replaced by 2048\n"
        "  hint: write at least 256 MiB\n"
        "bad.toml (Go runtime): 1 error, 1 warning\n"
    )


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (["good.toml"], 0),
        (["warns.toml"], 0),
        (["warns.toml", "--strict"], 1),
        (["good.toml", "--strict"], 0),
        (["good.toml", "bad.toml"], 1),
        (["missing.toml"], 2),
        (["bad.toml", "missing.toml"], 2),
        (["."], 2),
        (["good.toml", "--host"], 1),
        (["good.toml", "--dialect", "rs"], 1),
        (["good.toml", "--dialect", "rust"], 2),
        (["good.toml", "--dialect", ""], 2),
        (["good.toml", "--kata", "four"], 2),
        (["good.toml", "--kata", ""], 2),
        (["good.toml", "--kata", "4.1"], 0),
        (["good.toml", "--arch", "pdp11"], 2),
        (["good.toml", "--arch", "arm64"], 0),
        (["good.toml", "--json", "--sarif"], 2),
        ([], 2),
        (["good.toml", "--nope"], 2),
    ],
)
def test_exit_status(words: list[str], status: int, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(capsys, *words)[0] == status


def test_json(root: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = call(capsys, "bad.toml", "good.toml", "missing.toml", "--json")
    assert (status, err) == (2, "")
    found = document(root, out)
    assert [c["file"] for c in found["configurations"]] == ["bad.toml", "good.toml"]
    assert found["configurations"][0]["dialects"] == ["go"]
    assert found["counts"] == {"error": 1, "warning": 1, "note": 0}
    assert [f["rule"] for f in found["findings"]] == ["unknown-key", "clamped"]
    first = found["findings"][0]
    assert (first["line"], first["column"], first["end_line"], first["end_column"]) == (3, 1, 3, 14)
    assert [e["file"] for e in found["errors"]] == ["missing.toml"]


def test_json_with_drop_ins_and_related_places(root: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "config.d").mkdir()
    (folder / "config.d" / "50-x.toml").write_text('[hypervisor.qemu]\ninitrd = "/r"\n')
    status, out, _ = call(capsys, "good.toml", "--json")
    found = document(root, out)
    assert status == 1
    assert found["configurations"][0]["drop_ins"] == ["config.d/50-x.toml"]
    assert [(f["rule"], f["file"], f["line"]) for f in found["findings"]] == [("image-and-initrd", "good.toml", 4)]
    assert [(r["file"], r["line"]) for r in found["findings"][0]["related"]] == [("config.d/50-x.toml", 2)]
    assert call(capsys, "good.toml", "--no-drop-ins")[0] == 0


def test_json_of_a_good_file_and_of_wrong_use(root: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = call(capsys, "good.toml", "--json")
    assert (status, document(root, out)["findings"]) == (0, [])
    status, out, _ = call(capsys, "good.toml", "--json", "--dialect", "x")
    assert status == 2
    assert json.loads(out)["errors"]


def test_sarif_is_one_document(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = call(capsys, "bad.toml", "--sarif")
    assert (status, err) == (1, "")
    results = json.loads(out)["runs"][0]["results"]
    assert [r["ruleId"] for r in results] == ["unknown-key", "clamped"]
    assert results[0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "bad.toml"


def test_stdin(folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(BAD.encode())))
    status, out, _ = call(capsys, "-")
    assert status == 1
    assert out.startswith("-:3:1: error: unknown key enable_iommuu")
    assert "    3 | enable_iommuu = true" in out


def test_one_file_twice_is_told_once(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    once, twice = call(capsys, "bad.toml"), call(capsys, "bad.toml", "bad.toml")
    assert once == twice


def test_annotations(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, err = call(capsys, "bad.toml", "--annotations", "github")
    assert "::error" in err
    assert "file=bad.toml,line=3,col=1" in err
    assert "::error" not in out


def test_odd_line_breaks_do_not_move_the_line_that_is_shown(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "odd.toml").write_text("# \u2028 \x85 \u2029\n" + BAD)
    assert "    4 | enable_iommuu = true" in call(capsys, "odd.toml")[1]


def test_escapes_do_not_reach_the_terminal(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "esc.toml").write_text(GOOD + '"\\u001b[31mred" = 1\n')
    assert "\x1b" not in call(capsys, "esc.toml")[1]


def test_what_was_built_is_clean(built_set: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = sorted(str(file) for file in built_set.rglob("share/defaults/**/*.toml"))
    assert len(files) == 2
    status, out, _ = call(capsys, *files, "--strict")
    assert status == 0
    assert out.count(": ok\n") == 2


def test_it_is_fast(tool: Path, built_set: Path) -> None:
    file = next(built_set.rglob("share/defaults/**/*.toml"))
    before = os.times()
    subprocess.run([tool, "config", "lint", file], check=True, stdout=subprocess.DEVNULL)
    after = os.times()
    # Of the processor, since others may use this machine, too.
    assert after.children_user + after.children_system - before.children_user - before.children_system < 0.4


def test_the_documentation_tells_every_rule(root: Path) -> None:
    assert (root / "docs" / "config-lint-rules.md").read_text() == page(), "run `make docs`"
