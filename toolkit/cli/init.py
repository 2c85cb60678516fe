"""``kata-toolkit init``: a spec to start from."""

from __future__ import annotations

import json as json_module

import typer


def init(
    name: str = typer.Argument("guest", metavar="[NAME]", help="The name of the set; the file is NAME.yaml."),
    json: bool = typer.Option(False, "--json", help="One JSON document on stdout."),
) -> None:
    """Write a short commented spec to start from."""
    from ..spec.starter import write_starter

    path = write_starter(name)
    if json:
        typer.echo(json_module.dumps({"file": str(path)}))
    else:
        typer.echo(f"wrote {path}; next: kata-toolkit build {path}")
