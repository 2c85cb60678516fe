"""Makes a whole image from a tree: partition tables, DAX header, file system, dm-verity. One call, for every stage.

Reading it back is the caller's next step: `readback.check_image`, and the programs that know its formats.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..rootfs.tree import Tree
from . import dax, mbr, verity
from .layout import DAX_ALIGN_MIB, Layout, layout_for
from .sparse_file import SparseFile
from .verity import BLOCK, Verity

if TYPE_CHECKING:
    from .erofs import Erofs
    from .ext4 import Ext4

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an image shall be. ``align_mib``: what its size is a multiple of."""

    format: str = "ext4"  # ext4 | erofs
    dax: bool = True
    verity: bool = False
    align_mib: int = DAX_ALIGN_MIB


@dataclass(frozen=True, slots=True)
class Made:
    """What came of it. ``facts``: of the file system, for people; ``allocated``: bytes that are no hole."""

    layout: Layout
    facts: dict[str, Any]
    allocated: int
    verity: Verity | None


def write_image(
    tree: Tree, path: Path, wanted: Wanted, digest: str, progress: Progress = lambda done, total: None
) -> Made:
    """Write a new file. The same tree, wish and ``digest`` (hex; of what the tree was made from) give the same bytes.

    The digest decides the file system's uuid and the salt of its dm-verity. ``progress`` gets files done and files in
    all. Raises InputError for what the format cannot hold, ToolError for the disk.
    """
    uuid, seed = _ids(wanted.format, digest)
    plan = _planned(wanted.format, tree, seed)
    size = plan.smallest
    while True:
        layout = layout_for(size, wanted.dax, wanted.align_mib, with_verity=wanted.verity)
        if plan.fits(layout.filesystem_size):
            break
        size = layout.filesystem_size + 1
    with SparseFile(path, layout.size) as out:
        for offset, partitions in layout.tables:
            out.write(offset, mbr.mbr(partitions, int.from_bytes(uuid[:4], "little")))
        if layout.dax:
            out.write(dax.OFFSET, dax.pfn_block())
        facts = plan.write(out, layout.start, layout.filesystem_size, uuid, progress)
        described = None
        if layout.hash_size:
            blocks = layout.filesystem_size // BLOCK
            described, digests = verity.hash_tree(out.reader(layout.start), blocks, seed)
            out.write(layout.hash_start, digests)
    text = uuid.hex()
    text = "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))
    return Made(layout, {"uuid": text, "block_size": BLOCK, **asdict(facts)}, out.blocks * BLOCK, described)


def _planned(kind: str, tree: Tree, seed: bytes) -> Ext4 | Erofs:
    """Only the writer that is needed is loaded."""
    if kind == "erofs":
        from .erofs import Erofs

        return Erofs(tree)
    from .ext4 import Ext4

    return Ext4(tree, seed)


def _ids(kind: str, digest: str) -> tuple[bytes, bytes]:
    """The uuid (version 8: made from content, RFC 9562) and a seed for what hashes, from the tar's digest."""
    whole = hashlib.sha256(f"{kind} {digest}".encode()).digest()
    uuid = bytearray(whole[:16])
    uuid[6] = uuid[6] & 0x0F | 0x80
    uuid[8] = uuid[8] & 0x3F | 0x80
    return bytes(uuid), whole[16:]
