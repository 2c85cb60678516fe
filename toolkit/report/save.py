"""Writes down what a proof found, and the report in all its forms, beside the set."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..checks import Report
from ..errors import ToolError
from ..pipeline.files import write_atomically
from . import files
from .document import collect
from .junit import junit
from .machine import machine
from .markdown import markdown
from .page import page


def save_proof(built: Path, proof: Report, beside: Path | None = None) -> Path:
    """Keep a proof and write every form of the report. The page's path.

    Raises ToolError when the folder cannot be written to.
    """
    folder = beside or files.folder_of(built)
    told = {
        **proof.as_json(),
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(str(proof.measurements.get("accel", "")) or None),
    }
    write(folder / files.PROOF, _text(told))
    return write_all(collect(built, folder), folder)


def write_all(document: Mapping[str, Any], folder: Path) -> Path:
    """Every form of the report, below ``folder``. The page's path. Raises ToolError."""
    forms = {
        files.DOCUMENT: _text(document),
        files.MARKDOWN: markdown(document).encode(),
        files.JUNIT: junit(document).encode(),
        files.PAGE: page(document).encode(),
    }
    for name, data in forms.items():
        write(folder / name, data)
    return folder / files.PAGE


def renew(built: Path) -> None:
    """Write every form of the report anew, with what lies beside the set by now. Raises ToolError, InputError."""
    folder = files.folder_of(built)
    write_all(collect(built, folder), folder)


def write(file: Path, data: bytes) -> None:
    """Replace a file as a whole. Raises ToolError when it cannot be written."""
    try:
        write_atomically(file, data)
    except OSError as error:
        raise ToolError(f"cannot write {file}: {error.strerror}", hint="name another folder, or make room") from error


def _text(document: Mapping[str, Any]) -> bytes:
    return (json.dumps(document, indent=1, ensure_ascii=False) + "\n").encode()
