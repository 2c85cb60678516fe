"""``kata-toolkit kernel cost``: what each feature costs, measured."""

from __future__ import annotations

import json as json_module
import os
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from ..cost.costs import Costs
    from ..spec.model import Spec


def cost(
    spec: Path = typer.Argument(None, readable=False, help="The spec (default: as `init` writes it)."),
    feature: list[str] = typer.Option([], "--feature", "-f", metavar="NAME", help="Measure this feature (repeatable)."),
    every: bool = typer.Option(False, "--all", help="Measure the features that the profile lacks as well."),
    profile: str = typer.Option(None, "--profile", metavar="NAME", help="Another profile than the spec's."),
    boot: bool = typer.Option(True, help="Boot each kernel, to count instructions and memory."),
    sort: str = typer.Option(
        "boot", metavar="WHAT", help="boot, kernel, memory, exits, bzimage, vmlinux, text or objects."
    ),
    svg: Path = typer.Option(None, "--svg", metavar="FILE", help="Where the picture goes (default: OUT.report/)."),
    output: Path = typer.Option(None, "--output", "-o", help="OUT, beside which the report lies (default: out/NAME)."),
    offline: bool = typer.Option(False, "--offline", help="Never use the network; say what is missing."),
    jobs: int = typer.Option(0, "--jobs", "-j", min=0, help="Parallel compile jobs (default: one per core)."),
    markdown: bool = typer.Option(False, "--markdown", help="The table as Markdown on stdout."),
    json: bool = typer.Option(False, "--json", help="One JSON event a line on stdout, the table last."),
    quiet: bool = typer.Option(False, "--quiet", "-q", help="Tell nothing but the table, and errors."),
) -> None:
    """Measure what each feature of the kernel costs: objects, bytes, instructions at boot, guest memory.

    A feature that the profile has is left out, with what needs it; one that it lacks is added. Each of these kernels
    is compiled from what the last one left, booted under instruction counting, and kept in the store: an interrupted
    run goes on where it was. A whole profile takes hours.
    """
    from ..build import BuildLog
    from ..cost.columns import column
    from ..cost.measuring import measure_costs
    from ..cost.picture import picture
    from ..errors import InputError
    from ..pipeline.files import write_atomically
    from ..pipeline.store import Store, cache_folder
    from .progress import renderer

    if json and markdown:
        raise InputError("--json and --markdown both want stdout", hint="leave one out")
    key = column(sort)
    wanted = _spec(spec, profile)
    target = output or Path("out") / wanted.name
    report = target.with_name(target.name + ".report")
    with renderer(as_json=json, quiet=quiet) as emit, BuildLog(report / "kernel-cost.log") as log:
        costs = measure_costs(
            wanted,
            Store(cache_folder()),
            emit,
            log,
            features=feature,
            every=every,
            boot=boot,
            offline=offline,
            jobs=jobs or os.cpu_count() or 1,
        )
    drawing = svg or report / "kernel-cost.svg"
    write_atomically(drawing, picture(costs, key).encode())
    write_atomically(report / "kernel-cost.json", (json_module.dumps(costs.as_json(), indent=1) + "\n").encode())
    _show(costs, key.figure, as_json=json, as_markdown=markdown)
    if not json and not quiet:
        typer.echo(f"picture in {drawing}, figures in {report / 'kernel-cost.json'}", err=True)


def _spec(file: Path | None, profile: str | None) -> Spec:
    """The spec to measure: the file's, or the one that ``init`` writes; with another profile, if one is named."""
    from dataclasses import replace

    from ..spec.load import load_spec, starter_spec

    spec = load_spec(file) if file else starter_spec()
    return replace(spec, kernel=replace(spec.kernel, profile=profile)) if profile else spec


def _show(costs: Costs, key: str, *, as_json: bool, as_markdown: bool) -> None:
    from ..cost.markdown import markdown
    from .cost_table import print_costs

    if as_json:
        typer.echo(json_module.dumps({"event": "result", **costs.as_json()}))
    elif as_markdown:
        typer.echo(markdown(costs, key), nl=False)
    else:
        print_costs(costs, key)
