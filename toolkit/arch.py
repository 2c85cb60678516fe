"""What differs between the architectures that a guest can have: ``schemas/arches.json``, read when first asked."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from . import resources
from .errors import InputError, InternalError

# Both arm64's and riscv64's Image have it there (Documentation/arch/arm64/booting.rst, …/riscv/boot-image-header.rst).
MAGIC_AT = 56


@dataclass(frozen=True, slots=True)
class Arch:
    """One architecture. ``name`` is ours, in specs and kernel fragments; ``uname`` is Kata's and ``uname -m``'s.

    ``make`` is the kernel's ARCH=, ``folder`` lies below arch/; ``targets`` make ``image`` (compressed) and ``boots``
    (for QEMU's -kernel; ``packs``: an ELF file to be packed; ``magic``: no ELF file, but one with these bytes at
    `MAGIC_AT`), paths in the build folder. ``machine`` is ELF's
    e_machine. ``cross_prefix``, ``cross_package``, ``libc_package`` are Debian's; ``clang`` is a --target.
    ``machine_type`` and ``console`` (the first serial port's name in the guest) are QEMU's. ``builds``: kernels are
    built for it here, not only configured.
    """

    name: str
    uname: str
    debian: str
    builds: bool
    make: str
    folder: str
    targets: tuple[str, ...]
    image: str
    boots: str
    packs: bool
    magic: bytes
    machine: int
    endian: str
    cross_prefix: str
    cross_package: str
    libc_package: str
    clang: str
    qemu: str
    qemu_package: str
    machine_type: str
    console: str

    @property
    def go(self) -> str:
        """Go's name, which container images use: Debian's, but for one."""
        return "ppc64le" if self.debian == "ppc64el" else self.debian

    @property
    def native(self) -> bool:
        """This machine is one."""
        return self.uname == platform.machine()


@lru_cache(maxsize=1)
def arches() -> Mapping[str, Arch]:
    """Every architecture, by name."""
    data = json.loads(resources.resource("schemas", "arches.json").read_bytes())
    return {name: _arch(name, facts) for name, facts in data["arches"].items()}


def arch_of(name: str) -> Arch:
    """The architecture of that name. Raises InputError when there is none."""
    known = arches()
    if name not in known:
        raise InputError(f"{name} is not an architecture of a guest", hint=f"there are: {', '.join(known)}")
    return known[name]


def arch_of_uname(machine: str) -> Arch | None:
    """The architecture that ``uname -m`` or a file of Kata's calls ``machine``, or None."""
    return next((arch for arch in arches().values() if arch.uname == machine), None)


def native() -> Arch:
    """This machine's. Raises InternalError on one that no guest can have."""
    found = arch_of_uname(platform.machine())
    if found is None:
        raise InternalError(f"{platform.machine()} is not an architecture of a guest")
    return found


def _arch(name: str, facts: Any) -> Arch:
    kernel, elf, toolchain, qemu = facts["kernel"], facts["elf"], facts["toolchain"], facts["qemu"]
    return Arch(
        name=name,
        uname=facts["uname"],
        debian=facts["debian"],
        builds=facts["builds"],
        make=kernel["arch"],
        folder=kernel["folder"],
        targets=tuple(kernel["targets"]),
        image=kernel["image"],
        boots=kernel["boots"],
        packs=kernel["packs"],
        magic=kernel.get("magic", "").encode(),
        machine=elf["machine"],
        endian=elf["endian"],
        cross_prefix=toolchain["prefix"],
        cross_package=toolchain["package"],
        libc_package=toolchain["libc"],
        clang=toolchain["clang"],
        qemu=qemu["binary"],
        qemu_package=qemu["package"],
        machine_type=qemu["machine"],
        console=qemu["console"],
    )
