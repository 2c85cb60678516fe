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
    """A tar by path, or one that the sources stage fetched."""

    source: TarballRootfs

    modules: ClassVar[tuple[str, ...]] = ("rootfs/sources/tarball.py",)

    def identity(self, inputs: Inputs) -> Identity:
        return Identity({"kind": "tarball", "sha256": self._archive(inputs)[1]})

    def base(self, work: Work, open_files: ExitStack) -> Base:
        from ...archive import plain_tar
        from ..tar import open_tar

        archive, _ = self._archive(work.inputs)
        plain = work.scratch / "source.tar"
        plain_tar(archive, plain, self.source.archive.name)
        return Base(open_files.enter_context(open_tar(plain)).tree())

    def _archive(self, inputs: Inputs) -> tuple[Path, str]:
        """The tar and its sha256. Raises NotBuiltYet, and InputError when it is not the one that the spec names."""
        wanted = self.source.archive
        if wanted.path is None:
            return inputs.path("sources", "rootfs"), inputs.digest("sources", "rootfs")
        digest = inputs.file_digest(wanted.path)
        if wanted.sha256 not in (None, digest):
            raise InputError(f"{wanted.path} has the sha256 {digest}, not {wanted.sha256} as rootfs.sha256 says")
        return wanted.path, digest
