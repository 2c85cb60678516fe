"""The report on a terminal: tables with bars drawn in characters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .sections import Section, heading, sections, verdict

if TYPE_CHECKING:
    from rich.console import Console

_STYLES = {"pass": "green", "fail": "bold red", "warn": "yellow", "skip": "dim"}
_BARS = {"boot": 1, "time": 1, "memory": 1, "sizes": 3, "contents": 1}
"""By section: the column whose numbers are shown as bars too."""
_WIDTH = 24  # characters of the longest bar


def print_document(document: Mapping[str, Any], console: Console) -> None:
    """Print the whole report; on what is no terminal, plain tables of the same."""
    from rich.table import Table
    from rich.text import Text

    proof = document["proof"]
    good = bool(proof and proof.get("proved", proof["ok"]))
    console.print(Text(heading(document), style="bold"))
    console.print(Text(verdict(document), style="green" if good else "red"))
    console.print(Text(document["figures"], style="dim"))
    for section in sections(document):
        table = Table(title=section.title, title_justify="left", title_style="bold", show_edge=False, pad_edge=False)
        for number, name in enumerate(section.head):
            right = number in section.numbers
            table.add_column(name, justify="right" if right else "left", no_wrap=right or number == 0, overflow="fold")
        column = _BARS.get(section.id)
        if column is not None:
            table.add_column("")
        most = max((_number(row[column]) for row in _drawn(section)), default=0.0) if column is not None else 0.0
        for row in section.rows:
            # Text, never markup: a guest's words are in it.
            cells = [Text(cell, style=_STYLES.get(cell, "")) for cell in row]
            if column is not None and most:
                drawn = row in _drawn(section)
                cells.append(Text("█" * round(_WIDTH * _number(row[column]) / most) if drawn else "", style="blue"))
            table.add_row(*cells)
        console.print()
        console.print(table)
        if section.note:
            console.print(Text(section.note, style="dim"))


def _drawn(section: Section) -> tuple[tuple[str, ...], ...]:
    return tuple(row for row in section.rows if row[0] != "together")


def _number(cell: str) -> float:
    return float(cell.split(" ", maxsplit=1)[0].replace(",", "") or 0)
