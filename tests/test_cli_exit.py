"""How the program ends: one exit code a class of error, a traceback for bugs only, JSON where JSON was asked for."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from kata_toolkit.cli import app
from kata_toolkit.errors import CheckError, InputError, InternalError, KataToolkitError, Problem, ToolError, Where


@pytest.mark.parametrize(
    ("error", "code"),
    [(CheckError("no"), 1), (InputError("no"), 2), (ToolError("no"), 3), (OSError(28, "No space left", "/x"), 3)],
)
def test_each_class_of_error_has_its_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception, code: int
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("kata_toolkit.spec.load.load_spec", fail)
    assert app.run(["validate", "x.yaml"]) == code
    text = capsys.readouterr().err
    assert "Traceback" not in text
    assert ("no" in text) or ("No space left" in text)
    assert app.run(["validate", "--json", "x.yaml"]) == code
    assert json.loads(capsys.readouterr().out)["errors"][0]["message"]


@pytest.mark.parametrize("error", [InternalError("a promise of ours"), ZeroDivisionError("x")])
def test_a_bug_of_ours_is_shown_as_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("kata_toolkit.spec.load.load_spec", fail)
    assert app.run(["validate", "--json", "x.yaml"]) == 70
    streams = capsys.readouterr()
    assert "Traceback" in streams.err
    assert "bug in kata-toolkit" in streams.err
    assert "bug in kata-toolkit" in json.loads(streams.out)["errors"][0]["message"]


def test_wrong_arguments_are_the_users_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["nonsense"], ["build"], ["build", "--jobs", "-1", "x"], ["boot", "--accel", "xen", "x"]):
        assert app.run(words) == 2
        assert "Traceback" not in capsys.readouterr().err
    assert app.run(["--version"]) == 0
    assert app.run(["--help"]) == 0


@pytest.mark.parametrize(
    ("verb", "words"),
    [
        ("validate", "The specs to check"),
        ("schema", "Which one"),
        ("kernel explain", "A kernel option"),
        ("boot", "A built set"),
    ],
)
def test_help_tells_what_an_argument_is(verb: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Not every pair of typer and click that installs together does."""
    assert app.run([*verb.split(), "--help"]) == 0
    arguments = capsys.readouterr().out.partition(" Arguments ")[2].partition(" Options ")[0]
    assert words in arguments, arguments


def test_problems_carry_their_place() -> None:
    error = InputError.many([Problem("a", Where("f", 3, 4), "do b"), Problem("c")])
    assert isinstance(error, KataToolkitError)
    assert str(error) == "f:3:4: a (do b)"
    assert [p.as_json()["line"] for p in error.problems] == [3, None]
    with pytest.raises(ValueError, match="at least one"):
        InputError.many([])


@pytest.mark.tool
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_says_so_and_leaves_no_process(tool: Path, tmp_path: Path, signum: int) -> None:
    """A compiler that never ends stands for the long part of a build."""
    (tmp_path / "bin").mkdir()
    hang = tmp_path / "bin" / "protoc-c"
    hang.write_text('#!/bin/sh\n[ "$1" = --version ] && { echo protoc-c 1.4; exit; }\nexec sleep 987\n')
    hang.chmod(0o755)
    spec = tmp_path / "s.yaml"
    spec.write_text("version: 1\nname: s\n")
    env = {**os.environ, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "KATA_TOOLKIT_CACHE": str(tmp_path / "c")}
    argv = [tool, "build", "--json", spec, "-o", tmp_path / "out", "--only", "agent"]
    process = subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 30
    while not _sleeping():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signum)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert err.endswith("interrupted\n")
    assert json.loads(out.splitlines()[-1])["errors"][0]["message"] == "interrupted"
    assert not _sleeping()
    assert not (tmp_path / "out").exists()
    assert list((tmp_path / "c" / "tmp").iterdir()) == []


def _sleeping() -> bool:
    return subprocess.run(["pgrep", "-f", "^sleep 987"], capture_output=True, check=False).returncode == 0


def test_a_locale_that_cannot_write_our_texts_changes_no_exit_code() -> None:
    plain = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(
        [sys.executable, "-m", "kata_toolkit", "lock", "--help"], env=plain, capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"\\u2026" in done.stdout


@pytest.mark.parametrize("arguments", [["schema", "spec"], ["check-host", "--json"], ["check-host"]])
def test_a_full_disk_is_told_and_no_traceback(tool: Path, arguments: list[str]) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [tool, *arguments], check=False, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60
        )
    assert done.returncode == 3
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr
