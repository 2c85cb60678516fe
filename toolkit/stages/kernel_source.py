"""Identifies the kernel's source: its version, and what decides its content. The tree itself is scratch."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from .. import kernel_tree
from ..errors import InputError
from ..pipeline.stage import Command, Inputs, Recipe, Stage, Work
from ..spec.model import DebianKernel, KernelSource, TarballKernel, TreeKernel


@dataclass(frozen=True)
class KernelOrigin:
    """Where a kernel to be compiled comes from: not for prebuilt ones."""

    source: KernelSource
    patches: tuple[Path, ...] = ()

    def archive(self, inputs: Inputs) -> tuple[Path, str] | None:
        """The archive and its sha256, or None for a tree. Raises NotBuiltYet, InputError when it is missing."""
        if isinstance(self.source, TarballKernel) and self.source.archive.path:
            path, wanted = self.source.archive.path, self.source.archive.sha256
            digest = inputs.file_digest(path)
            if wanted not in (None, digest):
                raise InputError(f"{path} has the sha256 {digest}, not {wanted} as kernel.source.sha256 says")
            return path, digest
        if isinstance(self.source, DebianKernel | TarballKernel):
            return inputs.path("sources", "kernel"), inputs.digest("sources", "kernel")
        return None

    @contextmanager
    def tree(self, work: Work) -> Iterator[kernel_tree.KernelTree]:
        """`open` for a stage at work, which tells how far unpacking is. Raises InputError, ToolError."""

        def on_file(done: int) -> None:
            work.progress(done, 0, "files", "unpacking")

        with self.open(work.inputs, on_file) as tree:
            yield tree

    @contextmanager
    def open(self, inputs: Inputs, on_file: kernel_tree.OnFile) -> Iterator[kernel_tree.KernelTree]:
        """The tree, unpacked and patched if need be, ours to read while the context lasts.

        Raises InputError, ToolError.
        """
        archive = self.archive(inputs)
        if archive is None:
            assert isinstance(self.source, TreeKernel)  # noqa: S101 -- the only kind without an archive
            yield kernel_tree.from_folder(self.source.path, inputs.cache)
            return
        patches = [(patch, inputs.file_digest(patch)) for patch in self.patches]
        with kernel_tree.from_archive(*archive, patches, inputs.cache, on_file) as tree:
            yield tree

    def folder(self, inputs: Inputs) -> Path:
        """Where the tree lies, if it is unpacked. Raises NotBuiltYet, InputError."""
        archive = self.archive(inputs)
        if archive is None:
            assert isinstance(self.source, TreeKernel)  # noqa: S101 -- the only kind without an archive
            return self.source.path
        patches = [(patch, inputs.file_digest(patch)) for patch in self.patches]
        return kernel_tree.folder_of(archive[1], patches, inputs.cache)


@dataclass(frozen=True)
class KernelSourceStage(Stage):
    """Output: ``source.json`` (version, identity, patches: all that the kernel depends on)."""

    name: ClassVar[str] = "kernel_source"
    title: ClassVar[str] = "kernel source"

    origin: KernelOrigin

    def plan(self, inputs: Inputs) -> Recipe:
        """Raises NotBuiltYet before the archive is here, InputError for a bad path or tree."""
        archive = self.origin.archive(inputs)
        patches = [inputs.file_digest(patch) for patch in self.origin.patches]
        options: dict[str, Any] = {"patches": patches}
        if archive is None:
            assert isinstance(self.origin.source, TreeKernel)  # noqa: S101 -- the only kind without an archive
            options["tree"] = kernel_tree.from_folder(self.origin.source.path, inputs.cache).identity
        else:
            options["archive"] = archive[1]
        apply = ("patch", "-p1", "-N", "-F0", "-d", "@tree@", "-i")
        return Recipe(
            commands=[Command(*apply, patch.name) for patch in self.origin.patches],
            options=options,
            tools={"patch": inputs.tool("patch", "--version")} if patches else {},
        )

    def run(self, work: Work) -> None:
        with self.origin.tree(work) as tree:
            facts = {"version": tree.version, "identity": tree.identity, "patches": work.recipe.options["patches"]}
        (work.out / "source.json").write_text(json.dumps(facts, indent=1) + "\n")
