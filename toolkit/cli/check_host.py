"""``kata-toolkit check-host``: can this host run Kata, why not, and what to do."""

from __future__ import annotations

import json as json_module
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from ..vm.checks import Report

_STYLES = {"pass": "green", "fail": "bold red", "warn": "yellow", "skip": "dim"}


def check_host(json: bool = typer.Option(False, "--json", help="One JSON document on stdout.")) -> None:
    """Check whether this host can run Kata Containers; needs no privileges and no configuration.

    Exits 1 when a check fails.
    """
    from ..host.host import Host
    from ..host.table import check

    report = check(Host())
    if json:
        typer.echo(json_module.dumps(report.as_json(), indent=2))
    else:
        from rich.console import Console

        _print(report, Console())
    if not report.ok:
        raise typer.Exit(1)


def _print(report: Report, console: Console) -> None:
    """A table on a terminal, else plain lines; what is not in order with why it matters and what to do."""
    from ..host.table import CHECKS

    if console.is_terminal:
        _print_table(report, console)
    else:
        for entry in CHECKS:
            verdict = report.verdicts[entry.id]
            typer.echo(f"{verdict.status}  {entry.id:<19} {verdict.detail}")
            if verdict.status in ("fail", "warn"):
                typer.echo(f"      {'':<19} {entry.why}")
            if verdict.remedy:
                typer.echo(f"      {'':<19} → {verdict.remedy}")
    failed = [name for name, verdict in report.verdicts.items() if verdict.status == "fail"]
    if failed:
        typer.echo(f"This host cannot run Kata as it is: {', '.join(failed)}")
    else:
        typer.echo("This host can run Kata.")


def _print_table(report: Report, console: Console) -> None:
    from rich.table import Table
    from rich.text import Text

    from ..host.table import CHECKS

    table = Table(show_lines=False)
    table.add_column("check", no_wrap=True)
    table.add_column("")
    table.add_column("found", overflow="fold")
    for entry in CHECKS:
        verdict = report.verdicts[entry.id]
        found = Text(verdict.detail)
        if verdict.status in ("fail", "warn"):
            found.append(f"\n{entry.why}", style="dim")
        if verdict.remedy:
            found.append(f"\n→ {verdict.remedy}", style="italic")
        table.add_row(entry.title, Text(verdict.status, style=_STYLES[verdict.status]), found)
    console.print(table)
