"""``kata-toolkit kernel explain``: all there is to tell of one kernel option."""

from __future__ import annotations

import json as json_module
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from ..kconfig.explanation import Explanation
    from ..kernel_session import KernelSession, Resolved
    from ..spec.model import Spec

_FEATURES = 3  # that are named to switch an option on
_TRIALS = {
    True: "tried: it works",
    False: "as Kconfig has it, but tried it does not work, or costs another request",
    None: "as Kconfig has it; not tried",
}


def explain(
    symbol: str = typer.Argument(..., metavar="SYMBOL", help="A kernel option, with or without CONFIG_, in any case."),
    spec: Path = typer.Argument(
        None, metavar="[SPEC]", readable=False, help="The spec; without one, a profile on Debian's kernel source."
    ),
    profile: str = typer.Option(None, metavar="NAME", help="Another profile than the spec's, or than default."),
    source: str = typer.Option(None, metavar="SOURCE", help="Another source: linux-source-6.1, or a tree's folder."),
    arch: str = typer.Option(
        None, metavar="ARCH", help="Another architecture than the spec's, or than this machine's."
    ),
    profiles: bool = typer.Option(True, help="Also tell what it is in every other profile."),
    trial: bool = typer.Option(True, "--try/--no-try", help="Try with the kernel's conf what would switch it on."),
    offline: bool = typer.Option(False, "--offline", help="Without the network."),
    json: bool = typer.Option(False, "--json", help="One JSON document on stdout."),
) -> None:
    """Explain a kernel option: what it is, who asked for it and why, what became of it, and why.

    What would switch it on is tried with the kernel's own conf. Its values in the other profiles come last: the first
    time, conf runs once for each of them.
    """
    from dataclasses import replace

    from ..errors import InputError
    from .kernel_output import kernel_session

    if not symbol.upper().removeprefix("CONFIG_").strip():
        raise InputError("no kernel option is named", hint="for example: kata-toolkit kernel explain CONFIG_FS_DAX")
    chosen = _spec(spec, profile, source, arch)
    with kernel_session(offline=offline, quiet=json) as session:
        resolved = session.resolve(chosen)
        name = _name(symbol, resolved)
        found = _explained(name, resolved, session)
        if not json:
            _print(found)
        if trial:
            found = _tried(found, resolved, session)
        if not json:
            _print_way(found)
        if profiles:
            found = replace(found, profiles=_everywhere(name, session, chosen))
        if json:
            typer.echo(json_module.dumps(found.as_json(), indent=2))
        elif profiles:
            typer.echo(_profiles_line(found))


def _spec(file: Path | None, profile: str | None, source: str | None, arch: str | None) -> Spec:
    from dataclasses import replace

    from ..kernel_session import default_spec, known_arch, named_source
    from ..spec.load import load_spec

    spec = load_spec(file) if file else default_spec()
    if profile:
        spec = replace(spec, kernel=replace(spec.kernel, profile=profile))
    if source:
        spec = replace(spec, kernel=replace(spec.kernel, source=named_source(source), patches=()))
    return replace(spec, arch=known_arch(arch)) if arch else spec


def _name(symbol: str, resolved: Resolved) -> str:
    """The symbol without prefix. Raises InputError for one that the kernel does not have."""
    from ..errors import InputError
    from ..kconfig.explanation import find_symbol, similar_symbols
    from ..kconfig.unmet import defined_elsewhere

    name = find_symbol(symbol, resolved.tree)
    if name is not None:
        return name
    plain = symbol.upper().removeprefix("CONFIG_")
    elsewhere = defined_elsewhere(resolved.root, resolved.arch.folder, plain)
    raise InputError(
        f"Linux {resolved.kernel} has no option {symbol} for {resolved.arch.name}",
        hint=f"it is defined in {', '.join(elsewhere)}: give another --arch"
        if elsewhere
        else similar_symbols(symbol, resolved.tree, resolved.kernel),
    )


def _everywhere(name: str, session: KernelSession, spec: Spec) -> dict[str, str | None]:
    from ..errors import InputError

    found = session.profiles(spec).items()
    return {n: None if isinstance(r, InputError) else r.values.get(f"CONFIG_{name}", "n") for n, r in found}


def _explained(name: str, resolved: Resolved, session: KernelSession) -> Explanation:
    from ..kconfig.explanation import Subject, explain

    subject = Subject(
        resolved.tree,
        resolved.values,
        resolved.wishes,
        resolved.kernel,
        resolved.arch.name,
        resolved.spec.kernel.profile,
    )
    return explain(name, subject, session.library, resolved.help_of)


def _tried(found: Explanation, resolved: Resolved, session: KernelSession) -> Explanation:
    """With what switches it on as the kernel's conf has it, where there is something to try; its answer is kept."""
    from dataclasses import replace

    from ..errors import Where
    from ..kconfig.fixes import tried_way
    from ..kconfig.requests import SPEC, Request
    from ..kconfig.resolve import Source
    from ..kconfig.unmet import Inquiry

    reason = found.reason
    if not reason.settings or found.type not in ("bool", "tristate"):
        return found
    source = Source(resolved.root, resolved.arch.folder, resolved.kernel, resolved.identity)
    inquiry = Inquiry(resolved.tree, source, resolved.values, resolved.wishes.requests)
    request = Request(found.symbol, reason.settings.get(found.symbol, "y"), "", Where("kernel explain"), (SPEC,))
    way = tried_way(inquiry, request, lambda requests: session.tried(resolved, requests))
    return replace(found, reason=replace(reason, settings=way or reason.settings, tried=way is not None))


def _print(found: Explanation) -> None:
    where = f"Linux {found.kernel}, {found.arch}, profile {found.profile}"
    typer.echo(f"{found.symbol}={found.value}    ({where})")
    typer.echo(f"{found.title or 'no prompt: nobody can ask for it'} ({found.type})")
    for place in found.defined:
        menus = f"    {' › '.join(place.menus)}" if place.menus else ""
        typer.echo(f"  {place.place}{menus}")
        for condition in place.depends:
            typer.echo(f"    depends on {condition}")
    if found.help:
        typer.echo("\n" + "\n".join(f"  {line}".rstrip() for line in found.help.split("\n")))
    typer.echo("\nasked for by" if found.asked else "\nasked for by nobody")
    for asker in found.asked:
        note = "" if asker.counts else "  (not part of this kernel)"
        typer.echo(f"  {asker.by}: {asker.value}{note}\n    {asker.why}\n    {asker.file}:{asker.line}")
    if found.allowed_missing:
        typer.echo(f"  it may be missing: {found.allowed_missing}")
    _print_reason(found)
    for title, names in (("selects", found.selects), ("implies", found.implies)):
        if names:
            typer.echo(f"\n{title}")
            for name in names:
                typer.echo(f"  {name}")


def _print_reason(found: Explanation) -> None:
    reason = found.reason
    typer.echo(f"\n{found.symbol} is {found.value}: {reason.text}")
    widths = [max((len(getattr(link, part)) for link in reason.chain), default=0) for part in ("symbol", "value")]
    for link in reason.chain:
        place = f"  ({link.place})" if link.place else ""
        typer.echo(f"  {link.symbol:<{widths[0]}}  {link.value:<{widths[1]}}  {link.because}{place}")


def _print_way(found: Explanation) -> None:
    """What switches it on, for one that is off."""
    if not found.reason.settings:
        return
    asked = ", ".join(f"{s}={v}" for s, v in found.reason.settings.items())
    typer.echo(f"\nto switch it on\n  ask for {asked} ({_TRIALS[found.reason.tried]})")
    features = [asker.by for asker in found.asked if not asker.counts and asker.value in ("y", "m")]
    for name in features[:_FEATURES]:
        typer.echo(f"  the feature {name} asks for it: features: {{add: [{name}]}}")


def _profiles_line(found: Explanation) -> str:
    """Which profiles agree on the value, by value."""
    by_value: dict[str, list[str]] = {}
    for name, value in found.profiles.items():
        by_value.setdefault("cannot be resolved" if value is None else value, []).append(name)
    return "\nprofiles\n" + "\n".join(f"  {value}: {', '.join(names)}" for value, names in sorted(by_value.items()))
