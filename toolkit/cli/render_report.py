"""How a table of checks looks: a table on a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import typer

from ..checks import FAIL, PASS, SKIP, WARN, Report

if TYPE_CHECKING:
    from rich.console import Console

_STYLES = {PASS: "green", FAIL: "bold red", WARN: "yellow", SKIP: "dim"}
_WORDS = {PASS: "passed", FAIL: "failed", WARN: "warned", SKIP: "skipped"}


def print_report(report: Report, *, why: Mapping[str, str] | None = None) -> None:
    """Print the verdicts to stdout, with what to do where something is not in order.

    ``why``: by check id, one line on why it matters, shown where it failed or warned.
    """
    from rich.console import Console

    console = Console()
    notes = {name: _notes(report, name, why or {}) for name in report.verdicts}
    if console.is_terminal:
        _print_table(report, notes, console)
        return
    width = max(map(len, report.verdicts), default=0)
    for name, verdict in report.verdicts.items():
        typer.echo(f"{verdict.status}  {name:<{width}}  {verdict.detail}")
        for note in notes[name]:
            typer.echo(f"      {'':<{width}}  {note}")


def counted(report: Report) -> str:
    """``9 passed, 1 failed, 4 skipped``."""
    counts = [v.status for v in report.verdicts.values()]
    return ", ".join(f"{counts.count(status)} {word}" for status, word in _WORDS.items() if status in counts)


def _notes(report: Report, name: str, why: Mapping[str, str]) -> list[str]:
    verdict = report.verdicts[name]
    if verdict.status == PASS:
        return []
    reason = [why[name]] if name in why and verdict.status in (FAIL, WARN) else []
    return [*reason, *([f"→ {verdict.remedy}"] if verdict.remedy else [])]


def _print_table(report: Report, notes: Mapping[str, list[str]], console: Console) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(show_lines=False)
    table.add_column("check", no_wrap=True)
    table.add_column("")
    table.add_column("found", overflow="fold")
    for name, verdict in report.verdicts.items():
        found = Text(verdict.detail)  # never markup: a guest's words are in it
        for note in notes[name]:
            found.append(f"\n{note}", style="italic")
        table.add_row(name, Text(verdict.status, style=_STYLES[verdict.status]), found)
    console.print(table)
