"""Finds the data that belongs to the program: schemas, templates, kernel-configs, agent and wrapper sources.

In a wheel they lie under ``kata_toolkit/data``; in a checkout or an editable install beside ``toolkit/``.
"""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
_WHEEL_DATA = _PACKAGE / "data"
_ROOT = _WHEEL_DATA if _WHEEL_DATA.is_dir() else _PACKAGE.parent


def resource(*parts: str) -> Path:
    """The path of a data file or folder, e.g. ``resource("schemas", "spec.schema.json")``.

    Raises FileNotFoundError when the installation lacks it.
    """
    path = _ROOT.joinpath(*parts)
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing: the installation of kata-toolkit is incomplete")
    return path
