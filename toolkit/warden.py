"""Clears up after us when we cannot: when we are killed, process groups are ended and temporary folders removed.

The kernel ends our children when we die (`run.die_with_parent`), but neither their children nor our files. So a shell
waits, in a session of its own, at a pipe of which we hold the other end: it is told what there is, and does its work
when the pipe closes, however that came about. Where it was killed as well, the next run clears up: every folder is
locked as long as it is in use.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from .errors import ToolError

# What it is told: a word, and a process group, or a path in printf's octal escapes.
_SCRIPT = r"""
trap '' HUP INT TERM
exec 3<&0
{
    groups= folders=
    without() { rest=; for one in $1; do [ "$one" = "$2" ] || rest="$rest $one"; done; }
    while read -r word what; do
        case $word in
        started) groups="$groups $what" ;;
        ended) without "$groups" "$what"; groups=$rest ;;
        made) folders="$folders $what" ;;
        removed) without "$folders" "$what"; folders=$rest ;;
        esac
    done
    for group in $groups; do kill -s KILL -- "-$group"; done
    for again in 1 2 3 4 5 6 7 8 9 10; do
        left=
        for folder in $folders; do
            path=$(printf '%bx' "$folder"); path=${path%x}
            rm -rf -- "$path" || { chmod -R u+rwX -- "$path"; rm -rf -- "$path"; } || left=yes
        done
        [ "$left" ] || break
        sleep 0.2
    done
} <&3 3<&- &
"""
_UNLOCKED_SECONDS = 60.0  # a folder that somebody has just made may not be locked yet

_true: dict[str, None] = {}
"""The lines it was told that still hold, in order: if it is killed, another one must hear them again."""
_pipes: list[int] = []  # our end of its pipe, once it is there


def started(group: int) -> None:
    """A process group is there, to be killed when we are."""
    _tell(f"started {group}\n")


def ended(group: int) -> None:
    """It is gone, and its number may become somebody else's."""
    _tell(f"ended {group}\n", no_more=f"started {group}\n")


@contextlib.contextmanager
def removed(path: Path) -> Iterator[None]:
    """While the block runs, ``path`` is removed with all that is in it when we are killed."""
    word = "".join(f"\\0{byte:03o}" for byte in os.fsencode(path.absolute()))
    _tell(f"made {word}\n")
    try:
        yield
    finally:
        _tell(f"removed {word}\n", no_more=f"made {word}\n")


@contextlib.contextmanager
def temporary_folder(kind: str, parent: Path | None = None) -> Iterator[Path]:
    """A folder of our own for as long as the block runs, below ``parent`` (None: where temporary files lie).

    Those of this kind that killed runs left there are removed first. Raises ToolError when it cannot be made.
    """
    prefix = f"kata-toolkit-{kind}-"
    with contextlib.ExitStack() as undo:
        try:
            # Where it was told to, or not at all: Python would quietly take another.
            base = parent or Path(os.environ.get("TMPDIR") or tempfile.gettempdir())
            _sweep(base, prefix)
            folder = Path(undo.enter_context(tempfile.TemporaryDirectory(prefix=prefix, dir=base)))
            undo.enter_context(removed(folder))
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            undo.callback(os.close, lock)
            fcntl.flock(lock, fcntl.LOCK_SH)
        except OSError as error:
            raise ToolError(
                f"no temporary folder can be made: {error.strerror}: {error.filename or ''}".rstrip(": "),
                hint="$TMPDIR names the folder for temporary files",
            ) from error
        yield folder


def _sweep(base: Path, prefix: str) -> None:
    before = time.time() - _UNLOCKED_SECONDS
    for folder in base.glob(f"{prefix}????????"):
        with contextlib.suppress(OSError):
            found = folder.lstat()
            if found.st_uid != os.geteuid() or found.st_mtime > before:
                continue
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(lock)


def _tell(line: str, *, no_more: str | None = None) -> None:
    if no_more is None:
        _true[line] = None
    elif _true.pop(no_more, line) is not None:
        return  # it was told that before
    for _ in range(2):  # it may have been killed meanwhile
        try:
            if not _pipes:
                line = "".join(_true)
                _pipes.append(_begin())
            os.write(_pipes[0], line.encode())
        except (OSError, subprocess.SubprocessError):  # if there cannot be another one, the next run clears up
            while _pipes:
                os.close(_pipes.pop())
        else:
            return


def _begin() -> int:
    """Start it, as nobody's child; our end of its pipe."""
    reading, writing = os.pipe()
    try:
        subprocess.run(  # its shell ends at once; what waits is in the background
            ["/bin/sh", "-c", _SCRIPT],
            stdin=reading,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={"PATH": os.environ.get("PATH", "/usr/bin:/bin")},
            cwd="/",
            start_new_session=True,
            check=True,
        )
    except BaseException:
        os.close(writing)
        raise
    finally:
        os.close(reading)
    return writing
