"""What reads bytes of others, each as a function of bytes: for the fuzzer, and for the quick mutations of `make test`.

A target ends well, or with an error that the reader declares. Anything else is a find: another exception, a file
outside the folder that was given, endless time or memory (the fuzzer's limits).
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import reader_seeds as seeds
from kata_toolkit import bzimage, deb
from kata_toolkit.archive import unpack
from kata_toolkit.elf import read_program
from kata_toolkit.errors import InputError
from kata_toolkit.image.cpio import read_cpio
from kata_toolkit.image.erofs_read import ErofsReader
from kata_toolkit.image.ext4_read import Ext4Reader
from kata_toolkit.image.filesystem import DamagedError, Reader, walk
from kata_toolkit.modinfo import read_module, without_signature
from kata_toolkit.rootfs import tar_sparse
from kata_toolkit.rootfs.oci_image import find_image, image_tree
from kata_toolkit.rootfs.tar import open_tar
from kata_toolkit.rootfs.tar_header import BLOCK
from kata_toolkit.rootfs.tar_pax import Pax, parse_records, xattrs_of
from kata_toolkit.rootfs.tree import Kind, Tree, chunks
from kata_toolkit.sbom.dep5 import licence_of
from kata_toolkit.sbom.expression import is_expression
from kata_toolkit.sbom.read import read_bill
from kata_toolkit.spec.load import load_spec

_READ_AT_MOST = 16 << 20  # bytes of contents: a file of holes may be said to have terabytes
_PATHS_AT_MOST = 10_000
_REFERENCE = re.compile(rb"([@~])(\d)")


@dataclass(frozen=True)
class Target:
    """``run`` raises only ``declared`` errors; ``mend`` makes checksums right again, which nobody would get past."""

    run: Callable[[bytes], None]
    seeds: Callable[[], list[bytes]]
    declared: tuple[type[Exception], ...] = (InputError,)
    mend: Callable[[bytes], bytes] = bytes

    def check(self, data: bytes) -> bool:
        """Whether the input was read to its end; a declared error is a good end, too."""
        try:
            self.run(data)
        except self.declared:
            return False
        return True


@contextmanager
def _on_disk(data: bytes) -> Iterator[tuple[int, Path]]:
    """The bytes as an open file, and its path; it needs no disk."""
    fd = os.memfd_create("input")
    try:
        os.write(fd, data)
        yield fd, Path(f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)


def _tar(data: bytes) -> None:
    with _on_disk(data) as (_, path), open_tar(path) as tar:
        _read_tree(tar.tree())


def _read_tree(tree: Tree) -> None:
    """Every name must be one that stays inside; every content must be readable, or refused."""
    left = _READ_AT_MOST
    for path, node in tree.walk():
        assert not path.startswith(b"/")
        assert b".." not in path.split(b"/")
        above = tree.get(path.rpartition(b"/")[0])
        assert above is not None
        assert above.kind is Kind.DIRECTORY
        for _, data in chunks(node.content) if node.content else ():
            left -= len(data)
            if left < 0:
                return


def _pax(data: bytes) -> None:
    pax = Pax(parse_records(data))
    xattrs_of(pax)
    for key in (b"size", b"uid", b"gid"):
        assert pax.integer(key, 0) >= 0
    pax.seconds(b"mtime", 0)


def _sparse(data: bytes) -> None:
    """What comes out must ascend and stay inside."""
    stream = io.BytesIO(data[1:])

    def block() -> bytes:
        found = stream.read(BLOCK)
        if len(found) < BLOCK:
            raise InputError("the archive is cut short")
        return found

    real = 1 << 20
    match data[:1]:
        case b"0":
            ranges = tar_sparse.pax_0_0(parse_records(data[1:]))
        case b"1":
            ranges = tar_sparse.pax_0_1(data[1:])
        case b"2":
            ranges = tar_sparse.pax_1_0(block)
        case _:
            ranges, real = tar_sparse.old_header(block(), block)
    end = 0
    for offset, length in tar_sparse.checked(tar_sparse.Map(ranges, real), sum(length for _, length in ranges)):
        assert offset >= end
        assert length > 0
        end = offset + length
    assert end <= real


def _unpack(data: bytes) -> None:
    """Source archives: whatever stands in one, nothing may lie outside, and no link may lead there."""
    with seeds.scratch_folder() as folder:
        (folder / "input").write_bytes(data)
        try:
            unpack(folder / "input", folder / "in", "input", lambda done: None)
        finally:
            assert {path.name for path in folder.iterdir()} <= {"in", "input"}
            for where, folders, files in os.walk(folder / "in"):
                for place in (Path(where, name) for name in (*folders, *files)):
                    if place.is_symlink():
                        target = os.path.normpath(place.parent / place.readlink())
                        assert (target + "/").startswith(f"{folder}/in/"), f"{place} -> {target}"


def _container_image(data: bytes) -> None:
    """index.json, then blobs; layers are plain tars."""
    with seeds.scratch_folder() as folder:
        blobs = folder / "blobs/sha256"
        blobs.mkdir(parents=True)
        (folder / "scratch").mkdir()
        documents = data.split(seeds.CUT)[:8]
        known: dict[bytes, dict[bytes, bytes]] = {}
        for number in range(len(documents) - 1, -1, -1):
            text = _REFERENCE.sub(lambda m: known.get(m[2], {}).get(m[1], b""), documents[number])
            digest = hashlib.sha256(text).hexdigest()
            known[b"%d" % number] = {b"@": digest.encode(), b"~": b"%d" % len(text)}
            (blobs / digest).write_bytes(text)
            if number == 0:  # a list: what `docker save` writes
                (folder / ("manifest.json" if text.startswith(b"[") else "index.json")).write_bytes(text)
        image = find_image(folder, tag=None, arch="amd64")
        with image_tree(image, folder / "scratch", lambda layer, to, name: shutil.copyfile(layer, to)) as tree:
            _read_tree(tree)


def _deb(data: bytes) -> None:
    """A package with such a data.tar."""

    def member(name: bytes, body: bytes) -> bytes:
        head = name.ljust(16) + b"0".ljust(12) + b"0".ljust(6) * 2 + b"100644  " + b"%-10d`\n" % len(body)
        return head + body + b"\n" * (len(body) % 2)

    control = seeds.plain_tars()[0]
    package = b"!<arch>\n" + member(b"debian-binary", b"2.0\n") + member(b"control.tar", control)
    with seeds.scratch_folder() as folder:
        (folder / "input").write_bytes(package + member(b"data.tar", data))
        with deb.members(folder / "input", "input") as members:
            for name, _, stream in members:
                assert ".." not in name.split("/")
                if stream:
                    stream.read(_READ_AT_MOST)


def _filesystem(data: bytes, reader_of: Callable[[int, int, int], Reader]) -> None:
    with _on_disk(data) as (fd, _):
        reader = reader_of(fd, 0, len(data))
        list(reader.problems(len(data)))
        left = _READ_AT_MOST
        for _, inode in islice(walk(reader), _PATHS_AT_MOST):
            length = min(inode.size, 1 << 16, left)
            left -= length
            reader.read(inode, 0, length)


def _cpio(data: bytes) -> None:
    with _on_disk(data) as (fd, _):
        for _ in read_cpio(fd):
            pass


def _bzimage(data: bytes) -> None:
    bzimage.payload(data, "input")
    bzimage.kernel_version(data)
    with seeds.scratch_folder() as folder:
        bzimage.unpack(data, "input", folder)


def _module(data: bytes) -> None:
    read_module(without_signature(data, "input"), "input")


def _program(data: bytes) -> None:
    with _on_disk(data) as (_, path):
        read_program(path)


def _spec(data: bytes) -> None:
    with seeds.scratch_folder() as folder:
        (folder / "spec.yaml").write_bytes(data)
        load_spec(folder / "spec.yaml")


def _copyright(data: bytes) -> None:
    """What comes out stands in bills of materials: it must be what they allow."""
    licence = licence_of(data.decode(errors="replace"))
    assert not licence or is_expression(licence), licence


def _bill(data: bytes) -> None:
    with _on_disk(data) as (_, path):
        for entry in read_bill(path).entries:
            is_expression(entry.licence)


TARGETS = {
    "tar": Target(_tar, seeds.tars, mend=seeds.mended_tar),
    "pax": Target(_pax, seeds.paxes),
    "sparse": Target(_sparse, seeds.sparse_maps),
    "unpack": Target(_unpack, lambda: seeds.plain_tars(devices=False), mend=seeds.mended_tar),
    "container-image": Target(_container_image, seeds.container_images, mend=seeds.mended_tar),
    "deb": Target(_deb, seeds.debs, mend=seeds.mended_tar),
    "erofs": Target(
        lambda data: _filesystem(data, ErofsReader), seeds.erofs_images, (DamagedError,), seeds.mended_erofs
    ),
    "ext4": Target(lambda data: _filesystem(data, Ext4Reader), seeds.ext4_images, (DamagedError,)),
    "cpio": Target(_cpio, seeds.cpios, (ValueError,)),
    "bzimage": Target(_bzimage, seeds.bzimages),
    "module": Target(_module, seeds.modules),
    "program": Target(_program, seeds.programs),
    "spec": Target(_spec, seeds.specs),
    "copyright": Target(_copyright, seeds.copyrights),
    "bill": Target(_bill, seeds.bills),
}
