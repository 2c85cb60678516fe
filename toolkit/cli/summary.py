"""What a person sees when a build is done: the artefacts, and where the time went."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from ..set_paths import licences

if TYPE_CHECKING:
    from ..build import BuildResult, BuiltArtifact


def print_summary(result: BuildResult) -> None:
    """Print the artefacts with size and digest, and the stages with their times, to stdout.

    Tables on a terminal, plain lines elsewhere; one line when there was nothing to do.
    """
    if not result.changed and not result.seconds:
        typer.echo(f"{result.target} is up to date ({len(result.stage_ids)} stages cached)")
        return
    artefacts = [
        (a.path, size(a.size), size(a.allocated), a.sha256[:16])
        for a in result.artifacts
        if not _is_text(a, result.name)
    ]
    texts = [a for a in result.artifacts if _is_text(a, result.name)]
    if texts:  # hundreds, where there are packages
        total, allocated = size(sum(a.size for a in texts)), size(sum(a.allocated for a in texts))
        artefacts.append((f"{licences(result.name)}/… ({len(texts)} files)", total, allocated, ""))
    stages = [(stage, id_[:12], _time(result.seconds.get(stage))) for stage, id_ in result.stage_ids.items()]
    if sys.stdout.isatty():
        _print_tables(result, artefacts, stages)
    else:
        for row in artefacts:
            typer.echo("{:<78} {:>10} {:>10}  {}".format(*row).rstrip())
        for stage in stages:
            typer.echo("{:<15} {}  {:>8}".format(*stage))
    typer.echo(f"{result.target}: written" + (f"; log and timings in {result.report}" if result.seconds else ""))


def _is_text(artifact: BuiltArtifact, name: str) -> bool:
    """Whether it is one of the many beside the licences, which are told in one line."""
    return artifact.path.startswith(f"{licences(name)}/")


def print_allowed(target: Path) -> None:
    """Print what the kernel lacks of what was asked for, and why that is allowed; nothing for a prebuilt kernel."""
    try:
        findings = json.loads((target / "kernel-config.json").read_bytes()).get("findings", [])
    except FileNotFoundError:
        return
    width = max((len(f["symbol"]) for f in findings), default=0)
    for finding in findings:
        typer.echo(f"{finding['symbol']:<{width}}  {finding['wanted']:<3}  {finding['text']}")


def _time(seconds: float | None) -> str:
    return "cached" if seconds is None else f"{seconds:.1f} s"


def _print_tables(
    result: BuildResult, artefacts: list[tuple[str, str, str, str]], stages: list[tuple[str, str, str]]
) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    table = Table(title=f"{result.name} → {result.target}", title_justify="left")
    table.add_column("artefact", overflow="fold")
    table.add_column("size", justify="right", no_wrap=True)
    table.add_column("on disk", justify="right", no_wrap=True)
    table.add_column("sha256", no_wrap=True)
    for artefact in artefacts:
        table.add_row(*artefact)
    console.print(table)
    times = Table(title="stages", title_justify="left")
    times.add_column("stage")
    times.add_column("id", no_wrap=True)
    times.add_column("time", justify="right", no_wrap=True)
    for stage in stages:
        times.add_row(*stage)
    console.print(times)


def size(number: int) -> str:
    """A size in bytes for people: ``812 B``, ``41.3 KiB``, ``5.20 MiB``."""
    if number < 1024:
        return f"{number} B"
    if number < 2**20:
        return f"{number / 1024:.1f} KiB"
    return f"{number / 2**20:.2f} MiB"
