"""The guest kernel: compiled out of tree, with the same bytes whenever, wherever and by whomever it is built."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from .. import kbuild, run
from ..errors import InputError, ToolError
from ..kernel_tree import KernelTree
from ..pipeline.files import read_json, write_atomically
from ..pipeline.stage import Command, Inputs, Recipe, Stage, Work
from ..toolchain import Toolchain
from .kernel_source import KernelOrigin

_COMPILED = re.compile(r"^\s+(?:CC|AS)\s+(\S+)$")  # what make prints for each object of the kernel
# How bzImage is packed decides which tool's bytes are in it.
_COMPRESSORS = {"GZIP": "gzip", "ZSTD": "zstd", "XZ": "xz", "LZ4": "lz4", "BZIP2": "bzip2", "LZMA": "xz", "LZO": "lzop"}
MODULES = "modules.tar"
# Our code that lays out the modules' tar.
_LAYS_OUT_MODULES = (
    "elf.py",
    "modinfo.py",
    "module_tree.py",
    "rootfs/tar_content.py",
    "rootfs/tar_header.py",
    "rootfs/tar_pax.py",
    "rootfs/tar_sparse.py",
    "rootfs/tar_write.py",
    "rootfs/tree.py",
)
# What make's output says when a header is missing, and the Debian package that has it.
_HEADERS = {
    "gelf.h": "libelf-dev",
    "libelf": "libelf-dev",
    "openssl/": "libssl-dev",
    "libcrypto": "libssl-dev",
    "Python.h": "python3-dev",
}


@dataclass(frozen=True)
class KernelStage(Stage):
    """Output: ``vmlinux`` (what QEMU boots: a packed ELF file, or the architecture's Image), ``vmlinuz``, ``config``,
    ``System.map``, ``release``, and ``objects``, the names of those that vmlinux was linked from. With modules in
    the configuration ``modules.tar``, their lib/modules.
    """

    name: ClassVar[str] = "kernel"
    title: ClassVar[str] = "guest kernel"
    modules: ClassVar[tuple[str, ...]] = ("kernel_objects.py", "vmlinux.py")

    origin: KernelOrigin
    arch: str
    toolchain: str = "gcc"

    def plan(self, inputs: Inputs) -> Recipe:
        """Raises NotBuiltYet before source and configuration are known, ToolError for a compiler that is missing,
        InputError for an architecture that nothing is compiled for."""
        toolchain = self._toolchain()
        config = inputs.path("kernel_config", "config").read_text()
        tools = {tool: inputs.tool(tool, "--version") for tool in ("bc", "gzip", *_compressor(config))}
        modular = "\nCONFIG_MODULES=y\n" in config and "=m\n" in config
        return Recipe(
            commands=[
                kbuild.make(toolchain, "-j@jobs@", *toolchain.arch.targets, *(["modules"] if modular else [])),
                kbuild.make(toolchain, "-s", "kernelrelease"),
                *([_install_modules(toolchain)] if modular else []),
            ],
            options={"arch": self.arch},
            inputs={
                "kernel_config/config": inputs.digest("kernel_config", "config"),
                "kernel_source/source.json": inputs.digest("kernel_source", "source.json"),
            },
            tools={**toolchain.identities(inputs), **tools},
            modules=self.module_digests(*(_LAYS_OUT_MODULES if modular else ())),
        )

    def known_tools(self, inputs: Inputs) -> Mapping[str, str]:
        """Which one packs bzImage is only known with the configuration: every one that is here."""
        packers = [tool for tool in sorted({"bc", *_COMPRESSORS.values()}) if run.which(tool)]
        return {**self._toolchain().identities(inputs), **{tool: inputs.tool(tool, "--version") for tool in packers}}

    def run(self, work: Work) -> None:
        config = work.inputs.path("kernel_config", "config").read_bytes()
        with self.origin.tree(work) as tree:
            self._build(tree, config, work)
        (work.out / "config").write_bytes(config)

    def _toolchain(self) -> Toolchain:
        toolchain = Toolchain.of(self.arch, self.toolchain)
        if not toolchain.arch.builds:
            raise InputError(
                f"a kernel for {self.arch} is configured, but not built here",
                hint="take a prebuilt one: kernel.source with kind: prebuilt",
            )
        return toolchain

    def _build(self, tree: KernelTree, config: bytes, work: Work) -> None:
        from ..kernel_objects import linked_objects
        from ..vmlinux import compact

        toolchain = self._toolchain()
        arch = toolchain.arch
        compile_, release, *install = work.recipe.commands
        cache = work.inputs.cache
        name = f"kernel-build-{_key(work.recipe, tree.path)}"
        with kbuild.build_folder(cache, name) as (build, kept):
            ccache = kbuild.ccache_environment(tree.path, cache)
            places = kbuild.places(toolchain, tree.path, build, compiles=True)
            if not kept or (build / ".config").read_bytes() != config:
                (build / ".config").write_bytes(config)
            with _Objects(work, name, kept) as objects:
                _explained(lambda: work.run(compile_, on_line=objects.line, unrecorded=ccache, **places))
            if (build / ".config").read_bytes() != config:
                raise ToolError(
                    "the kernel's conf changed the configuration that it had resolved itself",
                    hint="did the compiler change while the build ran? build again",
                )
            tree.require_unchanged()
            if arch.packs:
                (work.out / "vmlinux").write_bytes(compact((build / arch.boots).read_bytes()))
            else:
                shutil.copyfile(build / arch.boots, work.out / "vmlinux")
            shutil.copyfile(build / arch.image, work.out / "vmlinuz")
            shutil.copyfile(build / "System.map", work.out / "System.map")
            (work.out / "objects").write_text("".join(f"{name}\n" for name in linked_objects(build)))
            version = work.run(release, **places).output.splitlines()[-1]
            if install:
                work.run(install[0], **places)
        (work.out / "release").write_text(version + "\n")
        if install:
            _keep_modules(work, version, arch.machine)


def _install_modules(toolchain: Toolchain) -> Command:
    """Stripped as they lie in a guest; the indexes are written by us (see module_tree.py), not by depmod."""
    return kbuild.make(
        toolchain, "-s", "modules_install", "INSTALL_MOD_PATH=@scratch@/root", "INSTALL_MOD_STRIP=1", "DEPMOD=true"
    )


def _keep_modules(work: Work, release: str, machine: int) -> None:
    """All modules as a tar; in a guest they are loaded when they are asked for."""
    from ..module_tree import ModuleFolder, modules_tree
    from ..rootfs.tar_write import write_tar

    folder = ModuleFolder(work.scratch / "root/lib/modules" / release, release, machine)
    tree, _, names = modules_tree(folder, (), folder.files)
    write_tar(tree, work.out / MODULES)
    work.note(f"modules: {len(names)}")


def _compressor(config: str) -> list[str]:
    return [tool for name, tool in _COMPRESSORS.items() if f"\nCONFIG_KERNEL_{name}=y\n" in config and tool != "gzip"]


def _key(recipe: Recipe, tree: Path) -> str:
    """One build folder for each source and toolchain; the options may change, kbuild recompiles what they touch."""
    return hashlib.sha256(json.dumps([str(tree), dict(recipe.tools)]).encode()).hexdigest()[:32]


def _explained(compile_: Callable[[], object]) -> None:
    """Run make; where a missing header made it fail, say which package has it."""
    try:
        compile_()
    except ToolError as error:
        for sign, package in _HEADERS.items():
            if sign in str(error):
                raise ToolError(str(error.problems[0].message), hint=f"apt-get install {package}") from error
        raise


class _Objects:
    """Counts the objects compiled; the number a whole build of this source took is remembered for the next."""

    def __init__(self, work: Work, name: str, kept: bool) -> None:
        self._work, self._kept = work, kept
        self._memo = work.inputs.cache / "kernel-objects.json"
        self._name = name
        known = read_json(self._memo, {})
        self._total = 0 if kept else int(known.get(name, 0))
        self._done = 0

    def line(self, text: str) -> None:
        """One line of make's output."""
        match = _COMPILED.match(text)
        if match:
            self._done += 1
            total = self._total if self._total >= self._done else 0  # more than last time: unknown again
            self._work.progress(self._done, total, "objects", match.group(1))

    def __enter__(self) -> _Objects:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None and not self._kept:
            known = read_json(self._memo, {})
            write_atomically(self._memo, json.dumps({**known, self._name: self._done}, sort_keys=True).encode())
