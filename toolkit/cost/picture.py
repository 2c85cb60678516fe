"""The table as a picture: an SVG of bars, one panel a figure, that needs nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..resources import resource
from .columns import COLUMNS, Column
from .costs import Costs, Row
from .words import name_of, subject

_MARGIN = 16
_NAMES = 170  # pixels for the features' names
_BAR = 150  # pixels for the longest bar of a panel
_LABEL = 66  # pixels for the number beside a bar
_TOP, _ROW = 64, 20
_SHOWN = ("boot", "memory", "bzimage", "objects")


def picture(costs: Costs, key: Column) -> str:
    """The picture, sorted by a column, the costliest first; features that were not measured are not in it."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    rows = [row for row in costs.sorted(key.figure) if row.cost]
    panels = [panel for column in COLUMNS if column.word in _SHOWN and (panel := _Panel.of(column, rows))]
    for number, panel in enumerate(panels):
        panel.left = _MARGIN + _NAMES + number * (_BAR + _LABEL)
    environment = Environment(
        loader=FileSystemLoader(resource("templates")),
        undefined=StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("kernel-cost.svg.j2").render(
        title=f"What features cost: {subject(costs)}",
        margin=_MARGIN,
        width=2 * _MARGIN + _NAMES + max(1, len(panels)) * (_BAR + _LABEL),
        height=_TOP + _ROW * len(rows) + _MARGIN,
        panels=panels,
        rows=[_drawn(row, number, panels) for number, row in enumerate(rows)],
    )


class _Panel:
    """One figure's bars: they share a scale, and start at a common zero."""

    def __init__(self, column: Column, values: Sequence[float]) -> None:
        self.column = column
        self.left = 0
        self._least, most = min(0, *values), max(0, *values)
        self._pixels = _BAR / ((most - self._least) or 1)

    @classmethod
    def of(cls, column: Column, rows: Sequence[Row]) -> _Panel | None:
        """None when no row has the figure."""
        known = [value for row in rows if (value := getattr(row.cost, column.figure)) is not None]
        return cls(column, known) if known else None

    @property
    def heading(self) -> str:
        return self.column.heading

    @property
    def zero(self) -> float:
        """Where zero lies, in pixels from the left."""
        return round(self.left - self._least * self._pixels, 1)

    def bar(self, row: Row) -> dict[str, Any] | None:
        """The row's bar, or None when it does not have the figure."""
        value = getattr(row.cost, self.column.figure)
        if value is None:
            return None
        width = round(abs(value) * self._pixels, 1)
        x = round(self.zero - width, 1) if value < 0 else self.zero
        text = self.column.text(row.cost, signed=True)
        label_x = round(max(x + width, self.zero) + 4, 1)
        return {"x": x, "width": width, "label_x": label_x, "text": text, "kind": "less" if value < 0 else "more"}


def _drawn(row: Row, number: int, panels: Sequence[_Panel]) -> dict[str, Any]:
    bars = [bar for panel in panels if (bar := panel.bar(row))]
    return {"name": name_of(row), "added": row.added, "y": _TOP + _ROW * number, "bars": bars}
