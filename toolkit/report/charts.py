"""The charts of the page, drawn by pygal as SVG whose colours are CSS variables: the page is dark or light."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any

_COLOURS = tuple(f"var(--c{number})" for number in range(1, 9))
# What pygal puts into every chart, and no page of ours needs: when it was made, and settings for its own script.
_EXTRAS = re.compile("<!--.*?-->|<script.*?</script>", re.DOTALL)
_WIDTH = 900  # of the view box; the page scales it
_ROW, _FRAME = 30, 70  # pixels a bar, and for axis and legend


def stacked(rows: Mapping[str, Sequence[tuple[str, float]]], unit: str, digits: int = 0) -> str:
    """Bars cut into parts: label → (part, value). A part has one colour in all bars."""
    names = list(dict.fromkeys(name for parts in rows.values() for name, _ in parts))
    chart = _chart(True, len(rows), len(names) // 4 + 1, unit, digits)
    chart.x_labels = list(rows)[::-1]
    for name in names:
        chart.add(name, [dict(rows[label]).get(name) for label in list(rows)[::-1]])
    return _svg(chart)


def bars(rows: Sequence[tuple[str, float]], unit: str, digits: int = 0) -> str:
    """One bar for each (label, value), the first on top."""
    chart = _chart(False, len(rows), 0, unit, digits)
    chart.x_labels = [label for label, _ in reversed(rows)]
    chart.add("", [value for _, value in reversed(rows)])
    return _svg(chart)


def grouped(labels: Sequence[str], series: Mapping[str, Sequence[float | None]], unit: str, digits: int = 1) -> str:
    """For each label a bar of every series."""
    chart = _chart(None, len(labels) * max(1, len(series)), 1, unit, digits)
    chart.x_labels = list(reversed(labels))
    for name, values in series.items():
        chart.add(name, list(reversed(values)))
    return _svg(chart)


def _chart(stack: bool | None, rows: int, legend: int, unit: str, digits: int) -> Any:
    pygal = _pygal()
    from pygal.style import Style

    style = Style(
        background="transparent",
        plot_background="transparent",
        foreground="var(--fg)",
        foreground_strong="var(--fg)",
        foreground_subtle="var(--line)",
        colors=_COLOURS,
        font_family="inherit",
        label_font_size=13,
        major_label_font_size=13,
        legend_font_size=13,
        opacity="1",
        opacity_hover=".8",
        transition="0s",
        guide_stroke_color="var(--line)",
        major_guide_stroke_color="var(--line)",
        guide_stroke_dasharray="0",
        major_guide_stroke_dasharray="0",
    )
    kind = pygal.HorizontalStackedBar if stack else pygal.HorizontalBar
    return kind(
        style=style,
        js=[],
        disable_xml_declaration=True,
        width=_WIDTH,
        height=_FRAME + _ROW * rows + 24 * legend,
        show_legend=legend > 0,
        legend_at_bottom=True,
        legend_at_bottom_columns=4,
        legend_box_size=11,
        print_values=False,  # they lie on each other where bars are short; the table beside has them
        value_formatter=lambda value: "" if value is None else f"{value:,.{digits}f} {unit}".strip(),
        margin=6,
        spacing=8,
        truncate_label=40,
        truncate_legend=40,
        x_label_rotation=0,
    )


def _pygal() -> Any:
    """The library without the import hook for its maps, which is of a kind that Python gives up (and warns of)."""
    import pygal

    sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, pygal.PluginImportFixer)]
    return pygal


def _svg(chart: Any) -> str:
    text: str = chart.render(is_unicode=True)
    return _EXTRAS.sub("", text)
