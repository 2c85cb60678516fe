"""Which stage's file becomes which artefact of the output tree; the tree is laid out as Kata installs itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ..spec.model import Spec
from .store import Entry

KATA_SHARE = "share/kata-containers"
KATA_DEFAULTS = "share/defaults/kata-containers"


@dataclass(frozen=True, slots=True)
class Artifact:
    """One file of the output: its path there, the stage that made it and its name in that stage's output."""

    path: str
    stage: str
    source: str
    role: str


def artifacts(spec: Spec, release: str | None, entries: Mapping[str, Entry]) -> Iterator[Artifact]:
    """The artefacts that the entries at hand give; ``release`` is the kernel's (``uname -r``), if it was built."""
    named = [
        Artifact(f"{KATA_SHARE}/vmlinux-{release}", "kernel", "vmlinux", "kernel"),
        Artifact(f"{KATA_SHARE}/vmlinuz-{release}", "kernel", "vmlinuz", "bzimage"),
        Artifact(f"{KATA_SHARE}/config-{release}", "kernel", "config", "kernel_config"),
        Artifact(f"{KATA_SHARE}/System.map-{release}", "kernel", "System.map", "system_map"),
        Artifact("kernel-config.json", "kernel_config", "kernel-config.json", "kernel_config_report"),
        Artifact(f"{KATA_SHARE}/{spec.name}.img", "image", "image", "image"),
        Artifact(f"{KATA_SHARE}/{spec.name}.initrd", "initrd", "initrd", "initrd"),
        Artifact(f"bin/{spec.wrapper}", "wrapper", "wrapper", "wrapper"),
        Artifact(f"bin/containerd-shim-{spec.wrapper}-v2", "wrapper", "wrapper", "shim"),
    ]
    for artifact in named:
        entry = entries.get(artifact.stage)
        if entry and artifact.source in entry.files:
            yield artifact
    configs = entries.get("runtime_config")
    for name in sorted(configs.files) if configs else ():
        yield Artifact(f"{KATA_DEFAULTS}/{name}", "runtime_config", name, "runtime_config")
