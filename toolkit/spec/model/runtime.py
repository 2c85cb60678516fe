"""What the runtime configuration is written for: hypervisors, by flavour, with their settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from ...errors import Where

Dialect = Literal["go", "rs"]
"""Which of Kata's two runtimes a configuration is for."""

Scalar = bool | int | float | str
Setting = Scalar | list[Scalar]


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
        from ...kata.flavours import flavour

        return flavour(self.name).vmm


@dataclass(frozen=True, slots=True)
class PodOverhead:
    """What a RuntimeClass adds to a pod's containers: MiB, and thousandths of a CPU. None: as measured."""

    memory_mib: int | None = None
    cpu_millis: int | None = None
