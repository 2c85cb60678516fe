"""Runs stages on demand: a stage whose recipe needs bytes that do not exist yet has that stage built first."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from ..errors import InternalError
from ..events import Cached, Emit, Finished, Started, Waiting
from ..run import Log
from .inputs import BuildInputs
from .reasons import reasons
from .stage import NotBuiltYet, Recipe, Stage, Work
from .store import Entry, Store


@dataclass
class Engine:
    """One build's run through its stages.

    ``key`` names the spec in the store (see `Spec.key`); ``seconds`` holds the time of each stage that ran,
    ``cpu_seconds`` the processor time of the programs it called.
    """

    key: str
    stages: Sequence[Stage]
    store: Store
    inputs: BuildInputs
    emit: Emit
    log: Log
    jobs: int
    seconds: dict[str, float] = field(default_factory=dict)
    cpu_seconds: dict[str, float] = field(default_factory=dict)

    def build(self, names: Sequence[str]) -> dict[str, Entry]:
        """Bring the named stages, and all they need, into the store. Returns every entry used, by stage.

        Raises InputError, ToolError as the stages do.
        """
        for name in names:
            self._bring(self._stage(name), ())
        self.store.remember(self.key, {stage: entry.id for stage, entry in self.inputs.entries.items()})
        self.inputs.save()
        return self.inputs.entries

    def _stage(self, name: str) -> Stage:
        for stage in self.stages:
            if stage.name == name:
                return stage
        raise InternalError(f"no stage is named {name}; there are {', '.join(s.name for s in self.stages)}")

    def _bring(self, stage: Stage, above: tuple[str, ...]) -> None:
        if stage.name in self.inputs.entries:
            return
        if stage.name in above:
            raise InternalError(f"stages need each other: {' ← '.join([*above, stage.name])}")
        while True:
            try:
                recipe = stage.plan(self.inputs)
                break
            except NotBuiltYet as missing:
                self._bring(self._stage(missing.stage), (*above, stage.name))
        self.inputs.admit({tool: version for tool, version in recipe.tools.items() if tool not in stage.checkers})
        self.inputs.add(self._make(stage, recipe))

    def _make(self, stage: Stage, recipe: Recipe) -> Entry:
        id_ = recipe.id(stage.name)
        entry = self.store.get(stage.name, id_)
        if entry:
            self.emit(Cached(stage.name, id_))
            return entry
        with self.store.lock(stage.name, id_, wait=False) as mine:
            if mine:  # another build may have finished it just before we got the lock
                return self.store.get(stage.name, id_) or self._run(stage, recipe, id_)
        self.emit(Waiting(stage.name, id_))
        with self.store.lock(stage.name, id_):
            entry = self.store.get(stage.name, id_)
            if entry:
                self.emit(Cached(stage.name, id_))
                return entry
            return self._run(stage, recipe, id_)

    def _run(self, stage: Stage, recipe: Recipe, id_: str) -> Entry:
        before = self.store.remembered(self.key).get(stage.name)
        old = self.store.recipe(stage.name, before) if before else None
        why = "; ".join(reasons(recipe.as_json(), old))
        self.emit(Started(stage.name, id_, why))
        self.log.write(f"\n== {stage.name} {id_} ({why})\n")
        begin, cpu = time.monotonic(), _children_cpu()
        with self.store.workspace() as folder:
            out, scratch = folder / "out", folder / "scratch"
            out.mkdir()
            scratch.mkdir()
            stage.run(Work(stage.name, recipe, out, scratch, self.inputs, self.emit, self.log, self.jobs))
            entry = self.store.put(stage.name, id_, recipe.as_json(), out)
        self.store.remember(self.key, {stage.name: id_})  # now, so that nothing collects it if a later stage fails
        self.seconds[stage.name] = time.monotonic() - begin
        self.cpu_seconds[stage.name] = _children_cpu() - cpu
        self.emit(Finished(stage.name, id_, self.seconds[stage.name]))
        return entry


def _children_cpu() -> float:
    """Seconds of processor time of all programs that have ended so far."""
    times = os.times()
    return times.children_user + times.children_system
