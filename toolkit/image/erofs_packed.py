"""Compressed files of an EROFS: taken from an image that mkfs.erofs made of their contents, to lie in one of ours.

So names, owners, modes, attributes and devices never go through that tool or the disk: it compresses, and `erofs`
lays out. A file's compressed data is a row of clusters, each of whole blocks; an index says, for each 4 KiB of the
file, whether a cluster begins there and which. mkfs.erofs writes that index packed (16 of its entries in 32 bytes);
here it is written plainly, 8 bytes for each. Format: fs/erofs/erofs_fs.h and Documentation/filesystems/erofs.rst of
the kernel. That all this is understood rightly is seen by reading the finished image back.
"""

from __future__ import annotations

import os
import struct
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import ToolError

BLOCK = 4096
_PLAIN, _HEAD, _NEXT = 0, 1, 2  # a cluster begins here, stored or compressed; none begins
_COMPACT = 3  # an inode whose index is packed
_SHORT, _BIG, _BIG_TOO = (
    1,
    2,
    4,
)  # advice in an index's header: short entries; clusters of several blocks, of both kinds
_COUNT = 1 << 11  # in an entry: the number of the cluster's blocks, not the way back to it
_FEATURES = 0x3  # data at the end of its cluster; descriptions of compressions


@dataclass(frozen=True, slots=True)
class Cluster:
    """``blocks`` that hold the file from its byte ``start``; ``stored``: as it is, not compressed."""

    start: int
    blocks: int
    stored: bool


class Packed:
    """A file's compressed data: ``source``: its first block in the image that mkfs.erofs made."""

    def __init__(self, size: int, clusters: Iterable[Cluster], algorithm: int, source: int) -> None:
        self.size, self.algorithm, self.source = size, algorithm, source
        # Of a large image there are a million.
        self._starts, self._blocks, self._stored = array("Q"), array("H"), bytearray()
        for cluster in clusters:
            self._starts.append(cluster.start)
            self._blocks.append(cluster.blocks)
            self._stored.append(cluster.stored)
        self.blocks = sum(self._blocks)

    @property
    def index_size(self) -> int:
        """Of the index in bytes, its header included."""
        return 16 + -(-self.size // BLOCK) * 8

    def index(self, first: int) -> bytes:
        """The index, with the data in blocks from ``first`` on."""
        big = any(blocks > 1 for blocks in self._blocks)
        count = -(-self.size // BLOCK)
        out = bytearray(struct.pack("<IHBB8x", 0, _BIG if big else 0, self.algorithm, 0))
        here = 0
        for number, (start, blocks, stored) in enumerate(zip(self._starts, self._blocks, self._stored, strict=True)):
            last = number + 1 == len(self._starts)
            here, following = start // BLOCK, count if last else self._starts[number + 1] // BLOCK
            out += struct.pack("<HHI", _PLAIN if stored else _HEAD, start % BLOCK, first)
            for back in range(1, following - here):
                way = blocks | _COUNT if big and back == 1 else min(back, _COUNT - 1)
                out += struct.pack("<HHHH", _NEXT, 0, way, min(following - here - back, 0xFFFF))
            first += blocks
        if self.size % BLOCK and here != count - 1:
            out[-8:] = struct.pack("<HHI", _PLAIN, self.size % BLOCK, 0)  # where the file ends, nothing follows
        return bytes(out)


class PackedFiles:
    """An image that mkfs.erofs made of one folder of files, named by numbers. Raises ToolError.

    ``features`` and ``algorithms`` are fields of its superblock, ``configuration`` what lies behind it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise ToolError(f"cannot read {path}: {error.strerror}") from error
        superblock = self._at(1024, 128)
        self.features, self.algorithms = struct.unpack_from("<IH", superblock, 80)
        self._require(superblock[:4] == b"\xe2\xe1\xf5\xe0" and superblock[12:14] == b"\x0c\0", "another superblock")
        self._require(not self.features & ~_FEATURES and self.features & 1, f"the features {self.features:#x}")
        (self._metadata,) = struct.unpack_from("<I", superblock, 40)
        self.configuration = self._configuration()
        root = self._inode(int.from_bytes(superblock[14:16], "little"))
        self._inodes = dict(self._entries(root))

    def close(self) -> None:
        """The image is no longer needed."""
        os.close(self._fd)

    def get(self, name: str) -> Packed | None:
        """What a file came to; None when compression gained nothing."""
        number = self._inodes.get(name.encode())
        self._require(number is not None, f"no file {name}")
        _, raw, size, behind = self._inode(number or 0)
        layout = raw[0] >> 1 & 7
        if layout != _COMPACT:
            return None
        header = behind + -behind % 8
        _, advice, algorithms, bits = struct.unpack("<IHBB", self._at(header, 8))
        self._require(
            not advice & ~(_SHORT | _BIG | _BIG_TOO) and not bits and algorithms < 16, f"an index of kind {advice:#x}"
        )
        return self._packed(size, algorithms, header + 8, short=bool(advice & _SHORT), big=bool(advice & _BIG))

    def blocks(self, packed: Packed) -> Iterator[tuple[int, bytes]]:
        """A file's compressed data, as (offset, bytes)."""
        for done in range(0, packed.blocks, 256):
            count = min(256, packed.blocks - done)
            yield done * BLOCK, self._at((packed.source + done) * BLOCK, count * BLOCK)

    def _packed(self, size: int, algorithm: int, at: int, *, short: bool, big: bool) -> Packed:
        clusters: list[list[int]] = []
        source = None
        for number, (kind, low, base) in enumerate(self._index(-(-size // BLOCK), at, short=short)):
            if kind == _NEXT:
                if big and low & _COUNT:
                    clusters[-1][1] = low & ~_COUNT
            elif number * BLOCK + low < size:
                self._require(kind in (_PLAIN, _HEAD), "a second kind of compression")
                source = base + (not big) if source is None else source
                clusters.append([number * BLOCK + low, 1, kind == _PLAIN])
        self._require(source is not None and clusters[0][0] == 0, "a file that does not begin")
        return Packed(size, (Cluster(a, b, bool(c)) for a, b, c in clusters), algorithm, source or 0)

    def _index(self, count: int, at: int, *, short: bool) -> Iterator[tuple[int, int, int]]:
        """Each entry's kind and value, with the block number of its pack.

        Packs of two entries in 8 bytes lead to the next multiple of 32 bytes; there packs of sixteen begin, if the
        index has such; packs of two hold the rest.
        """
        before = min((32 - at % 32) // 4 % 8, count)
        sixteens = (count - before) // 16 * 16 if short else 0
        groups = ((before, 2, 16), (sixteens, 16, 14), (count - before - sixteens, 2, 16))
        for entries, each, bits in groups:
            size = each * bits // 8 + 4
            for first in range(0, entries, each):
                pack = self._at(at, size)
                packed, base = int.from_bytes(pack[:-4], "little"), int.from_bytes(pack[-4:], "little")
                for number in range(min(each, entries - first)):
                    value = packed >> number * bits & (1 << bits) - 1
                    yield value >> 12 & 3, value & 0xFFF, base
                at += size

    def _inode(self, number: int) -> tuple[int, bytes, int, int]:
        """Place, record, size, and where the record with its attributes ends."""
        at = self._metadata * BLOCK + number * 32
        raw = self._at(at, 64)
        attributes = int.from_bytes(raw[2:4], "little")
        extended = raw[0] & 1
        size = int.from_bytes(raw[8:16] if extended else raw[8:12], "little")
        return at, raw, size, at + (64 if extended else 32) + (12 + (attributes - 1) * 4 if attributes else 0)

    def _entries(self, inode: tuple[int, bytes, int, int]) -> Iterator[tuple[bytes, int]]:
        """The names in a folder with their inodes' numbers."""
        _, raw, size, behind = inode
        inline = raw[0] >> 1 & 7 == 2
        whole = size // BLOCK * BLOCK if inline else size
        first = int.from_bytes(raw[16:20], "little") * BLOCK
        data = (self._at(first, whole) if whole else b"") + (self._at(behind, size - whole) if whole < size else b"")
        for start in range(0, size, BLOCK):
            block = data[start : start + BLOCK]
            count = int.from_bytes(block[8:10], "little") // 12
            heads = [struct.unpack_from("<QH", block, i * 12) for i in range(count)]
            ends = [at for _, at in heads[1:]] + [len(block)]
            for (number, at), end in zip(heads, ends, strict=True):
                yield block[at:end].rstrip(b"\0"), number

    def _configuration(self) -> bytes:
        """The descriptions of compressions behind the superblock: each begins with its size, on a multiple of four."""
        if not self.features & 2:
            return b""
        end = 1024 + 128
        for _ in range(self.algorithms.bit_count()):
            end += -end % 4
            end += 2 + int.from_bytes(self._at(end, 2), "little")
        return self._at(1024 + 128, end - 1024 - 128)

    def _at(self, position: int, length: int) -> bytes:
        data = os.pread(self._fd, length, position)
        self._require(len(data) == length, "less than it says")
        return data

    def _require(self, holds: bool, what: str) -> None:
        if not holds:
            raise ToolError(f"mkfs.erofs wrote what is not known here: {what} ({self._path})")
