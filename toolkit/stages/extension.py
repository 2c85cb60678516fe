"""extension: a further read-only file system as an EROFS image with dm-verity, read back before it counts as made."""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from ..image.erofs_compress import TOOL, pack_command, packed, tool_version
from ..image.make import Made, Wanted
from ..image.tool_checks import CHECKERS, check_commands, check_tools, check_with_tools
from ..pipeline.layout import extension_stage
from ..pipeline.stage import Command, Inputs, Recipe, Stage, Work
from ..rootfs.sources.choose import source_of
from ..rootfs.sources.source import Base, Source
from ..spec.model import Extension
from .image import IMAGE, VERITY

_FORMAT = "erofs"  # what guests mount extensions as
_ALIGN_MIB = 1
_TAR = "extension.tar"


@dataclass(frozen=True)
class ExtensionStage(Stage):
    """One extension image; ``arch``: for which guest.

    Output: ``image``: partition 1 with the file system, 2 with its digests; ``root_hash.txt``, its ``verity_params``;
    ``extension-NAME.json`` with its figures and the components in it; their licences below ``licences/``.
    """

    extension: Extension
    arch: str = "x86_64"

    checkers: ClassVar[frozenset[str]] = CHECKERS
    modules: ClassVar[tuple[str, ...]] = (
        "components.py",
        "image/dax.py",
        "image/decompress.py",
        "image/erofs.py",
        "image/erofs_clusters.py",
        "image/erofs_compress.py",
        "image/erofs_packed.py",
        "image/erofs_read.py",
        "image/erofs_xattr.py",
        "image/ext4.py",
        "image/ext4_frame.py",
        "image/ext4_read.py",
        "image/ext4_records.py",
        "image/ext4_xattr.py",
        "image/filesystem.py",
        "image/layout.py",
        "image/make.py",
        "image/mbr.py",
        "image/placement.py",
        "image/readback.py",
        "image/sparse_file.py",
        "image/tool_checks.py",
        "image/verity.py",
        "rootfs/agent_file.py",
        "rootfs/sources/choose.py",
        "rootfs/sources/source.py",
        "rootfs/tar.py",
        "rootfs/tar_content.py",
        "rootfs/tar_header.py",
        "rootfs/tar_pax.py",
        "rootfs/tar_sparse.py",
        "rootfs/tar_write.py",
        "rootfs/tree.py",
        "stages/extension.py",
    )

    @property
    def name(self) -> str:  # type: ignore[override]  # one stage for each extension
        """By the extension's own name."""
        return extension_stage(self.extension.name)

    @property
    def title(self) -> str:  # type: ignore[override]  # as the name
        """The same, for people."""
        return f"extension image {self.extension.name}"

    @property
    def _wanted(self) -> Wanted:
        return Wanted(format=_FORMAT, dax=False, verity=True, align_mib=_ALIGN_MIB, layout="packed")

    def plan(self, inputs: Inputs) -> Recipe:
        source = self._source()
        identity = source.identity(inputs)
        return Recipe(
            commands=(*identity.commands, *self._pack(inputs), *check_commands(_FORMAT, with_verity=True)),
            options={
                "source": dict(identity.options),
                "compression": self.extension.compression,
                "image": self._wanted.options,
            },
            files=identity.files,
            inputs=identity.inputs,
            tools={
                **identity.tools,
                **check_tools(_FORMAT, inputs, with_verity=True),
                **({TOOL: tool_version(inputs)} if self._compressed else {}),
            },
            modules=self.module_digests(*source.modules),
        )

    def run(self, work: Work) -> None:
        from ..image.make import write_image
        from ..image.readback import check_image
        from ..pipeline.files import sha256_of
        from ..rootfs.tar import open_tar
        from ..rootfs.tar_write import write_tar

        tar, path = work.scratch / _TAR, work.out / IMAGE
        with contextlib.ExitStack() as files:
            base = self._source().base(work, files)
            write_tar(base.tree, tar)
        self.require_unchanged(work)
        with contextlib.ExitStack() as files:
            tree = files.enter_context(open_tar(tar)).tree()
            compressed = None
            for command in self._pack(work.inputs):
                compressed = files.enter_context(packed(work, tree, command))
            made = write_image(
                tree, path, self._wanted, sha256_of(tar), lambda done, total: work.progress(done, total, "files"),
                compressed,
            )  # fmt: skip
            work.progress(0, 0, "", "reading it back")
            check_image(path, made.layout, _FORMAT, tree, None)
        check_with_tools(work, path, _FORMAT, made)
        assert made.verity is not None  # noqa: S101 -- it was asked for
        (work.out / VERITY).write_text(made.verity.params + "\n")
        (work.out / f"{self.name}.json").write_text(json.dumps(self._info(made, base, len(tree)), indent=2) + "\n")
        base.write_licences(work.out)

    @property
    def _compressed(self) -> bool:
        return self.extension.compression != "none"

    def _pack(self, inputs: Inputs) -> tuple[Command, ...]:
        return (pack_command(self.extension.compression, tool_version(inputs)),) if self._compressed else ()

    def _info(self, made: Made, base: Base, entries: int) -> dict[str, Any]:
        layout = made.layout
        return {
            "version": 1,
            "name": self.extension.name,
            "format": _FORMAT,
            "compression": self.extension.compression,
            "size": layout.size,
            "allocated": made.allocated,
            "partition": {"number": 1, "start": layout.start, "size": layout.filesystem_size},
            "filesystem": dict(made.facts),
            "verity": asdict(made.verity) if made.verity else None,
            "components": [component.as_json() for component in base.components],
            "entries": entries,
        }

    def _source(self) -> Source:
        return source_of(self.extension.source, self.arch, fetched=self.name)
