"""What the root file system is made from, and what is changed on top of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ...errors import Where
from .given import GivenFile


@dataclass(frozen=True, slots=True)
class OverlayEntry:
    """A change on top of a root file system; ``kind``: file, directory, symlink, text, remove or user.

    ``path`` is the guest's (of a user: the home). ``source``: what is taken from the host. ``text``: a file's text, a
    link's target or a user's shell. ``mode`` None: as the source has it, or what is usual.
    """

    kind: str
    path: str
    where: Where
    source: Path | None = None
    text: str = ""
    name: str = ""
    mode: int | None = None
    uid: int = 0
    gid: int = 0


@dataclass(frozen=True, slots=True)
class MinimalRootfs:
    """The agent, the folders a guest needs, and (unless switched off) busybox."""

    busybox: bool = True
    overlay: tuple[OverlayEntry, ...] = ()


@dataclass(frozen=True, slots=True)
class TarballRootfs:
    """A root file system made elsewhere, as a tar; owners, modes and attributes are those in it."""

    archive: GivenFile
    overlay: tuple[OverlayEntry, ...] = ()
    init: str = "agent"
    init_where: Where | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class FolderRootfs:
    """A root file system made elsewhere, as a folder on this host; all of it belongs to root in the guest."""

    path: Path
    overlay: tuple[OverlayEntry, ...] = ()
    init: str = "agent"
    init_where: Where | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class OciRootfs:
    """The files of a container image: on this machine, as an image layout (a folder or a tar of one) or what ``docker
    save`` writes, or in a registry. Exactly one of ``path`` and ``reference`` is set.

    ``tag`` and the guest's architecture choose one where there are several. ``sha256``: of its manifest."""

    path: Path | None = None
    tag: str | None = None
    sha256: str | None = None
    overlay: tuple[OverlayEntry, ...] = ()
    reference: str | None = None
    init: str = "agent"
    init_where: Where | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Placed:
    """A text and where it stands in the spec."""

    text: str
    where: Where | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Slim:
    """What is left out of a Debian root file system."""

    docs: bool = True
    locales: bool = True
    apt: bool = True
    dpkg: bool = True


@dataclass(frozen=True, slots=True)
class DebianRootfs:
    """Packages of Debian. ``suite`` None: this machine's; ``mirrors`` empty: its own apt sources; ``keyring`` None:
    what those say, or Debian's. ``where``: the root file system's place in the spec.
    """

    suite: str | None = None
    components: tuple[str, ...] = ("main",)
    packages: tuple[Placed, ...] = ()
    variant: str = "essential"
    mirrors: tuple[Placed, ...] = ()
    keyring: Path | None = None
    slim: Slim = field(default_factory=Slim)
    overlay: tuple[OverlayEntry, ...] = ()
    init: str = "agent"
    init_where: Where | None = field(default=None, compare=False)
    where: Where | None = field(default=None, compare=False)


Rootfs = MinimalRootfs | TarballRootfs | FolderRootfs | OciRootfs | DebianRootfs
