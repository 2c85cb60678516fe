"""Reads a lock file as carefully as a spec: every mistake in it at its line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..errors import InputError, Problem, Where
from ..pipeline.store import cache_folder
from ..spec.schema import check, in_file_order, load_schema
from ..spec.soundness_memo import SoundnessMemo
from ..spec.source import Source, read_source
from ..spec.yamltree import parse
from .model import Lock, Locked
from .text import VERSION

_MAX_BYTES = 16 << 20  # some 40,000 packages
_CONFLICT = ("<<<<<<<", "=======", ">>>>>>>", "|||||||")


def read_lock(path: Path) -> Lock:
    """Read a lock file. Raises InputError with every problem in it."""
    source = read_source(path, max_bytes=_MAX_BYTES)
    document = _parsed(source)
    schema = load_schema("lock")
    memo = SoundnessMemo(cache_folder() / "sound-locks", document, schema)
    if not memo.known():
        _require_sound(source, document)
        memo.remember()
    inputs = {key: Locked(entry["request"], entry["answer"]) for key, entry in document["inputs"].items()}
    return Lock(document["toolkit"], inputs, document["tools"], source.file, source.digest)


def place_in(lock: Lock, *steps: str) -> Where:
    """Where something stands in a lock's file; its top where that cannot be told."""
    try:
        return parse(read_source(Path(lock.file), max_bytes=_MAX_BYTES))[0].key_where(steps)
    except InputError:
        return Where(lock.file)


def _parsed(source: Source) -> Any:
    try:
        return json.loads(source.text, object_pairs_hook=_pairs, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        where = Where(source.file, error.lineno, error.colno)
        if source.lines[error.lineno - 1].startswith(_CONFLICT):
            hint = f"take either side whole, then run `kata-toolkit lock` on the spec beside {Path(source.file).name}"
            raise InputError("has an unresolved merge conflict", where=where, hint=hint) from error
        raise InputError(f"is no JSON: {_lower(error.msg)}", where=where, hint=_remake(source.file)) from error
    except RecursionError as error:
        raise InputError("is nested too deeply", where=Where(source.file), hint=_remake(source.file)) from error
    except ValueError as error:
        tree, problems = parse(source)  # which knows where a key stands twice
        found = problems or [Problem(str(error), tree.root.where, _remake(source.file))]
        raise InputError.many(found) from error


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands twice in one object")
    return found


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is no JSON")


def _require_sound(source: Source, document: Any) -> None:
    tree, problems = parse(source)
    version = document.get("version") if isinstance(document, dict) else None
    if isinstance(version, int) and version > VERSION:
        by = document.get("toolkit")
        raise InputError(
            f"is a lock file of version {version}; this kata-toolkit reads version {VERSION}",
            where=tree.value_where(("version",)),
            hint=f"it was written by kata-toolkit {by}: use that or a newer one" if by else "use a newer kata-toolkit",
        )
    problems += [problem for _, problem in check(tree, load_schema("lock"))]
    if problems:
        raise InputError.many(sorted(dict.fromkeys(problems), key=in_file_order))


def _remake(file: str) -> str:
    return f"remove {file} and run `kata-toolkit lock` on the spec beside it"


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]
