"""The program's entry: the table of verbs, and the one place where errors become text and exit codes."""

from __future__ import annotations

import io
import os
import signal
import sys
import time
from collections.abc import Sequence
from types import FrameType
from typing import Any

import typer

from .. import __version__
from ..errors import InputError, InternalError, KataToolkitError, Problem, ToolError
from . import annotations as annotating
from . import (
    bench,
    boot,
    build,
    cache,
    check_host,
    config,
    density,
    diff,
    fetch,
    init,
    install,
    kernel,
    lock,
    plan,
    report,
    sbom,
    schema,
    size,
    template,
    validate,
    verify,
    wire,
)

app = typer.Typer(
    name="kata-toolkit",
    help="One spec in; an unprivileged, byte-identical, boot-verified Kata Containers guest out.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(init.init)
app.command()(validate.validate)
app.command()(plan.plan)
app.command()(build.build)
app.command()(lock.lock)
app.command()(fetch.fetch)
app.command(cls=boot.BootCommand)(boot.boot)
app.add_typer(template.app, name="template")
app.command()(verify.verify)
app.command()(report.report)
app.command()(diff.diff)
app.command()(bench.bench)
app.command()(density.density)
app.command("check-host")(check_host.check_host)
app.add_typer(kernel.app, name="kernel")
app.add_typer(config.app, name="config")
app.command()(size.size)
app.add_typer(sbom.app, name="sbom")
app.add_typer(cache.app, name="cache")
app.command()(install.install)
app.command()(wire.wire)
app.command()(schema.schema)

EXIT_BUG = 70
EXIT_INTERRUPTED = 130


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"kata-toolkit {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
    annotations: str = typer.Option(
        None,
        annotating.OPTION,
        metavar="github|gitlab[=FILE]|none",
        help="Tell problems as GitHub's or GitLab's annotations too. May stand behind the verb as well.",
    ),
) -> None:
    """One spec in; an unprivileged, byte-identical, boot-verified Kata Containers guest out."""


def main() -> None:
    """Run the command line and exit with its status (see the table in the README)."""
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signum == signal.SIGINT or signal.getsignal(signum) is not signal.SIG_IGN:  # as below nohup
            signal.signal(signum, _interrupt)
    _open_missing_streams()
    status = run(sys.argv[1:])
    try:
        sys.stdout.flush()
    except OSError as error:
        # Python must not complain about it while it shuts down. A reader that has gone has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            status = status or _fail(ToolError(f"the output cannot be written: {error.strerror}"), [])
    sys.exit(status)


def _open_missing_streams() -> None:
    """A caller may have closed stdout or stderr; what we print then goes nowhere, and is no reason to fail."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: PTH123, SIM115 -- for as long as we live
        elif isinstance(stream := getattr(sys, name), io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # what a locale cannot write is no reason to fail either


_CLEANUP_SECONDS = 5.0
_signals: list[float] = []
"""When signals interrupted us. Some typers turn KeyboardInterrupt into an exit status, which could be a container's
as well."""


def _interrupt(signum: int, frame: FrameType | None) -> None:
    """SIGTERM and SIGHUP end us as Ctrl-C does: children stopped, temporary files removed.

    That takes a moment, in which more signals (a terminal that closes sends several) do not keep us from it.
    """
    now = time.monotonic()
    if _signals and now - _signals[0] < _CLEANUP_SECONDS:
        return
    _signals.append(now)
    raise KeyboardInterrupt


def run(arguments: list[str]) -> int:
    """Run one command line; the exit status. Never raises."""
    global _annotations
    try:
        arguments, _annotations = annotating.take(arguments)
    except KataToolkitError as error:
        return _fail(error, arguments)
    status = _run(arguments)
    if status == 0:
        _annotate([])
    return status


_annotations = annotating.Annotations()


def _annotate(problems: Sequence[Problem]) -> None:
    """What cannot be annotated is told, and changes no exit status: the problems were shown."""
    try:
        _annotations.write(problems)
    except OSError as error:
        sys.stderr.write(f"{error.filename}: the annotations cannot be written: {error.strerror}\n")


def _run(arguments: list[str]) -> int:
    # Newer typers carry a click of their own; both are reached through the names that typer exports.
    usage_error: Any = typer.BadParameter.__mro__[2]  # ClickException
    try:
        # standalone_mode=False would also do, but then click's own usage errors must be shown by hand.
        status = typer.main.get_command(app).main(arguments, prog_name="kata-toolkit", standalone_mode=False)
    except typer.Exit as end:
        return end.exit_code
    except usage_error as error:
        if _wants_json(arguments):
            return _fail(InputError(error.format_message()), arguments)
        error.show()
        return int(error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        _say("interrupted", arguments)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        return 0
    except KataToolkitError as error:
        if isinstance(error, InternalError):
            return _bug(arguments)
        return _fail(error, arguments)
    except OSError as error:
        return _fail(ToolError(f"{error.strerror or error}: {error.filename or ''}".rstrip(": ")), arguments)
    except Exception:
        return _bug(arguments)
    if _signals:
        _say("interrupted", arguments)
        return EXIT_INTERRUPTED
    return status if isinstance(status, int) else 0  # of a typer.Exit, which click turns into a result


def _fail(error: KataToolkitError, arguments: list[str]) -> int:
    from .render_problems import print_problems
    from .shown import ShownError

    if not isinstance(error, ShownError):
        try:
            print_problems(error.problems, as_json=_wants_json(arguments))
        except OSError:  # stdout is full, or gone
            print_problems(error.problems)
    _annotate(error.problems)
    return error.exit_code


def _wants_json(arguments: list[str]) -> bool:
    """Whether ``--json`` is ours: what follows ``--run`` or ``--`` belongs to the container."""
    for word in arguments:
        if word in ("--run", "--"):
            return False
        if word == "--json":
            return True
    return False


def _say(text: str, arguments: list[str]) -> None:
    """What is no mistake of the user's, and still must be said, also to programs."""
    from .render_problems import print_problems

    sys.stderr.write(f"{text}\n")
    if _wants_json(arguments):
        print_problems([Problem(text.splitlines()[0])], as_json=True)


def _bug(arguments: list[str]) -> int:
    import traceback

    traceback.print_exc()
    _say(
        f"this is a bug in kata-toolkit {__version__}, not a mistake of yours: please report the lines above\n"
        f"command: kata-toolkit {' '.join(arguments)}",
        arguments,
    )
    return EXIT_BUG
