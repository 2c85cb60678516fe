"""How the table of costs looks: a table on a terminal, plain columns elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from ..cost.columns import COLUMNS
from ..cost.words import name_of, remark, subject

if TYPE_CHECKING:
    from rich.console import Console

    from ..cost.costs import Costs


def print_costs(costs: Costs, key: str) -> None:
    """Print the base's figures and each feature's, the costliest by ``key`` first, to stdout."""
    from rich.console import Console

    whole = ("the whole kernel", *(c.text(costs.base) for c in COLUMNS), f"root on {costs.root}" if costs.root else "")
    rows = [(name_of(row), *(c.text(row.cost, signed=True) for c in COLUMNS), remark(row)) for row in costs.sorted(key)]
    console = Console()
    if console.is_terminal:
        _table(console, subject(costs), whole, rows)
        return
    typer.echo(subject(costs))
    lines = [("feature", *(c.heading for c in COLUMNS), ""), whole, *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(COLUMNS) + 1)]
    for first, *cells, last in lines:
        numbers = "  ".join(f"{cell:>{width}}" for cell, width in zip(cells, widths[1:], strict=True))
        typer.echo(f"{first:<{widths[0]}}  {numbers}  {last}".rstrip())


def _table(console: Console, title: str, whole: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left")
    table.add_column("feature", no_wrap=True)
    for column in COLUMNS:
        table.add_column(column.heading, justify="right")
    table.add_column("", overflow="fold")
    for number, row in enumerate([whole, *rows]):
        # Never markup: a compiler's words may be in it.
        table.add_row(*(Text(cell) for cell in row), style="" if number else "bold", end_section=number == 0)
    console.print(table)
