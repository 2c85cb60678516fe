"""tarball: a root file system that was made elsewhere."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from ...pipeline.given import given_file
from ...pipeline.stage import Inputs, Work
from ...spec.model import TarballRootfs
from .source import Base, Identity, Source


@dataclass(frozen=True)
class TarballSource(Source):
    """A tar by path, or one that the sources stage fetched: ``fetched`` is its name there."""

    source: TarballRootfs
    fetched: str = "rootfs"

    modules: ClassVar[tuple[str, ...]] = ("rootfs/sources/tarball.py",)

    def identity(self, inputs: Inputs) -> Identity:
        return Identity({"kind": "tarball", "sha256": self._archive(inputs)[1]})

    def base(self, work: Work, open_files: ExitStack) -> Base:
        from ...archive import as_plain_tar
        from ..tar import open_tar

        archive, _ = self._archive(work.inputs)
        plain = as_plain_tar(archive, work.scratch / "source.tar", self.source.archive.name)
        return Base(open_files.enter_context(open_tar(plain, self.source.archive.url or str(archive))).tree())

    def _archive(self, inputs: Inputs) -> tuple[Path, str]:
        return given_file(self.source.archive, self.fetched, inputs, self.fetched)
