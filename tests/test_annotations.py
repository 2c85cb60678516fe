"""Problems as GitHub's and GitLab's annotations: escaping, places, files, and where the option may stand."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from kata_toolkit.cli.annotations import Annotations, github, gitlab, take
from kata_toolkit.errors import InputError, Problem, Where

BAD = "version: 2\n"


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not in anybody's CI."""
    for name in ("GITHUB_ACTIONS", "GITHUB_WORKSPACE", "GITLAB_CI", "CI_PROJECT_DIR"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("problem", "command"),
    [
        (Problem("no place"), "::error title=kata-toolkit::no place"),
        (Problem("a", Where("s.yaml")), "::error title=kata-toolkit,file=s.yaml::a"),
        (Problem("a", Where("s.yaml", 3)), "::error title=kata-toolkit,file=s.yaml,line=3::a"),
        (Problem("a", Where("./d/s.yaml", 3, 5)), "::error title=kata-toolkit,file=d/s.yaml,line=3,col=5::a"),
        (
            Problem("100%\r\n::error::x", Where("a,b:c%.yaml", 1), "do, this: 5%", ("A  n", "B  n")),
            (
                "::error title=kata-toolkit,file=a%2Cb%3Ac%25.yaml,line=1::"
                "100%25%0D%0A::error::x%0AA  n%0AB  n%0Ahint: do, this: 5%25"
            ),
        ),
    ],
)
def test_a_workflow_command_is_one_line_whatever_is_in_it(problem: Problem, command: str) -> None:
    assert github(problem) == command


def test_files_are_told_from_the_top_of_the_checkout(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "specs").mkdir()
    monkeypatch.chdir(tmp_path / "specs")
    monkeypatch.setenv("GITHUB_WORKSPACE", str(tmp_path))
    monkeypatch.setenv("CI_PROJECT_DIR", str(tmp_path))
    assert "file=specs/s.yaml," in github(Problem("a", Where("s.yaml", 1)))
    assert "file=specs/s.yaml," in github(Problem("a", Where(str(tmp_path / "specs" / "s.yaml"), 1)))
    assert "file=/elsewhere/s.yaml," in github(Problem("a", Where("/elsewhere/s.yaml", 1)))
    (entry,) = gitlab([Problem("a", Where("s.yaml", 7))])
    assert entry["location"] == {"path": "specs/s.yaml", "lines": {"begin": 7}}


def test_a_code_quality_report_has_what_gitlab_demands() -> None:
    where = Where("s.yaml", 7, 2)
    entries = gitlab([Problem("a", where, finding={"kind": "no prompt"}), Problem("a", where), Problem("b")])
    assert [e["check_name"] for e in entries] == [
        "kata-toolkit/no-prompt",
        "kata-toolkit/error",
        "kata-toolkit/error",
    ]
    assert {e["severity"] for e in entries} == {"major"}
    assert entries[2]["location"] == {"path": ".", "lines": {"begin": 1}}
    assert len({e["fingerprint"] for e in entries}) == 3, "two problems alike are two"
    (moved,) = gitlab([Problem("a", Where("s.yaml", 9))])
    assert moved["fingerprint"] == entries[0]["fingerprint"], "a problem that moved is no new one"


@pytest.mark.parametrize(
    ("words", "rest", "kind", "file"),
    [
        (["build", "s.yaml"], ["build", "s.yaml"], "none", None),
        (["--annotations", "github", "build"], ["build"], "github", None),
        (["build", "--annotations=gitlab"], ["build"], "gitlab", "gl-code-quality-report.json"),
        (["build", "--annotations", "gitlab=a=b.json", "x"], ["build", "x"], "gitlab", "a=b.json"),
        (["boot", "--run", "--annotations", "x"], ["boot", "--run", "--annotations", "x"], "none", None),
        (["boot", "--", "--annotations=x"], ["boot", "--", "--annotations=x"], "none", None),
    ],
)
def test_the_option_may_stand_anywhere(words: list[str], rest: list[str], kind: str, file: str | None) -> None:
    assert take(words) == (rest, Annotations(kind, Path(file) if file else None))


@pytest.mark.parametrize("value", ["", "gitub", "github=x", "none=x"])
def test_another_value_is_refused(value: str) -> None:
    with pytest.raises(InputError, match="expected github, gitlab, gitlab=FILE or none"):
        take(["validate", f"--annotations={value}"])
    with pytest.raises(InputError, match="expected github"):
        take(["validate", "--annotations"])


def test_in_github_actions_it_is_on_unless_it_is_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    assert take([])[1].kind == "github"
    assert take(["--annotations", "none"])[1].kind == "none"


def call(tool: Path, folder: Path, *words: str, **env: str) -> tuple[int, str, str]:
    (folder / "s.yaml").write_text(BAD)
    argv: Sequence[str | Path] = [tool, *words]
    result = subprocess.run(argv, cwd=folder, env={**os.environ, **env}, capture_output=True, text=True, check=False)
    return result.returncode, result.stdout, result.stderr


def test_the_command_line_annotates(tool: Path, tmp_path: Path) -> None:
    status, out, err = call(tool, tmp_path, "validate", "--json", "s.yaml", GITHUB_ACTIONS="true")
    assert status == 2
    assert len(json.loads(out)["errors"]) == 2, "stdout stays one JSON document"
    assert "::error title=kata-toolkit,file=s.yaml,line=1,col=10::expected 1, got 2\n" in err
    status, _, err = call(tool, tmp_path, "validate", "s.yaml", "--annotations", "gitlab=q.json")
    report = json.loads((tmp_path / "q.json").read_text())
    assert (status, len(report)) == (2, 2)
    assert "::error" not in err
    assert call(tool, tmp_path, "schema", "--annotations=gitlab=q.json")[0] == 0
    assert json.loads((tmp_path / "q.json").read_text()) == [], "the last run's report does not stay"
    status, _, err = call(tool, tmp_path, "validate", "s.yaml", "--annotations=gitlab=no/such/folder/q.json")
    assert status == 2
    assert "the annotations cannot be written" in err
    assert "Traceback" not in err
