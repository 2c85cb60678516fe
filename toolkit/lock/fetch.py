"""Brings into the cache what a build would take from the network, and makes nothing."""

from __future__ import annotations

import io
import time
from collections.abc import Sequence
from typing import Any

from ..events import Cached, Emit, Finished, Started
from ..pipeline.inputs import BuildInputs
from ..pipeline.stage import Missing, Recipe, Stage, Work
from ..pipeline.store import Store, cache_folder
from ..recipe import outputs_of, stages_of
from ..spec.model import Spec
from .prepare import held_to_lock, prepare


def fetch_spec(spec: Spec, emit: Emit, *, locked: bool = False) -> dict[str, Any]:
    """Fetch for a spec. ``fetched``: how many things were, by stage.

    Held to the lock file beside the spec, if there is one; ``locked``: it must be there. Which tools are here does
    not matter yet. Raises InputError, ToolError.
    """
    store = Store(cache_folder())
    stages = stages_of(spec)
    held = held_to_lock(spec, emit, needed=locked)
    fetched = {}
    with store.in_use():
        store.sweep()
        inputs = BuildInputs(store, lock=held)
        if held:
            prepare(spec.file, stages, outputs_of(spec), inputs, held, whole=False)
        for stage in stages:
            if stage.fetches:
                fetched[stage.name] = _fetch(stage, store, inputs, emit)
        inputs.save()
    return {"name": spec.name, "fetched": fetched}


def _fetch(stage: Stage, store: Store, inputs: BuildInputs, emit: Emit) -> int:
    recipe = stage.plan(inputs)
    id_ = recipe.id(stage.name)
    lacking = [] if store.get(stage.name, id_) else list(dict.fromkeys(stage.missing(recipe, inputs)))
    if not lacking:
        emit(Cached(stage.name, id_))
        return 0
    emit(Started(stage.name, id_, _words(lacking)))
    begin = time.monotonic()
    _bring(stage, recipe, store, inputs, emit)
    emit(Finished(stage.name, id_, time.monotonic() - begin))
    return len(lacking)


def _bring(stage: Stage, recipe: Recipe, store: Store, inputs: BuildInputs, emit: Emit) -> None:
    with store.workspace() as folder:
        out, scratch = folder / "out", folder / "scratch"
        out.mkdir()
        scratch.mkdir()
        stage.fetch(Work(stage.name, recipe, out, scratch, inputs, emit, io.StringIO(), 1))


def _words(lacking: Sequence[Missing]) -> str:
    if len(lacking) == 1:
        return f"to fetch: {lacking[0].what}"
    known = sum(missing.size or 0 for missing in lacking)
    return f"to fetch: {len(lacking)} files" + (f", {known / 2**20:.1f} MiB" if known else "")
