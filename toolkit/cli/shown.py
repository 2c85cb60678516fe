"""Problems that a verb has shown itself: only the exit status and the annotations are left to do."""

from __future__ import annotations

from collections.abc import Iterable

from ..errors import KataToolkitError, Problem


class ShownError(KataToolkitError):
    """An error that needs no further words. ``exit_code`` is that of what it stands for."""

    @classmethod
    def of(cls, exit_code: int, problems: Iterable[Problem]) -> ShownError:
        """The same problems with an exit status; there must be at least one."""
        found = tuple(problems)
        error = cls(found[0].message, where=found[0].where, hint=found[0].hint)
        error.problems = found
        error.exit_code = exit_code
        return error


def shown(error: KataToolkitError) -> ShownError:
    """An error that is part of a document which was printed already."""
    return ShownError.of(error.exit_code, error.problems)
