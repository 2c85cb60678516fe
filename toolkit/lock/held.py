"""A lock file as what a build asks instead of the world: every answer is in it, or the build does not start."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError, Problem, Where
from ..spec.source import read_source
from ..spec.yamltree import parse
from .model import Lock
from .paths import lock_path
from .read import place_in

OBSERVED = {"from": "this machine"}
"""The request of what is nothing but compared; see `Inputs.observed`."""


class HeldTo:
    """Answers from a lock; see `pipeline.inputs.Answers`.

    ``strict``: another version of a tool is an error; otherwise ``tell`` is told, once for each.
    """

    def __init__(self, lock: Lock, spec: Path, *, strict: bool, tell: Callable[[str], None]) -> None:
        self.lock = lock
        self.asked: set[str] = set()
        self._spec, self._strict, self._tell = spec, strict, tell
        self._told: set[str] = set()

    @property
    def name(self) -> str:
        """The lock file's name."""
        return lock_path(self._spec).name

    def answer(self, key: str, request: Mapping[str, Any], find: Callable[[], Any]) -> Any:
        """Raises InputError when the lock has no answer, or one to another request: nothing is found instead."""
        self.asked.add(key)
        locked = self.lock.inputs.get(key)
        if locked is None:
            raise self._stale(key, f"{self.name} has no answer for {key}")
        wanted = plain(request)
        if wanted != locked.request:
            changed = _difference(dict(locked.request), wanted)
            raise self._stale(key, f"{key} has changed since {self.name} was written: {changed}")
        return plain(locked.answer)

    def compare(self, key: str, found: Mapping[str, Any]) -> None:
        """Raises InputError when what is found on this machine is not what the lock holds."""
        answer = self.answer(key, OBSERVED, lambda: found)
        if answer == found:
            return
        was, now = (_shown(each, with_digest=answer.get("version") == found["version"]) for each in (answer, found))
        raise InputError(
            f"{key} is {now} on this machine, and {was} in {self.name}",
            where=place_in(self.lock, "inputs", key),
            hint=f"install that one, or take this one: kata-toolkit lock {self._spec} --update {key}",
        )

    def admit(self, tools: Mapping[str, str]) -> None:
        """Raises InputError for tools that are not those of the lock, if it is strict."""
        problems = []
        for tool, version in sorted(tools.items()):
            locked = self.lock.tools.get(tool)
            if locked == version or tool in self._told:
                continue
            self._told.add(tool)
            there = f'and "{locked}" in {self.name}' if locked else f"and not in {self.name} at all"
            message = f'{tool} is "{version}" here, {there}'
            if self._strict:
                hint = "the bytes may differ: use that one, or write the lock anew"
                problems.append(Problem(message, place_in(self.lock, "tools", tool), hint))
            else:
                self._tell(f"{message}: the bytes may differ")
        if problems:
            raise InputError.many(problems)

    def require_no_more(self) -> None:
        """Once all was asked: raises InputError for what the lock holds and nothing asks for, if it is strict."""
        for key in sorted(self.lock.inputs.keys() - self.asked):
            message = f"nothing in the spec asks for {key} any more"
            if self._strict:
                hint = f"kata-toolkit lock {self._spec}"
                raise InputError(message, where=place_in(self.lock, "inputs", key), hint=hint)
            self._tell(f"{message}, which {self.name} still holds")

    def _stale(self, key: str, message: str) -> InputError:
        hint = f"kata-toolkit lock {self._spec}"
        return InputError(message, where=place_in_spec(self._spec, key), hint=hint)


@dataclass(frozen=True)
class WhereItFits:
    """Answers from a lock for what asks about a spec, or about one made from it: anything else is looked up.

    So `kernel explain` sees the kernel that a build would take. Nothing is compared.
    """

    lock: Lock

    def answer(self, key: str, request: Mapping[str, Any], find: Callable[[], Any]) -> Any:
        """The lock's answer if it is one to this request, else what is found."""
        locked = self.lock.inputs.get(key)
        return plain(locked.answer) if locked and locked.request == plain(request) else find()

    def compare(self, key: str, found: Mapping[str, Any]) -> None:
        """Nothing goes into a set."""

    def admit(self, tools: Mapping[str, str]) -> None:
        """Nothing goes into a set."""


def place_in_spec(spec: Path, key: str) -> Where:
    """Where a spec wishes something; the nearest there is where it is a default."""
    try:
        return parse(read_source(spec))[0].key_where(key.split("."))
    except InputError:
        return Where(str(spec))


def plain(value: Any) -> Any:
    """As it comes back from a file: tuples are lists."""
    return json.loads(json.dumps(value))


def _shown(found: Mapping[str, Any], *, with_digest: bool) -> str:
    version = found.get("version", "another")
    return f"{version} (sha256 {found.get('sha256', '')[:12]}…)" if with_digest else str(version)


def _difference(old: dict[str, Any], new: dict[str, Any]) -> str:
    """What was asked for, and what is, for a person."""
    parts = []
    for key in sorted(old.keys() | new.keys()):
        was, now = old.get(key), new.get(key)
        if was == now:
            continue
        if isinstance(was, list) and isinstance(now, list):
            more = [f"+{item}" for item in now if item not in was] + [f"-{item}" for item in was if item not in now]
            parts.append(f"{key}: {', '.join(more) or 'in another order'}")
        else:
            parts.append(f"{key} was {_word(was)}, is {_word(now)}")
    return "; ".join(parts)


def _word(value: Any) -> str:
    return "not given" if value is None else json.dumps(value, ensure_ascii=False)
