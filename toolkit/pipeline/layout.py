"""Which stage's file becomes which artefact of the output tree; the tree is laid out as Kata installs itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from .. import set_paths
from ..arch import arch_of
from ..kata.tree import file_name
from ..spec.model import Spec
from .store import Entry


@dataclass(frozen=True, slots=True)
class Artifact:
    """One file of the output: its path there, the stage that made it and its name in that stage's output."""

    path: str
    stage: str
    source: str
    role: str


@dataclass(frozen=True, slots=True)
class Generated:
    """One file of the output that no stage made: it says what is in the set, derived from the entries at hand.

    ``size`` in bytes.
    """

    path: str
    role: str
    size: int
    sha256: str


# What stages put below licences/ goes into one folder for each of these; others have a folder of their own name.
# busybox's comes through the root file system.
_LICENCES = {"kernel": "linux", "kernel_source": "linux", "licences": "programs"}
QEMU = "qemu"  # the program that the stage of that name makes
LICENCES = "licences"  # the folder in a stage's output
_LICENCE_PREFIX, _PATCH_PREFIX = f"{LICENCES}/", f"{LICENCES}/patches/"


def artifacts(spec: Spec, release: str | None, entries: Mapping[str, Entry]) -> Iterator[Artifact]:
    """The artefacts that the entries at hand give; ``release`` is the kernel's (``uname -r``), if it was built."""
    kernel = [
        Artifact(set_paths.kernel(release), "kernel", "vmlinux", "kernel"),
        Artifact(set_paths.bzimage(release), "kernel", "vmlinuz", "bzimage"),
        Artifact(set_paths.kernel_config(release), "kernel", "config", "kernel_config"),
        Artifact(set_paths.system_map(release), "kernel", "System.map", "system_map"),
    ] if release else []  # fmt: skip
    named = [
        *kernel,
        Artifact("kernel-config.json", "kernel_config", "kernel-config.json", "kernel_config_report"),
        Artifact(set_paths.image(spec.name), "image", "image", "image"),
        Artifact(set_paths.root_hash(spec.name), "image", "root_hash.txt", "root_hash"),
        Artifact(set_paths.initrd(spec.name), "initrd", "initrd", "initrd"),
        *(artifact for extension in spec.extensions for artifact in _extension(spec, extension.name)),
        Artifact(set_paths.vmm(arch_of(spec.arch).qemu), "qemu", QEMU, "vmm"),
        *_programs(spec),
    ]
    for artifact in named:
        entry = entries.get(artifact.stage)
        if entry and artifact.source in entry.files:
            yield artifact
    configs = entries.get("runtime_config")
    for name in sorted(configs.files) if configs else ():
        yield Artifact(set_paths.runtime_config(name), "runtime_config", name, "runtime_config")
    wiring = entries.get("wiring")
    for name in sorted(wiring.files) if wiring else ():
        yield Artifact(set_paths.wiring(spec.name, name), "wiring", name, "wiring")
    yield from _licences(spec, entries)


def _programs(spec: Spec) -> Iterator[Artifact]:
    """The wrapper by each name that says something: the set's own, and one for each further configuration.

    With several hypervisors the first has a name of its own too. There is no command for a configuration of the Rust
    runtime, since its command line cannot be told one.
    """
    files = [(dialect, file_name(dialect, h.name)) for h in spec.hypervisors for dialect in h.dialects]
    named = files if len(spec.hypervisors) > 1 else files[1:]
    flavours = [(dialect, f"{spec.wrapper}-{set_paths.flavour_of(file)}") for dialect, file in named]
    commands = [spec.wrapper, *(name for dialect, name in flavours if dialect == "go")]
    for name in commands:
        yield Artifact(set_paths.wrapper(name), "wrapper", "wrapper", "wrapper")
    for name in [spec.wrapper, *(name for _, name in flavours)]:
        yield Artifact(set_paths.shim(name), "wrapper", "wrapper", "shim")


def _extension(spec: Spec, name: str) -> Iterator[Artifact]:
    stage = extension_stage(name)
    yield Artifact(set_paths.extension(spec.name, name), stage, "image", "extension")
    yield Artifact(set_paths.extension_root_hash(spec.name, name), stage, "root_hash.txt", "extension_root_hash")


def extension_stage(name: str) -> str:
    """The name of the stage that makes an extension image."""
    return f"extension-{name}"


def _licences(spec: Spec, entries: Mapping[str, Entry]) -> Iterator[Artifact]:
    for stage in sorted(entries.keys() - {"busybox"}):
        folder = f"{set_paths.licences(spec.name)}/{_LICENCES.get(stage, stage)}"
        for source in sorted(entries[stage].files):
            if source.startswith(_LICENCE_PREFIX):
                role = "patch" if source.startswith(_PATCH_PREFIX) else "licence"
                yield Artifact(f"{folder}/{source.removeprefix(_LICENCE_PREFIX)}", stage, source, role)
