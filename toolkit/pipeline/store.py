"""The store: what stages have made, by stage and id, shared by all builds of one user.

    CACHE/objects/STAGE/ID/tree/…       the stage's output, read-only
    CACHE/objects/STAGE/ID/recipe.json  what made it
    CACHE/objects/STAGE/ID/index.json   each file's size, sha256, inode and times
    CACHE/tmp/…                         work under way; what a killed build leaves here is swept by the next one
    CACHE/scratch/…                     unpacked kernel trees: rebuilt at will, never trusted as an output

An entry appears by one rename, so it is there whole or not at all. Files are trusted while size, inode and times
are as recorded; they are digested whenever their bytes are copied out, and by `cache verify`.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..errors import InternalError, ToolError
from ..locks import locked
from .files import Stamp, read_json, sha256_of, write_atomically

CACHE_VARIABLE = "KATA_TOOLKIT_CACHE"


def cache_folder() -> Path:
    """Where the store lies: $KATA_TOOLKIT_CACHE, or the user's cache folder."""
    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen:
        return Path(chosen).absolute()
    import platformdirs

    return Path(platformdirs.user_cache_dir("kata-toolkit"))


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One file of an entry: its digest, whether it is executable, and the stamp it was digested with."""

    sha256: str
    executable: bool
    stamp: Stamp


@dataclass(frozen=True, slots=True)
class Entry:
    """A stage's output in the store."""

    stage: str
    id: str
    folder: Path
    files: dict[str, StoredFile]

    @property
    def size(self) -> int:
        """The sum of its files' sizes, in bytes."""
        return sum(stored.stamp.size for stored in self.files.values())

    def path(self, name: str) -> Path:
        """The path of an output file. Raises KeyError when the stage did not make it."""
        if name not in self.files:
            raise KeyError(f"the stage {self.stage} made no {name}")
        return self.folder / "tree" / name


class DamagedError(Exception):
    """An entry's bytes are not what was recorded; it has been removed and can be made again."""

    def __init__(self, stage: str, id_: str, file: str) -> None:
        super().__init__(f"{stage} {id_}: {file} is not what was stored")
        self.stage = stage


class Store:
    """The store in one cache folder. Safe with several builds at once."""

    def __init__(self, cache: Path) -> None:
        """Raises ToolError when the folder cannot be made."""
        self.cache = cache
        self._objects = cache / "objects"
        self._temporary = cache / "tmp"
        try:
            for folder in (self._objects, self._temporary, cache / "locks", cache / "scratch"):
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._unusable(error) from error

    # -- reading ---------------------------------------------------------------------------------------------

    def get(self, stage: str, id_: str) -> Entry | None:
        """The entry, or None. One that is damaged is removed but for its recipe, and so is None."""
        if not (self._objects / stage / id_).exists():
            return None  # and nothing to remove: another build may be just about to put it there
        entry = self._indexed(stage, id_)
        if entry and all(self._trusted(entry, name) for name in entry.files):
            return entry
        self._discard(self._objects / stage / id_)
        return None

    def _indexed(self, stage: str, id_: str) -> Entry | None:
        """The entry as its index describes it, whatever became of its files."""
        folder = self._objects / stage / id_
        index = read_json(folder / "index.json", {})
        if "files" not in index:
            return None
        return Entry(stage, id_, folder, {name: _stored_file(facts) for name, facts in index["files"].items()})

    def recipe(self, stage: str, id_: str) -> dict[str, Any] | None:
        """The recipe (as JSON) that made an entry, or None when there is none."""
        return read_json(self._objects / stage / id_ / "recipe.json", {}) or None

    def entries(self) -> Iterator[Entry]:
        """All entries, by stage and id, as their indices describe them; their files may be damaged."""
        for folder in sorted(self._objects.glob("*/*")):
            entry = self._indexed(folder.parent.name, folder.name)
            if entry:
                yield entry

    def _trusted(self, entry: Entry, name: str) -> bool:
        stored = entry.files[name]
        path = entry.path(name)
        try:
            if Stamp.of(path) == stored.stamp:
                return True
            return sha256_of(path) == stored.sha256  # moved or restored from a backup: the bytes decide
        except OSError:
            return False

    def check(self, entry: Entry) -> list[str]:
        """Digest every byte of an entry; the names of the files that are not what was stored."""
        bad = []
        for name, stored in entry.files.items():
            try:
                good = sha256_of(entry.path(name)) == stored.sha256
            except OSError:
                good = False
            if not good:
                bad.append(name)
        return bad

    # -- writing ---------------------------------------------------------------------------------------------

    @contextmanager
    def lock(self, stage: str, id_: str, *, wait: bool = True) -> Iterator[bool]:
        """Hold the right to make one entry; yields False (without ``wait``) when another build has it."""
        with locked(self.cache / "locks" / f"{stage}-{id_}", wait=wait) as mine:
            yield mine

    @contextmanager
    def workspace(self) -> Iterator[Path]:
        """A temporary folder that vanishes at the end, whatever happens; swept by the next build after a kill."""
        folder = self._temporary / f"{os.getpid()}-{secrets.token_hex(6)}"
        lock_file = folder.with_suffix(".lock")
        with locked(lock_file):
            folder.mkdir()
            try:
                yield folder
            finally:
                self._remove(folder)
                lock_file.unlink(missing_ok=True)

    def put(self, stage: str, id_: str, recipe: dict[str, Any], made: Path) -> Entry:
        """Move a finished output tree into the store. The caller holds `lock`; ``made`` lies in a `workspace`.

        Raises ToolError when the disk is full, InternalError for a stage that made nothing.
        """
        names = sorted(str(p.relative_to(made)) for p in made.rglob("*") if p.is_file() and not p.is_symlink())
        if not names:
            raise InternalError(f"the stage {stage} made nothing")
        staging = made.with_name(made.name + ".entry")
        try:
            staging.mkdir()
            made.rename(staging / "tree")
            files: dict[str, Any] = {}
            for name in names:
                path = staging / "tree" / name
                executable = bool(path.stat().st_mode & 0o100)
                path.chmod(0o555 if executable else 0o444)
                files[name] = {"sha256": sha256_of(path), "executable": executable, "stamp": asdict(Stamp.of(path))}
            (staging / "recipe.json").write_text(json.dumps(recipe, sort_keys=True, indent=1))
            (staging / "index.json").write_text(json.dumps({"files": files}, sort_keys=True))
            target = self._objects / stage / id_
            target.parent.mkdir(exist_ok=True)
            self._remove(target)
            staging.rename(target)
        except OSError as error:
            raise ToolError(f"cannot store the output of {stage}: {error.strerror}") from error
        entry = self.get(stage, id_)
        if entry is None:
            raise InternalError(f"the output of {stage} vanished as it was stored")
        return entry

    def drop(self, entry: Entry) -> None:
        """Remove an entry that is damaged; its recipe stays, to tell why the next build makes it again."""
        self._discard(entry.folder)

    def _discard(self, folder: Path) -> None:
        if not (folder / "index.json").exists() and not (folder / "tree").exists():
            return  # nothing, or a recipe that was left before
        recipe = read_json(folder / "recipe.json", {})
        self._remove(folder)
        if recipe:
            with contextlib.suppress(OSError):
                write_atomically(folder / "recipe.json", json.dumps(recipe, sort_keys=True, indent=1).encode())

    def sweep(self) -> None:
        """Remove what killed builds left under way."""
        for lock_file in self._temporary.glob("*.lock"):
            with contextlib.suppress(OSError), locked(lock_file, wait=False) as abandoned:
                if abandoned:
                    self._remove(lock_file.with_suffix(""))
                    lock_file.unlink(missing_ok=True)
        for doomed in self._temporary.glob("doomed-*"):
            if not Path(f"/proc/{doomed.name.split('-')[1]}").exists():
                shutil.rmtree(doomed, ignore_errors=True)

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Held by every build: `collect` waits for builds under way, and builds for it.

        A shared lock (flock(2)), which the kernel drops when its holder dies.
        """
        with self._use_lock(fcntl.LOCK_SH):
            yield

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Held while no build is under way; builds wait."""
        with self._use_lock(fcntl.LOCK_EX):
            yield

    @contextmanager
    def _use_lock(self, how: int) -> Iterator[None]:
        try:
            stream = (self.cache / "in-use").open("a")
        except OSError as error:
            raise self._unusable(error) from error
        with stream:
            fcntl.flock(stream, how)
            yield

    def _unusable(self, error: OSError) -> ToolError:
        return ToolError(
            f"cannot use the cache folder {self.cache}: {error.strerror}",
            hint=f"set {CACHE_VARIABLE} to another place",
        )

    def collect(self, *, scratch: bool) -> int:
        """Remove every entry that no spec's last build used (and scratch trees). Returns the bytes freed."""
        with self.alone():
            last_builds = [read_json(file, {}) for file in (self.cache / "last").glob("*.json")]
            used = {(stage, id_) for ids in last_builds for stage, id_ in ids.items()}
            doomed = [entry for entry in self.entries() if (entry.stage, entry.id) not in used]
            freed = sum(entry.size for entry in doomed)
            for entry in doomed:
                self._remove(entry.folder)
            for path in (self.cache / "scratch").iterdir() if scratch else ():
                freed += path.lstat().st_size + sum(p.lstat().st_size for p in path.rglob("*"))
                self._remove(path)
            return freed

    def _remove(self, folder: Path) -> None:
        """Remove a tree (or a file); first renamed away, so that nobody finds half of it under its name."""
        if not folder.exists():
            return
        doomed = self._temporary / f"doomed-{os.getpid()}-{secrets.token_hex(6)}"
        with contextlib.suppress(OSError):
            folder.rename(doomed)
            if doomed.is_dir():
                shutil.rmtree(doomed, ignore_errors=True)
            else:
                doomed.unlink()

    # -- what the last build of a spec used, to explain why the next one differs --------------------------------

    def remember(self, spec: str, ids: dict[str, str]) -> None:
        """Note which ids the last build of a spec used; ``spec`` is a key that is good as a file name."""
        file = self.cache / "last" / f"{spec}.json"
        known = read_json(file, {})
        if known != {**known, **ids}:
            with contextlib.suppress(OSError):
                write_atomically(file, json.dumps({**known, **ids}, sort_keys=True).encode())

    def remembered(self, spec: str) -> dict[str, str]:
        """The ids of the last build of a spec, by stage."""
        return read_json(self.cache / "last" / f"{spec}.json", {})


def _stored_file(facts: dict[str, Any]) -> StoredFile:
    return StoredFile(facts["sha256"], facts["executable"], Stamp(**facts["stamp"]))
