"""image: the root file system as the image a VMM boots from, read back in full before it counts as made."""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from ..image.erofs_compress import TOOL, pack_command, packed, tool_version
from ..image.layout import layout_for
from ..image.make import Made, Wanted
from ..image.tool_checks import CHECKERS, check_commands, check_tools, check_with_tools
from ..pipeline.stage import Command, Inputs, Recipe, Stage, Work
from ..rootfs.agent_file import AgentFile
from ..spec.model import Image
from .rootfs import INFO as ROOTFS_INFO
from .rootfs import TAR, agent_of

IMAGE = "image"
INFO = "image.json"
VERITY = "root_hash.txt"  # what the guest must know of dm-verity, as Kata's configuration takes it


@dataclass(frozen=True)
class ImageStage(Stage):
    """``align_mib``: what the size is a multiple of (see `image.layout.default_align_mib`).

    Output: ``image``, ``image.json`` with its layout, the file system's figures and the agent in it, and with
    dm-verity ``root_hash.txt``.
    """

    image: Image
    align_mib: int

    name: ClassVar[str] = "image"
    title: ClassVar[str] = "guest image"
    checkers: ClassVar[frozenset[str]] = CHECKERS
    modules: ClassVar[tuple[str, ...]] = (
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
        "rootfs/tar.py",
        "rootfs/tar_content.py",
        "rootfs/tar_header.py",
        "rootfs/tar_pax.py",
        "rootfs/tar_sparse.py",
        "rootfs/tree.py",
        "stages/image.py",
    )

    @property
    def _wanted(self) -> Wanted:
        image = self.image
        return Wanted(
            format=image.format,
            dax=image.dax,
            verity=image.verity,
            align_mib=self.align_mib,
            layout=image.layout,
            size_mib=image.size_mib,
            free_mib=image.free_mib,
            size_where=image.size_where,
        )

    def plan(self, inputs: Inputs) -> Recipe:
        kind, with_verity = self.image.format, self.image.verity
        layout_for(0, self.image.dax, self.align_mib)  # an alignment that cannot work is told before anything is built
        return Recipe(
            commands=(*self._pack(inputs), *check_commands(kind, with_verity=with_verity)),
            options={**self._wanted.options, "compression": self.image.compression},
            inputs={f"rootfs/{name}": inputs.digest("rootfs", name) for name in (TAR, ROOTFS_INFO)},
            tools={
                **check_tools(kind, inputs, with_verity=with_verity),
                **({TOOL: tool_version(inputs)} if self._compressed else {}),
            },
            modules=self.module_digests(),
        )

    @property
    def _compressed(self) -> bool:
        return self.image.compression != "none"

    def _pack(self, inputs: Inputs) -> tuple[Command, ...]:
        return (pack_command(self.image.compression, tool_version(inputs)),) if self._compressed else ()

    def run(self, work: Work) -> None:
        from ..image.make import write_image
        from ..image.readback import check_image
        from ..rootfs.tar import open_tar

        kind = self.image.format
        agent = agent_of(work.inputs.path("rootfs", ROOTFS_INFO))
        digest = work.recipe.inputs[f"rootfs/{TAR}"]
        path = work.out / IMAGE
        with contextlib.ExitStack() as files:
            tree = files.enter_context(open_tar(work.inputs.path("rootfs", TAR))).tree()
            compressed = None
            for command in self._pack(work.inputs):
                compressed = files.enter_context(packed(work, tree, command))
            made = write_image(
                tree, path, self._wanted, digest, lambda done, total: work.progress(done, total, "files"), compressed
            )
            if note := made.arrangement.note():
                work.note(note)
            work.progress(0, 0, "", "reading it back")
            check_image(path, made.layout, kind, tree, agent)
        check_with_tools(work, path, kind, made)
        if made.verity:
            (work.out / VERITY).write_text(made.verity.params + "\n")
        (work.out / INFO).write_text(json.dumps(_info(kind, self.image.compression, made, agent), indent=2) + "\n")


def _info(kind: str, compression: str, made: Made, agent: AgentFile) -> dict[str, Any]:
    layout = made.layout
    return {
        "version": 1,
        "format": kind,
        "compression": compression,
        "dax": layout.dax,
        "size": layout.size,
        "allocated": made.allocated,
        "layout": {
            "kind": "huge" if made.arrangement.shape.huge else "packed",
            "huge_pages": made.arrangement.huge_pages,
            "cost": made.arrangement.cost,
        },
        "partition": {"number": 1, "start": layout.start, "size": layout.filesystem_size},
        "filesystem": dict(made.facts),
        "agent": {"path": "/" + agent.path.decode(), "sha256": agent.sha256},
        "verity": asdict(made.verity) if made.verity else None,
    }
