"""Brings into the store what a build would take from the network, and makes nothing else."""

from __future__ import annotations

import io
from typing import Any

from ..events import Emit
from ..pipeline.engine import Engine
from ..pipeline.inputs import BuildInputs
from ..pipeline.store import Store, cache_folder
from ..recipe import outputs_of, stages_of
from ..spec.model import Spec
from .prepare import held_to_lock, prepare


def fetch_spec(spec: Spec, emit: Emit, *, locked: bool = False) -> dict[str, Any]:
    """Run the stages of a spec that use the network. Returns their ids, by stage.

    Held to the lock file beside the spec, if there is one; ``locked``: it must be there. Which tools are here does
    not matter yet. Raises InputError, ToolError.
    """
    store = Store(cache_folder())
    stages = stages_of(spec)
    held = held_to_lock(spec, emit, needed=locked)
    with store.in_use():
        store.sweep()
        inputs = BuildInputs(store, lock=held)
        if held:
            prepare(stages, outputs_of(spec), inputs, held, whole=False)
        names = [stage.name for stage in stages if stage.fetches]
        entries = Engine(spec.key, stages, store, inputs, emit, io.StringIO(), 1).build(names)
    return {"name": spec.name, "stages": {name: entries[name].id for name in names}}
