"""Reading ``share/NAME/wiring.json`` of a set, built or installed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import resources
from ..errors import InputError, Where
from .annotations import PREFIX
from .files import INDEX
from .handlers import Handler
from .overhead import Overhead, Part

_AGAIN = "build the set again"


@dataclass(frozen=True, slots=True)
class Wiring:
    """A set's handlers; ``file``: where they were read."""

    file: Path
    name: str
    wrapper: str
    prefix: str
    handlers: tuple[Handler, ...]


def read_wiring(place: Path) -> Wiring:
    """Of a set's folder, or of the file itself. Raises InputError when there is none, or a damaged one."""
    file = _find(place)
    try:
        data = json.loads(file.read_bytes())
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=Where(str(file))) from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"not JSON: {error}", where=Where(str(file)), hint=_AGAIN) from None
    _check(data, file)
    handlers = tuple(_handler(item) for item in data["handlers"])
    return Wiring(file, data["name"], data["wrapper"], data["prefix"], handlers)


def _find(place: Path) -> Path:
    if place.is_file():
        return place
    if not place.is_dir():
        raise InputError(f"{place} is no built set: there is no such folder")
    found = sorted(place.glob(f"share/*/{INDEX}"))
    if not found:
        raise InputError(
            f"{place} has no share/NAME/{INDEX}", hint="it is no set, or was built in part: build it again"
        )
    if len(found) > 1:
        names = ", ".join(str(path) for path in found)
        raise InputError(f"{place} has several sets: {names}", hint="name one of these files")
    return found[0]


def _check(data: Any, file: Path) -> None:
    import jsonschema

    schema = json.loads(resources.resource("schemas", "wiring.schema.json").read_bytes())
    errors = jsonschema.Draft202012Validator(schema).iter_errors(data)
    first = min(errors, key=lambda error: list(map(str, error.absolute_path)), default=None)
    if first is not None:
        path = ".".join(map(str, first.absolute_path)) or "the document"
        raise InputError(f"{path}: {first.message[:200]}", where=Where(str(file)), hint=_AGAIN)


def _handler(data: Mapping[str, Any]) -> Handler:
    over = data["overhead"]
    parts = tuple(Part(part["name"], part["mib"], part["from"]) for part in over["parts"])
    return Handler(
        name=data["name"],
        flavour=data["flavour"],
        vmm=data["vmm"],
        dialect=data["dialect"],
        shim=data["shim"],
        command=data["command"],
        config=data["config"],
        snapshotter=data["snapshotter"],
        overhead=Overhead(over["memory_mib"], over["cpu_millis"], parts, over["ceiling_mib"]),
        annotations=data["annotations"],
        refused={PREFIX + key: why for key, why in data["refused_annotations"].items()},
        changes={},
    )
