"""Texts that differ: TOML, JSON, configurations, line by line."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from pathlib import Path

_MAX_BYTES = 4 << 20  # of a text that is compared by lines
_MAX_LINES = 12
_MAX_WIDTH = 160


def read_text(path: Path) -> list[str] | None:
    """A file's lines, or None when it is no text."""
    if path.stat().st_size > _MAX_BYTES:
        return None
    try:
        text = path.read_bytes().decode()
    except UnicodeDecodeError:
        return None
    return None if "\0" in text else text.split("\n")


def text_differences(old: list[str], new: list[str]) -> Iterator[str]:
    """The lines that differ, ``-`` as in the set and ``+`` as rebuilt, each change with its line's number."""
    shown = 0
    line = 0
    for row in difflib.unified_diff(old, new, lineterm="", n=0):
        if row.startswith(("---", "+++")) and not line:
            continue
        if row.startswith("@@"):
            line = int(row.split()[1][1:].split(",")[0])
            continue
        if shown == _MAX_LINES:
            yield "more lines differ"
            return
        shown += 1
        yield f"line {line}: {row[:_MAX_WIDTH]}"
