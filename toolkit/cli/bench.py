"""``kata-toolkit bench``: sets measured side by side, and held to an earlier report."""

from __future__ import annotations

import json as json_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from . import live
from .boot import Accel

if TYPE_CHECKING:
    pass

_SPECS = (".yaml", ".yml")


def bench(
    subjects: list[Path] = typer.Argument(..., metavar="SPEC|DIR…", help="Specs (built first) or built sets."),
    rounds: int = typer.Option(5, "--rounds", "-n", min=0, help="Boots of each set for its times; 0: count only."),
    throughput: bool = typer.Option(
        False, "--throughput", help="Also how fast containers read and write: shared folders, disk, root, network."
    ),
    against: Path = typer.Option(
        None, "--against", metavar="REPORT", help="A report.json of before: fail when the first set is worse."
    ),
    accel: Accel = typer.Option("auto", help="For the times: KVM where it truly works, else TCG; or one of them."),
    json: bool = typer.Option(False, "--json", help="One JSON document on stdout."),
) -> None:
    """Measure sets side by side: guest instructions, memory, device accesses, sizes, and times taken in turn.

    Instructions and accesses are counted under emulation, and are the same on every host; times are this host's, and
    only their ratio to the first set means something under TCG. Exits with 1 when --against finds a regression: the
    likely cause is named.
    """
    from ..report import bench as measuring
    from ..report.document import collect, load
    from ..report.files import BENCH, folder_of
    from ..report.save import write, write_all

    earlier = load(against) if against else None
    folders = [_built(subject, quiet=json) for subject in subjects]
    with live.telling(live=not json) as telling:
        found = measuring.bench(
            folders, rounds=rounds, accel=accel.value, telling=telling, note=live.note, throughput=throughput
        )
    write(folder_of(folders[0]) / BENCH, (json_module.dumps(found, indent=1) + "\n").encode())
    document = collect(folders[0])
    if against is None:  # else what it is held to would be gone
        write_all(document, folder_of(folders[0]))
    verdict = _held(document, earlier, found) if earlier else []
    if json:
        judged = {"against": verdict} if earlier else {}
        typer.echo(json_module.dumps({**found, **judged}, indent=2))
    else:
        _print(found)
        _print_verdict(verdict, against)
    if any(line["worse"] for line in verdict):
        raise typer.Exit(1)


def _built(subject: Path, *, quiet: bool) -> Path:
    """The folder of a set; a spec is built first, as `build` does it."""
    if subject.suffix not in _SPECS:
        return subject
    import os

    from ..build import build_spec
    from ..spec.load import load_specs
    from .progress import renderer

    spec = load_specs([subject])[0]
    with renderer(as_json=False, quiet=quiet) as emit:
        return build_spec(spec, Path("out") / spec.name, emit, jobs=os.cpu_count() or 1).target


def _held(document: dict[str, Any], earlier: dict[str, Any], found: dict[str, Any]) -> list[dict[str, Any]]:
    """The first set's figures beside the earlier ones; each that is worse with its likely cause."""
    from ..report.changes import changes, likely_cause
    from ..report.regress import compare

    before = dict((earlier["proof"] or {}).get("measurements", {}))
    if earlier["comparison"]:
        before |= earlier["comparison"]["sets"][0]["figures"]
    compared = compare(before, found["sets"][0]["figures"], found["kinds"])
    differs = changes(earlier, document)
    return [
        {**line.as_json(), **({"cause": likely_cause(line.figure, differs)} if line.worse else {})} for line in compared
    ]


def _print(found: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    first = found["sets"][0]["figures"]
    table = Table("figure", "kind", title="side by side", title_justify="left", show_edge=False)
    for each in found["sets"]:
        table.add_column(each["name"], justify="right", no_wrap=True)
    for figure in found["figures"]:
        cells = []
        for number, each in enumerate(found["sets"]):
            value = each["figures"].get(figure)
            ratio = f"  {value / first[figure]:.3f} ×" if number and value is not None and first.get(figure) else ""
            cells.append("" if value is None else f"{value:,.2f}{ratio}")
        table.add_row(figure, found["kinds"][figure], *cells)
    Console().print(table)
    for each in found["sets"]:
        for way, reason in each.get("missing", {}).items():
            typer.echo(f"{each['name']}: no throughput of {way}: {reason}")
    accel = found["machine"]["accel"]
    kind = "under KVM" if accel == "kvm" else "of an emulated processor: only their ratios mean something"
    typer.echo(f"times are medians on this host, {kind}")


def _print_verdict(verdict: list[dict[str, Any]], against: Path | None) -> None:
    if against is None:
        return
    worse = [line for line in verdict if line["worse"]]
    for line in worse:
        typer.echo(f"worse: {line['figure']} {line['before']:,.2f} → {line['after']:,.2f} ({line['ratio']:.3f} ×)")
        typer.echo(f"       likely cause: {line['cause']}")
    judged = sum(line["judged"] for line in verdict)
    typer.echo(f"against {against}: {len(worse)} of {judged} figures are worse")
