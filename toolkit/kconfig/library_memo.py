"""The fragment library, kept in the cache as it was read: a hundred YAML files take longer than one answer should."""

from __future__ import annotations

import contextlib
import hashlib
import json
from functools import lru_cache
from pathlib import Path

from .. import resources
from ..pipeline.files import write_atomically
from ..records import decode, encode
from .fragments import Library, load_library

_CODE = ("fragments.py", "library_memo.py", "soundness.py", "versions.py")


def cached_library(cache: Path) -> Library:
    """`load_library`, remembered by the bytes of its files and of the code that reads them.

    Places of settings are as a person stands now, so the current folder counts too. Raises InputError with every
    mistake in the library.
    """
    return _library(cache / "kconfig" / f"library-{_key()}.json")


@lru_cache(maxsize=1)
def _library(file: Path) -> Library:
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError, AttributeError):
        return decode(Library, json.loads(file.read_bytes()))
    library = load_library()
    with contextlib.suppress(OSError):
        write_atomically(file, json.dumps(encode(library), separators=(",", ":"), ensure_ascii=False).encode())
    return library


def _key() -> str:
    root = resources.resource("kernel-configs")
    hasher = hashlib.sha256(f"{root}\0{Path.cwd()}\0".encode())
    for folder in (root / "features", root / "profiles"):
        for path in sorted(folder.glob("*.yaml")):
            hasher.update(f"{folder.name}/{path.name}\0".encode() + path.read_bytes())
    for module in _CODE:
        hasher.update((Path(__file__).parent / module).read_bytes())
    return hasher.hexdigest()[:32]
