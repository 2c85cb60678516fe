"""The spec as the rest of the program sees it: validated, with defaults filled in and paths made absolute.

Only ``spec/`` builds these; everything else reads them.
"""

from __future__ import annotations

from .agent import Agent, BinaryAgent, BuiltinAgent, CargoAgent, TarballAgent
from .given import GivenFile
from .image import Extension, Image, Initrd
from .kernel import (
    DebianKernel,
    FeatureChanges,
    GitKernel,
    Kernel,
    KernelOption,
    KernelSource,
    PackagedKernel,
    Patch,
    PrebuiltKernel,
    TarballKernel,
    TreeKernel,
)
from .rootfs import (
    DebianRootfs,
    FolderRootfs,
    MinimalRootfs,
    OciRootfs,
    OverlayEntry,
    Placed,
    Rootfs,
    Slim,
    TarballRootfs,
)
from .runtime import Dialect, Hypervisor, PodOverhead, QemuBuild, Scalar, Setting
from .spec import Spec

__all__ = [
    "Agent",
    "BinaryAgent",
    "BuiltinAgent",
    "CargoAgent",
    "DebianKernel",
    "DebianRootfs",
    "Dialect",
    "Extension",
    "FeatureChanges",
    "FolderRootfs",
    "GitKernel",
    "GivenFile",
    "Hypervisor",
    "Image",
    "Initrd",
    "Kernel",
    "KernelOption",
    "KernelSource",
    "MinimalRootfs",
    "OciRootfs",
    "OverlayEntry",
    "PackagedKernel",
    "Patch",
    "Placed",
    "PodOverhead",
    "PrebuiltKernel",
    "QemuBuild",
    "Rootfs",
    "Scalar",
    "Setting",
    "Slim",
    "Spec",
    "TarballAgent",
    "TarballKernel",
    "TarballRootfs",
    "TreeKernel",
]
