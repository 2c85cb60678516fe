"""The main job as one function: a spec in, an output tree out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .errors import InputError, InternalError, ToolError
from .events import Emit
from .pipeline.engine import Engine
from .pipeline.files import write_atomically
from .pipeline.inputs import BuildInputs
from .pipeline.layout import artifacts
from .pipeline.manifest import manifest
from .pipeline.output import assemble
from .pipeline.store import DamagedError, Entry, Store, cache_folder
from .recipe import outputs_of, stages_of
from .spec.model import Spec

_ATTEMPTS = 3  # an entry found damaged while it is copied is dropped and built again


@dataclass(frozen=True, slots=True)
class BuiltArtifact:
    """One file of the output: sizes in bytes, ``allocated`` as it lies on the disk (holes left out)."""

    path: str
    size: int
    allocated: int
    sha256: str


@dataclass(frozen=True, slots=True)
class BuildResult:
    """What a build gave. ``seconds`` has the stages that ran; the others were in the store."""

    name: str
    target: Path
    report: Path
    changed: bool
    artifacts: tuple[BuiltArtifact, ...]
    stage_ids: Mapping[str, str]
    seconds: Mapping[str, float]

    def as_json(self) -> dict[str, Any]:
        """The result as plain JSON."""
        return {**asdict(self), "target": str(self.target), "report": str(self.report)}


def build_spec(
    spec: Spec, target: Path, emit: Emit, *, only: tuple[str, ...] = (), offline: bool = False, jobs: int = 1
) -> BuildResult:
    """Build a spec into ``target``, which appears complete or not at all.

    ``only``: these stages and what they need; the manifest then says that the set is partial. Raises InputError,
    ToolError.
    """
    store = Store(cache_folder())
    store.sweep()
    stages = stages_of(spec)
    names = {s.name for s in stages}
    for name in only:
        if name not in names:
            raise InputError(f"no stage is named {name}", hint=f"there are: {', '.join(s.name for s in stages)}")
    report = target.with_name(target.name + ".report")
    seconds: dict[str, float] = {}
    for attempt in range(_ATTEMPTS):
        inputs = BuildInputs(store, offline=offline)
        with _log(report, append=attempt > 0) as log:
            engine = Engine(spec.name, stages, store, inputs, emit, log, jobs, seconds)
            entries = engine.build(only or outputs_of(spec))
        release = _release(entries)
        chosen = list(artifacts(spec, release, entries))
        recipes = {name: store.recipe(name, entry.id) for name, entry in entries.items()}
        data = manifest(spec, chosen, entries, recipes)
        try:
            changed = assemble(store, target, data, chosen, entries)
        except DamagedError:
            continue
        break
    else:
        raise ToolError(f"the store in {store.cache} keeps damaging what is put there", hint="check that disk")
    order = [s.name for s in stages if s.name in entries]
    result = BuildResult(
        spec.name,
        target,
        report,
        changed,
        tuple(_built(target, a.path, entries[a.stage].files[a.source].sha256) for a in chosen),
        {name: entries[name].id for name in order},
        seconds,
    )
    if seconds:
        write_atomically(report / "timings.json", json.dumps(result.as_json()["seconds"], indent=2).encode())
    return result


def _log(report: Path, *, append: bool) -> Any:
    try:
        report.mkdir(parents=True, exist_ok=True)
        return (report / "build.log").open("a" if append else "w")
    except OSError as error:
        raise ToolError(f"cannot write {report}: {error.strerror}", hint="choose another folder with -o DIR") from error


def _release(entries: Mapping[str, Entry]) -> str | None:
    return entries["kernel"].path("release").read_text().strip() if "kernel" in entries else None


def _built(target: Path, path: str, sha256: str) -> BuiltArtifact:
    try:
        info = (target / path).stat()
    except OSError as error:
        raise InternalError(f"{path} is missing in {target}") from error
    return BuiltArtifact(path, info.st_size, info.st_blocks * 512, sha256)
