"""Digests of files, remembered by what the kernel says of them, and copies that are checked while they are made."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from ..errors import InputError, ToolError

CHUNK = 1 << 20


def sha256_of(path: Path) -> str:
    """The sha256 of a file's bytes, in hex. Raises OSError."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@dataclass(frozen=True, slots=True)
class Stamp:
    """What tells, without reading it, that a file is the one we digested: size, inode, mtime and ctime (ns).

    The ctime cannot be set by a program, so an edit that keeps size and mtime is still seen.
    """

    size: int
    inode: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, path: Path) -> Stamp:
        """Raises OSError."""
        info = path.stat()
        return cls(info.st_size, info.st_ino, info.st_mtime_ns, info.st_ctime_ns)


class DigestMemo:
    """Digests by path and `Stamp`, kept in one JSON file between builds."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._known: dict[str, list[int | str]] = read_json(file, {})
        self._changed = False

    def digest(self, path: Path) -> str:
        """The sha256 of a file. Raises InputError when it cannot be read."""
        key = str(path.absolute())
        try:
            stamp = Stamp.of(path)
            seen = [stamp.size, stamp.inode, stamp.mtime_ns, stamp.ctime_ns]
            known = self._known.get(key)
            if known and known[:4] == seen:
                return str(known[4])
            digest = sha256_of(path)
        except OSError as error:
            raise InputError(f"cannot read {path}: {error.strerror}") from error
        self._known[key] = [*seen, digest]
        self._changed = True
        return digest

    def save(self) -> None:
        """Write what was learnt; losing it costs time, never correctness."""
        if self._changed:
            with contextlib.suppress(OSError):
                write_atomically(self._file, json.dumps(self._known, sort_keys=True).encode())
            self._changed = False


def read_json(file: Path, default: dict[str, Any]) -> dict[str, Any]:
    """A JSON object kept between builds, or ``default`` when it is missing or damaged."""
    try:
        value = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return default
    return value if isinstance(value, dict) else default


def write_atomically(file: Path, data: bytes) -> None:
    """Replace a file as a whole: readers see the old bytes or the new ones. Raises OSError."""
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f".{file.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        temporary.write_bytes(data)
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)


def _data_segments(stream: BinaryIO, size: int) -> Iterator[tuple[int, int]]:
    """The (offset, length) of a file's data, holes left out (lseek(2), SEEK_DATA)."""
    offset = 0
    while offset < size:
        try:
            start = os.lseek(stream.fileno(), offset, os.SEEK_DATA)
        except OSError:
            return  # ENXIO: nothing but a hole up to the end
        end = os.lseek(stream.fileno(), start, os.SEEK_HOLE)
        yield start, end - start
        offset = end


def copy_checked(source: Path, target: Path, digest: str, mode: int, *, shown: str = "") -> bool:
    """Copy a file, holes kept, and tell whether the bytes copied have the digest expected.

    ``shown``: what an error calls the target. Raises ToolError when the disk is full or cannot be written.
    """
    hasher = hashlib.sha256()
    zeros = bytes(CHUNK)
    try:
        with source.open("rb") as reader, target.open("xb") as writer:
            size = os.fstat(reader.fileno()).st_size
            position = 0
            for start, length in _data_segments(reader, size):
                _hash_hole(hasher, zeros, start - position)
                reader.seek(start)
                writer.seek(start)
                left = length
                while left:
                    block = reader.read(min(CHUNK, left))
                    if not block:
                        return False
                    hasher.update(block)
                    writer.write(block)
                    left -= len(block)
                position = start + length
            _hash_hole(hasher, zeros, size - position)
            writer.truncate(size)
        target.chmod(mode)
    except OSError as error:
        raise ToolError(
            f"cannot write {shown or target}: {error.strerror}", hint="make room, or choose another disk"
        ) from error
    return hasher.hexdigest() == digest


def _hash_hole(hasher: hashlib._Hash, zeros: bytes, length: int) -> None:
    while length > 0:
        hasher.update(zeros[:length])
        length -= len(zeros)
