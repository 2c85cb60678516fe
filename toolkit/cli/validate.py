"""``kata-toolkit validate``: every mistake of a spec at once."""

from __future__ import annotations

import json as json_module
from pathlib import Path

import typer


def validate(
    # readable=False: typer would refuse the file in its own words, and before the others are looked at.
    specs: list[Path] = typer.Argument(..., metavar="SPEC…", help="The specs to check.", readable=False),
    json: bool = typer.Option(False, "--json", help="One JSON document on stdout."),
) -> None:
    """Check specs and their lock files: every mistake at once, each with its place, the line, and what to do."""
    from ..errors import InputError, Problem
    from ..lock.paths import find_lock
    from ..spec.load import load_spec

    problems: list[Problem] = []
    for spec in specs:
        try:
            find_lock(load_spec(spec).file)
        except InputError as error:
            problems += error.problems
        else:
            if not json:
                typer.echo(f"{spec}: ok")
    if problems:
        raise InputError.many(problems)
    if json:
        typer.echo(json_module.dumps({"errors": []}))
