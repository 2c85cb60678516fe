"""Builds a set again from nothing, and says where the result differs: the proof that its bytes come from its spec."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .build import build_spec
from .differ.differences import differences
from .errors import InputError, Where, relative
from .events import Emit
from .pipeline.store import Store, cache_folder
from .spec.model import Spec
from .vm.built_set import BuiltSet

_FETCHED = "sources"  # the stage whose output is what the network gave, held by its digests
_DOWNLOADS = "downloads"
SAME, DIFFERS, NOT_BUILT, LOST = "same", "differs", "not-rebuilt", "lost"


@dataclass(frozen=True, slots=True)
class Compared:
    """One file of a set. ``status``: same, differs, not-rebuilt (its stage was left out) or lost (no longer made)."""

    path: str
    status: str
    differences: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What came of it. ``notes``: what else is not as it was, such as tools, and may be why."""

    files: tuple[Compared, ...]
    notes: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Every file that was rebuilt is the same, and at least one was."""
        statuses = {file.status for file in self.files}
        return SAME in statuses and not statuses & {DIFFERS, LOST}

    def as_json(self) -> dict[str, Any]:
        """The shape of ``schemas/rebuild.schema.json``."""
        files = [{"path": f.path, "status": f.status, "differences": list(f.differences)} for f in self.files]
        return {"ok": self.ok, "files": files, "notes": list(self.notes)}


def rebuild(
    folder: Path, spec: Spec, emit: Emit, *, only: tuple[str, ...] = (), offline: bool = False, jobs: int = 1
) -> Rebuilt:
    """Build the spec in a store of its own, with nothing in it but what was fetched, and compare with the set.

    ``only``: these stages and what they need; the files of others are not compared. Raises InputError when the set is
    another spec's, ToolError.
    """
    built = BuiltSet.load(folder)
    if built.manifest.get("spec_sha256") != spec.digest:
        raise InputError(
            f"{relative(folder)} was not built from this spec: it records another digest",
            where=Where(relative(spec.file)),
            hint="give the spec as it was; what changed since can be seen in its history",
        )
    with _fresh_store(built) as cache:
        target = cache / "rebuilt"
        build_spec(spec, target, emit, only=only, offline=offline, jobs=jobs, cache=cache)
        again = BuiltSet.load(target)
        return Rebuilt(tuple(_compared(built, again)), tuple(_notes(built.manifest, again.manifest)))


@contextmanager
def _fresh_store(built: BuiltSet) -> Iterator[Path]:
    """A cache folder that vanishes, inside the user's own: on that disk, which has room for a kernel's tree."""
    store = Store(cache_folder())
    with store.in_use(), store.workspace() as cache:
        with suppress(OSError):  # else it is fetched again
            (store.cache / _DOWNLOADS).mkdir(exist_ok=True)
            (cache / _DOWNLOADS).symlink_to(store.cache / _DOWNLOADS)
        id_ = str(built.manifest.get("stages", {}).get(_FETCHED, {}).get("id", ""))
        fetched = Path("objects") / _FETCHED / id_
        if id_.isalnum() and (store.cache / fetched).is_dir():
            shutil.copytree(store.cache / fetched, cache / fetched)  # the store digests what it has not seen before
        yield cache


def _compared(built: BuiltSet, again: BuiltSet) -> Iterator[Compared]:
    """Every file that the set records, and those that only the rebuilt one has."""
    made = {file.path: file for file in again.files}
    stages = again.manifest.get("stages", {})
    all_stages = stages.keys() >= built.manifest.get("stages", {}).keys()
    roles = {a.get("path"): a.get("role", "") for a in built.manifest.get("artifacts", ())}
    for file in built.files:
        # What no stage makes, such as a bill of materials, is derived from all that were run.
        if file.stage not in stages if file.stage else not all_stages:
            yield Compared(file.path, NOT_BUILT)
            continue
        if file.path not in made:
            yield Compared(file.path, LOST)
            continue
        old, new = built.folder / file.path, again.folder / file.path
        if not old.is_file():
            yield Compared(file.path, DIFFERS, ("it is missing in the set",))
            continue
        found = differences(old, new, roles[file.path])
        if not found and made[file.path].sha256 != file.sha256:
            found = ["the file is the same, but the manifest records another digest"]
        yield Compared(file.path, DIFFERS if found else SAME, tuple(found))
    recorded = {file.path for file in built.files}
    made = {path: file for path, file in made.items() if file.stage or all_stages}
    yield from (Compared(path, DIFFERS, ("the set does not have it",)) for path in made if path not in recorded)


def _notes(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    """Why bytes may differ: another version of this program, or of the tools of a stage."""
    versions = [m.get("toolkit", {}).get("version") for m in (old, new)]
    if versions[0] != versions[1]:
        yield f"the set was built by kata-toolkit {versions[0]}, this is {versions[1]}"
    for name, stage in new.get("stages", {}).items():
        before = old.get("stages", {}).get(name)
        if before is None:
            continue
        tools, now = before.get("tools", {}), stage.get("tools", {})
        changed = [t for t in sorted(tools.keys() | now.keys()) if tools.get(t) != now.get(t)]
        yield from (f"{name}: {tool} was {tools.get(tool)}, now {now.get(tool)}" for tool in changed)
        if before.get("id") != stage.get("id") and not changed:
            yield f"{name}: what decides its bytes has changed (sources, options or kata-toolkit's own code)"
