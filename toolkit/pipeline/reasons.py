"""Why a stage is not in the store: its recipe next to the one of the last build of the same spec."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

_MOST = 6  # a person reads this many reasons; the rest is counted


def reasons(new: dict[str, Any], old: dict[str, Any] | None) -> list[str]:
    """Short lines that say what differs, e.g. ``option CONFIG_X changed: 64 → 32``, ``gcc: 12.2 → 13.1``.

    Both are recipes as JSON (`Recipe.as_json`); ``old`` None means that it was never built.
    """
    if old is None:
        return ["never built"]
    found = list(_differences(new, old))
    if not found:
        return ["its bytes are no longer in the store"]
    if len(found) > _MOST:
        found = [*found[:_MOST], f"and {len(found) - _MOST} more changes"]
    return found


def _differences(new: dict[str, Any], old: dict[str, Any]) -> Iterator[str]:
    yield from _named("tool {}: {}", new["tools"], old["tools"])
    yield from _named("option {} changed: {}", _leaves(new["options"]), _leaves(old["options"]))
    yield from _changed("input {}", new["inputs"], old["inputs"])
    yield from _changed("file {}", new["files"], old["files"])
    yield from _changed("code {}", new["modules"], old["modules"])
    yield from _commands(new["commands"], old["commands"])


def _named(form: str, new: dict[str, Any], old: dict[str, Any]) -> Iterator[str]:
    for name in sorted(new.keys() | old.keys()):
        before, after = old.get(name, "(unset)"), new.get(name, "(unset)")
        if before != after:
            yield form.format(name, f"{before} → {after}")


def _changed(form: str, new: dict[str, str], old: dict[str, str]) -> Iterator[str]:
    for name in sorted(new.keys() | old.keys()):
        if new.get(name) != old.get(name):
            how = "added" if name not in old else "removed" if name not in new else "changed"
            yield f"{form.format(name)} {how}"


def _leaves(value: Any, path: str = "") -> dict[str, Any]:
    """The scalars of nested JSON by dotted path; a path through symbols ends with the symbol's own name."""
    if isinstance(value, dict):
        found: dict[str, Any] = {}
        for key, inner in value.items():
            place = key if key.startswith("CONFIG_") or not path else f"{path}.{key}"
            found.update(_leaves(inner, place))
        return found
    return {path: value}


def _commands(new: list[dict[str, Any]], old: list[dict[str, Any]]) -> Iterator[str]:
    if len(new) != len(old):
        yield f"{len(old)} commands → {len(new)} commands"
    for after, before in zip(new, old, strict=False):
        if after == before:
            continue
        words = [w for w in after["argv"] if w not in before["argv"]]
        gone = [w for w in before["argv"] if w not in after["argv"]]
        settings = sorted(f"{k}={v}" for k, v in after["env"].items() if before["env"].get(k) != v)
        told = [*(f"+{w}" for w in [*words, *settings]), *(f"-{w}" for w in gone)]
        yield f"command {after['argv'][0]} changed: {' '.join(told) or 'order of its words'}"
