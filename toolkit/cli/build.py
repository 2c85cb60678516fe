"""``kata-toolkit build``: the main job."""

from __future__ import annotations

import json as json_module
import os
from pathlib import Path

import typer


def build(
    specs: list[Path] = typer.Argument(..., metavar="SPEC…", readable=False, help="The specs to build."),
    output: Path = typer.Option(None, "--output", "-o", help="Output folder (default: out/NAME)."),
    only: list[str] = typer.Option([], "--only", metavar="STAGE", help="Build this stage and what it needs only."),
    offline: bool = typer.Option(False, "--offline", help="Never use the network; say all that is missing."),
    locked: bool = typer.Option(False, "--locked", help="Require a lock file, and the tools it was written with."),
    keep_going: bool = typer.Option(False, "--keep-going", help="Go on with the next spec when one fails."),
    jobs: int = typer.Option(0, "--jobs", "-j", min=0, help="Parallel compile jobs (default: one per core)."),
    verify: bool = typer.Option(False, "--verify", help="Boot the result, and prove it as `verify` does."),
    json: bool = typer.Option(False, "--json", help="One JSON event a line on stdout."),
    quiet: bool = typer.Option(False, "--quiet", "-q", help="Print nothing but errors."),
    verbose: bool = typer.Option(
        False, "--verbose", "-v", help="Tell too which kernel options are missing and are allowed to be."
    ),
) -> None:
    """Build a complete guest: kernel, agent, image, runtime configuration and wrapper."""
    from ..build import build_spec
    from ..errors import InputError, KataToolkitError
    from ..spec.load import load_specs
    from .kernel_fit import print_fit
    from .progress import renderer
    from .summary import print_allowed, print_summary

    if output and len(specs) > 1:
        raise InputError("-o names one folder, but there are several specs", hint="leave it out: each goes to out/NAME")
    loaded = load_specs(specs)
    failed: list[KataToolkitError] = []
    for spec in loaded:
        target = output or Path("out") / spec.name
        try:
            with renderer(as_json=json, quiet=quiet) as emit:
                result = build_spec(
                    spec,
                    target,
                    emit,
                    only=tuple(only),
                    offline=offline,
                    locked=locked,
                    jobs=jobs or os.cpu_count() or 1,
                )
            if json:
                typer.echo(json_module.dumps({"event": "result", **result.as_json()}))
            elif not quiet:
                print_summary(result)
                if result.changed:
                    print_fit(result.target)
                if verbose:
                    print_allowed(result.target)
            if verify:
                _prove(result.target, as_json=json, quiet=quiet)
        except KataToolkitError as error:
            if not keep_going or len(loaded) == 1:
                raise
            failed.append(error)
    if failed:
        worst = max(failed, key=lambda error: error.exit_code)
        raise type(worst).many(problem for error in failed for problem in error.problems)


def _prove(target: Path, *, as_json: bool, quiet: bool) -> None:
    """Boot and prove the set. Raises CheckError or ToolError when it is not proved."""
    from ..errors import CheckError, ToolError
    from ..report.save import save_proof
    from .verify import print_proof, proof_of

    report = proof_of(target, live=not as_json and not quiet)
    page = save_proof(target, report)
    if as_json:
        typer.echo(json_module.dumps({"event": "proof", **report.as_json()}))
    elif not quiet:
        print_proof(report)
        typer.echo(f"report: {page}")
    if report.exit_code:  # a proof that could not be made here is none
        failed = ", ".join(n for n, v in report.verdicts.items() if v.status == "fail" or n in report.unchecked)
        kind = ToolError if report.exit_code == ToolError.exit_code else CheckError
        raise kind(f"{target} was built, but not proved: {failed}", hint=f"kata-toolkit verify {target}")
