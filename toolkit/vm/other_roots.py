"""The root file system of a set in another form: what its kernel promises to boot is booted, not only what it is given.

Each function writes files into a folder, once, and returns the guest that boots from them. The files are those of the
set's image, read back by our own readers and written by our own writers.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from hashlib import sha256
from pathlib import Path

from ..checks import Skipped
from ..errors import CheckError, InputError, ToolError, relative
from ..image import cpio, mbr
from ..image import verity as verity_module
from ..image.filesystem import DamagedError, Inode, Reader, lookup, walk
from ..image.layout import Layout, layout_of
from ..image.make import Wanted, write_image
from ..image.readback import reader_of
from ..image.sparse_file import copy_data
from ..rootfs.tree import Kind, Node, Tree
from .built_set import Guest

_MAX_BYTES = 512 << 20  # of files: more takes long to write once again
_INITRD_SHARE = 4  # an initrd is in memory twice while it is unpacked, and something must be left
_FLIPPED = 0x01
_NO_IMAGE = "the set boots an initrd, and has no image"


@dataclass(frozen=True, slots=True)
class _Read:
    """A file's bytes in an image that is open."""

    reader: Reader
    inode: Inode

    @property
    def size(self) -> int:
        return self.inode.size

    @property
    def ranges(self) -> tuple[tuple[int, int], ...]:
        return ((0, self.size),) if self.size else ()

    def read(self, offset: int, length: int) -> bytes:
        return self.reader.read(self.inode, offset, length)


@cache
def ext4(guest: Guest, folder: Path) -> Guest:
    """As an ext4 image with DAX. Raises Skipped when there is no image, CheckError when it cannot be read."""
    return _image(guest, folder, Wanted("ext4", dax=True))


@cache
def erofs(guest: Guest, folder: Path) -> Guest:
    """As an EROFS image with DAX. Raises as `ext4` does."""
    return _image(guest, folder, Wanted("erofs", dax=True))


@cache
def verity(guest: Guest, folder: Path) -> Guest:
    """Its own image when that has dm-verity, else one made of it that has. Raises as `ext4` does."""
    return (
        guest if guest.verity else _image(guest, folder, Wanted(guest.rootfs_type, dax=False, verity=True, align_mib=1))
    )


@cache
def initrd(guest: Guest, folder: Path) -> Guest:
    """As an initrd, not compressed. Raises as `ext4` does, and Skipped when it would not fit the guest's memory."""
    path = folder / "other.initrd"
    most = min(_MAX_BYTES, (guest.memory_mib << 20) // _INITRD_SHARE)
    with _tree(guest, most) as tree:
        if guest.agent and guest.agent.path.lstrip("/") != "init":
            # The kernel starts /init of an initrd, and looks nowhere else.
            tree.add(b"init", Node(Kind.SYMLINK, 0o777, target=guest.agent.path.encode()))
        try:
            cpio.write_cpio(tree, path)
        except InputError as error:  # extended attributes, say
            raise Skipped(f"an initrd cannot hold this root: {error}") from error
    return replace(guest, boot="initrd", image=None, initrd=path, rootfs_driver="initrd", verity="", dax=False)


@cache
def tampered(guest: Guest, folder: Path) -> Guest:
    """As `verity`, with one byte of the agent's program changed behind dm-verity's back. Raises as `ext4` does."""
    sound = verity(guest, folder)
    if sound.image is None:
        raise Skipped(_NO_IMAGE)
    path = folder / "tampered.img"
    with _readable(sound.image):
        copy_data(sound.image, 0, sound.image.stat().st_size, path)
        with path.open("r+b") as stream:
            layout = _layout(sound, stream.fileno())
            reader = reader_of(sound.rootfs_type, stream.fileno(), layout)
            at = layout.start + _agent_block(sound, reader) * reader.block_size
            byte = os.pread(stream.fileno(), 1, at)
            os.pwrite(stream.fileno(), bytes([byte[0] ^ _FLIPPED]), at)
    return replace(sound, image=path)


def _agent_block(guest: Guest, reader: Reader) -> int:
    """The first block of the program that the guest starts."""
    path = guest.agent.path.strip("/").encode() if guest.agent else b""
    inode = lookup(reader, path)
    if inode is None or not inode.runs:
        raise Skipped(f"the agent {path.decode(errors='replace')} has no block of its own in the image")
    return inode.runs[0].physical


def _image(guest: Guest, folder: Path, wanted: Wanted) -> Guest:
    path = folder / f"{wanted.format}{'-verity' if wanted.verity else ''}.img"
    with _tree(guest, _MAX_BYTES) as tree:
        made = write_image(tree, path, wanted, sha256(path.name.encode()).hexdigest())
    described = made.verity.params if made.verity else ""
    return replace(
        guest, boot="image", image=path, rootfs_type=wanted.format, dax=wanted.dax, verity=described,
        rootfs_driver="nvdimm" if wanted.dax else "virtio-blk",
    )  # fmt: skip


@contextmanager
def _tree(guest: Guest, most: int) -> Iterator[Tree]:
    """The files of a guest's image, while it is open."""
    if guest.image is None:
        raise Skipped(_NO_IMAGE)
    with _readable(guest.image), guest.image.open("rb") as stream:
        reader = reader_of(guest.rootfs_type, stream.fileno(), _layout(guest, stream.fileno()))
        yield _copied(reader, most)


@contextmanager
def _readable(image: Path) -> Iterator[None]:
    """Says of what cannot be read that it is the image."""
    try:
        yield
    except (DamagedError, ValueError) as damage:  # ValueError: a description of dm-verity that is none of ours
        raise CheckError(f"{image.name}: {damage}") from damage
    except OSError as error:
        raise ToolError(f"cannot read {relative(image)}: {error.strerror}") from error


def _layout(guest: Guest, fd: int) -> Layout:
    blocks = verity_module.parse(guest.verity).data_blocks if guest.verity else None
    return layout_of(os.fstat(fd).st_size, guest.dax, os.pread(fd, mbr.SIZE, 0), blocks)


def _copied(reader: Reader, most: int) -> Tree:
    tree, nodes, total = Tree(), dict[int, Node](), 0
    for path, inode in walk(reader):
        node = nodes.get(inode.number)
        if node is None:
            node = nodes[inode.number] = _node(reader, inode)
            total += node.size
        if total > most:
            raise Skipped(f"its files have more than {most >> 20} MiB: they are not written once again for this check")
        tree.add(path, node)
    return tree


def _node(reader: Reader, inode: Inode) -> Node:
    kind = Kind(stat.S_IFMT(inode.mode))
    return Node(
        kind, stat.S_IMODE(inode.mode), inode.uid, inode.gid, inode.times[0], inode.target,
        inode.rdev, inode.xattrs, _Read(reader, inode) if kind is Kind.FILE else None,
    )  # fmt: skip
