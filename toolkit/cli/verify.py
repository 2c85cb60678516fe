"""``kata-toolkit verify``: the proof of a built set."""

from __future__ import annotations

import json as json_module
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from ..errors import relative
from .boot import Accel
from .live import note as tell

if TYPE_CHECKING:
    from ..checks import Check, Report, Verdict
    from ..vm.evidence import Evidence


def verify(
    folder: Path = typer.Argument(..., metavar="DIR", help="A built set."),
    accel: Accel = typer.Option("auto", help="KVM where it truly works, else TCG; or one of them."),
    timeout: float = typer.Option(60.0, min=0.1, metavar="SECONDS", help="How long the agent may take to answer."),
    allow_skipped: bool = typer.Option(
        False, "--allow-skipped", help="Exit 0 when nothing failed, though this host cannot boot the set."
    ),
    rebuild: bool = typer.Option(
        False, "--rebuild", help="Instead of booting: build the set again from nothing, and compare every byte."
    ),
    spec: Path = typer.Option(None, "--spec", metavar="SPEC", help="For --rebuild: the spec it was built from."),
    only: list[str] = typer.Option(
        [],
        "--only",
        metavar="NAME",
        help="Only the checks of this name (`'container-*'`). With --rebuild: only this stage and what it needs.",
    ),
    quick: bool = typer.Option(
        False, "--quick", help="Only what the set's own guest shows: no other kinds of root, no hot-plug, no shares."
    ),
    offline: bool = typer.Option(False, "--offline", help="For --rebuild: never use the network."),
    jobs: int = typer.Option(0, "--jobs", "-j", min=0, help="For --rebuild: parallel compile jobs."),
    report_to: Path = typer.Option(
        None, "--report", metavar="DIR", help="Where the report goes (default: DIR.report)."
    ),
    json: bool = typer.Option(False, "--json", help="One JSON document on stdout."),
) -> None:
    """Prove a built set: digests, boots from every kind of root, containers, hot-plug, shared folders, the budgets.

    Exits 1 when a check fails, and when the set could not be booted here or ran no container: then nothing is proved.
    docs/verify.md tells what each check does. With --only nothing is proved either: it looks again at a part.

    With --rebuild: prove that its bytes come from its spec. It is built again with nothing from the store but what was
    fetched; where a file differs is told (which file of the image, which header, section, line), and is exit status 1.
    """
    if rebuild or spec or offline or jobs:
        from .rebuild import verify_by_rebuilding

        verify_by_rebuilding(folder, spec if rebuild else None, tuple(only), offline=offline, jobs=jobs, json=json)
        return
    report = proof_of(folder, live=not json, accel=accel.value, timeout_seconds=timeout, only=tuple(only), quick=quick)
    if report_to or not (only or quick):  # what looks at a part does not replace the whole
        _keep(report, folder, report_to)
    if json:
        typer.echo(json_module.dumps(report.as_json(), indent=2))
    else:
        print_proof(report)
    nothing = all(verdict.status == "skip" for verdict in report.verdicts.values())  # of a part that was asked for
    if (report.exit_code or nothing) and not (allow_skipped and report.ok):
        raise typer.Exit(report.exit_code or 1)


def proof_of(
    folder: Path,
    *,
    live: bool,
    accel: str = "auto",
    timeout_seconds: float = 60.0,
    only: tuple[str, ...] = (),
    quick: bool = False,
) -> Report:
    """Prove a built set, with the check at hand shown on a terminal when ``live``.

    ``only``: patterns of checks, a part that proves nothing. Raises InputError.
    """
    from rich.console import Console

    from ..checks import Report
    from ..figures import KINDS
    from ..vm.built_set import BuiltSet
    from ..vm.evidence import Evidence
    from ..vm.options import Options
    from ..vm.proof import CHECKS, ESSENTIAL, QUICK, chosen, prove

    built = BuiltSet.load(folder)
    checks = QUICK if quick else CHECKS
    checks = chosen(only, checks) if only else checks
    notes = Console(stderr=True)
    status = notes.status("") if notes.is_terminal and live else None
    if status:
        status.start()
    try:
        verdicts: dict[str, Verdict] = {}

        def starting(check: Check[Evidence]) -> None:
            if status:
                status.update(f"{len(verdicts) + 1}/{len(checks)}  {check.id}: {check.title}")

        with Evidence(built, Options(accel=accel, timeout_seconds=timeout_seconds), note=tell) as evidence:
            for check, verdict in prove(evidence, starting=starting, checks=checks):
                verdicts[check.id] = verdict
        return Report(verdicts, evidence.measurements, () if only else ESSENTIAL, KINDS)
    finally:
        if status:
            status.stop()


def _keep(report: Report, folder: Path, beside: Path | None) -> None:
    """Write the report's forms. A set may be installed where we cannot write: then only a folder asked for must do."""
    from ..errors import ToolError
    from ..report.save import save_proof

    try:
        page = save_proof(folder, report, beside)
    except ToolError as error:
        if beside:
            raise
        tell(f"no report was written: {error.problems[0].message}; --report DIR names another folder")
        return
    tell(f"the report is {relative(page)}")


def print_proof(report: Report) -> None:
    """Print verdicts, measurements and the sum of it all to stdout."""
    from .render_report import counted, print_report

    print_report(report)
    for name, value in report.measurements.items():
        typer.echo(f"{name} = {value}")
    if report.unchecked:
        typer.echo(f"not proved here: {', '.join(report.unchecked)}")
    proved = "proved" if report.proved else "NOT proved"
    typer.echo(f"{proved if report.essential else 'looked at'}: {counted(report)}")
