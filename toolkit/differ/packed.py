"""Compressed files made plain again, to be compared by what is in them."""

from __future__ import annotations

from pathlib import Path

from ..errors import ToolError
from ..image.initrd_compress import PACKINGS
from ..run import run

_MAGICS = {
    b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\x5d\x00\x00": "lzma", b"\xfd7zXZ\x00": "xz", b"\x89LZO": "lzo",
    b"\x02\x21\x4c\x18": "lz4", b"\x28\xb5\x2f\xfd": "zstd",
}  # fmt: skip
_TOOLS = {"lzo": ("lzop", "-d", "-o"), "zstd": ("zstd", "-d", "-q", "-o")}


def packing_of(start: bytes) -> str | None:
    """How a file that begins so is compressed, or None."""
    return next((name for magic, name in _MAGICS.items() if start.startswith(magic)), None)


def unpack(packed: Path, packing: str, target: Path) -> None:
    """Write the plain bytes to a new file. Raises ToolError when they cannot be had."""
    if packing in _TOOLS:
        run([*_TOOLS[packing], str(target), str(packed)])
        return
    with PACKINGS[packing].unpacked(packed, target.parent) as pieces:
        try:
            with target.open("xb") as out:
                for piece in pieces:
                    out.write(piece)
        except OSError as error:
            raise ToolError(f"cannot write {target}: {error.strerror}") from error
