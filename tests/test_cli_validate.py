"""``validate``, ``init`` and ``schema`` as a user runs them: output, exit status, nothing half-written."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

GOOD = "version: 1\nname: guest\n"
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run(tool: Path, tmp_path: Path) -> Run:
    """Runs the tool in a folder of its own."""

    def call(*arguments: str | Path, status: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run([tool, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == status, done.stderr
        assert "Traceback" not in done.stderr
        return done

    return call


def test_a_good_spec(run: Run, tmp_path: Path) -> None:
    (tmp_path / "guest.yaml").write_text(GOOD)
    done = run("validate", "guest.yaml")
    assert (done.stdout, done.stderr) == ("guest.yaml: ok\n", "")


def test_all_mistakes_of_all_specs_at_once(run: Run, tmp_path: Path) -> None:
    (tmp_path / "guest.yaml").write_text(GOOD)
    (tmp_path / "bad.yaml").write_text("version: 1\nname: bad\nkernal: {}\nimage: {dax: yes}\n")
    done = run("validate", "bad.yaml", "missing.yml", "guest.yaml", status=2)
    assert done.stdout == "guest.yaml: ok\n"
    assert done.stderr == (
        'bad.yaml:3:1: error: unknown key "kernal"\n'
        "    3 | kernal: {}\n"
        "      | ^\n"
        '  hint: did you mean "kernel"?\n'
        'bad.yaml:4:14: error: expected true or false, got the string "yes"\n'
        "    4 | image: {dax: yes}\n"
        "      |              ^\n"
        "  hint: write true\n"
        "missing.yml: error: no such file\n"
    )


def test_json(run: Run, tmp_path: Path) -> None:
    (tmp_path / "guest.yaml").write_text(GOOD)
    (tmp_path / "bad.yaml").write_text("version: 1\nname: bad\nkernal: {}\n")
    assert json.loads(run("validate", "--json", "guest.yaml").stdout) == {"errors": []}
    done = run("validate", "guest.yaml", "bad.yaml", "--json", status=2)
    assert done.stderr == ""
    assert json.loads(done.stdout) == {
        "errors": [
            {
                "message": 'unknown key "kernal"',
                "file": "bad.yaml",
                "line": 3,
                "column": 1,
                "hint": 'did you mean "kernel"?',
            }
        ]
    }


@pytest.mark.parametrize("command", ["validate", "plan", "build"])
def test_a_bad_spec_is_the_users_mistake_everywhere(command: str, run: Run, tmp_path: Path) -> None:
    (tmp_path / "folder.yaml").mkdir()
    done = run(command, "folder.yaml", status=2)
    assert done.stderr == "folder.yaml: error: is a directory, not a file\n"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["folder.yaml"]


def test_no_spec_at_all(run: Run) -> None:
    assert "SPEC" in run("validate", status=2).stderr


def test_a_spec_without_permission(
    tool: Path, tmp_path: Path, unprivileged: Callable[[Sequence[str | Path]], list[str]]
) -> None:
    spec = tmp_path / "guest.yaml"
    spec.write_text(GOOD)
    spec.chmod(0)
    for folder in (tmp_path, *tmp_path.parents[:2]):
        if folder.stat().st_uid == os.geteuid():
            folder.chmod(0o755)
    done = subprocess.run(unprivileged([tool, "validate", spec]), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, f"{spec}: error: cannot be read: Permission denied\n")


def test_init_writes_a_spec_that_is_good(run: Run, tmp_path: Path) -> None:
    assert run("init", "edge-gpu").stdout == "wrote edge-gpu.yaml; next: kata-toolkit build edge-gpu.yaml\n"
    assert "name: edge-gpu\n" in (tmp_path / "edge-gpu.yaml").read_text()
    run("validate", "edge-gpu.yaml")
    assert json.loads(run("init", "--json").stdout) == {"file": "guest.yaml"}
    run("validate", "guest.yaml")


def test_init_never_overwrites(run: Run, tmp_path: Path) -> None:
    (tmp_path / "guest.yaml").write_text("mine")
    done = run("init", "guest", status=2)
    assert done.stderr == "guest.yaml: error: exists already\n  hint: give another name, or remove it\n"
    assert (tmp_path / "guest.yaml").read_text() == "mine"
    (tmp_path / "dangling.yaml").symlink_to("elsewhere")
    run("init", "dangling", status=2)
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("name", ["../guest", "Guest", "", "a" * 33, "guest\n", "-x"])
def test_init_refuses_what_no_spec_can_be_called(name: str, run: Run, tmp_path: Path) -> None:
    assert "cannot be a spec's name: lower-case letters" in run("init", "--", name, status=2).stderr
    assert list(tmp_path.iterdir()) == []


def test_init_where_nothing_can_be_written(
    tool: Path, tmp_path: Path, unprivileged: Callable[[Sequence[str | Path]], list[str]]
) -> None:
    tmp_path.chmod(0o555)
    for folder in tmp_path.parents[:2]:
        if folder.stat().st_uid == os.geteuid():
            folder.chmod(0o755)
    command = unprivileged([tool, "init"])
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (3, "error: guest.yaml cannot be written: Permission denied\n")


def test_schema_prints_the_file(run: Run, root: Path) -> None:
    assert run("schema").stdout == (root / "schemas" / "spec.schema.json").read_text(encoding="utf-8")
    for path in (root / "schemas").glob("*.schema.json"):
        assert json.loads(run("schema", path.name.removesuffix(".schema.json")).stdout)


def test_schema_of_an_unknown_name(run: Run) -> None:
    done = run("schema", "spce", status=2)
    assert done.stderr == 'error: there is no schema called "spce"\n  hint: did you mean "spec"?\n'
    assert "there is no schema" in run("schema", "../pyproject", status=2).stderr
