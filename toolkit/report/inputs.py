"""What decides a set's figures, in a form that can be compared later: kernel symbols, configuration, components."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..kconfig.config import read_config
from ..sbom.read import read_bill
from ..set_paths import DEFAULTS, SPDX
from ..vm.built_set import BuiltSet


def inputs_of(built: BuiltSet) -> dict[str, dict[str, str]]:
    """``{"kernel", "configuration", "components"}``, each name → value; what the set does not have is left out.

    Raises InputError when a file of the set cannot be read.
    """
    found: dict[str, dict[str, str]] = {}
    config = built.guest.kernel_config if built.guest else None
    if config and config.is_file():
        found["kernel"] = dict(read_config(config.read_text(encoding="utf-8")))
    files = sorted((built.folder / DEFAULTS).rglob("*.toml"))
    if files:
        found["configuration"] = {
            f"{file.name}: {key}": value for file in files for key, value in _flat(_toml(file)).items()
        }
    if (built.folder / SPDX).is_file():
        found["components"] = {part.name: part.version for part in read_bill(built.folder).parts}
    return found


def _toml(file: Path) -> Mapping[str, Any]:
    return tomllib.loads(file.read_text(encoding="utf-8"))


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    leaves: dict[str, str] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            leaves |= _flat(value, f"{prefix}{key}.")
        else:
            leaves[prefix + key] = repr(value)
    return leaves
