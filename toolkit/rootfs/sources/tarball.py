"""tarball: a root file system that was made elsewhere."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from ...errors import InputError
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
        """The tar and its sha256. Raises NotBuiltYet, and InputError when it is not the one that the spec names."""
        wanted = self.source.archive
        if wanted.path is None:
            return inputs.path("sources", self.fetched), inputs.digest("sources", self.fetched)
        digest = inputs.file_digest(wanted.path)
        if wanted.sha256 not in (None, digest):
            raise InputError(
                f"{wanted.path} has the sha256 {digest}, not {wanted.sha256} as {self.fetched}.sha256 says"
            )
        return wanted.path, digest
