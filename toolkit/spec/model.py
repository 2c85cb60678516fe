"""The spec as the rest of the program sees it: validated, with defaults filled in and paths made absolute.

Only ``spec/`` builds these; everything else reads them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ..errors import Where

Dialect = Literal["go", "rs"]
"""Which of Kata's two runtimes a configuration is for."""

Scalar = bool | int | float | str
Setting = Scalar | list[Scalar]


@dataclass(frozen=True, slots=True)
class Artifact:
    """A file given by path or by url; ``sha256`` is required with a url."""

    path: Path | None = None
    url: str | None = None
    sha256: str | None = None

    @property
    def name(self) -> str:
        """The file's own name, for messages and logs."""
        return Path(self.path or self.url or "").name


@dataclass(frozen=True, slots=True)
class DebianKernel:
    """A linux-source package: fetched from the host's apt sources, or the installed one."""

    package: str
    version: str | None = None
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class TarballKernel:
    """A kernel source tarball (.tar, .tar.gz, .tar.xz, .tar.zst …)."""

    archive: Artifact


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
    deb: Artifact | None = None
    where: Where | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class PrebuiltKernel:
    """A kernel that was built elsewhere: ``vmlinux`` and, if known, its ``config`` and a ``bzimage``.

    ``where``: the source's place in the spec.
    """

    vmlinux: Artifact
    config: Artifact | None = None
    bzimage: Artifact | None = None
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


@dataclass(frozen=True, slots=True)
class BuiltinAgent:
    """The small C agent of this project."""


@dataclass(frozen=True, slots=True)
class BinaryAgent:
    """Any agent binary, such as kata-agent. ``policy``: "allow-all", a rego file, or None. ``where``: its place in
    the spec."""

    binary: Artifact
    policy: Path | str | None = None
    where: Where | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class TarballAgent:
    """An agent inside a tar, such as a release archive; ``member``: its path there. ``policy`` and ``where`` as of
    `BinaryAgent`."""

    archive: Artifact
    member: str
    policy: Path | str | None = None
    where: Where | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class CargoAgent:
    """An agent built from a folder of vendored Rust sources; None: the only one there is, or what suits the guest.

    ``target``: a triple of rustc's. ``policy`` as of `BinaryAgent`. ``where``: the folder's place in the spec.
    """

    path: Path
    package: str | None = None
    bin: str | None = None
    features: tuple[str, ...] = ()
    default_features: bool = True
    target: str | None = None
    policy: Path | str | None = None
    where: Where | None = field(default=None, compare=False)


Agent = BuiltinAgent | BinaryAgent | TarballAgent | CargoAgent


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

    archive: Artifact
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


@dataclass(frozen=True, slots=True)
class Image:
    """The root-file-system image. ``align_mib`` None: 2, or 128 where the set can hot-plug DIMMs.

    ``layout``: auto, packed or huge. ``size_mib`` None: as small as can be, with ``free_mib`` left free; ``size_where``
    is the size's place in the spec.
    """

    format: str = "ext4"
    dax: bool = True
    align_mib: int | None = None
    verity: bool = False
    layout: str = "auto"
    size_mib: int | None = None
    free_mib: int = 0
    compression: str = "none"  # none | lz4 | lz4hc | zstd
    size_where: Where | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Extension:
    """A further read-only file system, as an EROFS image with dm-verity. ``where``: its place in the spec."""

    name: str
    source: TarballRootfs | FolderRootfs | OciRootfs
    compression: str = "none"  # none | lz4 | lz4hc | zstd
    where: Where | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Initrd:
    """The root file system as a newc cpio."""

    enabled: bool = False
    compression: str = "gzip"  # gzip | bzip2 | lzma | xz | lzo | lz4 | zstd | none


@dataclass(frozen=True, slots=True)
class QemuBuild:
    """A lean QEMU, compiled from Debian's source; ``version``: Debian's, None for the newest. ``where``: its place."""

    version: str | None = None
    where: Where | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Hypervisor:
    """One hypervisor's part of the runtime configuration.

    ``name`` is the flavour's, by Kata's own naming (``qemu-tdx``, ``fc``).
    ``settings`` uses Kata's own key names; a dot leads to another table than the hypervisor's
    (``runtime.enable_debug``, ``agent.debug_console_enabled``). ``where`` maps each key to its place in the spec,
    ``boot_where`` is where ``boot`` stands, or could. ``ignored_by``: dialect → settings that it is meant to do
    without, each with its place. ``build``: the set brings a QEMU of its own. ``trim``: ``devices``, with the fewest
    that the machine can do with.
    """

    name: str
    boot: str = "image"  # image | initrd
    dialects: tuple[Dialect, ...] = ("go", "rs")
    settings: Mapping[str, Setting] = field(default_factory=dict)
    where: Mapping[str, Where] = field(default_factory=dict)
    boot_where: Where | None = field(default=None, compare=False)
    ignored_by: Mapping[Dialect, Mapping[str, Where | None]] = field(default_factory=dict)
    build: QemuBuild | None = None
    trim: str | None = None

    @property
    def vmm(self) -> str:
        """The name of the VMM's table in the files. Raises InternalError for a flavour that nobody knows."""
        from ..kata.flavours import flavour

        return flavour(self.name).vmm


@dataclass(frozen=True, slots=True)
class PodOverhead:
    """What a RuntimeClass adds to a pod's containers: MiB, and thousandths of a CPU. None: as measured."""

    memory_mib: int | None = None
    cpu_millis: int | None = None


@dataclass(frozen=True, slots=True)
class Spec:
    """One whole spec. ``file`` is where it was read from, ``digest`` the sha256 of its bytes, ``budgets`` limits by the
    name of a figure (see `figures`)."""

    file: Path
    digest: str
    name: str
    arch: str
    kernel: Kernel
    agent: Agent
    rootfs: Rootfs
    image: Image
    initrd: Initrd
    kata: str
    hypervisors: tuple[Hypervisor, ...]
    wrapper: str
    prefix: str
    budgets: Mapping[str, float]
    extensions: tuple[Extension, ...] = ()
    overhead: PodOverhead = field(default_factory=PodOverhead)

    @property
    def key(self) -> str:
        """What tells this spec from others of the same name in the store: good as a file name."""
        place = hashlib.sha256(str(self.file.absolute()).encode()).hexdigest()[:16]
        return f"{self.name}-{place}"
