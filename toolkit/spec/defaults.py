"""Fills in what a spec leaves out, from the ``default`` of each property in the schema: documented and real in one."""

from __future__ import annotations

import copy
from typing import Any

from .schema import Schema, branches, resolve_ref


def filled(root: Schema, value: dict[str, Any]) -> dict[str, Any]:
    """A copy of the document with every default in its place. The document must satisfy the schema."""
    result = copy.deepcopy(value)
    _fill(root, root, result)
    return result


def _fill(root: Schema, schema: Schema, value: Any) -> None:
    if not isinstance(value, dict):
        return
    for key, sub in schema.get("properties", {}).items():
        resolved = resolve_ref(root, sub)
        if key not in value and "default" in resolved:
            value[key] = copy.deepcopy(resolved["default"])
        if key in value:
            _fill(root, resolved, value[key])
    kinds = branches(root, schema)
    if kinds:
        _fill(root, kinds[value["kind"]], value)
