"""What the cache holds besides the store, such as downloads by digest: how much it is, and dropping it."""

from __future__ import annotations

import contextlib
import re
import shutil
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from .store import Store

FOLDERS = {
    "downloads": "files by digest",
    "apt": "package lists of our own",
    "git": "commits",
    "scratch": "unpacked kernel trees",
    "ccache": "compiled objects",
}
_DAY = 86_400.0
_DIGEST = re.compile(rb"[0-9a-f]{64}")
_MANIFEST_BYTES = 4 << 20  # of a container image: what it names is kept with it


def sizes(cache: Path) -> dict[str, int]:
    """Bytes in each of FOLDERS that is there."""
    return {name: _size(cache / name) for name in FOLDERS if (cache / name).is_dir()}


def drop_downloads(store: Store, days: float, *, now: float | None = None) -> int:
    """Remove downloads, and package lists, that nothing has used for that many days; returns the bytes freed.

    What an entry of the store was made from stays, whatever its age. No build may be under way: see `Store.alone`.
    """
    before = (time.time() if now is None else now) - days * _DAY
    folder, apt = store.cache / "downloads", store.cache / "apt"
    kept = set(_named(store, folder))
    freed = 0
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.name.partition(".")[0] not in kept and path.lstat().st_mtime < before:
            freed += _size(path)
            _remove(path)
    if apt.is_dir() and max((p.lstat().st_mtime for p in apt.rglob("*") if p.is_file()), default=0.0) < before:
        freed += _size(apt)
        _remove(apt)
    return freed


def _named(store: Store, downloads: Path) -> Iterator[str]:
    """The digests that recipes name, and those that a small file among them names: a manifest names layers."""
    for entry in store.entries():
        for digest in _digests(entry.folder / "recipe.json"):
            yield digest
            file = downloads / digest
            if file.is_file() and file.stat().st_size <= _MANIFEST_BYTES:
                yield from _digests(file)


def _digests(file: Path) -> Iterable[str]:
    with contextlib.suppress(OSError):
        return {match.decode() for match in _DIGEST.findall(file.read_bytes())}
    return ()


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.lstat().st_size for file in files if file.is_file() and not file.is_symlink())


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
