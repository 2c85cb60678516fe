"""What stages may ask while they plan: outputs of other stages, files, tools; all remembered between builds."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from .. import run
from ..errors import ToolError
from .files import DigestMemo, Stamp, read_json, write_atomically
from .packages import install_hint
from .stage import Inputs, Lookup, NotBuiltYet, Recipe
from .store import Entry, Store

_VERSION_SECONDS = 20.0


class Answers(Protocol):
    """A lock file, as far as stages are concerned; see `Inputs.resolved` and `Inputs.observed`."""

    def answer(self, key: str, request: Mapping[str, Any], find: Callable[[], Any]) -> Any: ...

    def compare(self, key: str, found: Mapping[str, Any]) -> None: ...

    def admit(self, tools: Mapping[str, str]) -> None: ...


class BuildInputs(Inputs):
    """The inputs of one build: grows as its stages get their entries in the store.

    ``lock``: what answers instead of the world.
    """

    def __init__(self, store: Store, *, offline: bool = False, lock: Answers | None = None) -> None:
        self._store = store
        self._offline = offline
        self._lock = lock
        self._entries: dict[str, Entry] = {}
        self._memo = DigestMemo(store.cache / "digests.json")
        self._tools_file = store.cache / "tools.json"
        self._tools: dict[str, list[int | str]] = read_json(self._tools_file, {})
        self._tools_changed = False

    def add(self, entry: Entry) -> None:
        """Make a stage's output known to the stages that read it."""
        self._entries[entry.stage] = entry

    def drop(self, stage: str) -> None:
        """Forget a stage's output."""
        self._entries.pop(stage, None)

    def stored(self, stage: str, recipe: Recipe) -> Entry | None:
        """What the store has of a stage, if it was made by that very recipe."""
        return self._store.get(stage, recipe.id(stage))

    @property
    def entries(self) -> dict[str, Entry]:
        """The entries known so far, by stage."""
        return dict(self._entries)

    def _entry(self, stage: str) -> Entry:
        if stage not in self._entries:
            raise NotBuiltYet(stage)
        return self._entries[stage]

    def digest(self, stage: str, path: str) -> str:
        return self._entry(stage).files[path].sha256

    def path(self, stage: str, path: str) -> Path:
        return self._entry(stage).path(path)

    def file_digest(self, path: Path) -> str:
        return self._memo.digest(path)

    def resolved(self, lookup: Lookup) -> Any:
        return self._lock.answer(lookup.key, lookup.request, lookup.find) if self._lock else lookup.find()

    def observed(self, key: str, found: Mapping[str, Any]) -> None:
        if self._lock:
            self._lock.compare(key, found)

    def admit(self, tools: Mapping[str, str]) -> None:
        """Hold the tools that decide a stage's bytes to the lock file, if there is one. Raises InputError."""
        if self._lock:
            self._lock.admit(tools)

    @property
    def cache(self) -> Path:
        return self._store.cache

    @property
    def offline(self) -> bool:
        return self._offline

    def tool(self, name: str, *version_argv: str) -> str:
        path = run.which(name)
        if path is None:
            raise ToolError(f"{name} is not installed", hint=install_hint(name))
        stamp = Stamp.of(path.resolve())
        key = " ".join([str(path), *version_argv])
        seen = [stamp.size, stamp.inode, stamp.mtime_ns, stamp.ctime_ns]
        known = self._tools.get(key)
        if known and known[:4] == seen:
            return str(known[4])
        result = run.run([str(path), *(version_argv or ("--version",))], check=False, timeout=_VERSION_SECONDS)
        version = next((line.strip() for line in result.output.splitlines() if line.strip()), "")
        if not version:
            raise ToolError(f"{name} does not tell its version (status {result.status})", hint=install_hint(name))
        self._tools[key] = [*seen, version]
        self._tools_changed = True
        return version

    def save(self) -> None:
        """Keep what was learnt about files and tools for the next build."""
        self._memo.save()
        if self._tools_changed:
            with contextlib.suppress(OSError):
                write_atomically(self._tools_file, json.dumps(self._tools, sort_keys=True).encode())
