"""``kata-toolkit wire``: tell a container manager of a set's runtime handlers."""

from __future__ import annotations

import json as json_module
from enum import StrEnum
from pathlib import Path

import typer


class ManagerName(StrEnum):
    """The container managers there are wirings for."""

    containerd = "containerd"
    crio = "crio"
    docker = "docker"
    podman = "podman"
    nerdctl = "nerdctl"


def wire(
    manager: ManagerName = typer.Argument(..., help="The container manager."),
    folder: Path = typer.Argument(..., metavar="SET", readable=False, help="A set, built or installed."),
    root: Path = typer.Option(Path("/"), "--root", metavar="DIR", help="The system's root folder."),
    into: Path = typer.Option(None, "--into", metavar="FILE", help="The file (nerdctl: folder) instead of its own."),
    remove: bool = typer.Option(False, "--remove", help="Take the handlers out again."),
    force: bool = typer.Option(False, "--force", help="Also where one of that name differs."),
    print_: bool = typer.Option(False, "--print", help="Print the file as it would be; write nothing."),
    config_version: int = typer.Option(
        2, "--config-version", min=2, max=4, help="Of a config.toml of containerd that is not there yet."
    ),
    commands: bool = typer.Option(False, "--commands", help="For Docker before 24, which knows no shims."),
    json: bool = typer.Option(False, "--json", help="One JSON document on stdout."),
) -> None:
    """Merge the runtime handlers of a set into a container manager's configuration; what is there stays as it is.

    A handler of the same name that differs is told, and nothing is written. --remove gives back what was there before.
    """
    from ..wiring.index import read_wiring
    from ..wiring.wire import Wish, wire

    wish = Wish(
        manager.value, root, into, config_version, commands=commands, remove=remove, force=force, write=not print_
    )
    wired = wire(read_wiring(folder), wish)
    if json:
        document = {
            "version": 1,
            "manager": wired.manager,
            "file": str(wired.file),
            "changed": wired.changed,
            "handlers": [{"name": name, "done": done} for name, done in wired.done.items()],
            "next": wired.then,
            "missing": list(wired.missing),
            **({"text": wired.text} if print_ and wired.text is not None else {}),
        }
        typer.echo(json_module.dumps(document, indent=2))
    elif print_ and wired.text is not None:
        typer.echo(wired.text, nl=False)
    else:
        for name, done in wired.done.items():
            typer.echo(f"{name}: {done}" if wired.text is None else f"{wired.file}: {name}: {done}")
        if wired.missing:
            typer.echo(f"not installed yet: {', '.join(wired.missing)}; kata-toolkit install {folder}")
        if wired.then:
            typer.echo(f"then: {wired.then}")
