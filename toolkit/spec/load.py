"""Reads a spec: YAML with positions, the schema, the model, the cross-checks; every mistake of one spec at once."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..errors import InputError, Problem, Where
from ..pipeline.store import cache_folder
from ..resources import resource
from .crosscheck import crosscheck
from .defaults import filled
from .model import Spec
from .schema import check, in_file_order, load_schema
from .soundness_memo import SoundnessMemo
from .source import Source, read_source
from .to_model import to_model
from .yamltree import Step, Steps, Tree, parse


def load_spec(path: Path) -> Spec:
    """The spec in the file at ``path``, validated, with defaults filled in and paths made absolute.

    Raises InputError with every problem in it, in the order of the file.
    """
    return _loaded(read_source(path))


def starter_spec(name: str = "kernel") -> Spec:
    """The spec that ``init NAME`` would write into the current folder, without writing it."""
    text = resource("templates", "starter.yaml").read_text(encoding="utf-8").replace("@name@", name)
    return _loaded(Source(f"{name}.yaml", text, hashlib.sha256(text.encode()).hexdigest()))


def _loaded(source: Source) -> Spec:
    tree, problems = parse(source)
    schema = load_schema("spec")
    memo = SoundnessMemo(cache_folder() / "sound-specs", tree.value, schema)
    broken = [] if memo.known() else check(tree, schema)
    if not broken and not problems:
        memo.remember()
    problems += [problem for _, problem in broken]
    unusable = {_whole(tree, path) for path in [*(path for path, _ in broken), *_broken_nodes(tree)]}
    if () not in unusable:
        spec = to_model(filled(schema, _sound_part(tree, unusable)), tree)
        problems += crosscheck(spec, tree, unusable)
        if not problems:
            return spec
    raise InputError.many(sorted(dict.fromkeys(problems), key=in_file_order))


def load_specs(paths: Iterable[Path]) -> list[Spec]:
    """Several specs; two with one name would write to one place. Raises InputError with the problems of all."""
    specs: dict[str, Spec] = {}
    problems: list[Problem] = []
    for path in paths:
        try:
            spec = load_spec(path)
        except InputError as error:
            problems += error.problems
            continue
        if spec.name in specs:
            other = specs[spec.name].file
            problems.append(Problem(f'is called "{spec.name}", as is {other}', Where(str(path)), "rename one of them"))
        specs[spec.name] = spec
    if problems:
        raise InputError.many(problems)
    return list(specs.values())


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


def _sound_part(tree: Tree, unusable: set[Steps]) -> dict[str, Any]:
    """The document without its unusable parts, so that the rest can still be cross-checked."""
    sound: dict[str, Any] = _unshared(tree.value)
    # From the last to the first: taking out a list's item moves those behind it.
    for path in sorted(unusable, key=_by_position, reverse=True):
        _remove(sound, path)
    sound.setdefault("version", 1)
    sound.setdefault("name", "unnamed")
    return sound


def _by_position(path: Steps) -> list[tuple[int, Step]]:
    return [(0, step) if isinstance(step, int) else (1, step) for step in path]


def _whole(tree: Tree, path: Steps) -> Steps:
    """What goes with an unusable value: all of a tagged union or of a list's item, for half of one says something else
    than was meant."""
    for depth in range(1, len(path)):
        if "kind" in tree.node(path[:depth]).keys or isinstance(path[depth - 1], int):
            return path[:depth]
    return path


def _remove(document: Any, path: Steps) -> None:
    for step in path[:-1]:
        document = document[step]
    document.pop(path[-1])


def _unshared(value: Any) -> Any:
    """A deep copy in which two aliases of one anchor are two values: defaults differ with the place."""
    if isinstance(value, dict):
        return {key: _unshared(item) for key, item in value.items()}
    return [_unshared(item) for item in value] if isinstance(value, list) else value
