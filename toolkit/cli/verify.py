"""``kata-toolkit verify``: the proof of a built set."""

from __future__ import annotations

import json as json_module
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from .boot import Accel

if TYPE_CHECKING:
    from rich.console import Console

    from ..vm.checks import Report

_STYLES = {"pass": "green", "fail": "bold red", "warn": "yellow", "skip": "dim"}


def verify(
    folder: Path = typer.Argument(..., metavar="DIR", help="A built set."),
    accel: Accel = typer.Option("auto", help="KVM where it truly works, else TCG; or one of them."),
    timeout: float = typer.Option(60.0, min=0.1, metavar="SECONDS", help="How long the agent may take to answer."),
    json: bool = typer.Option(False, "--json", help="One JSON document on stdout."),
) -> None:
    """Prove a built set: every digest, a real boot, DAX, the agent, a container, and the budgets.

    Exits 1 when a check fails.
    """
    if not prove_and_print(folder, as_json=json, accel=accel.value, timeout_seconds=timeout):
        raise typer.Exit(1)


def prove_and_print(folder: Path, *, as_json: bool, accel: str = "auto", timeout_seconds: float = 60.0) -> bool:
    """Prove a built set and print the report to stdout; whether nothing failed. Raises InputError."""
    from rich.console import Console

    from ..vm.built_set import BuiltSet
    from ..vm.checks import Report
    from ..vm.evidence import Evidence
    from ..vm.proof import prove
    from ..vm.session import Options

    built = BuiltSet.load(folder)
    notes = Console(stderr=True)
    status = notes.status("") if notes.is_terminal and not as_json else None
    if status:
        status.start()
    try:
        verdicts = {}
        with Evidence(built, Options(accel=accel, timeout_seconds=timeout_seconds), note=_note) as evidence:
            for check, verdict in prove(evidence, starting=lambda c: status.update(c.title) if status else None):
                verdicts[check.id] = verdict
        report = Report(verdicts, evidence.measurements)
    finally:
        if status:
            status.stop()
    if as_json:
        typer.echo(json_module.dumps(report.as_json(), indent=2))
    else:
        print_report(report, Console())
    return report.ok


def _note(text: str) -> None:
    sys.stderr.write(f"note: {text}\n")


def print_report(report: Report, console: Console) -> None:
    """The verdicts as a table (plain lines when there is no terminal), the remedies, and the measurements."""
    if console.is_terminal:
        _print_table(report, console)
    else:
        for name, verdict in report.verdicts.items():
            typer.echo(f"{verdict.status}  {name:<21} {verdict.detail}")
            if verdict.remedy and verdict.status != "pass":
                typer.echo(f"      {'':<21} → {verdict.remedy}")
    for name, value in report.measurements.items():
        typer.echo(f"{name} = {value}")
    counts = [v.status for v in report.verdicts.values()]
    summary = ", ".join(f"{counts.count(s)} {word}" for s, word in _WORDS.items() if s in counts)
    typer.echo(f"{'proved' if report.ok else 'NOT proved'}: {summary}")


_WORDS = {"pass": "passed", "fail": "failed", "warn": "warned", "skip": "skipped"}


def _print_table(report: Report, console: Console) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(show_lines=False)
    table.add_column("check", no_wrap=True)
    table.add_column("")
    table.add_column("detail", overflow="fold")
    for name, verdict in report.verdicts.items():
        detail = Text(verdict.detail)  # never markup: a guest's words are in it
        if verdict.remedy and verdict.status != "pass":
            detail.append(f"\n→ {verdict.remedy}", style="italic")
        table.add_row(name, Text(verdict.status, style=_STYLES[verdict.status]), detail)
    console.print(table)
