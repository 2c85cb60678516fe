"""Which blocks files get: one after the other, or the large ones where a guest can map them 2 MiB at a time.

With DAX a guest maps a file's blocks straight into its page tables: 512 of them with one entry, if they lie one after
the other on a 2 MiB boundary, and hold 2 MiB of the file that begin at a multiple of 2 MiB. Small files fill the gaps
that this leaves between large ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate

BLOCK = 4096
HUGE_PAGE = 2 << 20
_PER_PAGE = HUGE_PAGE // BLOCK
_OPEN_GAPS = 64  # how many are looked at for each small file: enough to fill them, few enough to be quick
BYTES_PER_INODE = 16384  # of free space: what mke2fs reckons with


@dataclass(frozen=True, slots=True)
class Shape:
    """How a file system is laid out. ``free_blocks`` and ``spare_inodes``: at least so many stay free."""

    huge: bool = False
    free_blocks: int = 0
    spare_inodes: int = 0

    @classmethod
    def with_room(cls, free: int, *, huge: bool) -> Shape:
        """Room for ``free`` more bytes, in files of ordinary sizes."""
        return cls(huge, -(-free // BLOCK), -(-free // BYTES_PER_INODE))


@dataclass(frozen=True, slots=True)
class Piece:
    """``length`` blocks of a file from its block ``logical``, to be put one after the other."""

    logical: int
    length: int

    @property
    def huge_pages(self) -> int:
        """How many 2 MiB pages it holds whole: what can be mapped with one entry each."""
        if self.length < _PER_PAGE:  # as nearly always
            return 0
        first = -(-self.logical // _PER_PAGE)
        return max((self.logical + self.length) // _PER_PAGE - first, 0)


class Pieces:
    """All pieces of a file system's files. Where they would lie is worked out once for each way that is asked for."""

    def __init__(self, pieces: Sequence[Piece]) -> None:
        self._pieces = pieces
        self._huge = [index for index, piece in enumerate(pieces) if piece.huge_pages]
        self._known: dict[tuple[int, bool], tuple[list[int], int]] = {}
        self.blocks = sum(piece.length for piece in pieces)
        self.huge_pages = sum(pieces[index].huge_pages for index in self._huge)

    def place(self, first: int, *, huge: bool) -> tuple[list[int], int]:
        """The first block of each piece, and the end of them all: the first block behind the last one.

        Pieces come in order from ``first`` on; with ``huge`` those that hold a whole 2 MiB page do, each where the
        page falls on a boundary, and the others fill the gaps before they follow.
        """
        huge = huge and bool(self._huge)
        if (first, huge) not in self._known:
            self._known[first, huge] = self._placed_huge(first) if huge else self._placed(first)
        return self._known[first, huge]

    def _placed(self, first: int) -> tuple[list[int], int]:
        starts = [*accumulate((piece.length for piece in self._pieces), initial=first)]
        return starts[:-1], starts[-1]

    def _placed_huge(self, at: int) -> tuple[list[int], int]:
        starts = [-1] * len(self._pieces)
        gaps: list[tuple[int, int]] = []
        for index in self._huge:
            piece = self._pieces[index]
            start = at + (piece.logical - at) % _PER_PAGE
            if start > at:
                gaps.append((at, start))
            starts[index] = start
            at = start + piece.length
        gaps.reverse()
        window: list[tuple[int, int]] = []
        for index, piece in enumerate(self._pieces):
            if starts[index] >= 0:
                continue
            while gaps and len(window) < _OPEN_GAPS:
                window.append(gaps.pop())
            length = piece.length
            for number, (start, end) in enumerate(window):
                if start + length <= end:
                    starts[index] = start
                    window[number] = (start + length, end)
                    if start + length == end:
                        del window[number]
                    break
            else:
                starts[index] = at
                at += length
        return starts, at


def merged(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """(start, end) ranges in ascending order, those that touch as one; empty ones left out."""
    found: list[tuple[int, int]] = []
    for start, end in sorted(ranges):
        if start == end:
            continue
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((start, end))
    return found
