"""What a configuration is written for, and what was built for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..arch import arch_of
from ..spec.model import Hypervisor, Spec

CONFIGURING = (
    "kata/flavours.py",
    "kata/keys.py",
    "kata/render.py",
    "kata/request.py",
    "kata/rule.py",
    "kata/rules.py",
    "kata/rules_devices.py",
    "kata/rules_guest.py",
    "kata/rules_runtime.py",
    "kata/settings.py",
    "kata/tree.py",
    "kata/values.py",
    "set_paths.py",
)
"""Our modules that decide what a configuration says, for the stages that write one or tell of one."""


@dataclass(frozen=True, slots=True)
class Request:
    """What a configuration is to be written for: the parts of a spec that decide it. ``arch``: by Kata's name."""

    name: str
    prefix: str
    arch: str
    kata: str
    hypervisor: Hypervisor
    rootfs_type: str = "ext4"
    dax: bool = True
    kernel_params: tuple[str, ...] = ()
    verity: bool = False
    extensions: tuple[str, ...] = ()

    @classmethod
    def of(cls, spec: Spec, hypervisor: Hypervisor) -> Request:
        """The request for one hypervisor of a spec."""
        return cls(
            name=spec.name,
            prefix=spec.prefix,
            arch=arch_of(spec.arch).uname,
            kata=spec.kata,
            hypervisor=hypervisor,
            rootfs_type=spec.image.format,
            dax=spec.image.dax,
            verity=spec.image.verity,
            kernel_params=spec.kernel.cmdline,
            extensions=tuple(extension.name for extension in spec.extensions),
        )

    def installed(self, path: str) -> str:
        """Where a file of the set (see `set_paths`) lies once it is installed."""
        return f"{self.prefix.rstrip('/')}/{path}"


@dataclass(frozen=True, slots=True)
class Built:
    """What the configuration says of what was built.

    ``release`` is the kernel's (``uname -r``), ``verity`` the image's ``kernel_verity_params``, ``extensions`` name →
    the same of an extension image.
    """

    release: str = "0"
    verity: str = ""
    extensions: Mapping[str, str] = field(default_factory=dict)


NOTHING_BUILT = Built()
