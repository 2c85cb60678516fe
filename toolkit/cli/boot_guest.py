"""What ``boot`` does once its arguments are known: boots the set, runs, shows, powers off."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import typer

from ..errors import CheckError, InputError, ToolError, relative
from ..vm.attached import run_attached
from ..vm.built_set import MANIFEST, BuiltSet
from ..vm.oci import Process
from ..vm.options import Options
from ..vm.session import CommandNotStarted, PowerOff, Session

GUEST_FAILED = 125
"""Exit status of ``--run`` when the command has none, for the guest failed; as container engines have it."""


@dataclass
class Notes:
    """What a person should know about a choice made for them: on stderr at once, and kept for the JSON document."""

    silent: bool
    kept: list[str] = field(default_factory=list)

    def __call__(self, text: str) -> None:
        self.kept.append(text)
        if not self.silent:
            sys.stderr.write(f"note: {text}\n")


def boot_guest(
    target: Path,
    options: Options,
    command: list[str],
    *,
    console: bool,
    debug_shell: bool,
    as_json: bool,
    quiet: bool,
) -> int:
    """Boot, do what was asked, and end the guest; the exit status. Raises InputError, ToolError, CheckError.

    With a command, an error of the guest or of QEMU has the exit code GUEST_FAILED: 1 and 3 may be the command's own.
    """
    built, start = _startable(target, options)
    # With --run, stderr is the command's: a file or a pipe there gets nothing else.
    note = Notes(silent=as_json or quiet or (bool(command) and not sys.stderr.isatty()))
    try:
        return _boot(built, start, command, note, console=console, debug_shell=debug_shell, as_json=as_json)
    except (CheckError, ToolError) as error:
        if command and not isinstance(error, CommandNotStarted):
            error.exit_code = GUEST_FAILED
        raise


Start = Callable[[Notes, Callable[[bytes], None] | None], Session]


def _startable(target: Path, options: Options) -> tuple[BuiltSet, Start]:
    """The set of a target, and how its guest is started: booted, or cloned when the target is a template."""
    from ..vm.template import RECORD, Template

    if (target / RECORD).is_file():
        _require_plain(options)
        template = Template.load(target)
        return template.built, lambda note, sink: template.clone(
            note=note, sink=sink, timeout_seconds=options.timeout_seconds
        )
    built = find_set(target)
    return built, lambda note, sink: Session.boot(built.bootable(), options, note=note, sink=sink)


_PLAIN = {
    "accel": "auto", "machine": None, "rootfs_driver": None, "memory_mib": None, "vcpus": None, "channel": "auto",
    "debug_console": False, "share": None,
}  # fmt: skip
_NAMES = {"memory_mib": "memory", "share": "rootfs", "debug_console": "debug-shell"}


def _require_plain(options: Options) -> None:
    """Raises InputError for an option that a clone cannot have: its machine is the template's."""
    changed = [name for name, value in _PLAIN.items() if getattr(options, name) != value]
    if changed:
        words = ", ".join("--" + _NAMES.get(name, name).replace("_", "-") for name in changed)
        raise InputError(
            f"a template's clone has the template's own machine: {words} cannot change it",
            hint="where there is such an option, give it to: kata-toolkit template create",
        )


def _boot(
    built: BuiltSet,
    start: Start,
    command: list[str],
    note: Notes,
    *,
    console: bool,
    debug_shell: bool,
    as_json: bool,
) -> int:
    with start(note, _to_stderr if console else None) as session:
        if debug_shell:
            return _shell(session)
        if command and not as_json:
            return run_attached(session, command)
        document = _document(session, note)
        if command:
            done = session.container(Process(command), stdin=None if sys.stdin.isatty() else 0)
            document |= {
                "exit_code": done.status,
                "stdout": done.stdout.decode(errors="replace"),
                "stderr": done.stderr.decode(errors="replace"),
            }
        end = session.power_off()
    if as_json:
        typer.echo(json.dumps({**document, "power_off": asdict(end)}, indent=2))
    else:
        _print_summary(built, document, end)
    return int(document.get("exit_code") or 0)


def find_set(target: Path) -> BuiltSet:
    """The built set that a folder is, or that a spec was built into. Raises InputError."""
    if target.is_dir() or not target.exists():
        return BuiltSet.load(target)
    from ..spec.load import load_spec

    folder = Path("out") / load_spec(target).name
    if not (folder / MANIFEST).is_file():
        raise InputError(
            f"{relative(target)} has not been built: there is no {folder}/{MANIFEST}",
            hint=f"kata-toolkit build {relative(target)}",
        )
    return BuiltSet.load(folder)


def _document(session: Session, note: Notes) -> dict[str, Any]:
    return {
        "accel": session.accel,
        "figures": session.figures(),
        "vcpus": session.machine.vcpus,
        "memory_mib": session.machine.memory_mib,
        "cmdline": session.machine.cmdline,
        "agent": asdict(session.agent.version()) | asdict(session.agent.guest_details()),
        "notes": note.kept,
    }


def _print_summary(built: BuiltSet, document: dict[str, Any], end: PowerOff) -> None:
    agent, figures = document["agent"], document["figures"]
    typer.echo(f"{built.name}: booted, the agent answered after {figures['seconds_to_agent']:.2f} s")
    typer.echo(f"accel      {document['accel']}")
    used = figures.get("guest_overhead_mib")
    typer.echo(
        f"guest      {document['vcpus']} vCPU, {document['memory_mib']} MiB"
        + ("" if used is None else f", {used:.1f} MiB of it used before any container")
    )
    typer.echo(f"agent      {agent['agent_version']}, API {agent['grpc_version']}")
    typer.echo(f"storages   {', '.join(agent['storage_handlers'])}")
    typer.echo(f"power-off  {'clean' if end.clean else 'NOT clean'}: {end.detail}")


def _shell(session: Session) -> int:
    from ..vm.terminal import attach

    if sys.stdin.isatty():
        sys.stderr.write("a shell in the guest; Ctrl-] leaves it\n")
    with session.debug_console() as end:
        attach(end, 0, 1)
    return 0


def _to_stderr(data: bytes) -> None:
    os.write(2, data)
