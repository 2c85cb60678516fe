"""``kata-toolkit diff``: what changed between two built sets, or the reports about them."""

from __future__ import annotations

import json as json_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from ..report.changes import Change

_WHAT = "A set's folder, or the report.json of one."
_FEW = 20  # lines of one kind, unless all are asked for
_TITLES = {
    "components": "components",
    "kernel": "kernel symbols",
    "configuration": "runtime configuration",
    "sizes": "sizes",
}


def diff(
    before: Path = typer.Argument(..., metavar="A", help=_WHAT),
    after: Path = typer.Argument(..., metavar="B", help=_WHAT),
    every: bool = typer.Option(False, "--all", help="Every line, however many there are."),
    json: bool = typer.Option(False, "--json", help="One JSON document on stdout."),
) -> None:
    """Compare two built sets: components, kernel symbols, configuration keys, sizes.

    Exits with 0 when they have the same, with 1 when they differ. `sbom diff` and `kernel diff` say more about one.
    """
    from ..report.changes import changes

    found = changes(_document(before), _document(after))
    if json:
        document = {"version": 1, "a": str(before), "b": str(after), "changes": [c.as_json() for c in found]}
        typer.echo(json_module.dumps(document, indent=2))
    else:
        _print(found, every=every)
    if found:
        raise typer.Exit(1)


def _document(subject: Path) -> dict[str, Any]:
    from ..report.document import collect, load

    return collect(subject) if subject.is_dir() else load(subject)


def _print(found: list[Change], *, every: bool) -> None:
    if not found:
        typer.echo("they have the same components, kernel symbols, configuration and sizes")
    for kind, title in _TITLES.items():
        here = [change for change in found if change.kind == kind]
        if not here:
            continue
        typer.echo(f"{title} ({len(here)})")
        shown = here if every or len(here) <= _FEW else here[: _FEW - 1]
        for change in shown:
            sign = "+" if change.before is None else "-" if change.after is None else "~"
            typer.echo(f"  {sign} {_plain(change.words())}")
        if len(shown) < len(here):
            typer.echo(f"  … and {len(here) - len(shown)} more: --all")


def _plain(text: str) -> str:
    """Without what would do something to a terminal: a component's name may be anybody's."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)
