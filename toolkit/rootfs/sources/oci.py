"""oci: the layers of a container image, one on top of the other."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import ClassVar

from ...arch import arch_of
from ...components import Component
from ...errors import InputError
from ...pipeline.stage import Inputs, Work
from ...registry import Reference
from ...spec.model import OciRootfs
from .source import Base, Identity, Source

_INDEX = "image/index.json"  # of the sources stage


@dataclass(frozen=True)
class OciSource(Source):
    """``arch``: the guest's, which chooses among the images of an index."""

    source: OciRootfs
    arch: str

    modules: ClassVar[tuple[str, ...]] = (
        "registry.py",
        "rootfs/layers.py",
        "rootfs/oci_image.py",
        "rootfs/sources/oci.py",
    )

    def identity(self, inputs: Inputs) -> Identity:
        """What decides which image it is, and what is in it: blobs are named by their digests, and held to them."""
        source = self.source
        if source.path is None:
            return Identity({"kind": "oci", "index": inputs.digest("sources", _INDEX), "arch": self.arch})
        file = source.path / "index.json" if source.path.is_dir() else source.path
        if not file.is_file():
            raise InputError(
                f"{source.path} is no OCI image layout: it has no index.json",
                hint="of `docker save`, give the tar itself",
            )
        index = inputs.file_digest(file)
        return Identity({"kind": "oci", "index": index, "tag": source.tag, "sha256": source.sha256, "arch": self.arch})

    def base(self, work: Work, open_files: ExitStack) -> Base:
        from ...archive import plain_tar, unpack
        from ..oci_image import find_image, image_tree

        source = self.source
        folder = source.path or work.inputs.path("sources", _INDEX).parent
        if not folder.is_dir():
            archive, folder = folder, work.scratch / "image"
            unpack(archive, folder, archive.name, lambda done: work.progress(done, 0, "files"))
        image = find_image(folder, tag=source.tag, arch=arch_of(self.arch).go)
        if source.sha256 not in (None, image.digest):
            raise InputError(f"the image in {folder} has the digest {image.digest}, not {source.sha256}")
        tree = open_files.enter_context(image_tree(image, work.scratch, plain_tar))
        return Base(tree, (self._component(image.digest),))

    def _component(self, digest: str) -> Component:
        """The image as a part of the set. The name of a file on this machine says nothing of what is in it."""
        name, version = "container-image", self.source.tag
        if self.source.reference:
            reference = Reference.of(self.source.reference)
            name, version = reference.name, reference.tag
        return Component(
            name=name.rpartition("/")[2],
            version=version or f"sha256:{digest}",
            kind="oci",
            sha256=digest,
            arch=self.arch,
            origin=self.source.reference or "",
            namespace=name.rpartition("/")[0],
        )
