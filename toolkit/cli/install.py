"""``kata-toolkit install``: versions of a set side by side, switched without touching pods that run."""

from __future__ import annotations

import json as json_module
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from ..wiring.versions import Installed


def install(
    folder: Path = typer.Argument(..., metavar="SET", readable=False, help="A built set, or the one at its prefix."),
    root: Path = typer.Option(Path("/"), "--root", metavar="DIR", help="The system's root folder, or a DESTDIR."),
    rollback: bool = typer.Option(False, "--rollback", help="Go back to the version before."),
    prune: bool = typer.Option(False, "--prune", help="Remove versions that no process uses any more."),
    status: bool = typer.Option(False, "--status", help="Only say what is installed."),
    json: bool = typer.Option(False, "--json", help="One JSON document on stdout."),
) -> None:
    """Install a set at its prefix beside the versions that are there; new pods get the new one, others keep theirs.

    The prefix becomes a link to one version, exchanged in one step. --rollback leads it back.
    """
    from ..errors import InputError
    from ..vm.built_set import BuiltSet
    from ..wiring import versions

    if rollback + prune + status > 1:
        raise InputError("--rollback, --prune and --status are one or the other")
    built = BuiltSet.load(folder)
    do = (
        versions.rollback
        if rollback
        else versions.prune
        if prune
        else versions.installed
        if status
        else versions.install
    )
    found = do(built, root)
    if json:
        typer.echo(json_module.dumps(_as_json(found), indent=2))
        return
    for version in found.versions:
        mark = "active" if version == found.active else "before" if version == found.before else ""
        typer.echo(f"{found.prefix}.versions/{version} {mark}".rstrip())
    for version in found.removed:
        typer.echo(f"{found.prefix}.versions/{version} removed")
    for version, used in found.kept.items():
        for user in used.users:
            typer.echo(f"{version} stays: {user.command} ({user.pid}) uses {user.file}")
        if used.unseen:
            typer.echo(f"{version} stays: {used.unseen} processes cannot be looked into (proc(5): ptrace access)")


def _as_json(found: Installed) -> dict[str, object]:
    """The document of ``install.schema.json``."""
    return {
        "version": 1,
        "prefix": str(found.prefix),
        "active": found.active,
        "before": found.before,
        "versions": list(found.versions),
        "changed": found.changed,
        "removed": list(found.removed),
        "kept": [
            {
                "version": version,
                "unseen": used.unseen,
                "users": [{"pid": user.pid, "command": user.command, "file": user.file} for user in used.users],
            }
            for version, used in found.kept.items()
        ],
    }
