"""A lock file as text: sorted, a package a line, so that a difference can be read in a review."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from .model import Lock

VERSION = 1
_WIDTH = 100
_FIRST = ("kind", "name", "package", "reference", "version", "architecture", "sha256", "size")
"""The keys that a person looks for, in this order; what else there is follows by name."""


def lock_text(lock: Lock) -> str:
    """The file's text. The same lock gives the same bytes, whatever the order it was made in."""
    document = {
        "version": VERSION,
        "toolkit": lock.toolkit,
        "inputs": {
            key: {"request": dict(locked.request), "answer": dict(locked.answer)}
            for key, locked in sorted(lock.inputs.items())
        },
        "tools": dict(sorted(lock.tools.items())),
    }
    parts = [f"  {_word(key)}: {_open(value, '  ', depth=2)}" for key, value in document.items()]
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _open(value: Any, indent: str, *, depth: int = 0) -> str:
    """A value with ``depth`` levels of objects opened whatever their size, and more where a line would be too long."""
    line = _word(value)
    if not value or not isinstance(value, dict | list) or (not depth and len(line) <= _WIDTH and not _records(value)):
        return line
    inner = indent + "  "
    if isinstance(value, dict):
        ordered = value if depth else _ordered(value)
        parts = [f"{inner}{_word(key)}: {_open(item, inner, depth=max(depth - 1, 0))}" for key, item in ordered.items()]
        return "{\n" + ",\n".join(parts) + f"\n{indent}}}"
    return "[\n" + ",\n".join(f"{inner}{_word(item)}" for item in value) + f"\n{indent}]"


def _records(value: Mapping[str, Any] | list[Any]) -> bool:
    """Whether there is a list of objects in it: each of those gets a line, however short."""
    inside = value.values() if isinstance(value, Mapping) else value
    if isinstance(value, list) and any(isinstance(item, dict) for item in inside):
        return True
    return any(_records(item) for item in inside if isinstance(item, dict | list))


def _word(value: Any) -> str:
    return json.dumps(_ordered(value), ensure_ascii=False)


def _ordered(value: Any) -> Any:
    """The same with the keys of every object in their order."""
    if isinstance(value, dict):
        keys = sorted(value, key=lambda key: (_FIRST.index(key) if key in _FIRST else len(_FIRST), key))
        return {key: _ordered(value[key]) for key in keys}
    return [_ordered(item) for item in value] if isinstance(value, list) else value
