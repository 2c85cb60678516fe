"""Reads a spec: YAML with positions, the schema, the model, the cross-checks; every mistake of one spec at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..errors import InputError
from .build import build_spec
from .crosscheck import crosscheck
from .defaults import filled
from .model import Spec
from .schema import check, in_file_order, load_schema
from .source import read_source
from .yamltree import Steps, Tree, parse


def load_spec(path: Path) -> Spec:
    """The spec in the file at ``path``, validated, with defaults filled in and paths made absolute.

    Raises InputError with every problem in it, in the order of the file.
    """
    tree, problems = parse(read_source(path))
    schema = load_schema("spec")
    broken = check(tree, schema)
    problems += [problem for _, problem in broken]
    unusable = [steps for steps, _ in broken] + _broken_nodes(tree)
    if () not in unusable:
        spec = build_spec(filled(schema, _sound_part(tree, unusable)), tree)
        problems += crosscheck(spec, tree, unusable)
        if not problems:
            return spec
    raise InputError.many(sorted(dict.fromkeys(problems), key=in_file_order))


def _broken_nodes(tree: Tree) -> list[Steps]:
    """The paths of the values that the YAML reader could not make sense of."""
    found: list[Steps] = []

    def walk(path: Steps) -> None:
        node = tree.node(path)
        if node.broken:
            found.append(path)
        else:
            for step in node.children:
                walk((*path, step))

    walk(())
    return found


def _sound_part(tree: Tree, unusable: list[Steps]) -> dict[str, Any]:
    """The document without its unusable parts, so that the rest can still be cross-checked.

    A value inside a list or a tagged union takes the whole list or union with it: what is left must satisfy the
    schema, and half of either says something else than was meant.
    """
    sound: dict[str, Any] = _unshared(tree.value)
    for path in unusable:
        _remove(sound, _whole(tree, path))
    sound.setdefault("version", 1)
    sound.setdefault("name", "unnamed")
    return sound


def _whole(tree: Tree, path: Steps) -> Steps:
    for depth in range(len(path)):
        node = tree.node(path[:depth])
        if isinstance(node.value, list) or (depth and "kind" in node.value):
            return path[:depth]
    return path


def _remove(document: Any, path: Steps) -> None:
    for step in path[:-1]:
        if step not in document:
            return
        document = document[step]
    document.pop(path[-1], None)


def _unshared(value: Any) -> Any:
    """A deep copy in which two aliases of one anchor are two values: defaults differ with the place."""
    if isinstance(value, dict):
        return {key: _unshared(item) for key, item in value.items()}
    return [_unshared(item) for item in value] if isinstance(value, list) else value
