"""``kata-toolkit check-host``: can this host run Kata, why not, and what to do."""

from __future__ import annotations

import json as json_module

import typer


def check_host(json: bool = typer.Option(False, "--json", help="One JSON document on stdout.")) -> None:
    """Check whether this host can run Kata Containers; needs no privileges and no configuration.

    Exits 1 when a check fails.
    """
    from ..checks import FAIL
    from ..host.host import Host
    from ..host.table import CHECKS, check
    from .render_report import print_report

    report = check(Host())
    if json:
        typer.echo(json_module.dumps(report.as_json(), indent=2))
    else:
        print_report(report, why={entry.id: entry.why for entry in CHECKS})
        failed = [name for name, verdict in report.verdicts.items() if verdict.status == FAIL]
        typer.echo(f"This host cannot run Kata as it is: {', '.join(failed)}" if failed else "This host can run Kata.")
    if not report.ok:
        raise typer.Exit(1)
