"""The unpacked kernel source: 1.7 GB of scratch in the cache, made again whenever it is gone or was touched.

CACHE/scratch/kernel-source-ID/      the tree, patched
CACHE/scratch/kernel-source-ID.json  written last: what the tree looked like when it was whole
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .errors import InputError, ToolError
from .locks import locked
from .patches import apply
from .pipeline.files import read_json, write_atomically
from .spec.model import GitKernel

_CHUNK = 1 << 20
_VERSION_FIELDS = ("VERSION", "PATCHLEVEL", "SUBLEVEL", "EXTRAVERSION")
# What an in-tree build leaves; make refuses to build elsewhere from such a tree.
_BUILT_IN = (".config", "include/config", "include/generated")

OnFile = Callable[[int], None]
Unpack = Callable[[Path], tuple[Path, str]]
"""Unpacks a source below a new folder, and returns the top of the tree there and the source's identity."""


@dataclass(frozen=True, slots=True)
class KernelTree:
    """A source tree to build from. ``identity``: the sha256 of its archive (the tarball itself) or of its content."""

    path: Path
    version: str
    identity: str
    _fingerprint: str

    def require_unchanged(self) -> None:
        """Raises ToolError when somebody changed a file of the tree since we looked."""
        if _fingerprint(self.path) != self._fingerprint:
            raise ToolError(f"the kernel source in {self.path} changed while it was used", hint="build again")


def folder_of(identity: str, patches: Sequence[tuple[Path, str]], cache: Path) -> Path:
    """Where `from_archive` and `from_commit` unpack to; it may not be there."""
    key = hashlib.sha256(json.dumps([identity, [d for _, d in patches]]).encode()).hexdigest()[:32]
    return cache / "scratch" / f"kernel-source-{key}"


@contextmanager
def from_archive(
    archive: Path, digest: str, patches: Sequence[tuple[Path, str]], cache: Path, on_file: OnFile
) -> Iterator[KernelTree]:
    """The tree of a .deb or a tarball, patched; unpacked only when it is not there yet, or no longer whole.

    ``digest``: the archive's sha256; ``patches``: each with its sha256. While the context lasts nobody replaces the
    tree; to replace one that others use, we wait for them. Raises InputError for a damaged archive or a patch that
    does not apply.
    """
    with _scratch(digest, lambda making: _unpacked(archive, digest, making, on_file), patches, cache) as tree:
        yield tree


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit to build from, and the id of its tree; ``offline``: it must be in the cache already."""

    source: GitKernel
    tree: str
    offline: bool


@contextmanager
def from_commit(
    commit: Commit, patches: Sequence[tuple[Path, str]], cache: Path, on_file: OnFile
) -> Iterator[KernelTree]:
    """As `from_archive`, for a commit of a git repository. Raises also what `git_source.fetched` does."""

    def export(making: Path) -> tuple[Path, str]:
        from . import git_source
        from .archive import command_output, unpack_stream

        name = f"the commit {commit.source.commit}"
        repository = git_source.fetched(commit.source, cache, offline=commit.offline)
        making.mkdir()
        argv = git_source.archive_argv(repository, commit.source.commit)
        with command_output(argv, name, env=git_source.ENVIRONMENT) as stream:
            unpack_stream(stream, making / "tree", name, on_file)
        return _require_kernel(making / "tree", name), commit.tree

    with _scratch(commit.tree, export, patches, cache) as tree:
        yield tree


@contextmanager
def _scratch(identity: str, unpack: Unpack, patches: Sequence[tuple[Path, str]], cache: Path) -> Iterator[KernelTree]:
    folder = folder_of(identity, patches, cache)
    with (cache / "locks" / f"{folder.name}.users").open("a") as users:
        with locked(cache / "locks" / folder.name):
            tree = _whole(folder)
            if tree is None:
                fcntl.flock(users, fcntl.LOCK_EX)
                tree = _make(folder, unpack, patches)
            fcntl.flock(users, fcntl.LOCK_SH)
        yield tree


def _whole(folder: Path) -> KernelTree | None:
    """The unpacked tree, if it is as it was when it was made."""
    known = read_json(folder.with_suffix(".json"), {})
    if not known or not folder.is_dir() or _fingerprint(folder) != known["fingerprint"]:
        return None
    return KernelTree(folder, known["version"], known["identity"], known["fingerprint"])


def _make(folder: Path, unpack: Unpack, patches: Sequence[tuple[Path, str]]) -> KernelTree:
    marker = folder.with_suffix(".json")
    making = folder.with_name(f".{folder.name}")  # one an id, under its lock: a killed build's is swept here
    try:
        marker.unlink(missing_ok=True)
        for old in (making, folder):
            _remove(old)
        tree, identity = unpack(making)
        for patch, _ in patches:
            apply(patch, tree, making)
        version = version_of(tree)
        tree.rename(folder)
    except OSError as error:
        raise ToolError(f"cannot unpack the kernel source into {folder}: {error.strerror}") from error
    finally:
        _remove(making)
    made = KernelTree(folder, version, identity, _fingerprint(folder))
    facts = {"version": version, "identity": identity, "fingerprint": made._fingerprint}
    write_atomically(marker, json.dumps(facts).encode())
    return made


def from_folder(path: Path, cache: Path) -> KernelTree:
    """A tree of the user's own; it is never written to. Raises InputError when it is none, or is not clean."""
    version = version_of(path)
    for leftover in _BUILT_IN:
        if (path / leftover).exists():
            raise InputError(
                f"{path} has been built in ({leftover} is there), so nothing can be built from it elsewhere",
                hint=f"make -C {path} mrproper",
            )
    fingerprint = _fingerprint(path)
    memo = cache / "kernel-trees" / f"{hashlib.sha256(str(path.absolute()).encode()).hexdigest()[:32]}.json"
    known = read_json(memo, {})
    if known.get("fingerprint") != fingerprint:
        known = {"fingerprint": fingerprint, "content": _content(path)}
        write_atomically(memo, json.dumps(known).encode())
    return KernelTree(path, version, known["content"], fingerprint)


def version_of(tree: Path) -> str:
    """The version that a tree's Makefile states, e.g. "6.12.117". Raises InputError when there is none."""
    if not tree.exists():
        raise InputError(f"there is no folder {tree}")
    try:
        text = (tree / "Makefile").read_text(errors="replace")
    except OSError as error:
        raise InputError(f"{tree} is not a kernel source tree: it has no Makefile") from error
    found = {name: re.search(rf"^{name} *= *(\S*) *$", text, re.MULTILINE) for name in _VERSION_FIELDS}
    parts = [m.group(1) if m else "" for m in found.values()]
    if not parts[0].isdigit() or not parts[1].isdigit():
        raise InputError(f"{tree} is not a kernel source tree: its Makefile states no version")
    return ".".join(p for p in parts[:3] if p) + parts[3]


def _unpacked(archive: Path, digest: str, making: Path, on_file: OnFile) -> tuple[Path, str]:
    """Unpack below ``making``: the tree's root, and the digest of the tarball proper."""
    from .archive import DEB_MAGIC, magic_of, unpack

    name = "the kernel source"
    making.mkdir()
    if magic_of(archive).startswith(DEB_MAGIC):
        archive, digest = _tarball_of_package(archive, making / "source.tar")
    unpack(archive, making / "tree", name, on_file)
    root = making / "tree"
    inside = list(root.iterdir())
    if len(inside) == 1 and inside[0].is_dir():
        root = inside[0]
    return _require_kernel(root, name), digest


def _require_kernel(root: Path, name: str) -> Path:
    if not (root / "Kconfig").is_file():
        raise InputError(f"{name} holds no kernel: there is no Kconfig at its top")
    return root


def _tarball_of_package(package: Path, target: Path) -> tuple[Path, str]:
    """Copy usr/src/linux-source-*.tar.* out of a .deb; its path and sha256."""
    import tarfile

    from .archive import command_output

    name = "the kernel source package"
    hasher = hashlib.sha256()
    with command_output(("dpkg-deb", "--fsys-tarfile", str(package)), name) as stream:
        with tarfile.open(fileobj=stream, mode="r|", bufsize=_CHUNK) as tar:
            for member in tar:
                if re.fullmatch(r"(\./)?usr/src/linux-source-[\d.]+\.tar\.\w+", member.name) and member.isreg():
                    source = tar.extractfile(member)
                    assert source is not None  # noqa: S101 -- isreg() was asked
                    with target.open("wb") as out:
                        while block := source.read(_CHUNK):
                            hasher.update(block)
                            out.write(block)
        while stream.read(_CHUNK):
            pass  # dpkg-deb must be able to end well
    if not target.exists():
        raise InputError(f"{name} has no usr/src/linux-source-*.tar", hint="is it a linux-source package?")
    return target, hasher.hexdigest()


def _fingerprint(tree: Path) -> str:
    """A digest of every file's path, size and times: cheap, and changed by any edit."""
    hasher = hashlib.sha256()
    for path, entry in _walk(str(tree), ""):
        info = entry.stat(follow_symlinks=False)
        hasher.update(
            f"{path}\0{info.st_size}\0{info.st_mtime_ns}\0{info.st_ctime_ns}\n".encode(errors="surrogateescape")
        )
    return hasher.hexdigest()


def _content(tree: Path) -> str:
    """A digest of every file's path, bytes and executable bit, and of every link."""
    hasher = hashlib.sha256()
    for path, entry in _walk(str(tree), ""):
        if entry.is_symlink():
            what = f"link {Path(entry.path).readlink()}"
        else:
            with open(entry.path, "rb") as stream:  # noqa: PTH123 -- 90,000 Path objects cost a second
                what = hashlib.file_digest(stream, "sha256").hexdigest()
            what += " x" if entry.stat().st_mode & 0o100 else ""
        hasher.update(f"{path}\0{what}\n".encode(errors="surrogateescape"))
    return hasher.hexdigest()


def _walk(folder: str, prefix: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Files and links below a folder in a fixed order, without version control's own."""
    with os.scandir(folder) as found:
        entries = sorted(found, key=lambda e: e.name)
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            if prefix or entry.name != ".git":
                yield from _walk(entry.path, f"{prefix}{entry.name}/")
        else:
            yield prefix + entry.name, entry


def _remove(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)
