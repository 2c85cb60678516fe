"""Takes the kernel proper, an ELF file, out of a bzImage.

The header and where the payload lies: Documentation/arch/x86/boot.rst (boot protocol 2.08 and later). How each
compressor marks its data: the formats' own specifications; scripts/Makefile.lib appends the unpacked size.
"""

from __future__ import annotations

import bz2
import lzma
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from . import run
from .errors import InputError, ToolError
from .pipeline.packages import install_hint

SETUP_MAGIC_AT, SETUP_MAGIC = 0x202, b"HdrS"
_SETUP_SECTS, _VERSION, _KERNEL_VERSION = 0x1F1, 0x206, 0x20E
_PAYLOAD = 0x248  # payload_offset, payload_length
_HEADER_END = 0x250
_PROTOCOL = 0x208  # the first with a payload
_SECTOR = 512
_ELF = b"\x7fELF"
_MAX_KERNEL = 1 << 30


@dataclass(frozen=True, slots=True)
class Compression:
    """How a payload is packed. ``sized``: four bytes with the unpacked size follow (gzip has its own).

    ``tool``: the program that unpacks it, where Python itself cannot.
    """

    name: str
    magic: bytes
    sized: bool = True
    tool: tuple[str, ...] = ()


COMPRESSIONS = (
    Compression("gzip", b"\x1f\x8b\x08", sized=False),
    Compression("xz", b"\xfd7zXZ\x00"),
    Compression("bzip2", b"BZh"),
    Compression("lzma", b"\x5d\x00\x00"),
    Compression("zstd", b"\x28\xb5\x2f\xfd", tool=("zstd", "-d", "-q", "-c", "--long=31")),
    Compression("lz4", b"\x02\x21\x4c\x18", tool=("lz4", "-d", "-q", "-c")),
    Compression("lzo", b"\x89LZO\x00\x0d\x0a\x1a\x0a", tool=("lzop", "-d", "-q", "-c")),
)


def kernel_version(data: bytes) -> str:
    """The release that a bzImage names in its header ("6.1.0-56-cloud-amd64"); "" when it names none."""
    (at,) = struct.unpack_from("<H", data, _KERNEL_VERSION)
    text = data[at + _SECTOR : at + _SECTOR + 512].split(b"\0")[0] if at else b""
    return text.split(b" ")[0].decode(errors="replace")


def payload(data: bytes, name: str) -> bytes:
    """The packed kernel inside a bzImage. ``name``: what messages call it. Raises InputError for a wrong header."""
    if data[SETUP_MAGIC_AT : SETUP_MAGIC_AT + 4] != SETUP_MAGIC or len(data) < _HEADER_END:
        raise InputError(f"{name} is not a bzImage: it has no setup header")
    (protocol,) = struct.unpack_from("<H", data, _VERSION)
    if protocol < _PROTOCOL:
        raise InputError(
            f"{name} has boot protocol {protocol >> 8}.{protocol & 255:02}; the place of the kernel came with 2.08"
        )
    offset, length = struct.unpack_from("<II", data, _PAYLOAD)
    start = ((data[_SETUP_SECTS] or 4) + 1) * _SECTOR + offset  # 0 means 4
    if not length or start + length > len(data):
        raise InputError(
            f"{name} is damaged or cut off: its header says that the kernel ends at byte {start + length:,}, "
            f"the file at {len(data):,}"
        )
    return data[start : start + length]


def unpack(data: bytes, name: str, scratch: Path) -> bytes:
    """The ELF file inside a bzImage. ``scratch``: a folder for files that the tools read.

    Raises InputError for a damaged one, ToolError when a tool for its compression is missing.
    """
    packed = payload(data, name)
    if packed.startswith(_ELF):
        return packed
    kind = next((c for c in COMPRESSIONS if packed.startswith(c.magic)), None)
    if kind is None:
        known = ", ".join(c.name for c in COMPRESSIONS)
        raise InputError(
            f"the kernel in {name} is packed in a way that is not known (it starts with {packed[:6].hex(' ')})",
            hint=f"known: {known}",
        )
    body = packed[:-4] if kind.sized else packed
    kernel = _by_tool(kind, body, name, scratch) if kind.tool else _by_python(kind, body, name)
    if kind.sized and len(kernel) != int.from_bytes(packed[-4:], "little"):
        size = int.from_bytes(packed[-4:], "little")
        raise InputError(f"the kernel in {name} is damaged: {len(kernel):,} bytes came out, it says {size:,}")
    if not kernel.startswith(_ELF):
        raise InputError(f"what is packed in {name} ({kind.name}) is no ELF file, so no kernel")
    return kernel


def _by_python(kind: Compression, body: bytes, name: str) -> bytes:
    unpackers: dict[str, Callable[[bytes], bytes]] = {
        "gzip": _gunzip,
        "bzip2": lambda data: bz2.BZ2Decompressor().decompress(data, _MAX_KERNEL),
        "xz": lambda data: lzma.LZMADecompressor(lzma.FORMAT_XZ).decompress(data, _MAX_KERNEL),
        "lzma": lambda data: lzma.LZMADecompressor(lzma.FORMAT_ALONE).decompress(data, _MAX_KERNEL),
    }
    try:
        return unpackers[kind.name](body)
    except (zlib.error, lzma.LZMAError, OSError, EOFError) as error:
        raise InputError(f"the kernel in {name} is damaged: {kind.name}: {error}") from error


def _gunzip(data: bytes) -> bytes:
    unpacker = zlib.decompressobj(wbits=31)
    kernel = unpacker.decompress(data, _MAX_KERNEL)
    if not unpacker.eof:  # the sum at the end was never seen
        raise EOFError("it ends early")
    return kernel


def _by_tool(kind: Compression, body: bytes, name: str, scratch: Path) -> bytes:
    tool = kind.tool[0]
    if run.which(tool) is None:
        raise ToolError(f"{tool}, which unpacks the kernel in {name}, is not installed", hint=install_hint(tool))
    path = scratch / f"payload.{kind.name}"
    complaints = scratch / f"payload.{kind.name}.stderr"
    path.write_bytes(body)
    with path.open("rb") as source, complaints.open("wb") as stderr:
        process = run.spawn(kind.tool, stdin=source, stderr=stderr)
        assert process.stdout is not None  # noqa: S101 -- run.spawn pipes it by default
        try:
            kernel = process.stdout.read(_MAX_KERNEL)
            status = process.wait()
        finally:
            run.stop(process)
            process.stdout.close()
    if status:
        reason = (complaints.read_text(errors="replace").strip().splitlines() or [f"status {status}"])[-1]
        raise InputError(f"the kernel in {name} is damaged: {tool}: {reason}")
    return kernel
