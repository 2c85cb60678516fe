"""A folder in which mmdebstrap can work: the users of a namespace must be able to walk to it, and what they leave in it
is theirs, so it takes a namespace to remove it again."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from .. import run
from ..errors import ToolError
from ..locks import locked

_PREFIX = "kata-toolkit-debian-"


@contextlib.contextmanager
def working_place(scratch: Path, cache: Path) -> Iterator[Path]:
    """A new folder below ``scratch``, or, where a parent of that keeps other users out, among temporary files.

    Vanishes with all that is in it. What killed builds of this user left behind goes first. Raises ToolError.
    """
    parent = scratch if _open_to_all(scratch) else Path(tempfile.gettempdir())
    _sweep(Path(tempfile.gettempdir()), cache)
    try:
        place = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
        place.chmod(0o755)
        lock_file = place.with_suffix(".lock")
        with locked(lock_file):
            try:
                yield place
            finally:
                _remove(place)
                lock_file.unlink(missing_ok=True)
    except OSError as error:
        raise ToolError(f"cannot work in {parent}: {error.strerror or error}") from error


def _open_to_all(folder: Path) -> bool:
    return all(path.stat().st_mode & 0o001 for path in (folder, *folder.parents))


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():
        run.run(["mmdebstrap", "--unshare-helper", "rm", "-rf", str(folder)], check=False)
        shutil.rmtree(folder, ignore_errors=True)


def _sweep(temporary: Path, cache: Path) -> None:
    for lock_file in temporary.glob(f"{_PREFIX}*.lock"):
        with contextlib.suppress(OSError), locked(lock_file, wait=False) as abandoned:
            if abandoned:
                _remove(lock_file.with_suffix(""))
                lock_file.unlink(missing_ok=True)
    for folder in (cache / "tmp").glob(f"doomed-*/scratch/{_PREFIX}*"):  # which the store could not remove whole
        _remove(folder.parents[1])
