"""Reads compressed files of an EROFS: where their clusters lie, and what these hold. The half that checks the writer.

Only indexes with one full entry for each block are read. Whatever does not fit raises `DamagedError`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from . import decompress
from .filesystem import Cluster, DamagedError

_BLOCK = 4096
_MOST = 16 << 20  # bytes that one cluster may hold: far more than any tool writes
_ALGORITHMS: dict[int, decompress.Decompress] = {0: decompress.lz4, 3: decompress.zstd}


@dataclass(slots=True)
class Clusters:
    """Reads through ``at(position, length)``; keeps the last cluster, since a file is read in pieces."""

    at: Callable[[int, int], bytes]
    blocks: int
    _kept: tuple[Cluster, bytes] | None = None

    def of(self, number: int, size: int, behind: int) -> tuple[Cluster, ...]:
        """The clusters of a file of ``size`` bytes whose inode ends at ``behind``."""
        header = behind + -behind % 8
        head = self.at(header, 8)
        algorithm, big = head[6], head[4] & 2
        if head[:4] != bytes(4) or head[4] & ~2 or head[5] or head[7] or algorithm not in _ALGORITHMS:
            raise DamagedError(f"inode {number} is compressed in a way that is not expected")
        count = -(-size // _BLOCK)
        index = self.at(header + 16, count * 8)
        found = [*_clusters(index, number, size, big=bool(big))]
        if not found or found[0][0] != 0:
            raise DamagedError(f"inode {number} has no data at its beginning")
        clusters = []
        ends = [start for start, *_ in found[1:]] + [size]
        for (start, physical, blocks, stored), end in zip(found, ends, strict=True):
            length = end - start
            if not 0 < length <= (blocks * _BLOCK if stored else _MOST) or not 0 < physical <= self.blocks - blocks:
                raise DamagedError(f"inode {number} has a damaged cluster at {start}")
            clusters.append(Cluster(start, length, physical, blocks, None if stored else algorithm))
        return tuple(clusters)

    def read(self, clusters: tuple[Cluster, ...], offset: int, length: int) -> bytes:
        """So many bytes of a file; zeros beyond its end."""
        out = bytearray(length)
        first = bisect_right(clusters, offset, key=lambda cluster: cluster.start) - 1
        for cluster in (clusters[i] for i in range(first, len(clusters))):
            if cluster.start >= offset + length:
                break
            data = self._plain(cluster)
            begin, end = max(cluster.start, offset), min(cluster.start + cluster.length, offset + length)
            if begin < end:
                out[begin - offset : end - offset] = data[begin - cluster.start : end - cluster.start]
        return bytes(out)

    def _plain(self, cluster: Cluster) -> bytes:
        if self._kept is None or self._kept[0] != cluster:
            data = self.at(cluster.physical * _BLOCK, cluster.blocks * _BLOCK)
            if cluster.algorithm is None:
                data = data[: cluster.length]
            else:
                try:
                    # What does not fill its blocks lies at their end.
                    data = _ALGORITHMS[cluster.algorithm](data.lstrip(b"\0"), cluster.length)
                except ValueError as error:
                    raise DamagedError(f"the cluster in block {cluster.physical} is damaged") from error
            self._kept = (cluster, data)
        return self._kept[1]


def _clusters(index: bytes, number: int, size: int, *, big: bool) -> Iterator[tuple[int, int, int, bool]]:
    """Start in the file, first block, number of blocks, and whether it is stored as it is."""
    waiting: tuple[int, int, bool] | None = None
    blocks = 1
    for at in range(0, len(index), 8):
        kind, inside = index[at] & 3, int.from_bytes(index[at + 2 : at + 4], "little")
        if kind in (0, 1):
            start = at // 8 * _BLOCK + inside
            if inside >= _BLOCK:
                raise DamagedError(f"inode {number} has a damaged index")
            if start >= size:
                break  # only says where the file ends
            if waiting:
                yield waiting[0], waiting[1], blocks, waiting[2]
            waiting, blocks = (start, int.from_bytes(index[at + 4 : at + 8], "little"), kind == 0), 1
        elif kind == 2 and waiting:
            way = int.from_bytes(index[at + 4 : at + 6], "little")
            if big and way & 0x800:
                blocks = way & 0x7FF
        else:
            raise DamagedError(f"inode {number} has a damaged index")
    if waiting:
        yield waiting[0], waiting[1], blocks, waiting[2]
