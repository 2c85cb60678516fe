"""The report as one HTML page: nothing is fetched, no script runs, dark and light, readable on a phone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .. import resources
from . import charts
from .sections import heading, sections, verdict

TEMPLATE = "report.html.j2"
_OPEN = {"boot", "time", "memory", "density", "pods", "sizes", "comparison", "proof"}
"""Sections whose table is seen at once; the others are opened by a click."""


def page(document: Mapping[str, Any]) -> str:
    """The whole page."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(resources.resource("templates")),
        undefined=jinja2.StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    proof = document["proof"]
    return environment.get_template(TEMPLATE).render(
        heading=heading(document),
        verdict=verdict(document),
        good=bool(proof and proof.get("proved", proof["ok"])),
        figures=document["figures"],
        machine=proof.get("machine") if proof else None,
        at=proof.get("at") if proof else None,
        tiles=_tiles(document),
        sections=sections(document),
        charts=_charts(document),
        open=_OPEN,
        spec=document["spec"],
    )


_TILES = (
    ("boot_minstr", "to the agent", "M instructions"),
    ("output_minstr", "to a container's output", "M instructions"),
    ("guest_overhead_mib", "guest memory overhead", "MiB"),
    ("image_mib", "image", "MiB"),
    ("vmlinux_mib", "kernel", "MiB"),
    ("seconds_to_agent", "to the agent, here", "s"),
)


def _tiles(document: Mapping[str, Any]) -> list[dict[str, str]]:
    measured = (document["proof"] or {}).get("measurements", {})
    return [
        {"value": f"{measured[name]:,.2f}", "unit": unit, "what": what}
        for name, what, unit in _TILES
        if name in measured
    ]


def _charts(document: Mapping[str, Any]) -> dict[str, str]:
    """Section → its chart as SVG."""
    found = {}
    boot = document["boot"]
    for section, phases, unit in (("boot", boot["instructions"], "M"), ("time", boot["seconds"], "s")):
        if phases:
            digits = 1 if unit == "s" else 0
            found[section] = charts.stacked({"": [(p["phase"], p["value"]) for p in phases]}, unit, digits)
    found |= _memory_charts(document["memory"])
    if document["sizes"]:
        rows = [(size["path"].rpartition("/")[2], size["allocated"] / 2**20) for size in document["sizes"]]
        found["sizes"] = charts.bars(rows, "MiB", 1)
    if document["contents"]:
        found["contents"] = charts.bars([(c["path"], c["bytes"] / 1024) for c in document["contents"]], "KiB")
    if document["features"]:
        features = [f for f in document["features"]["features"] if f["vmlinux"]]
        found["features"] = charts.bars([(f["feature"], f["vmlinux"] / 1024) for f in features], "KiB")
    comparison = document["comparison"]
    if comparison:
        labels = [each["name"] for each in comparison["sets"]]
        first = comparison["sets"][0]["figures"]
        series = {
            each["name"]: [
                each["figures"].get(f, 0) / first[f] if first.get(f) else None for f in comparison["figures"]
            ]
            for each in comparison["sets"]
        }
        found["comparison"] = charts.grouped(comparison["figures"], series, f"× {labels[0]}")
    return found


def _memory_charts(memory: Mapping[str, Any] | None) -> dict[str, str]:
    if not memory:
        return {}
    found = {}
    parts = memory["guest"]["parts_kib"]
    if parts:
        found["memory"] = charts.bars([(part, kib / 1024) for part, kib in parts.items()], "MiB", 1)
    lasts = {
        f"{way}, guest {measured['vms'][-1]['count']}": [
            (part, kib / 1024) for part, kib in measured["vms"][-1]["last_parts_kib"].items()
        ]
        for way, measured in memory["ways"].items()
        if measured["vms"]
    }
    if lasts:
        found["density"] = charts.stacked(lasts, "MiB")
    return found
