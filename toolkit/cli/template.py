"""``kata-toolkit template``: a guest booted once, to be cloned by ``boot``."""

from __future__ import annotations

import json as json_module
from pathlib import Path

import typer

from . import live
from .boot import Accel, Machine, RootfsDriver

app = typer.Typer(help="Boot a guest once, and clone it in a tenth of the time.", no_args_is_help=True)


@app.command("create")
def create(
    target: Path = typer.Argument(..., metavar="SPEC|DIR", help="A built set, or the spec it was built from."),
    output: Path = typer.Option(
        None,
        "--output",
        "-o",
        metavar="DIR",
        help="The template's folder, on a tmpfs (default: one of your own there).",
    ),
    memory: int = typer.Option(None, min=32, metavar="MIB", help="Guest memory (default: as the set says)."),
    vcpus: int = typer.Option(None, min=1, max=255, help="Guest CPUs (default: as the set says)."),
    machine: Machine = typer.Option(None, help="QEMU's machine model (default: as the set says)."),
    rootfs_driver: RootfsDriver = typer.Option(None, help="How the image is attached (default: as the set says)."),
    accel: Accel = typer.Option("auto", help="KVM where it truly works, else TCG; or one of them."),
    timeout: float = typer.Option(60.0, min=0.1, metavar="SECONDS", help="How long the agent may take to answer."),
    json: bool = typer.Option(False, "--json", help="One JSON document on stdout."),
) -> None:
    """Boot a built set, pause it once its agent has settled, and save it. `kata-toolkit boot DIR` clones it.

    The folder holds the guest's memory and the state of its devices. It stays until you remove it, or the host's next
    start; clones that run need it no more. The set must stay where it is.
    """
    from ..vm.options import Options
    from ..vm.template import create as create_template
    from .boot_guest import find_set

    options = Options(
        accel=accel.value,
        memory_mib=memory,
        vcpus=vcpus,
        machine=machine.value if machine else None,
        rootfs_driver=rootfs_driver.value if rootfs_driver else None,
        timeout_seconds=timeout,
    )
    template = create_template(find_set(target), options, output, note=live.note)
    sizes = template.sizes()
    if json:
        document = {
            "folder": str(template.folder.absolute()),
            "set": str(template.built.folder.absolute()),
            "accel": template.accel,
            "memory_mib": template.settings["memory_mib"],
            "seconds_to_agent": round(template.seconds_to_agent, 3),
            "bytes": sizes,
        }
        typer.echo(json_module.dumps(document, indent=2))
        return
    typer.echo(f"{template.folder}")
    typer.echo(
        f"  a guest of {template.settings['memory_mib']} MiB under {template.accel}, its agent ready after "
        f"{template.seconds_to_agent:.2f} s; it takes {sum(sizes.values()) / 2**20:.1f} MiB of memory there"
    )
    typer.echo(f"  clone it:  kata-toolkit boot {template.folder}")
    typer.echo(f"  remove it: kata-toolkit template remove {template.folder}")


@app.command("remove")
def remove(folder: Path = typer.Argument(..., metavar="DIR", help="A template.")) -> None:
    """Remove a template, and nothing else. Clones that run are not touched."""
    from ..vm.template import remove as remove_template

    remove_template(folder)
