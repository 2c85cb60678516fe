"""The only place that starts a process (but for the one that clears up after us: `warden.py`).

Argv lists only, an environment from scratch, stdin closed, output streamed to a log, and a failure that can be
pasted into a shell. Every child leads its own process group, so that nothing outlives us on an error or Ctrl-C.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shlex
import shutil
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Protocol

from . import warden
from .errors import InternalError, ToolError

PR_SET_PDEATHSIG = 1  # linux/prctl.h
# Held back while a child is made: between fork and exec it is a copy of us, with our handlers.
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_KILL_GRACE_SECONDS = 3.0
_TAIL_LINES = 30

BASE_ENVIRONMENT: Mapping[str, str] = {"LC_ALL": "C.UTF-8", "TZ": "UTC", "HOME": "/nonexistent"}


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment a tool gets: PATH and TMPDIR of the caller, everything else from scratch."""
    env = {"PATH": os.environ.get("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")}
    if "TMPDIR" in os.environ:
        env["TMPDIR"] = os.environ["TMPDIR"]
    # Debian keeps mke2fs, debugfs and veritysetup in sbin, which an ordinary user's PATH lacks.
    for folder in ("/usr/sbin", "/sbin"):
        if folder not in env["PATH"].split(":"):
            env["PATH"] += f":{folder}"
    return {**env, **BASE_ENVIRONMENT, **(extra or {})}


def which(tool: str) -> Path | None:
    """The absolute path of a tool as `run` would find it, or None."""
    found = shutil.which(tool, path=environment()["PATH"])
    return Path(found) if found else None


class Log(Protocol):
    """Where commands and their output are written down: any text stream."""

    def write(self, text: str, /) -> object:
        """Write text as it is."""


@dataclass(frozen=True, slots=True)
class Result:
    """How a process ended: its exit status (negative: the signal) and its output, decoded."""

    argv: tuple[str, ...]
    status: int
    output: str


def as_shell(argv: Sequence[str], *, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> str:
    """The command as a line that can be pasted into a shell."""
    words = [f"{k}={shlex.quote(v)}" for k, v in (env or {}).items()]
    line = " ".join([*words, *(shlex.quote(a) for a in argv)])
    return f"cd {shlex.quote(str(cwd))} && {line}" if cwd else line


_prctl = ctypes.CDLL(None).prctl  # bound here: a forked child must not load anything


def die_with_parent() -> None:
    """For ``preexec_fn``: the child is killed when the thread that started it ends, even by SIGKILL (prctl(2))."""
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def spawn(
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: int | IO[bytes] = subprocess.DEVNULL,
    stdout: int | IO[bytes] = subprocess.PIPE,
    stderr: int | IO[bytes] = subprocess.STDOUT,
    pass_fds: Sequence[int] = (),
) -> subprocess.Popen[bytes]:
    """Start a process in a group of its own, for callers that talk to it while it runs.

    To be called from the main thread only: the child dies with the thread that started it. Raises ToolError when
    the program is missing or cannot be executed.
    """
    if threading.current_thread() is not threading.main_thread():
        raise InternalError("processes are started from the main thread only: they die with their thread")
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
    process = None
    try:
        process = subprocess.Popen(
            list(argv),
            env=environment(env),
            cwd=cwd,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
            pass_fds=pass_fds,
            preexec_fn=partial(_begin, before),  # noqa: PLW1509 -- we start processes from the main thread only
        )
    except FileNotFoundError as error:
        if cwd is not None and not cwd.is_dir():
            raise ToolError(f"cannot run {argv[0]}: the folder {cwd} is gone") from error
        raise ToolError(f"{argv[0]} is not installed", hint=f"needed for: {as_shell(argv)[:200]}") from error
    except OSError as error:
        raise ToolError(f"cannot run {argv[0]}: {error.strerror}") from error
    finally:
        _let_in(before, process)
    warden.started(process.pid)
    return process


def _begin(before: Iterable[int]) -> None:
    """In the child, before it becomes the program: signals end it, and no longer mean what they mean to us."""
    die_with_parent()
    for signum in _ENDING:
        if signal.getsignal(signum) is not signal.SIG_IGN:
            signal.signal(signum, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _let_in(before: Iterable[int], process: subprocess.Popen[bytes] | None) -> None:
    """Take signals again; one that came meanwhile must not leave the child behind."""
    try:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    except BaseException:
        if process:
            stop(process)
        raise


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a process and its whole group: SIGTERM, a grace time, SIGKILL. Safe to call twice."""
    for signum, patience in ((signal.SIGTERM, _KILL_GRACE_SECONDS), (signal.SIGKILL, None)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signum)
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            continue
        # The leader is gone; what it left in its group goes too.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        warden.ended(process.pid)
        return


def run(
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    log: Log | None = None,
    on_line: Callable[[str], None] | None = None,
    stdin: IO[bytes] | None = None,
    check: bool = True,
    timeout: float | None = None,
) -> Result:
    """Run a program to its end; its stdout and stderr are one stream, line by line.

    ``log`` gets the command (as it can be pasted) and each line; ``on_line`` each line. ``timeout`` is in
    seconds. Raises ToolError when the program is missing, exceeds the time, or (with ``check``) fails; the
    error ends with the last lines of its output and the line to paste.
    """
    if log:
        log.write(f"$ {as_shell(argv, cwd=cwd, env=env)}\n")
    process = spawn(argv, env=env, cwd=cwd, stdin=stdin if stdin is not None else subprocess.DEVNULL)
    assert process.stdout is not None  # noqa: S101 -- PIPE was asked for
    lines: list[str] = []
    watchdog = _Watchdog(process, timeout)
    try:
        for raw in process.stdout:
            line = raw.decode(errors="replace").rstrip("\n")
            lines.append(line)
            if log:
                log.write(line + "\n")
            if on_line:
                on_line(line)
        status = process.wait()
    finally:
        watchdog.cancel()
        stop(process)
        process.stdout.close()
    result = Result(tuple(argv), status, "\n".join(lines))
    if watchdog.fired:
        raise ToolError(f"{argv[0]} did not end within {timeout:g} s", hint=as_shell(argv, cwd=cwd, env=env))
    if check and status:
        raise ToolError(
            _failure(result, deque(lines, _TAIL_LINES)), hint=f"to repeat: {as_shell(argv, cwd=cwd, env=env)}"
        )
    return result


def _failure(result: Result, tail: deque[str]) -> str:
    how = f"was killed by {signal.Signals(-result.status).name}" if result.status < 0 else f"failed ({result.status})"
    text = "\n".join(f"  {line}" for line in tail)
    return f"{result.argv[0]} {how}" + (f":\n{text}" if text else "")


class _Watchdog:
    """Ends a process that runs longer than it may; the reader then sees end of file."""

    def __init__(self, process: subprocess.Popen[bytes], seconds: float | None) -> None:
        self.fired = False
        self._process = process
        self._timer = threading.Timer(seconds, self._fire) if seconds else None
        if self._timer:
            self._timer.daemon = True
            self._timer.start()

    def _fire(self) -> None:
        self.fired = True
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def cancel(self) -> None:
        if self._timer:
            self._timer.cancel()
