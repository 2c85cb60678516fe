"""directory: a folder on this host."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import ClassVar

from ...pipeline.stage import Inputs, Work
from ...spec.model import FolderRootfs
from .source import Base, Identity, Source


@dataclass(frozen=True)
class FolderSource(Source):
    """All of the folder, belonging to root."""

    source: FolderRootfs

    modules: ClassVar[tuple[str, ...]] = ("rootfs/sources/folder.py",)

    def identity(self, inputs: Inputs) -> Identity:
        from ..folder import folder_identity

        return Identity({"kind": "directory", "content": folder_identity(self.source.path, inputs.cache)})

    def base(self, work: Work, open_files: ExitStack) -> Base:
        from ..folder import folder_tree

        return Base(folder_tree(self.source.path))
