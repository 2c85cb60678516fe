"""Archives that differ: which member of a tar or of an initrd's cpio, and what of it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from ..image.cpio import Entry, read_cpio
from ..rootfs.tar import open_tar
from ..rootfs.tree import CHUNK, Node, read_padded, shown
from .fields import byte_differences

Facts = dict[str, object]


def tar_differences(old: Path, new: Path) -> Iterator[str]:
    """Each path that differs, or that only one of them has. Raises InputError when one is damaged."""
    with open_tar(old) as one, open_tar(new) as other:
        left, right = one.tree(), other.tree()
        for path, node in left.walk():
            there = right.get(path)
            if there is None:
                yield f"{shown(path)} is only in the set"
            else:
                yield from (f"{shown(path)}: {text}" for text in _nodes(node, there))
        yield from (f"{shown(path)} is missing in the set" for path, _ in right.walk() if path not in left)


def _nodes(old: Node, new: Node) -> Iterator[str]:
    keys = ("kind", "mode", "uid", "gid", "mtime", "target", "rdev", "xattrs", "size")
    yield from _facts({key: getattr(old, key) for key in keys}, {key: getattr(new, key) for key in keys})
    if old.content and new.content and old.size == new.size:
        for at in range(0, old.size, CHUNK):
            length = min(CHUNK, old.size - at)
            texts = list(
                byte_differences(read_padded(old.content, at, length), read_padded(new.content, at, length), at)
            )
            yield from texts
            if texts:
                return


def cpio_differences(old: Path, new: Path) -> Iterator[str]:
    """Each member that differs, by its name. Raises ValueError when an archive is damaged."""
    with old.open("rb") as one, new.open("rb") as other:
        left, right = _entries(one.fileno()), _entries(other.fileno())
        for name, entry in left.items():
            if name not in right:
                yield f"{shown(name)} is only in the set"
                continue
            there = right[name]
            yield from (f"{shown(name)}: {text}" for text in _facts(_of(entry), _of(there)))
            data, again = (os.pread(s.fileno(), e.size, e.data_at) for s, e in ((one, entry), (other, there)))
            yield from (f"{shown(name)}: {text}" for text in byte_differences(data, again, 0))
        yield from (f"{shown(name)} is missing in the set" for name in right if name not in left)
        if list(left) != list(right):
            yield "the members come in another order"


def _entries(fd: int) -> dict[bytes, Entry]:
    return {b"" if entry.name == b"." else entry.name: entry for entry in read_cpio(fd)}


def _of(entry: Entry) -> Facts:
    keys = ("number", "uid", "gid", "links", "mtime", "rdev", "size")
    return {"mode": stat.filemode(entry.mode), **{key: getattr(entry, key) for key in keys}}


def _facts(old: Facts, new: Facts) -> Iterator[str]:
    for key, value in old.items():
        if value != new[key]:
            yield f"{key} is {_shown(key, value)}, rebuilt {_shown(key, new[key])}"


def _shown(key: str, value: object) -> str:
    if key == "mode" and isinstance(value, int):
        return f"{value:04o}"
    return shown(value)[1:] if isinstance(value, bytes) else str(value)
