"""Makes a whole image from a tree: partition tables, DAX header, file system, dm-verity. One call, for every stage.

Reading it back is the caller's next step: `readback.check_image`, and the programs that know its formats.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError, Where
from ..rootfs.tree import Tree
from . import dax, mbr, verity
from .layout import DAX_ALIGN_MIB, MIB, Layout, layout_for
from .placement import BYTES_PER_INODE, Shape
from .sparse_file import SparseFile
from .verity import BLOCK, Verity

if TYPE_CHECKING:
    from .erofs import Erofs
    from .erofs_packed import Packed, PackedFiles
    from .ext4 import Ext4

    Compressed = tuple[PackedFiles, Mapping[int, Packed]]

MAX_HUGE_COST = 0.05  # of an image's size: what the layout `huge` may cost where the spec does not ask for it
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an image shall be. ``align_mib``: what its size is a multiple of.

    ``layout``: packed, huge, or auto: huge where DAX can use it and it costs little. ``size_mib``: of the whole image,
    else as small as can be; ``size_where``: that size's place
    in the spec; ``free_mib``: what stays free in the file system.
    """

    format: str = "ext4"  # ext4 | erofs
    dax: bool = True
    verity: bool = False
    align_mib: int = DAX_ALIGN_MIB
    layout: str = "auto"
    size_mib: int | None = None
    free_mib: int = 0
    size_where: Where | None = field(default=None, compare=False)

    @property
    def options(self) -> dict[str, Any]:
        """All that decides bytes, for a stage's recipe."""
        return {name: value for name, value in asdict(self).items() if name != "size_where"}


@dataclass(frozen=True, slots=True)
class Arrangement:
    """How the image is laid out, and why: ``shape`` of the file system in ``layout``.

    ``huge_pages``: what a guest can map 2 MiB at a time; ``cost``: by how many bytes the image is larger than packed.
    """

    layout: Layout
    shape: Shape
    huge_pages: int
    cost: int

    def note(self) -> str | None:
        """The layout for people, where there is something to say."""
        if not self.shape.huge:
            return None
        more = f"{self.cost / (self.layout.size - self.cost):.1%} larger than packed" if self.cost else "no larger"
        return f"layout huge: {self.huge_pages} pages of 2 MiB can be mapped whole; {more}"


@dataclass(frozen=True, slots=True)
class Made:
    """What came of it. ``facts``: of the file system, for people; ``allocated``: bytes that are no hole."""

    arrangement: Arrangement
    facts: dict[str, Any]
    allocated: int
    verity: Verity | None

    @property
    def layout(self) -> Layout:
        """Where things lie."""
        return self.arrangement.layout


def write_image(
    tree: Tree,
    path: Path,
    wanted: Wanted,
    digest: str,
    progress: Progress = lambda done, total: None,
    compressed: Compressed | None = None,
) -> Made:
    """Write a new file. The same tree, wish and ``digest`` (hex; of what the tree was made from) give the same bytes.

    The digest decides the file system's uuid and the salt of its dm-verity. ``progress`` gets files done and files in
    all. ``compressed``: the files of an EROFS, if they are. Raises InputError for what the format cannot hold or a
    size that is too small, ToolError for the disk.
    """
    uuid, seed = _ids(wanted.format, digest)
    filesystem = _filesystem(wanted.format, tree, seed, compressed)
    arranged = _arranged(filesystem, wanted)
    layout = arranged.layout
    with SparseFile(path, layout.size) as out:
        for offset, partitions in layout.tables:
            out.write(offset, mbr.mbr(partitions, int.from_bytes(uuid[:4], "little")))
        if layout.dax:
            out.write(dax.OFFSET, dax.pfn_block())
        facts = filesystem.write(out, layout.start, layout.filesystem_size, arranged.shape, uuid, progress)
        described = None
        if layout.hash_size:
            blocks = layout.filesystem_size // BLOCK
            described = verity.hash_tree(
                out.reader(layout.start), blocks, seed, lambda at, block: out.write(layout.hash_start + at, block)
            )
    text = uuid.hex()
    text = "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))
    return Made(arranged, {"uuid": text, "block_size": BLOCK, **asdict(facts)}, out.blocks * BLOCK, described)


def _arranged(filesystem: Ext4 | Erofs, wanted: Wanted) -> Arrangement:
    """The layout that is wished for, or the better one. Raises InputError when nothing fits the wished size."""
    layout, shape = _fitted(filesystem, wanted, huge=wanted.layout == "huge")
    pages, cost = filesystem.huge_pages, 0
    if wanted.layout == "auto" and pages and wanted.dax and not wanted.verity:
        other, huge = _fitted(filesystem, wanted, huge=True)
        cost = other.size - layout.size
        if cost <= layout.size * MAX_HUGE_COST and not _too_large(other, wanted):
            layout, shape = other, huge
    elif shape.huge:
        cost = layout.size - _fitted(filesystem, wanted, huge=False)[0].size
    if _too_large(layout, wanted):
        needed = layout.size // MIB
        raise InputError(
            f"image.size is {wanted.size_mib} MiB, and what is in the image needs {needed}",
            where=wanted.size_where,
            hint=f"the smallest size that would do: {needed} MiB",
        )
    return Arrangement(layout, shape, pages if shape.huge else 0, cost if shape.huge else 0)


def _too_large(layout: Layout, wanted: Wanted) -> bool:
    return wanted.size_mib is not None and layout.size > wanted.size_mib * MIB


def _fitted(filesystem: Ext4 | Erofs, wanted: Wanted, *, huge: bool) -> tuple[Layout, Shape]:
    """As small as can be, but no smaller than is wished: what is too large for that shows in the layout's size."""
    shape = Shape.with_room(wanted.free_mib * MIB, huge=huge)
    layout = _smallest(filesystem, wanted, shape)
    size = (wanted.size_mib or 0) * MIB
    if size <= layout.size:
        return layout, shape
    if wanted.verity:  # each block of the file system would cost a digest: what is left stays behind them
        return replace(layout, size=size), shape
    layout = replace(layout, size=size, filesystem_size=size - layout.start)
    # Room that is asked for is room for files, so it has inodes: as many as still fit.
    spare = (layout.filesystem_size - filesystem.smallest(shape)) // BYTES_PER_INODE
    while spare and not filesystem.fits(layout.filesystem_size, Shape(huge, 0, spare)):
        spare //= 2
    return layout, Shape(huge, 0, spare)


def _smallest(filesystem: Ext4 | Erofs, wanted: Wanted, shape: Shape) -> Layout:
    size = filesystem.smallest(shape)
    while True:
        layout = layout_for(size, wanted.dax, wanted.align_mib, with_verity=wanted.verity, huge=shape.huge)
        if filesystem.fits(layout.filesystem_size, shape):
            return layout
        size = layout.filesystem_size + 1


def _filesystem(kind: str, tree: Tree, seed: bytes, compressed: Compressed | None) -> Ext4 | Erofs:
    """Only the writer that is needed is loaded."""
    if kind == "erofs":
        from .erofs import Erofs

        return Erofs(tree, *(compressed or (None, None)))
    from .ext4 import Ext4

    return Ext4(tree, seed)


def _ids(kind: str, digest: str) -> tuple[bytes, bytes]:
    """The uuid (version 8: made from content, RFC 9562) and a seed for what hashes, from the tar's digest."""
    whole = hashlib.sha256(f"{kind} {digest}".encode()).digest()
    uuid = bytearray(whole[:16])
    uuid[6] = uuid[6] & 0x0F | 0x80
    uuid[8] = uuid[8] & 0x3F | 0x80
    return bytes(uuid), whole[16:]
