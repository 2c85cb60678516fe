"""``kata-toolkit boot``: start a built set, and run a container in it."""

from __future__ import annotations

import enum
from pathlib import Path

import click
import typer
from typer.core import TyperCommand

_COMMAND = "kata_toolkit.container_command"
_EXAMPLE = "for example: --run /bin/sh -c 'echo hello'"


class BootCommand(TyperCommand):
    """All that follows ``--run`` (or ``--``) is the container's command, whatever it looks like."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the container's words aside before ours are parsed."""
        cut = next((i for i, word in enumerate(args) if word in ("--run", "--")), None)
        if cut is not None:
            words = args[cut + 1 :]
            # As other programs that run a command do, `--run -- CMD` is `--run CMD`.
            ctx.meta[_COMMAND] = words[1:] if args[cut] == "--run" and words[:1] == ["--"] else words
            args = [*args[:cut], "--run"]
        return super().parse_args(ctx, args)


class Accel(enum.StrEnum):
    """Values of ``--accel``."""

    auto = "auto"
    kvm = "kvm"
    tcg = "tcg"


class RootfsDriver(enum.StrEnum):
    """Values of ``--rootfs-driver``."""

    nvdimm = "nvdimm"
    virtio_blk = "virtio-blk"


class Machine(enum.StrEnum):
    """Values of ``--machine``."""

    q35 = "q35"
    microvm = "microvm"
    virt = "virt"


class Channel(enum.StrEnum):
    """Values of ``--channel``."""

    auto = "auto"
    serial = "serial"
    vsock = "vsock"


def boot(
    ctx: typer.Context,
    target: Path = typer.Argument(
        ..., metavar="SPEC|DIR", help="A built set, the spec it was built from, or a template."
    ),
    run: bool = typer.Option(
        False,
        "--run",
        help="Run CMD… (all that follows) as a container; also after `--`. The exit code is CMD's own; 125: the guest "
        "failed; 126: CMD cannot be executed; 127: there is no CMD; 128+N: signal N killed it.",
    ),
    console: bool = typer.Option(False, "--console", help="Show the guest's console (on stderr) as it is written."),
    debug_shell: bool = typer.Option(False, "--debug-shell", help="A shell in the guest (the debug console)."),
    rootfs: Path = typer.Option(None, "--rootfs", metavar="DIR", help="A host folder as the container's root."),
    rootfs_driver: RootfsDriver = typer.Option(None, help="How the image is attached (default: as the set says)."),
    machine: Machine = typer.Option(None, help="QEMU's machine model (default: as the set says)."),
    accel: Accel = typer.Option("auto", help="KVM where it truly works, else TCG; or one of them."),
    channel: Channel = typer.Option("auto", help="How the agent is reached; auto is serial for the built-in agent."),
    memory: int = typer.Option(None, min=32, metavar="MIB", help="Guest memory (default: as the set says)."),
    vcpus: int = typer.Option(None, min=1, max=255, help="Guest CPUs (default: as the set says)."),
    timeout: float = typer.Option(60.0, min=0.1, metavar="SECONDS", help="How long the agent may take to answer."),
    json: bool = typer.Option(False, "--json", help="One JSON document on stdout."),
    quiet: bool = typer.Option(False, "--quiet", "-q", help="No notes on stderr, such as that KVM does not work."),
) -> None:
    """Boot a built set in QEMU as Kata would, and run a container in it.

    With --run, stdin, stdout, stderr and the exit code are the command's own.
    """
    from ..errors import InputError
    from ..vm.options import Options

    command = ctx.meta.get(_COMMAND, [])
    if run and not command:
        raise InputError("--run needs a command", hint=_EXAMPLE)
    if run and not command[0]:
        raise InputError("--run needs a command, and the name of this one is empty", hint=_EXAMPLE)
    if debug_shell and (run or json):
        raise InputError("--debug-shell talks to a person: it goes with neither --run nor --json")
    if rootfs and not run:
        raise InputError("--rootfs is the root of a container: it needs --run")
    options = Options(
        accel=accel.value,
        machine=machine.value if machine else None,
        rootfs_driver=rootfs_driver.value if rootfs_driver else None,
        memory_mib=memory,
        vcpus=vcpus,
        timeout_seconds=timeout,
        channel=channel.value,
        debug_console=debug_shell,
        verbose=console,
        share=_folder(rootfs) if rootfs else None,
    )
    from .boot_guest import boot_guest

    code = boot_guest(target, options, command, console=console, debug_shell=debug_shell, as_json=json, quiet=quiet)
    if code:
        raise typer.Exit(code)


def _folder(path: Path) -> Path:
    from ..errors import InputError

    if not path.is_dir():
        raise InputError(f"the root folder {path} " + ("is not a folder" if path.exists() else "does not exist"))
    return path.resolve()
