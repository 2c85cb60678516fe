"""``kata-toolkit kernel diff``: what differs between two kernel configurations, by feature."""

from __future__ import annotations

import json as json_module
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from ..kconfig.difference import Change, Difference, Group, Side
    from ..kernel_subject import Subject

_NAMED = 3  # symbols shown of a group
_WIDEST = 60  # columns for the name of a group
_WHAT = "A spec, a built set's folder, profile:NAME, profile:NAME@SOURCE, or a .config."


def diff(
    a: str = typer.Argument(..., metavar="A", help=_WHAT),
    b: str = typer.Argument(..., metavar="B", help="The same; for example profile:default@linux-source-6.1."),
    arch: str = typer.Option(None, metavar="ARCH", help="The architecture to resolve profiles for."),
    symbols: bool = typer.Option(False, "--symbols", help="Every symbol, not only counts and the first few."),
    exit_code: bool = typer.Option(False, "--exit-code", help="Exit with 1 when they differ."),
    offline: bool = typer.Option(False, "--offline", help="Without the network."),
    json: bool = typer.Option(False, "--json", help="One JSON document on stdout."),
) -> None:
    """Compare two kernel configurations: counts first, then by the feature that asks for what differs."""
    from ..kconfig.difference import difference
    from ..kernel_session import known_arch
    from ..kernel_subject import find_subject
    from .kernel_output import kernel_session

    arch = known_arch(arch) if arch else arch
    with kernel_session(offline=offline, quiet=json) as session:
        one, two = find_subject(a, session, arch=arch), find_subject(b, session, arch=arch)
        trees = [subject.resolved.tree for subject in (two, one) if subject.resolved]
        found = difference(_side(one), _side(two), one.values, two.values, session.library, trees)
    if json:
        typer.echo(json_module.dumps(found.as_json(), indent=2))
    else:
        _print(found, all_symbols=symbols)
    if exit_code and found.groups:
        raise typer.Exit(1)


def _side(subject: Subject) -> Side:
    from ..kconfig.config import count_on
    from ..kconfig.difference import Side

    on = count_on(dict(subject.values))
    return Side(subject.label, subject.kernel, subject.arch, subject.profile, on, subject.features)


def _print(found: Difference, *, all_symbols: bool) -> None:
    from ..kconfig.difference import ADDED, CHANGED, REMOVED

    for name, side in (("A", found.a), ("B", found.b)):
        facts = [f"Linux {side.kernel}" if side.kernel else "", side.arch or "", f"{side.on} options on"]
        typer.echo(f"{name}: {side.label}  ({', '.join(filter(None, facts))})")
    if not found.groups:
        typer.echo("no symbol differs")
        return
    counts = [f"{found.count(k)} {w}" for k, w in ((REMOVED, "only in A"), (ADDED, "only in B"), (CHANGED, "changed"))]
    typer.echo(f"{len(found.changes)} symbols differ: {', '.join(counts)}; {found.same} are the same")
    for where, features in zip("AB", found.features_only, strict=True):
        if features:
            typer.echo(f"features only in {where}: {', '.join(features)}")
    width = min(_WIDEST, max(len(_name(group)) for group in found.groups))
    kind = ""
    for group in found.groups:
        title = "what features ask for" if group.kind == "feature" else "what came along with it"
        if title != kind:
            kind = title
            typer.echo(f"\n{title}")
        typer.echo(f"  {_name(group):<{width}}  {_counts(group)}  {'' if all_symbols else _few(group)}".rstrip())
        for change in group.changes if all_symbols else ():
            typer.echo(f"      {_shown(change)}")
    if not all_symbols:
        typer.echo("\n--symbols lists every symbol with its values")


def _name(group: Group) -> str:
    return {"unknown": "(no tree to ask where)"}.get(group.kind, group.name)


def _counts(group: Group) -> str:
    from ..kconfig.difference import ADDED, CHANGED, REMOVED

    signs = (("-", REMOVED), ("+", ADDED), ("~", CHANGED))
    return f"{' '.join(f'{sign}{group.count(kind)}' for sign, kind in signs if group.count(kind)):<12}"


def _few(group: Group) -> str:
    names = [change.symbol.removeprefix("CONFIG_") for change in group.changes]
    more = f" … {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return " ".join(names[:_NAMED]) + more


def _shown(change: Change) -> str:
    return f"{change.symbol}: {change.a or 'off'} → {change.b or 'off'}"
