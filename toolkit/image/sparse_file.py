"""The file an image is written into: blocks of zeros stay holes, so that its size on disk is what it holds."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType

from ..errors import InternalError, ToolError

BLOCK = 4096
_CHUNK = 1 << 20
_ZEROS = bytes(BLOCK)
_MOST_GATHERED = 500  # pieces; pwritev(2) takes 1024 (IOV_MAX), and there may be zeros between two


class SparseFile:
    """A new file of fixed size, all holes. ``blocks`` counts the 4 KiB blocks written: what it takes on disk.

    Raises ToolError when the disk is full or the file cannot be made.
    """

    def __init__(self, path: Path, size: int) -> None:
        self.path = path
        self.size = size
        self.blocks = 0
        # What lies one behind the other is gathered, so that many small files are one call: from where, to where.
        self._gathered: list[bytes] = []
        self._start = self._end = self._top = 0  # and the end of all that was ever written
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
            os.ftruncate(self._fd, size)
        except OSError as error:
            raise self._failed(error) from error

    def __enter__(self) -> SparseFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            try:
                if error is None:
                    self._flush()
            finally:
                os.close(self._fd)
        except OSError as failure:  # some file systems tell of a full disk only here
            if error is None:
                raise self._failed(failure) from failure

    def write(self, offset: int, data: bytes) -> None:
        """Write data that starts on a block boundary; the rest of its last block stays as it was.

        Raises ToolError; InternalError for what would overlap the end.
        """
        if offset % BLOCK or offset + len(data) > self.size:
            raise InternalError(f"{len(data)} bytes at {offset} do not fit an image of {self.size}")
        start: int | None = None
        for at in range(0, len(data), BLOCK):
            empty = not data[at] and _is_empty(data[at : at + BLOCK])
            if empty and start is not None:
                self._put(offset + start, data[start:at])
                start = None
            elif not empty and start is None:
                start = at
        if start is not None:
            self._put(offset + start, data[start:])

    def reader(self, start: int) -> Callable[[int, int], bytes]:
        """A function that reads ``length`` bytes at an offset from ``start``: what was written so far. ToolError."""

        def read(offset: int, length: int) -> bytes:
            self._flush()
            try:
                return os.pread(self._fd, length, start + offset)
            except OSError as error:
                raise ToolError(f"cannot read {self.path}: {error.strerror}") from error

        return read

    def _put(self, offset: int, data: bytes) -> None:
        self.blocks += -(-len(data) // BLOCK)
        gap = offset - self._end
        follows = 0 <= gap < BLOCK and (not gap or self._end == self._top)  # a gap above all else holds zeros
        if not follows or self._end - self._start >= _CHUNK or len(self._gathered) >= _MOST_GATHERED:
            self._flush()
            self._start = self._end = offset
        elif gap:
            self._gathered.append(_ZEROS[:gap])
        self._gathered.append(data)
        self._end = offset + len(data)
        self._top = max(self._top, self._end)

    def _flush(self) -> None:
        """Write what was gathered. Raises ToolError."""
        parts, self._gathered = self._gathered, []
        try:
            done = os.pwritev(self._fd, parts, self._start) if parts else 0
            if done < self._end - self._start and parts:  # a disk that fills up takes a part
                rest = memoryview(b"".join(parts))
                while done < len(rest):
                    done += os.pwrite(self._fd, rest[done:], self._start + done)
        except OSError as error:
            raise self._failed(error) from error
        self._start = self._end

    def _failed(self, error: OSError) -> ToolError:
        return ToolError(f"cannot write {self.path}: {error.strerror}")


def _is_empty(block: bytes) -> bool:
    return block == _ZEROS or not block.strip(b"\0")


def copy_data(source: Path, start: int, size: int, target: Path) -> None:
    """Copy ``size`` bytes of a file from ``start`` (on a block boundary) into a new file, holes left out.

    Raises ToolError.
    """
    try:
        with source.open("rb") as stream, target.open("xb") as out:
            out.truncate(size)
            for first, last in _data_ranges(stream.fileno(), start, start + size):
                for at in range(first, last, _CHUNK):
                    out.seek(at - start)
                    out.write(os.pread(stream.fileno(), min(last - at, _CHUNK), at))
    except OSError as error:
        raise ToolError(f"cannot copy {source} to {target}: {error.strerror}") from error


def _data_ranges(fd: int, start: int, end: int) -> Iterator[tuple[int, int]]:
    """The parts of a file that are not holes, as (start, end)."""
    while start < end:
        try:
            first = os.lseek(fd, start, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # only a hole is left
                return
            raise
        start = os.lseek(fd, first, os.SEEK_HOLE)
        yield min(first, end), min(start, end)
