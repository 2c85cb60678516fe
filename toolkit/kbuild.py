"""How the kernel's own make is called: fixed variables, and build folders that survive between builds."""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from . import run
from .errors import InputError
from .locks import locked
from .pipeline.stage import Command
from .pipeline.store import CACHE_VARIABLE
from .toolchain import Toolchain

# Nothing of these is in the kernel: whether the tool is installed must not show in .config.
_UNUSED_TOOLS = ("PAHOLE=pahole-unused", "RUSTC=rustc-unused", "BINDGEN=bindgen-unused")
# Who, where and when end up in /proc/version; they are the same for everybody.
_STAMP = {
    "KBUILD_BUILD_TIMESTAMP": "Thu Jan  1 00:00:00 UTC 1970",
    "KBUILD_BUILD_USER": "kata-toolkit",
    "KBUILD_BUILD_HOST": "kata-toolkit",
    "KBUILD_BUILD_VERSION": "1",
}


def make(toolchain: Toolchain, *words: str, env: dict[str, str] | None = None) -> Command:
    """A call of the kernel's make with the places ``@tree@``, ``@build@`` and ``@cc@`` (see `places`)."""
    compilers = ("CC=@cc@", f"HOSTCC={toolchain.host_compiler}", *toolchain.variables)
    variables = (f"ARCH={toolchain.arch.make}", *compilers, "LOCALVERSION=", *_UNUSED_TOOLS)
    stamp = tuple(f"{name}={value}" for name, value in _STAMP.items())
    return Command("make", "-C", "@tree@", "O=@build@", *variables, *stamp, *words, env=env)


def places(toolchain: Toolchain, tree: Path, build: Path, *, compiles: bool) -> dict[str, Any]:
    """What fills the places of `make`'s commands; where much is compiled, ccache helps if it is there.

    Raises InputError for a path that make cannot work with.
    """
    for path in (tree, build):
        if re.search(r"[\s:]", str(path)):
            raise InputError(
                f"the kernel's make cannot work in a path with a space or a colon: {path}",
                hint=f"set {CACHE_VARIABLE} to another place, and keep source trees in one",
            )
    return {
        "tree": str(tree),
        "build": str(build),
        "cc": f"ccache {toolchain.compiler}" if compiles and _ccache() else toolchain.compiler,
    }


def _ccache() -> bool:
    """ccache is there, and its user has not switched it off as its manual says."""
    return run.which("ccache") is not None and "CCACHE_DISABLE" not in os.environ


def ccache_environment(tree: Path, cache: Path) -> dict[str, str]:
    """How ccache works for us: absolute paths of the source do not decide whether it has an object.

    Its depend mode trusts the dependencies that the compiler lists, and so preprocesses nothing twice.
    """
    return {
        "CCACHE_DIR": str(cache / "ccache"),
        "CCACHE_BASEDIR": str(tree),
        "CCACHE_NOHASHDIR": "1",
        "CCACHE_DEPEND": "1",
        "CCACHE_MAXSIZE": "4G",
    }


@contextmanager
def build_folder(cache: Path, name: str) -> Iterator[tuple[Path, bool]]:
    """A folder below scratch/ that keeps its objects between builds, for one build at a time.

    Yields it and whether it holds objects. It is kept only when its user left it well: after a failure, Ctrl-C or
    kill -9 the next one starts empty, since a compiler killed in mid-write leaves half an object behind. A new
    folder has a new name, so that compilers that outlived a killed make cannot write into it.
    """
    scratch = cache / "scratch"
    marker = scratch / f"{name}.clean"
    with locked(cache / "locks" / name):
        folder = _clean_folder(scratch, name, marker)
        kept = folder is not None
        if folder is None:
            for old in scratch.glob(f"{name}-*"):
                shutil.rmtree(old, ignore_errors=True)
            folder = scratch / f"{name}-{secrets.token_hex(4)}"
            folder.mkdir()
        marker.unlink(missing_ok=True)
        yield folder, kept
        marker.write_text(folder.name)


def _clean_folder(scratch: Path, name: str, marker: Path) -> Path | None:
    """The folder that the marker names, if it is there."""
    try:
        folder = scratch / marker.read_text()
    except OSError:
        return None
    return folder if folder.name.startswith(f"{name}-") and folder.is_dir() else None
