"""The bytes of files inside a tar, left there until they are copied."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

_FAR = 1 << 63  # behind every range


class Source(Protocol):
    """An open tar."""

    def bytes_at(self, position: int, length: int) -> bytes:
        """Bytes of the tar itself. Raises InputError when it ends before."""


@dataclass(frozen=True, slots=True, eq=False)
class TarContent:
    """A file without holes, as nearly all are: few words each, since there may be hundreds of thousands."""

    tar: Source
    size: int
    start: int

    @property
    def ranges(self) -> tuple[tuple[int, int], ...]:
        return ((0, self.size),) if self.size else ()

    def read(self, offset: int, length: int) -> bytes:
        return self.tar.bytes_at(self.start + offset, length)


@dataclass(frozen=True, slots=True, eq=False)
class SparseContent:
    """A file with holes; ``starts`` says where each of its ranges begins in the tar."""

    tar: Source
    size: int
    ranges: tuple[tuple[int, int], ...]
    starts: tuple[int, ...]

    @classmethod
    def of(cls, tar: Source, size: int, ranges: Iterable[tuple[int, int]], start: int) -> SparseContent:
        """Ranges that lie one behind the other from ``start``."""
        ranges, starts = tuple(ranges), []
        for _, length in ranges:
            starts.append(start)
            start += length
        return cls(tar, size, ranges, tuple(starts))

    def read(self, offset: int, length: int) -> bytes:
        index = bisect_right(self.ranges, (offset, _FAR)) - 1
        return self.tar.bytes_at(self.starts[index] + offset - self.ranges[index][0], length)
