"""Bad specs, each with the exact problems that must be reported: no more, no fewer, each at its place.

The table is tests/specs/bad.txt. A test that only looked for an error would pass with one that names the wrong line,
or with three follow-on errors for one mistake.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import pytest
from kata_toolkit.errors import InputError
from kata_toolkit.spec.load import load_spec

TABLE = Path(__file__).parent / "specs" / "bad.txt"


@dataclass(frozen=True)
class Case:
    """A row of the table."""

    title: str
    spec: str
    expected: list[str]


def cases() -> list[Case]:
    """All rows of the table."""
    found = []
    for block in TABLE.read_text(encoding="utf-8").split("\n=== ")[1:]:
        title, *lines = block.splitlines()
        spec = "".join(f"{line}\n" for line in lines if not line.startswith("!"))
        found.append(Case(title, spec, [line.removeprefix("! ") for line in lines if line.startswith("!")]))
    return found


def problems(path: Path) -> list[str]:
    """All problems of a spec in the table's form."""
    with pytest.raises(InputError) as caught:
        load_spec(path)
    lines = []
    for problem in caught.value.problems:
        assert problem.where is not None
        assert problem.where.file == str(path)
        lines.append(f"{problem.where.line}:{problem.where.column}: {problem.message}")
        if problem.hint:
            lines.append(f"  hint: {problem.hint}")
    return [line.replace(str(path.parent), "DIR") for line in lines]


def make_folder(folder: Path) -> Path:
    """Put the files into the folder that the specs of the table name."""
    (folder / "kernel").mkdir()
    (folder / "empty").touch()
    (folder / "fix.patch").write_text("--- a/Makefile\n+++ b/Makefile\n")
    (folder / "vmlinux").write_text("\x7fELF")
    os.mkfifo(folder / "pipe")
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("specs"))


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.title)
def test_bad_spec(case: Case, folder: Path) -> None:
    spec = folder / "guest.yaml"
    spec.write_text(case.spec, encoding="utf-8")
    assert problems(spec) == case.expected


def test_the_table_is_read_whole() -> None:
    titles = [line for line in TABLE.read_text(encoding="utf-8").splitlines() if line.startswith("===")]
    assert [f"=== {case.title}" for case in cases()] == titles
    assert len({case.title for case in cases()}) == len(titles) > 90
    assert all(case.spec and case.expected for case in cases())
