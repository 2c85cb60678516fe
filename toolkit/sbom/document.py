"""How the documents are written: one line an entry, so that they can be read, compared and written fast."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

EPOCH = "1970-01-01T00:00:00Z"
"""The time in documents that must have one: as with all that is built here, it says nothing, and is always the same."""

SITE = "https://kata-toolkit.invalid"
"""Begins names that must be addresses, as those of our JSON schemas do; nothing is to be found there."""


def written(document: Mapping[str, Any]) -> bytes:
    """JSON, its keys sorted below the first level; each entry of a list on the first level has a line of its own."""
    lines = []
    for key, value in document.items():
        if isinstance(value, list) and value:
            body = "[\n" + ",\n".join(f"  {_compact(entry)}" for entry in value) + "\n ]"
        else:
            body = _compact(value)
        lines.append(f" {json.dumps(key)}: {body}")
    return ("{\n" + ",\n".join(lines) + "\n}\n").encode()


def text(value: str) -> str:
    """A text as JSON can carry it: a path that is not UTF-8 has its odd bytes shown."""
    return value.encode(errors="surrogateescape").decode(errors="backslashreplace")


def _compact(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)
