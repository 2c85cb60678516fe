"""How an initrd is compressed: every way the kernel can unpack, each packed by a tool and unpacked by something else.

What the kernel takes: lib/decompress.c of its source. Dictionaries and windows are small enough that unpacking costs
a guest at most 8 MiB beside the initrd itself. One thread each: with more the bytes would depend on how the work was
cut.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..errors import ToolError
from ..pipeline.stage import Command
from ..rootfs.tree import CHUNK

PLAIN = "initrd.cpio"
_BACK = "back.cpio"
_LZ4_MAGIC = 0x184C2102
_LZ4_CHUNK = 8 << 20  # bytes in each block of the legacy format, the only one that the kernel knows
_FROM = f"@scratch@/{PLAIN}"
_XZ = ("xz", "--keep", "-T1")


@dataclass(frozen=True, slots=True)
class Packing:
    """``pack`` writes beside the plain file, with ``suffix``. It is unpacked by ``unpack`` or by ``pieces``."""

    pack: Command
    suffix: str
    unpack: Command | None = None
    pieces: Callable[[Path], Iterator[bytes]] | None = None

    @property
    def commands(self) -> tuple[Command, ...]:
        """What is run, for the recipe."""
        return (self.pack, *([self.unpack] if self.unpack else []))

    @contextmanager
    def unpacked(self, packed: Path, scratch: Path) -> Iterator[Iterator[bytes]]:
        """The plain bytes again, in pieces. Raises ToolError when they cannot be had."""
        try:
            if self.pieces:
                yield self.pieces(packed)
            else:
                with (scratch / _BACK).open("rb") as stream:
                    yield iter(lambda: stream.read(CHUNK), b"")
        except (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError) as error:
            raise ToolError(f"{packed} cannot be unpacked: {error}") from error


def _gzip(path: Path) -> Iterator[bytes]:
    with gzip.open(path) as stream:
        yield from iter(lambda: stream.read(CHUNK), b"")


def _bzip2(path: Path) -> Iterator[bytes]:
    with bz2.open(path) as stream:
        yield from iter(lambda: stream.read(CHUNK), b"")


def _xz(path: Path) -> Iterator[bytes]:
    with lzma.open(path) as stream:  # knows both of its formats by their beginnings
        yield from iter(lambda: stream.read(CHUNK), b"")


def _lz4(path: Path) -> Iterator[bytes]:
    from .decompress import lz4_most

    with path.open("rb") as stream:
        if int.from_bytes(stream.read(4), "little") != _LZ4_MAGIC:
            raise ValueError("it is not of the legacy format")
        while head := stream.read(4):
            size = int.from_bytes(head, "little")
            if size > 2 * _LZ4_CHUNK:
                raise ValueError(f"a block of {size} bytes")
            yield lz4_most(stream.read(size), _LZ4_CHUNK)


PACKINGS = {
    "gzip": Packing(Command("gzip", "-9", "-n", "-k", _FROM), ".gz", pieces=_gzip),
    "bzip2": Packing(Command("bzip2", "-9", "-k", _FROM), ".bz2", pieces=_bzip2),
    "lzma": Packing(Command(*_XZ, "--format=lzma", "--lzma1=preset=6e,dict=8MiB", _FROM), ".lzma", pieces=_xz),
    # The kernel checks CRC-32 only; it refuses nothing else but leaves a better check unread.
    "xz": Packing(Command(*_XZ, "--check=crc32", "--lzma2=preset=6e,dict=8MiB", _FROM), ".xz", pieces=_xz),
    # lzop writes the plain file's time and mode into its header: the stage makes them the same always.
    "lzo": Packing(
        Command("lzop", "-9", "-o", f"{_FROM}.lzo", _FROM),
        ".lzo",
        unpack=Command("lzop", "-d", "-o", f"@scratch@/{_BACK}", "@packed@"),
    ),
    "lz4": Packing(Command("lz4", "-l", "-12", "-q", _FROM, f"{_FROM}.lz4"), ".lz4", pieces=_lz4),
    # Level 19 needs a window of 8 MiB.
    "zstd": Packing(
        Command("zstd", "-19", "--single-thread", "-q", "-o", f"{_FROM}.zst", _FROM),
        ".zst",
        unpack=Command("zstd", "-d", "-q", "-o", f"@scratch@/{_BACK}", "@packed@"),
    ),
}
