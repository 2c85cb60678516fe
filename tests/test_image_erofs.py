"""The EROFS writer, seen by fsck.erofs and the tar; and the reader, tried on file systems that mkfs.erofs made.

Reader and writer are each checked against erofs-utils first: only then does it prove something that they agree.
"""

from __future__ import annotations

import contextlib
import os
import random
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_parts import AGENT_SHA256, ODD_NAMES, file, rich_tree, rootfs_of, tree_of, with_attributes
from image_parts import build as build_stages
from kata_toolkit.errors import InputError
from kata_toolkit.image.erofs import Erofs, Written, crc32c
from kata_toolkit.image.erofs_read import ErofsReader
from kata_toolkit.image.filesystem import DamagedError, Inode, lookup, walk
from kata_toolkit.image.placement import Shape
from kata_toolkit.image.readback import _tree_problems
from kata_toolkit.image.sparse_file import SparseFile, copy_data
from kata_toolkit.rootfs.tree import Kind, Node, Tree, read_padded
from kata_toolkit.run import environment
from kata_toolkit.spec.model import Image
from kata_toolkit.stages.image import ImageStage

ENV = environment()
UUID = bytes(range(16))
PACKED = Shape()
BLOCK = 4096


def many_names() -> Tree:
    """Folders of several blocks, with names of every length, some of which sort before the dot."""
    nodes: dict[bytes, Node | bytes] = {b"many/" + b"n" * (i % 200) + b"%d" % i: file(b"") for i in range(3000)}
    nodes |= {b"many/!early": file(b"e"), b"many/-dash": file(b"d"), b"many/..dots": file(b"t")}
    return tree_of(nodes)


def large_attributes() -> Tree:
    """Attributes that fill blocks, so that what lies behind an inode must go elsewhere."""
    many = tuple((b"user.%03d" % i, b"v" * 300) for i in range(12))
    return tree_of(
        {
            b"folder": Node(Kind.DIRECTORY, 0o755, xattrs=many),
            b"folder/in": file(b"x"),
            b"link": Node(Kind.SYMLINK, 0o777, target=b"t" * 700, xattrs=many[:11]),
            b"wide": file(b"y", xattrs=((b"trusted.big", b"z" * 60000), (b"user.", b""))),
        }
    )


TREES = {
    "empty": Tree,
    "rich": rich_tree,
    "attributes": with_attributes,
    "names": many_names,
    "large": large_attributes,
}


def write(tree: Tree, path: Path) -> Written:
    plan = Erofs(tree)
    with SparseFile(path, plan.smallest(PACKED)) as out:
        return plan.write(out, 0, plan.smallest(PACKED), PACKED, UUID, lambda done, total: None)


def problems(path: Path, tree: Tree) -> list[str]:
    fd = os.open(path, os.O_RDONLY)
    try:
        return list(_tree_problems(ErofsReader(fd, 0, path.stat().st_size), tree))
    finally:
        os.close(fd)


def fsck(path: Path, *more: str) -> None:
    done = subprocess.run(["fsck.erofs", *more, path], capture_output=True, text=True, env=ENV, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.tool
@pytest.mark.parametrize("make", TREES.values(), ids=TREES.keys())
def test_fsck_and_the_reader_are_content(tmp_path: Path, make: Callable[[], Tree]) -> None:
    tree = make()
    written = write(tree, tmp_path / "fs")
    fsck(tmp_path / "fs")
    assert problems(tmp_path / "fs", tree) == []
    assert written.blocks == written.used_blocks == (tmp_path / "fs").stat().st_size // BLOCK


@pytest.mark.tool
def test_fsck_extracts_the_same_files(tmp_path: Path) -> None:
    """Bytes, permissions and links of every file, as an independent program takes them out."""
    tree = rich_tree()
    for path in (b"dev/console", b"dev/wide", b"dev/minor-256"):  # mknod is root's
        tree.add(path, file(b""))
    write(tree, tmp_path / "fs")
    fsck(tmp_path / "fs", f"--extract={tmp_path / 'out'}", "--preserve-perms")
    for path, node in tree.walk():
        found = os.lstat(os.fsencode(tmp_path / "out") + b"/" + path)
        assert stat.S_IFMT(found.st_mode) == node.kind.value, path
        if node.kind is Kind.SYMLINK:
            assert os.readlink(os.fsencode(tmp_path / "out") + b"/" + path) == node.target  # noqa: PTH115 -- a path of bytes
        elif node.kind is Kind.FILE:
            assert found.st_mode & 0o777 == node.mode & 0o777, path  # its chown drops the other bits
            assert node.content is not None
            assert found.st_size == node.content.size
            with open(os.fsencode(tmp_path / "out") + b"/" + path, "rb") as stream:  # noqa: PTH123 -- a path of bytes
                assert stream.read() == read_padded(node.content, 0, node.content.size), path


@pytest.mark.tool
@pytest.mark.parametrize("tail", [True, False])
def test_the_reader_on_a_file_system_of_mkfs(tmp_path: Path, tail: bool) -> None:
    """What mkfs.erofs makes of a folder is what the reader sees, whether or not tails lie behind inodes."""
    folder = tmp_path / "in"
    (folder / "sub").mkdir(parents=True)
    contents = {b"a": b"", b"b": b"x" * 5000, b"sub/c": b"y" * 8192}
    contents |= {b"sub/" + n: n for n in ODD_NAMES if b"\n" not in n and len(n) < 200}
    for name, data in contents.items():
        with open(os.fsencode(folder) + b"/" + name, "wb") as stream:  # noqa: PTH123 -- a path of bytes
            stream.write(data)
    (folder / "link").symlink_to("sub/c")
    options = [] if tail else ["-Enoinline_data"]
    subprocess.run(["mkfs.erofs", "-T7", "--all-root", *options, tmp_path / "fs", folder], check=True, env=ENV,
                   capture_output=True)  # fmt: skip
    fd = os.open(tmp_path / "fs", os.O_RDONLY)
    try:
        reader = ErofsReader(fd, 0, (tmp_path / "fs").stat().st_size)
        found = dict(walk(reader))
        assert {p for p, i in found.items() if stat.S_ISREG(i.mode)} == set(contents)
        for name, data in contents.items():
            assert reader.read(found[name], 0, found[name].size) == data
        assert found[b"link"].target == b"sub/c"
        assert {i.times for i in found.values()} == {(7,)}
    finally:
        os.close(fd)


def test_the_checksum_is_castagnoli() -> None:
    """RFC 3720's example of 32 zeros, before the inversion that EROFS leaves out."""
    assert crc32c(bytes(32)) ^ 0xFFFFFFFF == 0x8A9136AA


@pytest.mark.parametrize(
    ("node", "message"),
    [
        (file(b"", xattrs=((b"system.odd", b""),)), "EROFS cannot hold"),
        (file(b"", xattrs=((b"user." + b"n" * 256, b""),)), "larger than EROFS allows"),
        (file(b"", xattrs=((b"user.v", bytes(70000)),)), "larger than EROFS allows"),
        (Node(Kind.SYMLINK, 0o777, target=b"t" * 4096), "a symbolic link to a path of 4096 bytes"),
    ],
)
def test_what_erofs_cannot_hold_is_refused(node: Node, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Erofs(tree_of({b"odd": node}))


def test_it_must_fit(tmp_path: Path) -> None:
    plan = Erofs(rich_tree())
    with pytest.raises(InputError, match="does not fit"), SparseFile(tmp_path / "fs", plan.smallest(PACKED)) as out:
        plan.write(out, 0, plan.smallest(PACKED) - BLOCK, PACKED, UUID, lambda done, total: None)


names = st.binary(min_size=1, max_size=255).filter(
    lambda n: b"/" not in n and b"\0" not in n and n not in (b".", b"..")
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(names, st.binary(max_size=9000)), max_size=60, unique_by=lambda pair: pair[0]))
def test_any_names_and_contents(tmp_path_factory: pytest.TempPathFactory, pairs: list[tuple[bytes, bytes]]) -> None:
    tree = tree_of({name: file(data) for name, data in pairs})
    path = tmp_path_factory.mktemp("fs") / "fs"
    write(tree, path)
    assert problems(path, tree) == []
    fd = os.open(path, os.O_RDONLY)
    try:
        reader = ErofsReader(fd, 0, path.stat().st_size)
        assert all(isinstance(lookup(reader, name), Inode) for name, _ in pairs)
    finally:
        os.close(fd)


def test_random_damage_ends_in_an_answer(tmp_path: Path) -> None:
    """A thousand file systems with a few bytes of their metadata changed: no traceback, no endless loop."""
    tree = with_attributes()
    path = tmp_path / "fs"
    write(tree, path)
    original = path.read_bytes()
    random_ = random.Random(7)
    silent = 0
    with path.open("r+b", buffering=0) as stream:
        for _ in range(1000):
            places = [random_.randrange(1024, min(len(original), 4 * BLOCK)) for _ in range(random_.randrange(1, 20))]
            for at in places:
                stream.seek(at)
                stream.write(random_.randbytes(1))
            with contextlib.suppress(DamagedError):
                silent += not problems(path, tree)
            for at in places:
                stream.seek(at)
                stream.write(original[at : at + 1])
    assert silent < 500
    assert problems(path, tree) == []


@pytest.mark.tool
@pytest.mark.parametrize("dax", [True, False])
def test_the_stage_makes_an_erofs_image(tmp_path: Path, dax: bool) -> None:
    stages = [rootfs_of(rich_tree(), tmp_path, AGENT_SHA256), ImageStage(Image(format="erofs", dax=dax), 2)]
    entry = build_stages(stages, "image", tmp_path)
    image, start = entry.path("image"), (3 if dax else 1) << 20
    copy_data(image, start, image.stat().st_size - start, tmp_path / "fs")
    fsck(tmp_path / "fs")
    assert problems(tmp_path / "fs", rich_tree()) == []
    subprocess.run(["sfdisk", "--verify", "-q", image], check=True)


@pytest.fixture
def holes(tmp_path: Path) -> Path:
    path = tmp_path / "holes"
    with path.open("wb") as stream:
        stream.seek(1 << 20)
        stream.write(b"data" * 1024)
        stream.truncate(64 << 20)
    return path


def test_copying_keeps_holes(holes: Path, tmp_path: Path) -> None:
    copy_data(holes, 1 << 19, (64 << 20) - (1 << 19), tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == holes.read_bytes()[1 << 19 :]
    assert (tmp_path / "copy").stat().st_blocks * 512 < 1 << 20
