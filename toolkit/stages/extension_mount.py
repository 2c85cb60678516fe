"""extension_mount: our agent as the program that mounts extension images for another agent, under another name."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from ..agents.builtin import BuiltinKind
from ..agents.kind import PROGRAM
from ..pipeline.stage import Inputs, Recipe, Stage, Work

MOUNTER = PROGRAM


@dataclass(frozen=True)
class ExtensionMountStage(Stage):
    """Output: ``init``, the program; ``arch``: for which guest."""

    arch: str

    name: ClassVar[str] = "extension_mount"
    title: ClassVar[str] = "what mounts extension images"
    modules: ClassVar[tuple[str, ...]] = (
        "agents/builtin.py",
        "agents/kind.py",
        "components.py",
        "elf.py",
        "stages/extension_mount.py",
        "static_c.py",
    )

    def plan(self, inputs: Inputs) -> Recipe:
        return replace(BuiltinKind(self.arch).recipe(inputs), modules=self.module_digests())

    def run(self, work: Work) -> None:
        BuiltinKind(self.arch).make(work)
