"""How the kernel's own make is called: architectures, fixed variables, build folders that survive between builds."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from . import run
from .errors import InputError
from .pipeline.stage import Command, Inputs


@dataclass(frozen=True, slots=True)
class Arch:
    """An architecture as the kernel names it: ARCH=, the folder below arch/, the bootable image, ELF e_machine."""

    make: str
    folder: str
    target: str
    image: str
    machine: int


ARCHES = {"x86_64": Arch("x86_64", "x86", "bzImage", "arch/x86/boot/bzImage", 62)}

# Nothing of these is in the kernel: whether the tool is installed must not show in .config.
_UNUSED_TOOLS = ("PAHOLE=pahole-unused", "RUSTC=rustc-unused", "BINDGEN=bindgen-unused")
# Who, where and when end up in /proc/version; they are the same for everybody.
_STAMP = {
    "KBUILD_BUILD_TIMESTAMP": "Thu Jan  1 00:00:00 UTC 1970",
    "KBUILD_BUILD_USER": "kata-toolkit",
    "KBUILD_BUILD_HOST": "kata-toolkit",
    "KBUILD_BUILD_VERSION": "1",
}
# Absolute paths of the source must not decide whether ccache has an object.
_CCACHE = {"CCACHE_DIR": "@ccache@", "CCACHE_BASEDIR": "@tree@", "CCACHE_NOHASHDIR": "1", "CCACHE_MAXSIZE": "4G"}


def arch_of(name: str) -> Arch:
    """Raises InputError for an architecture we build no kernels for."""
    if name not in ARCHES:
        raise InputError(f"no kernel can be built for {name} yet", hint=f"possible: {', '.join(ARCHES)}")
    return ARCHES[name]


def make(arch: Arch, *words: str, env: dict[str, str] | None = None) -> Command:
    """A call of the kernel's make with the places ``@tree@``, ``@build@``, ``@cc@`` and ``@ccache@``."""
    variables = (f"ARCH={arch.make}", "CC=@cc@", "HOSTCC=gcc", "LOCALVERSION=", *_UNUSED_TOOLS)
    stamp = tuple(f"{name}={value}" for name, value in _STAMP.items())
    return Command("make", "-C", "@tree@", "O=@build@", *variables, *stamp, *words, env={**_CCACHE, **(env or {})})


def places(tree: Path, build: Path, cache: Path) -> dict[str, Any]:
    """What fills the places of `make`'s commands. ccache is used when it is there: it does not change a byte."""
    return {
        "tree": str(tree),
        "build": str(build),
        "cc": "ccache gcc" if run.which("ccache") else "gcc",
        "ccache": str(cache / "ccache"),
    }


def toolchain(inputs: Inputs) -> dict[str, str]:
    """The tools that decide what is compiled. Raises ToolError with what to install."""
    return {name: inputs.tool(name, "--version") for name in ("gcc", "ld", "make")}


@contextmanager
def build_folder(cache: Path, name: str) -> Iterator[tuple[Path, bool]]:
    """A folder below scratch/ that keeps its objects between builds, for one build at a time.

    Yields it and whether it holds objects. It is trusted only when the last user left it well: after a failure,
    Ctrl-C or kill -9 it starts empty, since a compiler killed in mid-write leaves half an object behind.
    """
    folder = cache / "scratch" / name
    busy = folder.with_name(f"{name}.busy")
    with FileLock(str(cache / "locks" / name)):
        if busy.exists() or not folder.is_dir():
            shutil.rmtree(folder, ignore_errors=True)
        kept = folder.is_dir()
        busy.touch()
        folder.mkdir(exist_ok=True)
        yield folder, kept
        busy.unlink()
