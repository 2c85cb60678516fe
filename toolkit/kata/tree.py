"""Values as the tables of a file, and what the files are called."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import InternalError
from ..spec.model import Dialect
from .flavours import flavour
from .keys import tables

TEMPLATE = "configuration.toml.j2"
"""The template that `render` fills in, below ``templates/``."""


def config_tree(dialect: Dialect, vmm: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values as the file's tables, nested as TOML nests them; ``vmm`` names the hypervisor's table."""
    tree: dict[str, Any] = {}
    known = tables()
    for name, value in values.items():
        setting = known.find(name)
        side = setting.side(dialect) if setting else None
        if side is None:
            raise InternalError(f"{name} has no place in a file of the {known.title(dialect)}")
        table = tree
        for part in known.table_path(side.table, dialect, vmm):
            table = table.setdefault(part, {})
        table[side.key] = value
    return tree


def file_name(dialect: Dialect, flavour_name: str) -> str:
    """The path of a flavour's file below share/defaults/kata-containers."""
    return flavour(flavour_name).files[dialect]
