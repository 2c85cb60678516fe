"""Identifies the kernel's source: its version, and what decides its content. The tree itself is scratch."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from .. import git_source, kernel_tree
from ..errors import InputError, Problem, ToolError
from ..patches import PATCH, require_inside
from ..pipeline.files import copy_checked
from ..pipeline.given import given_file
from ..pipeline.stage import Command, Inputs, Recipe, Stage, Work
from ..spec.model import GitKernel, GivenFile, KernelSource, Patch, TarballKernel, TreeKernel

_LICENCES = ("COPYING", "LICENSES")  # Documentation/process/license-rules.rst


@dataclass(frozen=True)
class KernelOrigin:
    """Where a kernel to be compiled comes from: not for prebuilt ones."""

    source: KernelSource
    patches: tuple[Patch, ...] = ()

    def archive(self, inputs: Inputs) -> tuple[Path, str]:
        """The archive of a source that is one, and its sha256. Raises NotBuiltYet, InputError when it is missing."""
        given = self.source.archive if isinstance(self.source, TarballKernel) else GivenFile()
        return given_file(given, "kernel", inputs, "kernel.source")

    def identity(self, inputs: Inputs) -> str:
        """What decides the unpatched tree's content. Raises NotBuiltYet, InputError."""
        if isinstance(self.source, TreeKernel):
            return kernel_tree.from_folder(self.source.path, inputs.cache).identity
        if isinstance(self.source, GitKernel):
            return str(json.loads(inputs.path("sources", git_source.FACTS).read_bytes())["tree"])
        return self.archive(inputs)[1]

    def digested_patches(self, inputs: Inputs) -> list[tuple[Path, str]]:
        """The patches, each with its sha256. Raises InputError for one that is missing, or not what the spec says."""
        found = []
        for patch in self.patches:
            digest = inputs.file_digest(patch.path)
            if patch.sha256 not in (None, digest):
                raise InputError(f"{patch.path} has the sha256 {digest}, not {patch.sha256} as kernel.patches says")
            found.append((patch.path, digest))
        return found

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
        if isinstance(self.source, TreeKernel):
            yield kernel_tree.from_folder(self.source.path, inputs.cache)
            return
        patches = self.digested_patches(inputs)
        if isinstance(self.source, GitKernel):
            commit = kernel_tree.Commit(self.source, self.identity(inputs), inputs.offline)
            found = kernel_tree.from_commit(commit, patches, inputs.cache, on_file)
        else:
            found = kernel_tree.from_archive(*self.archive(inputs), patches, inputs.cache, on_file)
        with ExitStack() as until:
            try:
                tree = until.enter_context(found)
            except InputError as error:
                raise InputError.many(self._located(problem) for problem in error.problems) from error
            yield tree

    def _located(self, problem: Problem) -> Problem:
        """With its place in the spec: the patch's that it names, else the commit's."""
        named = next((p.where for p in self.patches if str(p.path) in problem.message), None)
        commit = self.source.where if isinstance(self.source, GitKernel) else None
        return replace(problem, where=problem.where or named or commit)

    def folder(self, inputs: Inputs) -> Path:
        """Where the tree lies, if it is unpacked. Raises NotBuiltYet, InputError."""
        if isinstance(self.source, TreeKernel):
            return self.source.path
        return kernel_tree.folder_of(self.identity(inputs), self.digested_patches(inputs), inputs.cache)


@dataclass(frozen=True)
class KernelSourceStage(Stage):
    """Output: ``source.json`` (version, identity, patches: all that the kernel depends on); below ``licences/`` the
    texts that the tree has, and the patches, which those who hand the kernel on must hand on too.
    """

    name: ClassVar[str] = "kernel_source"
    title: ClassVar[str] = "kernel source"

    origin: KernelOrigin

    def plan(self, inputs: Inputs) -> Recipe:
        """Raises NotBuiltYet before the source is here, InputError for a bad path or tree."""
        patches = self.origin.digested_patches(inputs)
        for patch, _ in patches:
            require_inside(patch)
        kind = {TreeKernel: "tree", GitKernel: "git_tree"}.get(type(self.origin.source), "archive")
        return Recipe(
            commands=[Command(*PATCH, "-d", "@tree@", "-i", patch.name) for patch, _ in patches],
            options={
                "patches": [digest for _, digest in patches],
                kind: self.origin.identity(inputs),
                "licences": list(_LICENCES),
            },
            tools=self.known_tools(inputs),
        )

    def known_tools(self, inputs: Inputs) -> Mapping[str, str]:
        return {"patch": inputs.tool("patch", "--version")} if self.origin.patches else {}

    def run(self, work: Work) -> None:
        with self.origin.tree(work) as tree:
            facts = {"version": tree.version, "identity": tree.identity, "patches": work.recipe.options["patches"]}
            for name in _LICENCES:
                _copy(tree.path / name, work.out / "licences" / name)
        for number, (patch, digest) in enumerate(self.origin.digested_patches(work.inputs), 1):
            target = work.out / "licences" / "patches" / f"{number:04}-{patch.name}"
            target.parent.mkdir(parents=True, exist_ok=True)
            if not copy_checked(patch, target, digest, 0o644):
                raise ToolError(f"{patch} changed while it was used", hint="build again")
        (work.out / "source.json").write_text(json.dumps(facts, indent=1) + "\n")


def _copy(source: Path, target: Path) -> None:
    """A file, or the files of a folder; trees from before 4.16 have no LICENSES."""
    files = sorted(p for p in source.rglob("*") if p.is_file()) if source.is_dir() else [source]
    for file in files:
        if file.is_file() and not file.is_symlink():
            place = target / file.relative_to(source)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, place)
