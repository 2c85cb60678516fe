"""Where two files differ, whatever they are: told by their first bytes and their role in a set."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path

from .. import warden
from ..errors import InputError, ToolError
from . import elf_sections
from .fields import byte_differences
from .images import image_differences
from .members import cpio_differences, tar_differences
from .packed import packing_of, unpack
from .texts import read_text, text_differences

_CPIO = b"070701"
_TAR_MAGIC_AT, _TAR_MAGIC = 257, b"ustar"
_MBR_MAGIC_AT, _MBR_MAGIC = 510, b"\x55\xaa"
_STEP = 1 << 20
_MOST = 20  # sentences on one file


def differences(old: Path, new: Path, role: str = "") -> list[str]:
    """What differs, a sentence each, at most twenty; empty when the files are the same.

    ``old`` is the one in the set, ``new`` the one that was rebuilt; ``role``: as in the manifest. Raises ToolError.
    """
    try:
        raw = _raw(old, new)
        first = next(raw, None)
        if first is None:
            return []
        found = list(islice(_found(old, new, role), _MOST))
        return found or list(islice(chain([first], raw), _MOST))
    except OSError as error:
        raise ToolError(f"cannot read {error.filename or old}: {error.strerror}") from error


def _found(old: Path, new: Path, role: str) -> Iterator[str]:
    """By what they are; nothing when that leads nowhere."""
    starts = [_start(path) for path in (old, new)]
    try:
        if all(start.startswith(elf_sections.MAGIC) for start in starts):
            yield from elf_sections.elf_differences(old.read_bytes(), new.read_bytes())
        elif all(start.startswith(_CPIO) for start in starts):
            yield from cpio_differences(old, new)
        elif all(start[_TAR_MAGIC_AT:].startswith(_TAR_MAGIC) for start in starts):
            yield from tar_differences(old, new)
        elif role in ("image", "extension") or _is_image(starts[1]):
            yield from image_differences(old, new)
        elif packing_of(starts[1]):
            yield from _packed(old, new, role, [packing_of(start) for start in starts])
        else:
            lines = [read_text(path) for path in (old, new)]
            if lines[0] is not None and lines[1] is not None:
                yield from text_differences(lines[0], lines[1])
    except (ValueError, InputError) as damage:
        yield f"it cannot be looked into: {damage}"
        yield from _raw(old, new)


def _is_image(start: bytes) -> bool:
    return not start[: _MBR_MAGIC_AT - 70].strip(b"\0") and start[_MBR_MAGIC_AT:512] == _MBR_MAGIC


def _packed(old: Path, new: Path, role: str, packings: list[str | None]) -> Iterator[str]:
    if packings[0] is None or packings[1] is None or packings[0] != packings[1]:
        yield f"it is compressed with {packings[0] or 'nothing that is known'}, rebuilt with {packings[1]}"
        return
    with warden.temporary_folder("differ") as folder:
        plain = [folder / name for name in ("old", "new")]
        for packed, target in zip((old, new), plain, strict=True):
            try:
                unpack(packed, packings[0], target)
            except ToolError as error:
                yield f"{'the one in the set' if packed == old else 'the rebuilt one'} cannot be unpacked: {error}"
                return
        inside = differences(plain[0], plain[1], role)
        yield from inside or [f"what {packings[0]} unpacks is the same; only the compressed bytes differ"]


def _raw(old: Path, new: Path) -> Iterator[str]:
    sizes = old.stat().st_size, new.stat().st_size
    if sizes[0] != sizes[1]:
        yield f"{sizes[0]} bytes, rebuilt {sizes[1]}"
    with old.open("rb") as one, new.open("rb") as other:
        at = 0
        while True:
            left, right = one.read(_STEP), other.read(_STEP)
            if left != right:
                yield from byte_differences(left, right, at)
                return
            if not left:
                return
            at += len(left)


def _start(path: Path) -> bytes:
    with path.open("rb") as stream:
        return stream.read(512)
