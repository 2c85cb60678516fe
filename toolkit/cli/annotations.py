"""Problems as annotations of a merge request: GitHub's workflow commands, GitLab's Code Quality report.

``--annotations github|gitlab|gitlab=FILE|none`` may stand anywhere on the command line. Without it, GitHub's are
written where GITHUB_ACTIONS is "true". GitLab's go to a file, which is written only when it is asked for; also when
there is no problem, so that the report of the last run does not stay.

Formats: https://docs.github.com/actions/reference/workflow-commands-for-github-actions and
https://docs.gitlab.com/ci/testing/code_quality/.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError, Problem

OPTION = "--annotations"
GITLAB_FILE = "gl-code-quality-report.json"  # the name that GitLab's own examples use
_KINDS = ("github", "gitlab", "none")
_SHOWN = 10  # GitHub shows no more errors of one step


@dataclass(frozen=True, slots=True)
class Annotations:
    """Where problems are annotated: ``kind`` is github, gitlab or none."""

    kind: str = "none"
    file: Path | None = None

    def write(self, problems: Sequence[Problem]) -> None:
        """Write them: GitHub's to stderr, so that stdout stays what it is. Raises OSError."""
        if self.kind == "github":
            for problem in problems[:_SHOWN]:
                sys.stderr.write(github(problem) + "\n")
        elif self.kind == "gitlab" and self.file:
            import json

            self.file.write_text(json.dumps(gitlab(problems), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def take(arguments: Sequence[str]) -> tuple[list[str], Annotations]:
    """The command line without our option, and what it says; what follows ``--run`` or ``--`` is not ours.

    Raises InputError for a value that is none.
    """
    words, value = list(arguments), None
    for index, word in enumerate(words):
        if word in ("--run", "--"):
            break
        if word == OPTION or word.startswith(f"{OPTION}="):
            own = 1 if "=" in word else 2
            value = word.partition("=")[2] if own == 1 else "".join(words[index + 1 : index + 2])
            del words[index : index + own]
            break
    if value is None:
        return words, Annotations("github" if os.environ.get("GITHUB_ACTIONS") == "true" else "none")
    kind, _, file = value.partition("=")
    if kind not in _KINDS or (file and kind != "gitlab"):
        raise InputError(f'{OPTION}: expected github, gitlab, gitlab=FILE or none, got "{value}"')
    return words, Annotations(kind, Path(file or GITLAB_FILE) if kind == "gitlab" else None)


def github(problem: Problem) -> str:
    """One workflow command: ``::error file=…,line=…,col=…::message``."""
    properties = ["title=kata-toolkit"]
    if problem.where:
        properties.append(f"file={_property(_in_project(problem.where.file, 'GITHUB_WORKSPACE'))}")
        if problem.where.line:
            properties.append(f"line={problem.where.line}")
        if problem.where.column:
            properties.append(f"col={problem.where.column}")
    return f"::error {','.join(properties)}::{_data(_text(problem))}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def gitlab(problems: Sequence[Problem]) -> list[dict[str, object]]:
    """The entries of a Code Quality report.

    A fingerprint does not depend on the line, so that a problem that only moved is not a new one.
    """
    import hashlib

    seen: dict[str, int] = {}
    entries: list[dict[str, object]] = []
    for problem in problems:
        path = _in_project(problem.where.file, "CI_PROJECT_DIR") if problem.where else "."
        key = f"{path}\0{problem.message}"
        count = seen[key] = seen.get(key, 0) + 1
        kind = str(problem.finding["kind"]).replace(" ", "-") if problem.finding else "error"
        entries.append(
            {
                "description": _text(problem),
                "check_name": f"kata-toolkit/{kind}",
                "fingerprint": hashlib.sha256(f"{key}\0{count}".encode(errors="replace")).hexdigest(),
                "severity": "major",
                "location": {"path": path, "lines": {"begin": (problem.where.line if problem.where else 0) or 1}},
            }
        )
    return entries


def _text(problem: Problem) -> str:
    """The message, the details and the hint, each on its own line."""
    return "\n".join([problem.message, *problem.details, *([f"hint: {problem.hint}"] if problem.hint else [])])


def _in_project(file: str, variable: str) -> str:
    """A file as the service knows it: relative to the checkout that ``variable`` names, if it is in there."""
    root = os.environ.get(variable)
    path = os.path.normpath(file)
    if root:
        inside = os.path.relpath(os.path.abspath(file), os.path.abspath(root))  # noqa: PTH100 -- links stay as they are
        if not inside.startswith(".."):
            return inside
    return path
