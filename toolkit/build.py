"""The main job as one function: a spec in, an output tree out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from .errors import InputError, InternalError, ToolError
from .events import Emit, Note
from .lock.prepare import held_to_lock, prepare
from .pipeline.engine import Engine
from .pipeline.files import write_atomically
from .pipeline.inputs import BuildInputs
from .pipeline.layout import artifacts
from .pipeline.manifest import manifest
from .pipeline.output import assemble
from .pipeline.store import DamagedError, Entry, Store, cache_folder
from .recipe import outputs_of, stages_of
from .report.files import SPEC
from .sbom.documents import Documents
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
    spec: Spec,
    target: Path,
    emit: Emit,
    *,
    only: tuple[str, ...] = (),
    offline: bool = False,
    locked: bool = False,
    jobs: int = 1,
    cache: Path | None = None,
) -> BuildResult:
    """Build a spec into ``target``, which appears complete or not at all.

    ``only``: these stages and what they need; the manifest then says that the set is partial. A lock file beside the
    spec answers all that the spec leaves open; ``locked``: it must be there, and the tools must be its tools.
    ``cache``: where the store lies, if not where the user has it. Raises InputError, ToolError.
    """
    store = Store(cache or cache_folder())
    stages = stages_of(spec)
    _require_known(only, [stage.name for stage in stages])
    report = target.with_name(target.name + ".report")
    held = held_to_lock(spec, emit, locked=locked)
    with store.in_use(), BuildLog(report / "build.log") as log:
        store.sweep()
        for _ in range(_ATTEMPTS):
            inputs = BuildInputs(store, offline=offline, lock=held)
            if held or offline:
                prepare(spec.file, stages, only or outputs_of(spec), inputs, held, whole=not only)
            engine = Engine(spec.key, stages, store, inputs, emit, log, jobs)
            entries = engine.build(only or outputs_of(spec))
            chosen = list(artifacts(spec, _release(entries), entries))
            try:
                documents = Documents(spec, chosen, entries, store)
                lock = held.lock.digest if held else None
                data = manifest(spec, chosen, documents.listed, entries, store, lock=lock)
                made = assemble(store, target, data, chosen, documents, entries, report / "replaced")
            except DamagedError as damage:
                log.write(f"{damage}\n")
                continue
            break
        else:
            raise ToolError(f"the store in {store.cache} keeps damaging what is put there", hint="check that disk")
    write_atomically(report / SPEC, spec.file.read_bytes())
    for name in made.kept:
        emit(Note("output", f"{name} was edited or added since the last build: moved to {report / 'replaced'}"))
    if engine.seconds:
        timings = {"seconds": engine.seconds, "cpu_seconds": engine.cpu_seconds}
        write_atomically(report / "timings.json", json.dumps(timings, indent=2).encode())
    return BuildResult(
        spec.name,
        target,
        report,
        made.changed,
        (
            *(_built(target, a.path, entries[a.stage].files[a.source].sha256) for a in chosen),
            *(_built(target, g.path, g.sha256) for g in documents.listed),
        ),
        {stage.name: entries[stage.name].id for stage in stages if stage.name in entries},
        engine.seconds,
    )


class BuildLog:
    """The build's log file, replaced by the first thing there is to write: a build that runs nothing keeps it."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._stream: IO[str] | None = None

    def write(self, text: str) -> None:
        """Raises ToolError when the file cannot be written."""
        try:
            if self._stream is None:
                self._file.parent.mkdir(parents=True, exist_ok=True)
                self._stream = self._file.open("w")
            self._stream.write(text)
        except OSError as error:
            raise ToolError(
                f"cannot write {self._file}: {error.strerror}", hint="choose another folder with -o DIR, or make room"
            ) from error

    def __enter__(self) -> BuildLog:
        return self

    def __exit__(self, *_: object) -> None:
        if self._stream:
            self._stream.close()


def _require_known(wanted: tuple[str, ...], names: list[str]) -> None:
    for name in wanted:
        if name not in names:
            raise InputError(f"no stage is named {name}", hint=f"there are: {', '.join(names)}")


def _release(entries: Mapping[str, Entry]) -> str | None:
    return entries["kernel"].path("release").read_text().strip() if "kernel" in entries else None


def _built(target: Path, path: str, sha256: str) -> BuiltArtifact:
    try:
        info = (target / path).stat()
    except OSError as error:
        raise InternalError(f"{path} is missing in {target}") from error
    return BuiltArtifact(path, info.st_size, info.st_blocks * 512, sha256)
