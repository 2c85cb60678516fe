"""``kata-toolkit fetch``: all that a build would take from the network, brought into the cache beforehand."""

from __future__ import annotations

import json as json_module
from pathlib import Path

import typer


def fetch(
    specs: list[Path] = typer.Argument(..., metavar="SPEC…", readable=False, help="The specs to fetch for."),
    locked: bool = typer.Option(False, "--locked", help="Require a lock file beside each spec."),
    json: bool = typer.Option(False, "--json", help="One JSON event a line on stdout."),
    quiet: bool = typer.Option(False, "--quiet", "-q", help="Print nothing but errors."),
) -> None:
    """Bring all that a build takes from the network into the cache: `build --offline` works afterwards."""
    from ..lock.fetch import fetch_spec
    from ..spec.load import load_specs
    from .progress import renderer

    for spec in load_specs(specs):
        with renderer(as_json=json, quiet=quiet) as emit:
            result = fetch_spec(spec, emit, locked=locked)
        if json:
            typer.echo(json_module.dumps({"event": "result", **result}))
        elif not quiet:
            count = sum(result["fetched"].values())
            told = f"{count} fetched" if count else "all is there"
            typer.echo(f"{spec.name}: {told}; `kata-toolkit build --offline` needs no network")
