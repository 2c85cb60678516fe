"""sources.json: where the source of every part is, for those who hand a set on and so must be able to offer it."""

from __future__ import annotations

import json
import re
from typing import Any

from .bill import Part, SetFile, short_version
from .collect import Collection
from .expression import is_expression

_BUILT_USING = re.compile(r"([a-z0-9][a-z0-9+.-]*) \(= ([^)\s]+)\)")


def sources_json(collection: Collection, name: str) -> bytes:
    """The file's bytes (schema: schemas/sources.schema.json)."""
    kernels = collection.of_role("kernel")
    document = {
        "version": 1,
        "name": name,
        "parts": [
            {**_part(part), "compiled_from": dict(collection.sources_of(part))}
            for part in collection.of_role("agent", "library", "package", "program")
        ],
        "kernel": _kernel(kernels[0], collection) if kernels else None,
    }
    return (json.dumps(document, indent=1, sort_keys=True) + "\n").encode()


def _part(part: Part) -> dict[str, Any]:
    component = part.component
    source = {"name": component.source_name, "version": component.source_version}
    return {
        "name": component.name,
        "version": short_version(component),
        "kind": component.kind,
        "role": part.role,
        "sha256": component.sha256 or None,
        "licence": component.licence if is_expression(component.licence) else None,
        "origin": component.origin or None,
        "source": source if component.source_name else None,
        "built_using": [
            {"name": name, "version": version} for name, version in _BUILT_USING.findall(component.built_using)
        ],
    }


def _kernel(kernel: Part, collection: Collection) -> dict[str, Any]:
    made_from = collection.kernel_source
    return {
        **_part(kernel),
        "made_from": _part(made_from) if made_from else None,
        "patches": [_file(file) for file in collection.files if file.role == "patch"],
        "configuration": next((_file(file) for file in collection.files if file.role == "kernel_config"), None),
    }


def _file(file: SetFile) -> dict[str, str]:
    return {"path": file.path, "sha256": file.sha256}
