"""Before a build that has a lock, or no network: all that would stop it, told at once and before anything is made."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError, KataToolkitError, Problem, ToolError, relative
from ..events import Emit, Note
from ..pipeline.inputs import Answers, BuildInputs
from ..pipeline.stage import Missing, Stage
from ..spec.model import Spec
from .paths import find_lock, lock_path

if TYPE_CHECKING:
    from .held import HeldTo


def held_to_lock(spec: Spec, emit: Emit, *, locked: bool = False, needed: bool = False) -> HeldTo | None:
    """What a spec's lock file answers; None without one. ``needed``: it must be there; ``locked``: also, and other
    tools than its own are refused.

    Raises InputError for a lock that is damaged or, where it must be there, missing.
    """
    lock = find_lock(spec.file)
    if lock is None:
        if locked or needed:
            hint = f"kata-toolkit lock {relative(spec.file)}"
            raise InputError(f"{lock_path(spec.file).name}, which --locked needs, is not there", hint=hint)
        return None
    from .held import HeldTo

    return HeldTo(lock, Path(relative(spec.file)), strict=locked, tell=lambda text: emit(Note("lock", text)))


def lock_where_it_fits(spec: Spec) -> Answers | None:
    """What a spec's lock file tells those who build no set; None without one. Raises InputError for a damaged one."""
    lock = find_lock(spec.file)
    if lock is None:
        return None
    from .held import WhereItFits

    return WhereItFits(lock)


def prepare(
    spec: Path, stages: Sequence[Stage], names: Iterable[str], inputs: BuildInputs, held: HeldTo | None, *, whole: bool
) -> None:
    """Hold a build to what it was given. ``whole``: all of a set is built, so the lock should hold nothing else.

    Raises InputError with all that the lock lacks or has otherwise, ToolError with all that is missing offline.
    """
    from .survey import Survey

    seen = Survey(stages, inputs, stored=True).walk(names)
    problems = seen.problems
    if held:
        try:
            held.admit(seen.tools)
            if whole:
                held.require_no_more()
        except InputError as error:
            problems += error.problems
    if problems:
        worst = max(seen.failed, key=lambda error: error.exit_code) if seen.failed else InputError("")
        raise type(worst).many(problems)
    if inputs.offline and seen.missing:
        raise _lacking(seen.missing, spec)


def _lacking(missing: Sequence[Missing], spec: Path) -> KataToolkitError:
    hint = f"on a machine with a network: kata-toolkit fetch {relative(spec)}"
    problems = [Problem(f"offline, and this is not in the cache: {m}", None, None) for m in dict.fromkeys(missing)]
    problems[-1] = Problem(problems[-1].message, None, hint)
    return ToolError.many(problems)
