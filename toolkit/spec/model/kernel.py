"""What the guest kernel is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ...errors import Where
from .given import GivenFile


@dataclass(frozen=True, slots=True)
class DebianKernel:
    """A linux-source package: fetched from the host's apt sources, or the installed one."""

    package: str
    version: str | None = None
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class TarballKernel:
    """A kernel source tarball (.tar, .tar.gz, .tar.xz, .tar.zst …)."""

    archive: GivenFile


@dataclass(frozen=True, slots=True)
class TreeKernel:
    """An unpacked kernel source tree; never written to."""

    path: Path


@dataclass(frozen=True, slots=True)
class GitKernel:
    """A commit of a git repository: an absolute path or a url; ``where``: the commit's place in the spec."""

    repository: str
    commit: str
    where: Where | None = field(default=None, compare=False)

    @property
    def local(self) -> bool:
        """Whether the repository is on this machine."""
        return self.repository.startswith(("/", "file://"))


@dataclass(frozen=True, slots=True)
class PackagedKernel:
    """A kernel as a distribution packages it, with its modules: a package by name, or a .deb file.

    ``sha256`` is the .deb's, ``where`` the source's place in the spec.
    """

    package: str | None = None
    version: str | None = None
    sha256: str | None = None
    deb: GivenFile | None = None
    where: Where | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class PrebuiltKernel:
    """A kernel that was built elsewhere: ``vmlinux`` and, if known, its ``config`` and a ``bzimage``.

    ``where``: the source's place in the spec.
    """

    vmlinux: GivenFile
    config: GivenFile | None = None
    bzimage: GivenFile | None = None
    where: Where | None = field(default=None, compare=False)


KernelSource = DebianKernel | TarballKernel | GitKernel | TreeKernel | PackagedKernel | PrebuiltKernel


@dataclass(frozen=True, slots=True)
class Patch:
    """A patch for the kernel's source, the digest it is held to, if one is given, and its place in the spec."""

    path: Path
    sha256: str | None = None
    where: Where | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class KernelOption:
    """A single Kconfig symbol asked for in the spec: full name with CONFIG_, value as conf writes it."""

    symbol: str
    value: str
    where: Where


@dataclass(frozen=True, slots=True)
class FeatureChanges:
    """Features added to the profile and dropped from it, each with its place in the spec."""

    add: Mapping[str, Where] = field(default_factory=dict)
    drop: Mapping[str, Where] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Kernel:
    """What the guest kernel is made of. ``cmdline`` is appended to what the runtime writes.

    ``toolchain``: gcc or clang.
    """

    source: KernelSource
    profile: str = "default"
    features: FeatureChanges = field(default_factory=FeatureChanges)
    options: tuple[KernelOption, ...] = ()
    patches: tuple[Patch, ...] = ()
    cmdline: tuple[str, ...] = ()
    toolchain: str = "gcc"
