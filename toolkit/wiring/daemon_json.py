"""Docker's daemon.json: the set's runtimes put into ``runtimes`` and taken out again, all else as it is written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import InputError, InternalError, Problem
from .json_text import JsonText, object_of
from .marked import Edited

_RUNTIMES = "runtimes"


def put(text: str, file: Path, runtimes: Mapping[str, Any], *, force: bool = False) -> Edited:
    """The text with these runtimes.

    Raises InputError when it is no JSON object, and when a runtime of that name is there with another value, unless
    ``force``.
    """
    text = text if text.strip() else "{}\n"
    before = _runtimes(JsonText(text, file))
    differing = {name: value for name, value in runtimes.items() if before.get(name, value) != value}
    if differing and not force:
        raise InputError.many(
            Problem(
                f"the runtime {name} is there already, and differs: it says {json.dumps(before[name])[:200]}",
                _place(text, file, name),
                "--force puts this set's in its place",
            )
            for name in differing
        )
    done = {}
    for name, value in runtimes.items():
        done[name] = "added" if name not in before else "replaced" if name in differing else "unchanged"
        if done[name] != "unchanged":
            text = _with(text, file, name, value)
    _require(text, file, {**before, **runtimes})
    return Edited(text, done)


def drop(text: str, file: Path, runtimes: Mapping[str, Any], *, force: bool = False) -> Edited:
    """The text without these runtimes, and without ``runtimes`` when nothing else is in it.

    Raises InputError when one is there with another value, unless ``force``.
    """
    if not text.strip():
        return Edited(text, dict.fromkeys(runtimes, "absent"))
    before = _runtimes(JsonText(text, file))
    differing = [name for name, value in runtimes.items() if before.get(name, value) != value]
    if differing and not force:
        raise InputError.many(
            Problem(
                f"the runtime {name} is there, but not as this set would have it",
                _place(text, file, name),
                "--force removes it",
            )
            for name in differing
        )
    done = {name: "removed" if name in before else "absent" for name in runtimes}
    for name in (name for name in runtimes if name in before):
        document = JsonText(text, file)
        node = document.root.members[_RUNTIMES][1]
        if len(node.members) == 1:
            text = document.without_member(document.root, _RUNTIMES)
        else:
            text = document.without_member(node, name)
    _require(text, file, {name: value for name, value in before.items() if name not in runtimes})
    return Edited(text, done)


def _runtimes(document: JsonText) -> dict[str, Any]:
    object_of(document, document.root, "the document")
    if _RUNTIMES not in document.root.members:
        return {}
    node = document.root.members[_RUNTIMES][1]
    object_of(document, node, f'"{_RUNTIMES}"')
    return dict(node.value)


def _place(text: str, file: Path, name: str) -> Any:
    document = JsonText(text, file)
    return document.where(document.root.members[_RUNTIMES][1].members[name][0])


def _with(text: str, file: Path, name: str, value: Any) -> str:
    document = JsonText(text, file)
    if _RUNTIMES not in document.root.members:
        return document.with_member(document.root, _RUNTIMES, {name: value}, 0)
    node = document.root.members[_RUNTIMES][1]
    if name in node.members:
        return document.replaced(node.members[name][1], value, 2)
    return document.with_member(node, name, value, 1)


def _require(text: str, file: Path, runtimes: Mapping[str, Any]) -> None:
    """What was written says what was meant."""
    if _runtimes(JsonText(text, file)) != runtimes:
        raise InternalError(f"{file}: the runtimes written are not those meant")
