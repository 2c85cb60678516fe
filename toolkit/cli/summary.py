"""What a person sees when a build is done: the artefacts, and where the time went."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..build import BuildResult


def print_summary(result: BuildResult) -> None:
    """Print the artefacts with size and digest, and the stages with their times, to stdout."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    artefacts = Table(title=f"{result.name} → {result.target}", title_justify="left")
    artefacts.add_column("artefact", overflow="fold")
    artefacts.add_column("size", justify="right", no_wrap=True)
    artefacts.add_column("on disk", justify="right", no_wrap=True)
    artefacts.add_column("sha256", no_wrap=True)
    for row in result.artifacts:
        artefacts.add_row(row.path, size(row.size), size(row.allocated), row.sha256[:16])
    console.print(artefacts)
    stages = Table(title="stages", title_justify="left")
    stages.add_column("stage")
    stages.add_column("id", no_wrap=True)
    stages.add_column("time", justify="right", no_wrap=True)
    for stage, id_ in result.stage_ids.items():
        seconds = result.seconds.get(stage)
        stages.add_row(stage, id_[:12], "cached" if seconds is None else f"{seconds:.1f} s")
    console.print(stages)
    state = "written" if result.changed else "already up to date"
    console.print(f"{result.target}: {state}; log and timings in {result.report}", highlight=False, soft_wrap=True)


def size(number: int) -> str:
    """A size in bytes for people: ``812 B``, ``41.3 KiB``, ``5.20 MiB``."""
    if number < 1024:
        return f"{number} B"
    if number < 2**20:
        return f"{number / 1024:.1f} KiB"
    return f"{number / 2**20:.2f} MiB"
