"""What is said of files that a spec names and that are not to be had."""

from __future__ import annotations

from pathlib import Path

from kata_toolkit.errors import Where
from kata_toolkit.spec.paths import check_file, check_folder


def test_a_link_to_nowhere_is_called_one(tmp_path: Path) -> None:
    here = Where("spec.yaml", 3, 7)
    (tmp_path / "agent").symlink_to("../built/agent")
    for check in (check_file, check_folder):
        (problem,) = check(tmp_path / "agent", here)
        assert problem.message == f"{tmp_path}/agent is a symbolic link to ../built/agent, which does not exist"
        assert problem.where == here
    (problem,) = check_file(tmp_path / "agnet", here)
    assert problem.hint == 'did you mean "agent"?'
