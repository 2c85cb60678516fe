"""What can go wrong, by class; each class is one exit code (see EXIT_CODES in the README).

Library code raises these; only ``cli/`` turns them into text and an exit status.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Where:
    """A place in a file a person wrote: 1-based line and column (0 = unknown)."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        if not self.line:
            return self.file
        return f"{self.file}:{self.line}:{self.column}" if self.column else f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake: what is wrong, where, and what to do about it.

    ``details``: lines that a person reads below the message. ``finding``: the same for programs, as JSON.
    """

    message: str
    where: Where | None = None
    hint: str | None = None
    details: tuple[str, ...] = ()
    finding: Mapping[str, object] | None = field(default=None, hash=False)

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        hint = f" ({self.hint})" if self.hint else ""
        return f"{place}{self.message}{hint}"

    def as_json(self) -> dict[str, object]:
        """The shape of an entry of ``{"errors": [...]}`` under ``--json``."""
        return {
            "message": self.message,
            "file": self.where.file if self.where else None,
            "line": self.where.line if self.where and self.where.line else None,
            "column": self.where.column if self.where and self.where.column else None,
            "hint": self.hint,
            **({"finding": self.finding} if self.finding is not None else {}),
        }


class KataToolkitError(Exception):
    """Base of every error a person is meant to read."""

    exit_code = 70

    def __init__(self, message: str, *, where: Where | None = None, hint: str | None = None) -> None:
        self.problems: tuple[Problem, ...] = (Problem(message, where, hint),)
        super().__init__(str(self.problems[0]))

    @classmethod
    def many(cls, problems: Iterable[Problem]) -> KataToolkitError:
        """One error that carries several problems, in the order given.

        Raises ValueError when there is none.
        """
        found = tuple(problems)
        if not found:
            raise ValueError("an error needs at least one problem")
        error = cls(found[0].message, where=found[0].where, hint=found[0].hint)
        error.problems = found
        return error


@contextmanager
def told_at(where: Where | None) -> Iterator[None]:
    """Within, a mistake of the user's that has no place of its own is told at this one, if it is known."""
    try:
        yield
    except InputError as error:
        if where is None or all(problem.where for problem in error.problems):
            raise
        placed = [problem if problem.where else replace(problem, where=where) for problem in error.problems]
        raise InputError.many(placed) from error


class CheckError(KataToolkitError):
    """The thing checked does not hold: host not capable, proof failed, budget exceeded."""

    exit_code = 1


class InputError(KataToolkitError):
    """The user's input is wrong: spec, arguments, lock, a file the spec names."""

    exit_code = 2


class ToolError(KataToolkitError):
    """A tool, the disk or the network failed."""

    exit_code = 3


class InternalError(KataToolkitError):
    """A bug in kata-toolkit: a promise of its own code does not hold."""

    exit_code = 70


def relative(path: Path) -> str:
    """The path as a person standing in the current folder would write it."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
