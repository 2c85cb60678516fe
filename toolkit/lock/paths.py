"""Where lock files lie."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import relative

if TYPE_CHECKING:
    from .model import Lock


def lock_path(spec: Path) -> Path:
    """A spec's lock file: quickstart.lock.json beside quickstart.yaml."""
    return spec.with_name(f"{spec.stem}.lock.json")


def find_lock(spec: Path) -> Lock | None:
    """The lock beside a spec; None when there is none. Raises InputError for one that is damaged."""
    path = lock_path(spec)
    if not path.exists() and not path.is_symlink():
        return None
    from .read import read_lock  # most specs have no lock, and reading one takes longer than a build of nothing

    return read_lock(Path(relative(path)))
