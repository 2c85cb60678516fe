"""``kata-toolkit check-host``: can this host run Kata, why not, and what to do."""

from __future__ import annotations

import json as json_module

import typer


def check_host(
    purpose: str = typer.Option(
        None, "--for", metavar="SPEC|DIR|PURPOSE", help="Ask for one set (a spec, or a set's folder), k8s-node, or ci."
    ),
    json: bool = typer.Option(False, "--json", help="One JSON document on stdout."),
) -> None:
    """Check whether this host can run Kata Containers; needs no privileges and no configuration.

    Exits 1 when a check fails.
    """
    from ..checks import FAIL
    from ..host.asked import wanted_for
    from ..host.host import Host
    from ..host.table import CHECKS, check
    from ..host.wanted import Wanted
    from .render_report import print_report

    host = Host(wanted=Wanted() if purpose is None else wanted_for(purpose))
    if purpose is not None:
        host.measurements["asked_for"] = purpose
    report = check(host)
    if json:
        typer.echo(json_module.dumps(report.as_json(), indent=2))
    else:
        print_report(report, why={entry.id: entry.why for entry in CHECKS})
        failed = [name for name, verdict in report.verdicts.items() if verdict.status == FAIL]
        whom = "Kata" if purpose is None else f"Kata as {purpose} wants it"
        typer.echo(f"This host cannot run {whom}: {', '.join(failed)}" if failed else f"This host can run {whom}.")
    if not report.ok:
        raise typer.Exit(1)
