"""Checks that the files and folders a spec names are there and can be used."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator
from pathlib import Path

from ..errors import Problem, Where
from .source import kind_of


def check_file(path: Path, where: Where) -> Iterator[Problem]:
    """A regular file that can be read and is not empty."""
    try:
        status = path.stat()
    except OSError as error:
        yield _missing(path, where, error)
        return
    kind = kind_of(status.st_mode)
    if kind:
        yield Problem(f"{path} is {kind}{', not a file' if kind.startswith('a ') else ''}", where)
    elif not os.access(path, os.R_OK):
        yield Problem(f"{path} cannot be read: permission denied", where)
    elif not status.st_size:
        yield Problem(f"{path} is empty", where)


def check_folder(path: Path, where: Where) -> Iterator[Problem]:
    """A folder that can be read."""
    try:
        status = path.stat()
    except OSError as error:
        yield _missing(path, where, error)
        return
    kind = kind_of(status.st_mode)
    if kind != "a directory":
        yield Problem(f"{path} is {kind or 'a file'}, not a directory", where, "an archive is `kind: tarball`")
    elif not os.access(path, os.R_OK | os.X_OK):
        yield Problem(f"{path} cannot be read: permission denied", where)


def check_kernel_tree(path: Path, where: Where) -> Iterator[Problem]:
    """A folder that holds Linux sources."""
    problems = list(check_folder(path, where))
    if problems:
        yield from problems
        return
    lacking = [name for name in ("Makefile", "Kconfig") if not (path / name).is_file()]
    if lacking:
        yield Problem(f"{path} is not a kernel source tree: it has no {' and no '.join(lacking)}", where)


def check_cargo_folder(path: Path, where: Where) -> Iterator[Problem]:
    """A folder that holds a crate or a workspace of Rust, with the versions of what it depends on."""
    problems = list(check_folder(path, where))
    if problems:
        yield from problems
    elif not (path / "Cargo.toml").is_file():
        yield Problem(f"{path} holds no crate: it has no Cargo.toml", where)
    elif not (path / "Cargo.lock").is_file():
        hint = "in that folder: cargo generate-lockfile; of a workspace, name the folder of the whole"
        yield Problem(f"{path} has no Cargo.lock, which says what is built", where, hint)


def _missing(path: Path, where: Where, error: OSError) -> Problem:
    if not isinstance(error, FileNotFoundError):
        return Problem(f"{path} cannot be read: {error.strerror}", where)
    if path.is_symlink():
        return Problem(f"{path} is a symbolic link to {path.readlink()}, which does not exist", where)
    try:
        names = sorted(entry.name for entry in path.parent.iterdir())
    except OSError:
        parent = next(parent for parent in path.parents if parent.exists())
        return Problem(f"{path} does not exist", where, f"the nearest folder that exists is {parent}")
    close = difflib.get_close_matches(path.name, names, n=1)
    hint = f'did you mean "{close[0]}"?' if close else "paths are relative to the folder of the spec"
    return Problem(f"{path} does not exist", where, hint)
