"""image: the root file system as the image a VMM boots from, read back in full before it counts as made."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ..image.layout import Layout, layout_for
from ..pipeline.stage import Command, Inputs, Recipe, Stage, Work
from ..rootfs.agent_file import AgentFile
from ..spec.model import Image
from .rootfs import INFO as ROOTFS_INFO
from .rootfs import TAR, agent_of

if TYPE_CHECKING:
    from ..image.ext4 import Written
    from ..rootfs.tree import Tree

IMAGE = "image"
INFO = "image.json"


@dataclass(frozen=True)
class ImageStage(Stage):
    """``align_mib``: what the size is a multiple of (see `image.layout.default_align_mib`).

    Output: ``image``, and ``image.json`` with its layout, the file system's figures and the agent in it.
    """

    image: Image
    align_mib: int

    name: ClassVar[str] = "image"
    title: ClassVar[str] = "guest image"
    modules: ClassVar[tuple[str, ...]] = (
        "image/dax.py",
        "image/ext4.py",
        "image/ext4_read.py",
        "image/ext4_records.py",
        "image/ext4_xattr.py",
        "image/layout.py",
        "image/mbr.py",
        "image/readback.py",
        "image/sparse_file.py",
        "rootfs/agent_file.py",
        "rootfs/tar.py",
        "rootfs/tar_header.py",
        "rootfs/tar_pax.py",
        "rootfs/tar_sparse.py",
        "rootfs/tree.py",
        "stages/image.py",
    )

    def _check(self) -> Command:
        # The offset is an option of the file's name, so the name must hold no "?": it is relative to the folder.
        return Command("e2fsck", "-f", "-n", f"{IMAGE}?offset={layout_for(0, self.image.dax, self.align_mib).start}")

    def plan(self, inputs: Inputs) -> Recipe:
        return Recipe(
            commands=(self._check(),),
            options={"format": self.image.format, "dax": self.image.dax, "align_mib": self.align_mib},
            inputs={f"rootfs/{name}": inputs.digest("rootfs", name) for name in (TAR, ROOTFS_INFO)},
            tools={"e2fsck": inputs.tool("e2fsck", "-V")},
            modules=self.module_digests(),
        )

    def run(self, work: Work) -> None:
        from ..image.readback import check_image
        from ..rootfs.tar import open_tar

        agent = agent_of(work.inputs.path("rootfs", ROOTFS_INFO))
        digest = work.recipe.inputs[f"rootfs/{TAR}"]
        path = work.out / IMAGE
        with open_tar(work.inputs.path("rootfs", TAR)) as tar:
            tree = tar.tree()
            layout, written, blocks = self._write(work, tree, path, digest)
            work.progress(0, 0, "", "reading it back")
            check_image(path, layout, tree, agent)
        work.run(self._check(), cwd=work.out)
        info = _info(layout, written, blocks, _ids(digest)[0], agent)
        (work.out / INFO).write_text(json.dumps(info, indent=2) + "\n")

    def _write(self, work: Work, tree: Tree, path: Path, digest: str) -> tuple[Layout, Written, int]:
        from ..image import dax, mbr
        from ..image.ext4 import Ext4
        from ..image.sparse_file import SparseFile

        plan = Ext4(tree)
        layout = layout_for(plan.smallest, self.image.dax, self.align_mib)
        while not plan.fits(layout.filesystem_size):
            layout = layout_for(layout.filesystem_size + 1, self.image.dax, self.align_mib)
        uuid, hash_seed = _ids(digest)
        with SparseFile(path, layout.size) as out:
            for offset, partition in layout.tables:
                out.write(offset, mbr.mbr((partition,), int.from_bytes(uuid[:4], "little")))
            if layout.dax:
                out.write(dax.OFFSET, dax.pfn_block())
            written = plan.write(
                out, layout.start, layout.filesystem_size, uuid, hash_seed,
                lambda done, total: work.progress(done, total, "files"),
            )  # fmt: skip
        return layout, written, out.blocks


def _ids(digest: str) -> tuple[bytes, bytes]:
    """The file system's uuid (version 8: made from content, RFC 9562) and hash seed, from the tar's digest."""
    whole = hashlib.sha256(f"ext4 {digest}".encode()).digest()
    uuid = bytearray(whole[:16])
    uuid[6] = uuid[6] & 0x0F | 0x80
    uuid[8] = uuid[8] & 0x3F | 0x80
    return bytes(uuid), whole[16:]


def _info(layout: Layout, written: Written, blocks: int, uuid: bytes, agent: AgentFile) -> dict[str, Any]:
    from ..image.ext4_records import BLOCK

    text = uuid.hex()
    return {
        "version": 1,
        "format": "ext4",
        "dax": layout.dax,
        "size": layout.size,
        "allocated": blocks * BLOCK,
        "partition": {"number": 1, "start": layout.start, "size": layout.filesystem_size},
        "filesystem": {
            "uuid": "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:])),
            "block_size": BLOCK,
            "blocks": written.geometry.blocks,
            "used_blocks": written.used_blocks,
            "inodes": written.geometry.groups * written.geometry.inodes_per_group,
            "used_inodes": written.used_inodes,
        },
        "agent": {"path": "/" + agent.path.decode(), "sha256": agent.sha256},
    }
