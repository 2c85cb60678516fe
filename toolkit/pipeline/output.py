"""The output tree: assembled beside its place from the store, every byte digested on the way, then exchanged.

OUT appears complete or not at all, and holds nothing that depends on when, where or by whom it was built.
"""

from __future__ import annotations

import ctypes
import json
import os
import secrets
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from ..errors import InputError, ToolError
from .files import Stamp, copy_checked, read_json, sha256_of, write_atomically
from .layout import Artifact, Generated
from .store import DamagedError, Entry, Store

RENAME_EXCHANGE = 2  # linux/fs.h
_AT_FDCWD = -100
MANIFEST = "manifest.json"


class Derived(Protocol):
    """Files that are derived from the entries: which they are, and, when they must be written, their bytes by path."""

    @property
    def listed(self) -> Sequence[Generated]: ...

    def texts(self) -> Mapping[str, bytes]: ...


@dataclass(frozen=True, slots=True)
class Assembled:
    """Whether the output had to be written, and which files of somebody else's were put aside (into ``aside``)."""

    changed: bool
    kept: tuple[str, ...] = ()


def assemble(
    store: Store,
    target: Path,
    manifest: bytes,
    artifacts: list[Artifact],
    derived: Derived,
    entries: Mapping[str, Entry],
    aside: Path,
) -> Assembled:
    """Bring ``target`` to the state the manifest describes; ``derived``: what no stage made.

    Files in it that were edited or added since it was built are moved to ``aside``. Raises DamagedError (the entry is
    dropped; build again), InputError when ``target`` is not ours to replace, ToolError when the disk does not play
    along.
    """
    record = store.cache / "outputs" / f"{_key(target)}.json"
    if _unchanged(target, manifest, read_json(record, {})):
        return Assembled(changed=False)
    _refuse_foreign(target)
    staging = target.with_name(f".{target.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        staging.mkdir(mode=0o755)
        for artifact in artifacts:
            _place(store, staging, artifact, entries[artifact.stage])
        for name, data in derived.texts().items():
            (staging / name).parent.mkdir(parents=True, exist_ok=True)
            (staging / name).write_bytes(data)
        (staging / MANIFEST).write_bytes(manifest)
        for path in [staging, *staging.rglob("*")]:
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
        _exchange(staging, target)
        kept = _put_aside(staging, aside) if staging.exists() else ()
        paths = [*(a.path for a in artifacts), *(g.path for g in derived.listed)]
        stamps = {path: asdict(Stamp.of(target / path)) for path in paths}
        write_atomically(record, json.dumps({"stamps": stamps}, sort_keys=True).encode())
    except OSError as error:
        raise ToolError(
            f"cannot write {target}: {error.strerror}", hint="choose another folder with -o DIR, or make room"
        ) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return Assembled(changed=True, kept=kept)


def _put_aside(old: Path, aside: Path) -> tuple[str, ...]:
    """Move what a person edited in or added to the former output to another folder; their paths. Raises OSError."""
    built = {a["path"]: a["sha256"] for a in read_json(old / MANIFEST, {}).get("artifacts", ())}
    kept = []
    for path in sorted(p for p in old.rglob("*") if not p.is_dir() or p.is_symlink()):
        name = str(path.relative_to(old))
        if name == MANIFEST or (path.is_file() and not path.is_symlink() and sha256_of(path) == built.get(name)):
            continue
        (aside / name).parent.mkdir(parents=True, exist_ok=True)
        (aside / name).unlink(missing_ok=True)
        path.rename(aside / name)
        kept.append(name)
    return tuple(kept)


def _key(target: Path) -> str:
    import hashlib

    return hashlib.sha256(str(target.absolute()).encode()).hexdigest()[:32]


def _unchanged(target: Path, manifest: bytes, record: dict[str, Any]) -> bool:
    try:
        if (target / MANIFEST).read_bytes() != manifest:
            return False
        present = {str(p.relative_to(target)) for p in target.rglob("*") if not p.is_dir()} - {MANIFEST}
        stamps = record.get("stamps", {})
        if present != stamps.keys():
            return False
        return all(Stamp.of(target / path) == Stamp(**stamp) for path, stamp in stamps.items())
    except OSError:
        return False


def _refuse_foreign(target: Path) -> None:
    """Replace only what a build made: a typing slip in ``-o`` must not cost anybody their files."""
    if not target.exists() and not target.is_symlink():
        return
    if target.is_symlink() or not target.is_dir():
        raise InputError(f"{target} is there and is not a folder", hint="choose another with -o DIR")
    if any(target.iterdir()) and "artifacts" not in read_json(target / MANIFEST, {}):
        raise InputError(
            f"{target} holds files that kata-toolkit did not make",
            hint="choose another folder with -o DIR, or empty it",
        )


def _place(store: Store, staging: Path, artifact: Artifact, entry: Entry) -> None:
    stored = entry.files[artifact.source]
    target = staging / artifact.path
    target.parent.mkdir(parents=True, exist_ok=True)
    source, mode = entry.path(artifact.source), 0o755 if stored.executable else 0o644
    if not copy_checked(source, target, stored.sha256, mode, shown=artifact.path):
        store.drop(entry)
        raise DamagedError(entry.stage, entry.id, artifact.source)


def _exchange(staging: Path, target: Path) -> None:
    """Swap two folders in one step where ``target`` exists (renameat2(2)); what was there is then in ``staging``."""
    if not target.exists():
        staging.rename(target)
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(_AT_FDCWD, os.fsencode(staging), _AT_FDCWD, os.fsencode(target), RENAME_EXCHANGE):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(target))
