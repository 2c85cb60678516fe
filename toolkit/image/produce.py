"""An image as every stage makes one: packed if it is to be, written, read back, and shown to other programs."""

from __future__ import annotations

import contextlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..pipeline.stage import Command, Inputs, Work
from .erofs_compress import TOOL, pack_command, packed, tool_version
from .make import Made, Wanted
from .tool_checks import check_commands, check_tools, check_with_tools

if TYPE_CHECKING:
    from ..rootfs.agent_file import AgentFile

MODULES = (
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
    "image/produce.py",
    "image/readback.py",
    "image/sparse_file.py",
    "image/tool_checks.py",
    "image/verity.py",
    "rootfs/agent_file.py",
    "rootfs/tar.py",
    "rootfs/tar_content.py",
    "rootfs/tar_header.py",
    "rootfs/tar_pax.py",
    "rootfs/tar_sparse.py",
    "rootfs/tree.py",
)
"""All that has a say in an image's bytes, for `Stage.modules`."""


@dataclass(frozen=True, slots=True)
class Production:
    """``compression``: of an EROFS's files; none, lz4, lz4hc or zstd."""

    wanted: Wanted
    compression: str = "none"

    def commands(self, inputs: Inputs) -> tuple[Command, ...]:
        """For a recipe. Raises ToolError when the installed erofs-utils cannot compress so."""
        return (*self._pack(inputs), *check_commands(self.wanted.format, with_verity=self.wanted.verity))

    def tools(self, inputs: Inputs) -> dict[str, str]:
        """For a recipe. Raises ToolError when one is missing."""
        packing = {TOOL: tool_version(inputs)} if self._compressed else {}
        return {**check_tools(self.wanted.format, inputs, with_verity=self.wanted.verity), **packing}

    def make(self, work: Work, tar: Path, digest: str, path: Path, agent: AgentFile | None) -> Made:
        """Write the tar with that sha256 as an image to ``path``; ``agent``: what must be in it.

        Raises InputError, ToolError; and ToolError when what is read back is not what was written.
        """
        from ..rootfs.tar import open_tar
        from .make import write_image
        from .readback import check_image

        kind = self.wanted.format
        with contextlib.ExitStack() as files:
            tree = files.enter_context(open_tar(tar)).tree()
            compressed = None
            for command in self._pack(work.inputs):
                compressed = files.enter_context(packed(work, tree, command))
            made = write_image(
                tree, path, self.wanted, digest, lambda done, total: work.progress(done, total, "files"), compressed
            )
            if note := made.arrangement.note():
                work.note(note)
            work.progress(0, 0, "", "reading it back")
            check_image(path, made.layout, kind, tree, agent)
        check_with_tools(work, path, kind, made)
        return made

    def described(self, made: Made) -> dict[str, Any]:
        """What came of it, for people and for those who must find their way in the image; all JSON."""
        layout = made.layout
        return {
            "format": self.wanted.format,
            "compression": self.compression,
            "size": layout.size,
            "allocated": made.allocated,
            "partition": {"number": 1, "start": layout.start, "size": layout.filesystem_size},
            "filesystem": dict(made.facts),
            "verity": asdict(made.verity) if made.verity else None,
        }

    @property
    def _compressed(self) -> bool:
        return self.compression != "none"

    def _pack(self, inputs: Inputs) -> tuple[Command, ...]:
        return (pack_command(self.compression, tool_version(inputs)),) if self._compressed else ()
