"""``kata-toolkit kernel hardening``: a kernel configuration against the recommended settings."""

from __future__ import annotations

import json as json_module
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from ..kconfig.hardening import Hardening, Verdict

_STYLES = {"as recommended": "green", "differs on purpose": "cyan", "differs": "yellow", "not in this kernel": "dim"}


def hardening(
    what: str = typer.Argument(
        "profile:default",
        metavar="[SPEC|DIR|CONFIG]",
        help="A spec, a built set's folder, a .config, profile:NAME or profile:NAME@SOURCE.",
    ),
    arch: str = typer.Option(None, metavar="ARCH", help="The architecture to resolve a profile for."),
    all_settings: bool = typer.Option(False, "--all", help="Also list what is as recommended."),
    strict: bool = typer.Option(False, "--strict", help="Exit with 1 when something differs without a reason."),
    offline: bool = typer.Option(False, "--offline", help="Without the network."),
    json: bool = typer.Option(False, "--json", help="One JSON document on stdout."),
) -> None:
    """Compare a kernel with what the Kernel Self-Protection Project recommends, and say why a guest differs."""
    from ..kconfig.hardening import compare, possible_in
    from ..kernel_session import known_arch
    from ..kernel_subject import find_subject
    from .kernel_output import kernel_session

    with kernel_session(offline=offline, quiet=json) as session:
        subject = find_subject(what, session, arch=known_arch(arch) if arch else None)
        can_have = possible_in(subject.resolved.tree, subject.values) if subject.resolved else None
        found = compare(subject.values, kernel=subject.kernel, arch=subject.arch, can_have=can_have)
    if json:
        typer.echo(json_module.dumps(found.as_json(), indent=2))
    else:
        _print(found, subject.label, everything=all_settings)
    if strict and not found.ok:
        raise typer.Exit(1)


def _print(found: Hardening, label: str, *, everything: bool) -> None:
    from rich.console import Console

    from ..kconfig.hardening import AS_RECOMMENDED, NOT_THERE, VERDICTS, measured_cost

    kernel = f"Linux {found.kernel}" if found.kernel else "a kernel of unknown version"
    typer.echo(f"{label}: {kernel}, {found.arch or 'architecture unknown'}")
    typer.echo(", ".join(f"{found.count(verdict)} {verdict}" for verdict in VERDICTS))
    cost = measured_cost()
    boot, of = cost["boot_minstr"], cost["of"]
    typer.echo(
        f"the feature hardening costs {boot:.1f} M instructions of a boot's {of:.1f} ({boot / of:.0%}) "
        f"and {cost['overhead_mib']:.2f} MiB: Linux {cost['kernel']}, {cost['arch']}"
    )
    shown = [v for v in found.verdicts if everything or v.verdict not in (AS_RECOMMENDED, NOT_THERE)]
    shown.sort(key=lambda v: VERDICTS.index(v.verdict), reverse=not everything)
    console = Console()
    if console.is_terminal:
        _print_table(shown, console)
        return
    for verdict in shown:
        typer.echo(f"\n{verdict.verdict}: {verdict.symbol}={verdict.value}, recommended {verdict.recommended}")
        typer.echo(f"  {verdict.protects}")
        if verdict.because:
            typer.echo(f"  {verdict.because}")


def _print_table(verdicts: list[Verdict], console: Console) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table()
    table.add_column("option", no_wrap=True)
    table.add_column("is", overflow="fold")
    table.add_column("rec.", overflow="fold")
    table.add_column("", no_wrap=True)
    table.add_column("what it protects, and why a guest differs", overflow="fold")
    for verdict in verdicts:
        words = Text(verdict.protects)
        if verdict.because:
            words.append(f"\n→ {verdict.because}", style="italic")
        state = Text(verdict.verdict, style=_STYLES[verdict.verdict])
        table.add_row(verdict.symbol.removeprefix("CONFIG_"), verdict.value, verdict.recommended, state, words)
    console.print(table)
