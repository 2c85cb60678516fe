"""Installed versions of a set side by side, and which of them is the one at the install prefix.

``PREFIX`` is a link to ``PREFIX.versions/ID``, ID being the digest of the version's manifest. A version is copied
whole, then the link is exchanged in one step: a pod that starts finds the old version or the new one, and pods that
run keep the files that they have open. ``PREFIX.versions/history`` has the IDs that the link led to, oldest first.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from ..errors import InputError, ToolError, relative
from ..locks import locked
from ..pipeline.files import copy_checked, sha256_of, write_atomically
from ..vm.built_set import MANIFEST, BuiltFile, BuiltSet
from .in_use import InUse, in_use

_ID_DIGITS = 16
_HISTORY, _LOCK, _STAGING = "history", ".lock", ".staging-"
_SHARED = frozenset(("/", "/usr", "/usr/local", "/opt", "/etc", "/var", "/srv", "/home", "/root", "/lib", "/bin"))


@dataclass(frozen=True, slots=True)
class Installed:
    """What is installed at a prefix: ``active`` is the version that the prefix leads to, ``before`` the one to which
    a rollback leads. ``kept``: versions that were to be removed, with what still uses them.
    """

    prefix: Path
    active: str
    before: str | None
    versions: tuple[str, ...]
    changed: bool = False
    removed: tuple[str, ...] = ()
    kept: dict[str, InUse] = field(default_factory=dict)


def install(built: BuiltSet, root: Path) -> Installed:
    """Copy a set beside the versions that are there, each file checked, and make it the active one.

    Raises InputError when the set is partial or damaged, or something else is in the prefix's place; ToolError.
    """
    if built.partial:
        raise InputError(f"{relative(built.folder)} is a partial set", hint="build it whole, without --only")
    place = _Place.of(built, root)
    version = hashlib.sha256((built.folder / MANIFEST).read_bytes()).hexdigest()[:_ID_DIGITS]
    with place.locked():
        if (place.versions / version).is_dir():
            changed = _repair(built, place.versions, version)
        else:
            _copy(built, place.versions, version)
            changed = True
        history = place.history()
        if place.active() != version:
            changed = True
            place.activate(version, [*(known for known in history if known != version), version])
        return place.state(changed=changed)


def rollback(built: BuiltSet, root: Path) -> Installed:
    """Make the version before the active one active again. Raises InputError when there is none; ToolError."""
    place = _Place.of(built, root)
    with place.locked():
        history = [version for version in place.history() if (place.versions / version).is_dir()]
        active = place.active()
        earlier = history[: history.index(active)] if active in history else history
        if not earlier:
            raise InputError(f"{place.prefix} has no earlier version to go back to")
        place.activate(earlier[-1], earlier)
        return place.state(changed=True)


def prune(built: BuiltSet, root: Path, proc: Path = Path("/proc")) -> Installed:
    """Remove every version but the active one and the one before it, unless a process still uses it, or may do so.

    Raises InputError when nothing is installed; ToolError.
    """
    place = _Place.of(built, root)
    with place.locked():
        state = place.state()
        kept, removed = {}, []
        for version in state.versions:
            if version in (state.active, state.before):
                continue
            used = in_use(place.versions / version, proc)
            if used.users or used.unseen:
                kept[version] = used
                continue
            _remove(place.versions / version)
            removed.append(version)
        left = tuple(version for version in state.versions if version not in removed)
        return Installed(place.prefix, state.active, state.before, left, bool(removed), tuple(removed), kept)


def installed(built: BuiltSet, root: Path) -> Installed:
    """What is there. Raises InputError when nothing is installed."""
    return _Place.of(built, root).state()


@dataclass(frozen=True, slots=True)
class _Place:
    """A prefix below a root folder, and the folder of versions beside it."""

    prefix: Path
    versions: Path

    @classmethod
    def of(cls, built: BuiltSet, root: Path) -> _Place:
        prefix = built.manifest.get("prefix")
        if not isinstance(prefix, str) or not prefix.startswith("/") or ".." in PurePosixPath(prefix).parts:
            raise InputError("the manifest has no prefix that a set can be installed at", hint="build the set again")
        path = PurePosixPath("/" + prefix.strip("/"))
        if str(path) in _SHARED:
            raise InputError(
                f"the prefix {path} is shared with others: it cannot be a link to one version",
                hint="set install.prefix to a folder of its own, or install a package",
            )
        folder = root.joinpath(*path.parts[1:])
        return cls(folder, folder.with_name(f"{folder.name}.versions"))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Alone here. Leftovers of an installation that was killed are removed."""
        try:
            if not self.prefix.is_symlink() and self.prefix.exists():
                raise InputError(
                    f"{self.prefix} is no link to a version", hint="move it away: this command did not make it"
                )
            self.versions.mkdir(parents=True, exist_ok=True)
            with locked(self.versions / _LOCK):
                for left in self.versions.glob(f"{_STAGING}*"):
                    _remove(left)
                yield
        except OSError as error:
            raise ToolError(
                f"{error.filename or self.prefix}: {error.strerror}", hint="as root, or with --root"
            ) from error

    def active(self) -> str | None:
        """The version that the prefix leads to. Raises InputError when it leads elsewhere."""
        if not self.prefix.is_symlink():
            return None
        target = self.prefix.readlink()
        if target.parent != Path(self.versions.name):
            raise InputError(f"{self.prefix} is a link to {target}, not to a version", hint="move it away")
        return target.name

    def history(self) -> list[str]:
        try:
            return (self.versions / _HISTORY).read_text().split()
        except FileNotFoundError:
            return []

    def activate(self, version: str, history: list[str]) -> None:
        """The link first: were we killed in between, the history would only lack the newest."""
        temporary = self.prefix.with_name(f".{self.prefix.name}.{secrets.token_hex(4)}")
        temporary.symlink_to(Path(self.versions.name, version))
        try:
            temporary.replace(self.prefix)
        finally:
            temporary.unlink(missing_ok=True)
        write_atomically(self.versions / _HISTORY, "".join(f"{known}\n" for known in history).encode())

    def state(self, *, changed: bool = False) -> Installed:
        active = self.active()
        if active is None:
            raise InputError(f"nothing is installed at {self.prefix}", hint="kata-toolkit install SET")
        there = sorted(path.name for path in self.versions.iterdir() if path.is_dir() and path.name[0] != ".")
        history = [version for version in self.history() if version in there]
        earlier = history[: history.index(active)] if active in history else history
        return Installed(self.prefix, active, earlier[-1] if earlier else None, tuple(there), changed)


def _repair(built: BuiltSet, versions: Path, version: str) -> bool:
    """Put files that were changed or lost since back in their places, one by one: pods keep those that they have open.

    Whether there were any.
    """
    damaged = [file for file in built.files if _digest(versions / version / file.path) != file.sha256]
    if not damaged:
        return False
    staging = _staged(built, versions, damaged)
    try:
        for file in damaged:
            target = versions / version / file.path
            target.parent.mkdir(parents=True, exist_ok=True)
            (staging / file.path).replace(target)
    finally:
        _remove(staging)
    return True


def _digest(path: Path) -> str | None:
    """Of a regular file; None where there is none."""
    return None if path.is_symlink() or not path.is_file() else sha256_of(path)


def _copy(built: BuiltSet, versions: Path, version: str) -> None:
    """The files of the manifest, beside their place and then renamed."""
    _staged(built, versions, built.files).rename(versions / version)


def _staged(built: BuiltSet, versions: Path, files: Iterable[BuiltFile]) -> Path:
    """A folder with some files of the manifest, each with the digest that it has there."""
    staging = versions / f"{_STAGING}{secrets.token_hex(4)}"
    staging.mkdir(mode=0o755)
    try:
        for file in files:
            source, target = built.folder / file.path, staging / file.path
            target.parent.mkdir(parents=True, exist_ok=True)
            if not source.is_file():
                raise InputError(f"{file.path} is missing from {relative(built.folder)}", hint="build the set again")
            mode = 0o755 if source.stat().st_mode & 0o100 else 0o644
            if not copy_checked(source, target, file.sha256, mode):
                raise InputError(f"{file.path} is not what the manifest says", hint="build the set again")
        shutil.copyfile(built.folder / MANIFEST, staging / MANIFEST)
        for path in (staging, *staging.rglob("*")):
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)  # whatever the umask
            _sync(path)
    except BaseException:
        _remove(staging)
        raise
    return staging


def _sync(path: Path) -> None:
    """On the disk before the link leads there, whatever happens to the machine."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    shutil.rmtree(path)
