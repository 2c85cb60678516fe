"""One whole spec."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .agent import Agent
from .image import Extension, Image, Initrd
from .kernel import Kernel
from .rootfs import Rootfs
from .runtime import Hypervisor, PodOverhead


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
