"""Reads a kernel module: unpacked, and what it says of itself.

The `.modinfo` section holds NUL-terminated "key=value" texts (include/linux/moduleparam.h, include/linux/module.h);
the section table is that of the System V ABI's ELF-64.
"""

from __future__ import annotations

import gzip
import lzma
import re
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

from . import run
from .errors import InputError, ToolError
from .pipeline.packages import install_hint

SUFFIXES = (".ko", ".ko.xz", ".ko.zst", ".ko.gz")
_ELF64_LITTLE = b"\x7fELF\x02\x01"
_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_RELOCATABLE = 1  # e_type
_SIGNED = b"~Module signature appended~\n"
_SIGNATURE = struct.Struct(">BBBBB3xI")  # what stands before it; the last field is the signature's length


@dataclass(frozen=True, slots=True)
class ModuleInfo:
    """``depends``: modules that must be loaded before. ``before``, ``after``: soft dependencies, by name or alias."""

    name: str
    machine: int
    depends: tuple[str, ...]
    before: tuple[str, ...]
    after: tuple[str, ...]
    aliases: tuple[str, ...]


def module_name(path: str) -> str:
    """``kernel/fs/nf-tables.ko.xz`` → ``nf_tables``: the kernel's own spelling."""
    stem = path.rsplit("/", 1)[-1]
    for suffix in SUFFIXES:
        if stem.endswith(suffix):
            return stem.removesuffix(suffix).replace("-", "_")
    return stem.replace("-", "_")


def unpacked(path: Path, name: str) -> bytes:
    """A module's bytes, whatever it is packed with; ``name``: what messages call it.

    Raises InputError for a damaged one, ToolError without the tool that unpacks it.
    """
    data = path.read_bytes()
    try:
        if data.startswith(b"\xfd7zXZ\x00"):
            return lzma.decompress(data, lzma.FORMAT_XZ)
        if data.startswith(b"\x1f\x8b"):
            return gzip.decompress(data)
    except (lzma.LZMAError, EOFError, OSError, zlib.error) as error:
        raise InputError(f"the module {name} is damaged: {error}") from error
    if data.startswith(b"\x28\xb5\x2f\xfd"):
        return _unzstd(path, name)
    return data


def _unzstd(path: Path, name: str) -> bytes:
    if run.which("zstd") is None:
        raise ToolError(f"zstd, which unpacks the module {name}, is not installed", hint=install_hint("zstd"))
    plain = path.with_name(path.name + ".plain")
    result = run.run(["zstd", "-d", "-q", "-f", "-o", str(plain), str(path)], check=False)
    if result.status:
        raise InputError(f"the module {name} is damaged: {result.output.strip()}")
    data = plain.read_bytes()
    plain.unlink()
    return data


def without_signature(data: bytes, name: str) -> bytes:
    """A module without the signature behind its end (include/linux/module_signature.h).

    Raises InputError when what is there makes no sense.
    """
    if not data.endswith(_SIGNED):
        return data
    end = len(data) - len(_SIGNED) - _SIGNATURE.size
    length = _SIGNATURE.unpack_from(data, end)[-1] if end > 0 else 0
    if not 0 < length < end:
        raise InputError(f"the module {name} is damaged: its signature says that it has {length:,} bytes")
    return data[: end - length]


def read_module(data: bytes, name: str) -> ModuleInfo:
    """What an unpacked module says of itself. Raises InputError when it is no whole module."""
    try:
        machine, section = _modinfo(data, name)
    except (struct.error, OverflowError) as error:
        raise InputError(f"the module {name} is cut off") from error
    fields: dict[str, list[str]] = {}
    for text in section.split(b"\0"):
        key, equals, value = text.decode(errors="replace").partition("=")
        if equals:
            fields.setdefault(key, []).append(value)
    soft = [_soft(text) for text in fields.get("softdep", ())]
    depends = [d.replace("-", "_") for text in fields.get("depends", ()) for d in text.split(",") if d]
    return ModuleInfo(
        name=fields.get("name", [module_name(name)])[0],
        machine=machine,
        depends=tuple(depends),
        before=tuple(n for before, _ in soft for n in before),
        after=tuple(n for _, after in soft for n in after),
        aliases=tuple(fields.get("alias", ())),
    )


def _modinfo(data: bytes, name: str) -> tuple[int, bytes]:
    if not data.startswith(_ELF64_LITTLE):
        raise InputError(f"the module {name} is not a 64-bit little-endian ELF file")
    fields = _HEADER.unpack_from(data)
    kind, machine, table, entry, count, names = fields[1], fields[2], fields[6], fields[11], fields[12], fields[13]
    if kind != _RELOCATABLE or entry < _SECTION.size or names >= count:
        raise InputError(f"the module {name} is an ELF file, but not a module")
    sections = [_SECTION.unpack_from(data, table + i * entry) for i in range(count)]
    texts = _bytes_of(data, sections[names])
    for section in sections:
        if texts[section[0] :].split(b"\0", 1)[0] == b".modinfo":
            return machine, _bytes_of(data, section)
    raise InputError(f"the module {name} has no .modinfo section, so it is no module")


def _bytes_of(data: bytes, section: tuple[int, ...]) -> bytes:
    offset, size = section[4], section[5]
    if offset + size > len(data):
        raise struct.error("beyond the end")
    return data[offset : offset + size]


def _soft(text: str) -> tuple[list[str], list[str]]:
    """``pre: a b post: c`` → ([a, b], [c])."""
    found: dict[str, list[str]] = {"pre:": [], "post:": []}
    current: list[str] = []
    for word in re.split(r"\s+", text.strip()):
        if word in found:
            current = found[word]
        elif word:
            current.append(word)
    return found["pre:"], found["post:"]
