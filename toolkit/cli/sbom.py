"""``kata-toolkit sbom``: what a set is made of, and what differs between two."""

from __future__ import annotations

import json as json_module
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from ..sbom.difference import Change, Difference
    from ..sbom.read import Listed

app = typer.Typer(help="Show and compare bills of materials.", no_args_is_help=True)

_WHAT = "A set's folder, or an SPDX 2 or CycloneDX file (JSON)."
_WIDEST = 48  # columns for a licence, where it is cut on a terminal's table or in plain lines
_SHORT = 12  # digits of a digest
_SIGNS = {"added": "+", "removed": "-", "changed": "~"}


@app.callback()
def options() -> None:
    """Show and compare bills of materials."""


@app.command()
def show(
    bill: Path = typer.Argument(..., metavar="SET", readable=False, help=_WHAT),
    files: bool = typer.Option(False, "--files", help="The files of the set too."),
    json: bool = typer.Option(False, "--json", help="One JSON document on stdout."),
) -> None:
    """List the components of a set: version, licence, and the source package each was built from."""
    from ..sbom.read import read_bill

    found = read_bill(bill)
    entries = list(found.entries) if files else found.parts
    if json:
        document = {"version": 1, "name": found.name, "format": found.format}
        typer.echo(json_module.dumps({**document, "components": [e.as_json() for e in entries]}, indent=2))
    else:
        _print_list(sorted(entries, key=lambda entry: (entry.kind == "file", entry.role == "tool", entry.name)))


@app.command()
def diff(
    a: Path = typer.Argument(..., metavar="A", readable=False, help=_WHAT),
    b: Path = typer.Argument(..., metavar="B", readable=False, help="The same; the formats may differ."),
    json: bool = typer.Option(False, "--json", help="One JSON document on stdout."),
) -> None:
    """Compare two bills of materials, by component: what came, what went, and which version, licence or digest changed.

    Exits with 0 when they list the same, with 1 when they differ.
    """
    from ..sbom.difference import difference
    from ..sbom.read import read_bill

    found = difference(read_bill(a), read_bill(b))
    if json:
        typer.echo(json_module.dumps(found.as_json(), indent=2))
    else:
        _print_difference(found)
    if found.changes:
        raise typer.Exit(1)


def _print_list(entries: list[Listed]) -> None:
    from rich.console import Console

    heads = ("component", "version", "licence", "source")
    rows = [(e.name, e.version, e.licence or "unknown", e.source) for e in entries]
    console = Console()
    if console.is_terminal:
        from rich.table import Table
        from rich.text import Text

        table = Table(*heads)
        for row in rows:
            table.add_row(*(Text(_shown(cell)) for cell in row))
        console.print(table)
        return
    widths = [max(len(_cut(row[i])) for row in (heads, *rows)) for i in range(len(heads))]
    for row in (heads, *rows):
        typer.echo("  ".join(f"{_cut(cell):<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())


def _print_difference(found: Difference) -> None:
    for name, side in (("A", found.a), ("B", found.b)):
        typer.echo(f"{name}: {side.label}  ({side.format}, {len(side.entries)} entries)")
    if not found.changes:
        typer.echo("they list the same")
        return
    counts = ", ".join(f"{found.count(kind)} {kind}" for kind in ("added", "removed", "changed"))
    typer.echo(f"{counts}; {found.same} are the same")
    title = ""
    width = max(len(_shown(change.one.name)) for change in found.changes)
    for change in found.changes:
        kind = "files" if change.one.kind == "file" else "components"
        if kind != title:
            title = kind
            typer.echo(f"\n{title}")
        typer.echo(f"  {_SIGNS[change.kind]} {_shown(change.one.name):<{width}}  {_told(change)}".rstrip())


def _told(change: Change) -> str:
    if change.a is None or change.b is None:
        facts = (change.one.version, change.one.licence)
        return "  ".join(_shown(fact) for fact in facts if fact)
    pairs = [(name, getattr(change.a, name), getattr(change.b, name)) for name in change.fields]
    return ", ".join(f"{_field(name)} {_value(name, a)} → {_value(name, b)}" for name, a, b in pairs)


def _field(name: str) -> str:
    return "digest" if name == "sha256" else name


def _value(name: str, value: str) -> str:
    return _shown(value[:_SHORT] if name == "sha256" else value) or "unknown"


def _cut(text: str) -> str:
    shown = _shown(text)
    return shown if len(shown) <= _WIDEST else f"{shown[: _WIDEST - 1]}…"


def _shown(text: str) -> str:
    """Without what would do something to a terminal: the text may be anybody's."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)
