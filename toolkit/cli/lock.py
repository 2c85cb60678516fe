"""``kata-toolkit lock``: what a spec leaves open, written down exactly."""

from __future__ import annotations

import json as json_module
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from ..lock.changes import Change


def lock(
    spec: Path = typer.Argument(..., metavar="SPEC", readable=False, help="The spec to lock."),
    names: list[str] = typer.Argument(
        None, metavar="[NAME…]", help="With --update: only these packages or places in the spec."
    ),
    update: bool = typer.Option(False, "--update", "-u", help="Find anew what the lock file holds already."),
    check: bool = typer.Option(False, "--check", help="Write nothing; status 1 when something would change."),
    offline: bool = typer.Option(False, "--offline", help="Never use the network."),
    json: bool = typer.Option(False, "--json", help="One JSON document on stdout."),
) -> None:
    """Resolve every package, image and tool to a version and a digest, and keep them in NAME.lock.json."""
    from ..errors import CheckError, InputError, relative
    from ..lock.changes import changes
    from ..lock.paths import find_lock, lock_path
    from ..lock.resolve import resolve, write_lock
    from ..spec.load import load_spec
    from .progress import renderer

    if names and not update:
        told = f"one spec at a time, and names only with --update: what is to become of {', '.join(names)}?"
        raise InputError(told, hint=f"kata-toolkit lock {spec} --update NAME")
    loaded = load_spec(spec)
    old = find_lock(loaded.file)
    with renderer(as_json=False, quiet=json) as emit:
        anew = frozenset(names or ()) if update else None
        new = resolve(loaded, old, update=anew, offline=offline, emit=emit)
    found = changes(old, new)
    path = lock_path(loaded.file)
    stale = old is None or not old.says_as(new)
    if stale and not check:
        write_lock(loaded, new)
    if json:
        document = {"lock": relative(path), "changed": stale, "written": stale and not check}
        typer.echo(json_module.dumps({**document, "changes": [change.as_json() for change in found]}, indent=2))
    else:
        _print(found, was_there=old is not None)
        typer.echo(f"{relative(path)}: {_verdict(stale=stale, check=check)}")
    if stale and check:
        again = f"kata-toolkit lock {spec}{' --update' if update else ''}"
        raise CheckError(f"{relative(path)} is not up to date" if old else f"there is no {relative(path)}", hint=again)


def _print(found: list[Change], *, was_there: bool) -> None:
    """A line each; the first lock of a spec is told by its sums."""
    if not was_there:
        for key in dict.fromkeys(change.key for change in found):
            of_key = [change for change in found if change.key == key]
            one = f"{of_key[0].name} {of_key[0].new}" if len(of_key) == 1 else f"{len(of_key)} in all"
            typer.echo(f"{key:<18} {one}")
        return
    width = max((len(change.name) for change in found), default=0)
    for change in found:
        typer.echo(f"{change.key:<18} {change.name:<{width}}  {change.old or '(new)'} → {change.new or '(gone)'}")


def _verdict(*, stale: bool, check: bool) -> str:
    if not stale:
        return "up to date"
    return "would change" if check else "written"
