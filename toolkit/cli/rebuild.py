"""``kata-toolkit verify --rebuild``: whether a set's bytes come from its spec."""

from __future__ import annotations

import json as json_module
import os
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from ..rebuild import Rebuilt


def verify_by_rebuilding(
    folder: Path, spec: Path | None, only: tuple[str, ...], *, offline: bool, jobs: int, json: bool
) -> None:
    """Rebuild, compare, print. Exits 1 when something differs. Raises InputError, ToolError."""
    from ..errors import CheckError, InputError
    from ..rebuild import rebuild
    from ..spec.load import load_specs
    from .progress import renderer

    if spec is None:
        raise InputError(
            "--rebuild and --spec go together, and --only, --offline and --jobs go with them",
            hint=f"kata-toolkit verify {folder} --rebuild --spec SPEC",
        )
    [loaded] = load_specs([spec])
    with renderer(as_json=False, quiet=json) as emit:
        result = rebuild(folder, loaded, emit, only=only, offline=offline, jobs=jobs or os.cpu_count() or 1)
    if json:
        typer.echo(json_module.dumps(result.as_json(), indent=2))
    else:
        _print(result)
    if not result.ok:
        raise typer.Exit(CheckError.exit_code)


def _print(result: Rebuilt) -> None:
    counts: dict[str, int] = {}
    for file in result.files:
        counts[file.status] = counts.get(file.status, 0) + 1
        typer.echo(f"{file.status:<11}  {file.path}")
        for text in file.differences:
            typer.echo(f"{'':<13}{text}")
    for note in result.notes:
        typer.echo(f"note: {note}")
    summary = ", ".join(f"{number} {status}" for status, number in counts.items())
    typer.echo(f"{'reproduced' if result.ok else 'NOT reproduced'}: {summary}")
