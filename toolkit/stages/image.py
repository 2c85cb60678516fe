"""image: the root file system as the image a VMM boots from, read back in full before it counts as made."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ..image.layout import Layout, layout_for
from ..pipeline.stage import Command, Inputs, Recipe, Stage, Work
from ..rootfs.agent_file import AgentFile
from ..spec.model import Image
from .rootfs import INFO as ROOTFS_INFO
from .rootfs import TAR, agent_of

if TYPE_CHECKING:
    from ..image.erofs import Erofs
    from ..image.ext4 import Ext4
    from ..image.verity import Verity
    from ..rootfs.tree import Tree

IMAGE = "image"
INFO = "image.json"
VERITY = "root_hash.txt"  # what the guest must know of dm-verity, as Kata's configuration takes it
BLOCK = 4096  # of the file system: the guest's page size, as DAX needs


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
    modules: ClassVar[tuple[str, ...]] = (
        "image/dax.py",
        "image/erofs.py",
        "image/erofs_read.py",
        "image/ext4.py",
        "image/ext4_read.py",
        "image/ext4_records.py",
        "image/ext4_xattr.py",
        "image/filesystem.py",
        "image/layout.py",
        "image/mbr.py",
        "image/readback.py",
        "image/sparse_file.py",
        "image/verity.py",
        "rootfs/agent_file.py",
        "rootfs/tar.py",
        "rootfs/tar_header.py",
        "rootfs/tar_pax.py",
        "rootfs/tar_sparse.py",
        "rootfs/tree.py",
        "stages/image.py",
    )

    def _check(self) -> Command:
        start = layout_for(0, self.image.dax, self.align_mib).start
        if self.image.format == "erofs":
            return Command("fsck.erofs", "@scratch@/filesystem")  # it knows no offset before erofs-utils 1.7
        # The offset is an option of the file's name, so the name must hold no "?": it is relative to the folder.
        return Command("e2fsck", "-f", "-n", f"{IMAGE}?offset={start}")

    def plan(self, inputs: Inputs) -> Recipe:
        check = self._check()
        return Recipe(
            commands=(check, *self._check_verity()),
            options={
                "format": self.image.format,
                "dax": self.image.dax,
                "align_mib": self.align_mib,
                "verity": self.image.verity,
            },
            inputs={f"rootfs/{name}": inputs.digest("rootfs", name) for name in (TAR, ROOTFS_INFO)},
            tools={
                check.argv[0]: inputs.tool(check.argv[0], "-V"),
                **({"veritysetup": inputs.tool("veritysetup", "--version")} if self.image.verity else {}),
            },
            modules=self.module_digests(),
        )

    def run(self, work: Work) -> None:
        from ..image.readback import check_image
        from ..image.sparse_file import copy_data
        from ..rootfs.tar import open_tar

        agent = agent_of(work.inputs.path("rootfs", ROOTFS_INFO))
        digest = work.recipe.inputs[f"rootfs/{TAR}"]
        path = work.out / IMAGE
        with open_tar(work.inputs.path("rootfs", TAR)) as tar:
            tree = tar.tree()
            layout, facts, blocks, verity = self._write(work, tree, path, digest)
            work.progress(0, 0, "", "reading it back")
            check_image(path, layout, self.image.format, tree, agent)
        if self.image.format == "erofs":
            copy_data(path, layout.start, layout.filesystem_size, work.scratch / "filesystem")
        work.run(self._check(), cwd=work.out)
        if verity:
            self._keep_verity(work, path, layout, verity)
        info = _info(self.image.format, layout, facts, blocks, agent)
        info["verity"] = asdict(verity) if verity else None
        (work.out / INFO).write_text(json.dumps(info, indent=2) + "\n")

    def _check_verity(self) -> tuple[Command, ...]:
        options = ("--no-superblock", "--data-blocks=@blocks@", "--salt=@salt@")
        places = ("@scratch@/filesystem", "@scratch@/digests", "@root_hash@")
        return (Command("veritysetup", "verify", *options, *places),) if self.image.verity else ()

    def _keep_verity(self, work: Work, path: Path, layout: Layout, verity: Verity) -> None:
        """See that another program agrees with the digests, and write down what the guest must know."""
        from ..image.sparse_file import copy_data

        data, digests = work.scratch / "filesystem", work.scratch / "digests"
        if not data.exists():
            copy_data(path, layout.start, layout.filesystem_size, data)
        copy_data(path, layout.hash_start, layout.hash_size, digests)
        for command in self._check_verity():
            work.run(command, blocks=str(verity.data_blocks), salt=verity.salt, root_hash=verity.root_hash)
        (work.out / VERITY).write_text(verity.params + "\n")

    def _write(
        self, work: Work, tree: Tree, path: Path, digest: str
    ) -> tuple[Layout, Mapping[str, Any], int, Verity | None]:
        """The layout, what there is to say of the file system, how many blocks were written, and dm-verity's part."""
        from ..image import dax, mbr, verity
        from ..image.sparse_file import SparseFile

        uuid, seed = _ids(self.image.format, digest)
        plan = _planned(self.image.format, tree, seed)
        size = plan.smallest
        while True:
            layout = layout_for(size, self.image.dax, self.align_mib, with_verity=self.image.verity)
            if plan.fits(layout.filesystem_size):
                break
            size = layout.filesystem_size + 1
        with SparseFile(path, layout.size) as out:
            for offset, partitions in layout.tables:
                out.write(offset, mbr.mbr(partitions, int.from_bytes(uuid[:4], "little")))
            if layout.dax:
                out.write(dax.OFFSET, dax.pfn_block())
            facts = plan.write(
                out, layout.start, layout.filesystem_size, uuid,
                lambda done, total: work.progress(done, total, "files"),
            )  # fmt: skip
            described = None
            if layout.hash_size:
                blocks = layout.filesystem_size // BLOCK
                described, tree_bytes = verity.hash_tree(out.reader(layout.start), blocks, seed)
                out.write(layout.hash_start, tree_bytes)
        text = uuid.hex()
        text = "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))
        return layout, {"uuid": text, "block_size": BLOCK, **asdict(facts)}, out.blocks, described


def _planned(kind: str, tree: Tree, seed: bytes) -> Ext4 | Erofs:
    """Only the writer that is needed is loaded."""
    if kind == "erofs":
        from ..image.erofs import Erofs

        return Erofs(tree)
    from ..image.ext4 import Ext4

    return Ext4(tree, seed)


def _ids(kind: str, digest: str) -> tuple[bytes, bytes]:
    """The uuid (version 8: made from content, RFC 9562) and a seed for what hashes, from the tar's digest."""
    whole = hashlib.sha256(f"{kind} {digest}".encode()).digest()
    uuid = bytearray(whole[:16])
    uuid[6] = uuid[6] & 0x0F | 0x80
    uuid[8] = uuid[8] & 0x3F | 0x80
    return bytes(uuid), whole[16:]


def _info(kind: str, layout: Layout, filesystem: Mapping[str, Any], blocks: int, agent: AgentFile) -> dict[str, Any]:
    return {
        "version": 1,
        "format": kind,
        "dax": layout.dax,
        "size": layout.size,
        "allocated": blocks * BLOCK,
        "partition": {"number": 1, "start": layout.start, "size": layout.filesystem_size},
        "filesystem": dict(filesystem),
        "agent": {"path": "/" + agent.path.decode(), "sha256": agent.sha256},
    }
