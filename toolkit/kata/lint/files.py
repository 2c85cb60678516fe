"""Reads what a runtime would read for one configuration: the file, and the drop-ins beside it."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from ...errors import InputError, Where
from ...spec.source import kind_of
from .document import Document, parse
from .findings import Finding, Place

DROP_INS = "config.d"
MAX_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class Group:
    """One configuration: the base file (or a lone drop-in), its drop-ins in order, and what config.d has besides."""

    base: Document
    drop_ins: tuple[Document, ...] = ()
    findings: tuple[Finding, ...] = ()

    @property
    def documents(self) -> tuple[Document, ...]:
        """All of them, in the order in which they are merged."""
        return (self.base, *self.drop_ins)


def read_group(path: Path, *, drop_ins: bool = True) -> Group:
    """A file with the drop-ins of the ``config.d`` beside it; the file's links are followed first, as runtimes do.

    A file that lies in a ``config.d`` is read alone, as a drop-in. Raises InputError for what cannot be read.
    """
    if path.absolute().parent.name == DROP_INS:
        return Group(parse(str(path), _read(path), drop_in=True))
    base = parse(str(path), _read(path))
    folder = _beside(path)
    if not drop_ins or not folder.is_dir():
        return Group(base)
    documents, findings = [], []
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: os.fsencode(entry.name))
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=Where(str(folder))) from error
    for entry in entries:
        file = folder / entry.name
        if entry.is_symlink():
            findings.append(_no_file(file, "a symbolic link", "rs"))
        elif kind := kind_of(entry.stat(follow_symlinks=False).st_mode):
            findings.append(_no_file(file, kind, None))
        if file.is_file():
            documents.append(parse(str(file), _read(file), drop_in=True))
    return Group(base, tuple(documents), tuple(findings))


def read_stdin(data: bytes) -> Group:
    """A configuration from a pipe: no folder, so no drop-ins."""
    return Group(parse("-", data))


def _beside(path: Path) -> Path:
    if not path.is_symlink():
        return path.parent / DROP_INS
    return path.resolve().parent / DROP_INS


def _no_file(file: Path, kind: str, dialect: str | None) -> Finding:
    does = "the Rust runtime refuses the configuration" if dialect else "both runtimes refuse the configuration"
    told = f"{file.name} in {DROP_INS} is {kind}"
    return Finding(
        "drop-in-entry",
        "error",
        told,
        Place(str(file)),
        "only regular files can be there",
        does,
        "rs" if dialect else None,
    )


def _read(path: Path) -> bytes:
    where = Where(str(path))
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as stream:
            status = os.fstat(stream.fileno())
            kind = kind_of(status.st_mode)
            if kind:
                hint = f"name its files: {path}/*.toml" if stat.S_ISDIR(status.st_mode) else None
                raise InputError(f"is {kind}, not a file", where=where, hint=hint)
            data = stream.read(MAX_BYTES + 1)
    except IsADirectoryError as error:
        raise InputError("is a directory, not a file", where=where, hint=f"name its files: {path}/*.toml") from error
    except FileNotFoundError as error:
        raise InputError("no such file", where=where) from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise InputError(f"cannot be read: {reason}", where=where) from error
    if len(data) > MAX_BYTES:
        told = f"is larger than {MAX_BYTES >> 20} MiB"
        raise InputError(told, where=where, hint="is it the right file?")
    return data
