"""A kernel that was built elsewhere: checked and taken as it is."""

from __future__ import annotations

import re
import shutil
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from ..arch import MAGIC_AT, Arch, arch_of
from ..errors import InputError
from ..pipeline.given import given_file
from ..pipeline.stage import Inputs, Recipe, Stage, Work
from ..spec.model import GivenFile, PrebuiltKernel

_ELF64_LITTLE = b"\x7fELF\x02\x01"
_BANNER = re.compile(rb"Linux version (\d+\.\d+[^\s\x00]*) ")
_SETUP_MAGIC_AT, _SETUP_MAGIC = 0x202, b"HdrS"  # Documentation/arch/x86/boot.rst
_GZIP = b"\x1f\x8b"
_NAMES = {"vmlinux": "vmlinux", "bzimage": "vmlinuz", "config": "config"}


@dataclass(frozen=True)
class PrebuiltKernelStage(Stage):
    """Output: as of the compiled kernel, as far as the files are given; ``release`` is read from vmlinux."""

    name: ClassVar[str] = "kernel"
    title: ClassVar[str] = "guest kernel"
    modules: ClassVar[tuple[str, ...]] = ("stages/kernel_prebuilt.py",)

    source: PrebuiltKernel
    arch: str

    def plan(self, inputs: Inputs) -> Recipe:
        """Raises NotBuiltYet before what has a url is here, InputError for a missing file or a wrong digest."""
        files = {}
        for part, artifact in self._parts().items():
            _, files[part] = self._file(part, artifact, inputs)
        return Recipe(options={"arch": self.arch}, files=files, modules=self.module_digests())

    def run(self, work: Work) -> None:
        for part, artifact in self._parts().items():
            path, _ = self._file(part, artifact, work.inputs)
            shutil.copyfile(path, work.out / _NAMES[part])
        vmlinux = work.out / "vmlinux"
        name = self.source.vmlinux.name
        _require_kernel(vmlinux, name, arch_of(self.arch))
        if self.source.bzimage:
            _require_compressed(work.out / "vmlinuz", self.source.bzimage.name, arch_of(self.arch))
        (work.out / "release").write_text(_release(vmlinux, name) + "\n")

    def _file(self, part: str, artifact: GivenFile, inputs: Inputs) -> tuple[Path, str]:
        return given_file(artifact, f"kernel-{part}", inputs, f"kernel.source.{part}", self.source.where)

    def _parts(self) -> dict[str, GivenFile]:
        parts = {part: getattr(self.source, part) for part in _NAMES}
        return {part: artifact for part, artifact in parts.items() if artifact}


def _require_kernel(path: Path, name: str, arch: Arch) -> None:
    """What QEMU boots: an ELF file, or on some architectures an Image."""
    with path.open("rb") as stream:
        header = stream.read(MAGIC_AT + 4)
    if arch.magic:
        if header[MAGIC_AT:] != arch.magic:
            hint = f"make leaves it in {arch.boots}; one that is compressed goes under kernel.source.bzimage"
            raise InputError(f"{name} is not an Image for {arch.name}, which is what QEMU boots there", hint=hint)
        return
    if not header.startswith(_ELF64_LITTLE):
        hint = "a bzImage goes under kernel.source.bzimage; vmlinux is what make leaves at the top of the build"
        raise InputError(f"{name} is not a 64-bit ELF file, so no vmlinux", hint=hint)
    (machine,) = struct.unpack_from("<H", header, 18)
    if machine != arch.machine:
        raise InputError(f"{name} is for another architecture than {arch.name} (ELF machine {machine})")


def _require_compressed(path: Path, name: str, arch: Arch) -> None:
    with path.open("rb") as stream:
        start = stream.read(1024)
    if arch.magic:
        if not start.startswith(_GZIP):
            raise InputError(f"{name} is not a compressed Image (gzip)")
    elif start[_SETUP_MAGIC_AT : _SETUP_MAGIC_AT + 4] != _SETUP_MAGIC:
        raise InputError(f"{name} is not a bzImage: it has no setup header")


def _release(vmlinux: Path, name: str) -> str:
    """The kernel release from its banner, which stands in clear in vmlinux."""
    match = _BANNER.search(vmlinux.read_bytes())
    if not match:
        raise InputError(f'{name} has no "Linux version" banner, so it is no kernel')
    return match.group(1).decode(errors="replace")
