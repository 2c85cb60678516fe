"""``kata-toolkit plan``: what a build would do."""

from __future__ import annotations

import json as json_module
from pathlib import Path

import typer


def plan(
    spec: Path = typer.Argument(..., metavar="SPEC", readable=False, help="The spec to plan."),
    json: bool = typer.Option(False, "--json", help="One JSON document on stdout."),
    offline: bool = typer.Option(False, "--offline", help="Plan without the network."),
    verbose: bool = typer.Option(False, "--verbose", "-v", help="Show the commands of cached stages too."),
) -> None:
    """Show the stages, which are cached and why not, and the exact commands. Builds nothing."""
    from ..events import ignore
    from ..lock.prepare import held_to_lock
    from ..pipeline.inputs import BuildInputs
    from ..pipeline.plan import legend, shell_line
    from ..pipeline.plan import plan as make_plan
    from ..pipeline.store import Store, cache_folder
    from ..recipe import stages_of
    from ..spec.load import load_spec

    loaded = load_spec(spec)
    store = Store(cache_folder())
    inputs = BuildInputs(store, offline=offline, lock=held_to_lock(loaded, ignore))
    steps = make_plan(loaded.key, stages_of(loaded), store, inputs)
    inputs.save()
    if json:
        typer.echo(json_module.dumps({"name": loaded.name, "stages": [s.as_json() for s in steps]}, indent=2))
        return
    for step in steps:
        if step.waits_for:
            typer.echo(f"{step.stage:<15} depends on {step.waits_for}")
            continue
        typer.echo(f"{step.stage:<15} {'cached  ' if step.cached else 'will run'} {step.id}")
        for reason in step.reasons:
            typer.echo(f"    because: {reason}")
        for command in step.commands if verbose or not step.cached else ():
            typer.echo(f"    $ {shell_line(command)}")
    for place, meaning in legend(step for step in steps if verbose or not step.cached):
        typer.echo(f"{place:<15} {meaning}")
