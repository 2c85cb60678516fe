"""Writes locks: every wish of a spec resolved, what was locked before kept unless it is to be found anew."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .. import __version__
from ..errors import InputError, Problem, ToolError
from ..events import Emit, Progress, ignore
from ..pipeline.files import write_atomically
from ..pipeline.inputs import BuildInputs
from ..pipeline.stage import Lookup
from ..pipeline.store import Store, cache_folder
from ..recipe import outputs_of, stages_of
from ..spec.model import Spec
from ..spec.suggest import did_you_mean
from .held import OBSERVED, plain
from .model import Lock, Locked, name_of
from .paths import lock_path
from .survey import Survey
from .text import lock_text


class Recorder(BuildInputs):
    """Inputs that write down every answer, and take them from an earlier lock where they still hold."""

    def __init__(
        self,
        store: Store,
        old: Lock | None,
        update: frozenset[str] | None,
        *,
        offline: bool = False,
        emit: Emit = ignore,
    ) -> None:
        super().__init__(store, offline=offline)
        self.found: dict[str, Locked] = {}
        self._old, self._update, self._emit = old, update, emit

    def resolved(self, lookup: Lookup) -> Any:
        key = lookup.key
        if key not in self.found:
            self._emit(Progress("lock", 0, 0, "", f"looking for {key}"))
            request = plain(lookup.request)
            old = self._old.inputs.get(key) if self._old else None
            kept = old if old and old.request == request else None
            self.found[key] = Locked(request, plain(self._answer(lookup, kept)))
        return plain(self.found[key].answer)

    def _answer(self, lookup: Lookup, kept: Locked | None) -> Any:
        if kept is None or self._update == frozenset() or (self._update and lookup.key in self._update):
            return lookup.find()
        named = self._update & {name_of(record) for record in kept.records()} if self._update else frozenset()
        if not named:
            return kept.answer
        if lookup.renew:
            return lookup.renew(plain(kept.answer), frozenset(named))
        if len(kept.records()) == 1:
            return lookup.find()
        raise InputError(f"{lookup.key} can only be found anew as a whole", hint=f"--update {lookup.key}")

    def observed(self, key: str, found: Mapping[str, Any]) -> None:
        self.found[key] = Locked(OBSERVED, plain(found))


def resolve(
    spec: Spec,
    old: Lock | None,
    *,
    update: frozenset[str] | None = None,
    offline: bool = False,
    emit: Emit = ignore,
) -> Lock:
    """The lock of a spec as it is today.

    ``update``: the wishes and packages to be found anew (empty: all of them); None: only what ``old`` does not
    answer. Raises InputError for names that are not in the old lock, and with the problems of every stage.
    """
    _require_known(update, old)
    store = Store(cache_folder())
    inputs = Recorder(store, old, update, offline=offline, emit=emit)
    seen = Survey(stages_of(spec), inputs).walk(outputs_of(spec))
    inputs.save()
    if seen.failed:
        worst = max(seen.failed, key=lambda error: error.exit_code)
        raise type(worst).many(seen.problems)
    return Lock(__version__, inputs.found, seen.tools)


def write_lock(spec: Spec, lock: Lock) -> Path:
    """Write a lock beside its spec, whole or not at all. Raises ToolError."""
    path = lock_path(spec.file)
    try:
        write_atomically(path, lock_text(lock).encode())
    except OSError as error:
        denied = error.errno in (errno.EACCES, errno.EPERM, errno.EROFS)
        hint = "the lock file belongs beside the spec: make the folder writable" if denied else None
        raise ToolError(f"cannot write {path}: {error.strerror}", hint=hint) from error
    return path


def _require_known(update: frozenset[str] | None, old: Lock | None) -> None:
    if not update:
        return
    known = sorted(set(old.names())) if old else []
    wishes = f"its wishes are: {', '.join(sorted(old.inputs))}" if old and old.inputs else None
    problems = [
        Problem(f"nothing in the lock file is called {name}", None, did_you_mean(name, known) or wishes)
        for name in sorted(update)
        if name not in known
    ]
    if problems:
        raise InputError.many(problems)
