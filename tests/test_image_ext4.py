"""The ext4 writer, seen by e2fsck and debugfs; and the reader, tried on file systems that mke2fs made.

Reader and writer are each checked against e2fsprogs first: only then does it prove something that they agree.
"""

from __future__ import annotations

import os
import random
import re
import stat
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_parts import AGENT, ODD_NAMES, Sparse, file, rich_tree, tree_of, with_attributes
from kata_toolkit.errors import InputError, ToolError
from kata_toolkit.image.ext4 import Ext4, Written
from kata_toolkit.image.ext4_read import Ext4Reader
from kata_toolkit.image.filesystem import walk
from kata_toolkit.image.placement import Shape
from kata_toolkit.image.readback import _tree_problems
from kata_toolkit.image.sparse_file import SparseFile
from kata_toolkit.rootfs.tree import Bytes, Kind, Node, OnDisk, Tree
from kata_toolkit.run import environment

UUID, SEED = bytes(range(16)), bytes(range(16, 32))
PACKED = Shape()
ENV = environment()


def write(tree: Tree, path: Path, size: int = 0) -> Written:
    plan = Ext4(tree, SEED)
    size = size or plan.smallest(PACKED)
    while not plan.fits(size, PACKED):
        size += 4096
    with SparseFile(path, size) as out:
        return plan.write(out, 0, size, PACKED, UUID, lambda done, total: None)


def fsck(path: Path) -> str:
    done = subprocess.run(["e2fsck", "-fn", path], capture_output=True, text=True, env=ENV, check=False)
    assert done.returncode == 0, done.stdout
    return done.stdout


def problems(path: Path, tree: Tree) -> list[str]:
    fd = os.open(path, os.O_RDONLY)
    try:
        return list(_tree_problems(Ext4Reader(fd, 0, path.stat().st_size), tree))
    finally:
        os.close(fd)


def debugfs(path: Path, request: str) -> str:
    done = subprocess.run(["debugfs", "-R", request, path], capture_output=True, env=ENV, check=True)
    return done.stdout.decode(errors="surrogateescape")


TREES = {"empty": Tree, "rich": rich_tree, "attributes": with_attributes}


@pytest.mark.tool
@pytest.mark.parametrize("make", TREES.values(), ids=TREES.keys())
@pytest.mark.parametrize("size", [0, 64 << 20, 300 << 20])
def test_e2fsck_and_the_reader_are_content(tmp_path: Path, make: type[Tree], size: int) -> None:
    tree = make()
    write(tree, tmp_path / "fs", size)
    out = fsck(tmp_path / "fs")
    assert "(0.0% non-contiguous)" in out
    assert problems(tmp_path / "fs", tree) == []


@pytest.mark.tool
def test_the_smallest_size_is_the_smallest(tmp_path: Path) -> None:
    plan = Ext4(rich_tree(), SEED)
    assert plan.fits(plan.smallest(PACKED), PACKED)
    assert not plan.fits(plan.smallest(PACKED) - 4096, PACKED)
    written = write(rich_tree(), tmp_path / "fs")
    assert written.used_blocks == written.blocks
    with pytest.raises(InputError, match="does not fit"), SparseFile(tmp_path / "small", plan.smallest(PACKED)) as out:
        plan.write(out, 0, plan.smallest(PACKED) - 4096, PACKED, UUID, lambda done, total: None)


@pytest.mark.tool
def test_debugfs_sees_every_field(tmp_path: Path) -> None:
    """Mode, owner, all four times, links, device and target, by inode, as an independent program reads them."""
    tree = rich_tree()
    write(tree, tmp_path / "fs")
    fd = os.open(tmp_path / "fs", os.O_RDONLY)
    try:
        inodes = dict(walk(Ext4Reader(fd, 0, (tmp_path / "fs").stat().st_size)))
    finally:
        os.close(fd)
    script = tmp_path / "script"
    checked = [path for path, node in tree.walk() if not path.startswith((b"odd", b"deep"))]
    script.write_text("".join(f"stat <{inodes[path].number}>\n" for path in checked))
    text = subprocess.run(
        ["debugfs", "-f", script, tmp_path / "fs"], capture_output=True, env={**ENV, "TZ": "UTC"}, check=True
    ).stdout.decode()
    parts = re.split(r"(?m)^debugfs: stat .*\n", text)[1:]
    assert len(parts) == len(checked)
    types = {"regular": Kind.FILE, "directory": Kind.DIRECTORY, "symlink": Kind.SYMLINK, "FIFO": Kind.FIFO,
             "character special": Kind.CHARACTER, "block special": Kind.BLOCK}  # fmt: skip
    for path, part in zip(checked, parts, strict=True):
        node = tree.get(path)
        assert node is not None
        head = re.search(r"Type: (.+?)\s+Mode:\s+(\d+)", part)
        assert head, part
        assert (types[head[1]], int(head[2], 8)) == (node.kind, node.mode), path
        owner = re.search(r"User:\s+(-?\d+)\s+Group:\s+(-?\d+)", part)
        assert owner, part
        assert (int(owner[1]) % 2**32, int(owner[2]) % 2**32) == (node.uid, node.gid), path
        times = re.findall(r"(?:ctime|atime|mtime|crtime): 0x([0-9a-f]+):([0-9a-f]+)", part)
        assert len(times) == 4, part
        for low, extra in times:
            seconds = int(low, 16) - (1 << 32 if int(low, 16) >= 1 << 31 else 0)
            assert (seconds + ((int(extra, 16) & 3) << 32), int(extra, 16) >> 2) == (node.mtime, 0), path
        if node.rdev != (0, 0):
            assert f"{node.rdev[0]:02d}:{node.rdev[1]:02d}" in part, part
        if node.kind is Kind.SYMLINK and len(node.target) < 60:
            assert f'"{node.target.decode()}"' in part


@pytest.mark.tool
def test_debugfs_dumps_the_same_bytes(tmp_path: Path) -> None:
    tree = rich_tree()
    write(tree, tmp_path / "fs")
    for name in ("sbin/init", "sparse", "zeros", "link/two", "all-hole"):
        node = tree.get(name.encode())
        assert node is not None
        assert node.content is not None
        debugfs(tmp_path / "fs", f"dump /{name} {tmp_path / 'out'}")
        data = (tmp_path / "out").read_bytes()
        assert len(data) == node.size
        assert all(data[o : o + n] == node.content.read(o, n) for o, n in node.content.ranges)
    listing = debugfs(tmp_path / "fs", "ls -p /odd").encode(errors="surrogateescape")
    for name in ODD_NAMES:
        if b"\n" not in name:
            assert b"/" + name + b"/" in listing


@pytest.mark.tool
def test_debugfs_reads_the_attributes(tmp_path: Path) -> None:
    tree = with_attributes()
    write(tree, tmp_path / "fs")
    for name, attribute, value in (
        ("/ping", "security.capability", tree.get(b"ping").xattrs[0][1]),
        ("/many", "user.k19", b"v" * 95),
        ("/many", "user.k01", b"v" * 5),
        ("/folder", "trusted.overlay.opaque", b"y"),
        ("/link", "trusted.note", b"n" * 300),
    ):
        debugfs(tmp_path / "fs", f"ea_get -f {tmp_path / 'value'} {name} {attribute}")
        assert (tmp_path / "value").read_bytes() == value


@pytest.mark.parametrize(
    ("node", "message"),
    [
        (file(b"", xattrs=((b"system.posix_acl_access", b"x"),)), "/f has an access list that is damaged"),
        (file(b"", xattrs=((b"wrong", b"x"),)), "/f has the extended attribute wrong, which cannot be carried over"),
        (file(b"", xattrs=((b"user.big", b"x" * 5000),)), "/f has more extended attributes than a file system"),
        (file(b"", xattrs=((b"user." + b"n" * 256, b""),)), "/f has more extended attributes"),
        (Node(Kind.SYMLINK, 0o777, target=b"t" * 4096), "/f is a symbolic link to a path of 4096 bytes"),
        (Node(Kind.CHARACTER, 0o600, rdev=(4096, 0)), "/f is the device 4096:0, beyond what Linux can name"),
        (file(b"", uid=1 << 32), "/f has the owner 4294967296:0, which does not fit 32 bits"),
        (file(b"", mtime=1 << 34), "/f has the time 17179869184, beyond the year 2446"),
    ],
)
def test_what_ext4_cannot_hold_is_refused_by_name(tmp_path: Path, node: Node, message: str) -> None:
    with pytest.raises(InputError) as caught:
        write(tree_of({b"f": node}), tmp_path / "fs")
    assert caught.value.problems[0].message.startswith(message)


def test_too_many_hard_links(tmp_path: Path) -> None:
    tree = tree_of({b"0": file(b"x")})
    for i in range(1, 65001):
        tree.link(b"%d" % i, b"0")
    with pytest.raises(InputError, match="/0 has 65001 hard links, and ext4 allows 65000"):
        write(tree, tmp_path / "fs")


@pytest.mark.tool
def test_five_thousand_files_and_folders(tmp_path: Path) -> None:
    tree = Tree()
    for i in range(5000):
        tree.add(b"many/file-%d" % i, file(b"%d" % i * 50))
        tree.add(b"folders/%d/x" % i, file(b"x"))
    written = write(tree, tmp_path / "fs")
    fsck(tmp_path / "fs")
    assert problems(tmp_path / "fs", tree) == []
    assert written.used_blocks * 4096 < 65 << 20


@pytest.mark.tool
def test_more_folders_than_a_link_count_can_say(tmp_path: Path) -> None:
    tree = Tree()
    for i in range(65000):
        tree.add(b"f/%d" % i, Node(Kind.DIRECTORY, 0o755))
    write(tree, tmp_path / "fs")
    fsck(tmp_path / "fs")


@pytest.mark.tool
def test_many_inodes_with_few_blocks(tmp_path: Path) -> None:
    """More inodes than the groups of so small a file system could hold at full size: the groups become smaller."""
    tree = Tree()
    for i in range(50_000):
        tree.add(b"%d" % i, Node(Kind.SYMLINK, 0o777, target=b"x"))
    write(tree, tmp_path / "fs")
    assert (tmp_path / "fs").stat().st_size < 20 << 20
    fsck(tmp_path / "fs")
    assert problems(tmp_path / "fs", tree) == []


@pytest.mark.tool
@pytest.mark.parametrize("pieces", [4, 5, 340, 341, 1360, 1361, 3000])
def test_extent_trees_of_every_depth(tmp_path: Path, pieces: int) -> None:
    parts = tuple((i * 8192, b"%d" % i) for i in range(pieces))
    tree = tree_of({b"sparse": file(Sparse(pieces * 8192 + 5, parts)), b"other": file(b"o" * 5000)})
    write(tree, tmp_path / "fs")
    fsck(tmp_path / "fs")
    assert problems(tmp_path / "fs", tree) == []


@pytest.mark.tool
def test_files_and_file_systems_beyond_one_group_and_4_gib(tmp_path: Path) -> None:
    """A file of several extents, one with data beyond 4 GiB, over more than forty groups; next to nothing on disk."""
    size = (5 << 30) + 123
    nodes = {
        b"far": file(Sparse(size, ((0, b"a" * 10), (size - 10, b"z" * 10)))),
        b"long": file(Sparse(600 << 20, ((0, bytes(1 << 20)),))),
        b"small": file(b"s"),
    }
    tree = tree_of(nodes)
    write(tree, tmp_path / "fs", 6 << 30)
    fsck(tmp_path / "fs")
    assert problems(tmp_path / "fs", tree) == []
    assert (tmp_path / "fs").stat().st_blocks * 512 < 4 << 20


@pytest.mark.tool
def test_a_contiguous_file_of_several_extents(tmp_path: Path) -> None:
    class Zeros:
        size = 300 << 20
        ranges = ((0, 300 << 20),)

        def read(self, offset: int, length: int) -> bytes:
            return bytes(length)

    write(tree_of({b"z": file(Zeros())}), tmp_path / "fs")
    assert "0.0% non-contiguous" in fsck(tmp_path / "fs")
    assert "(0-32767):" in debugfs(tmp_path / "fs", "stat /z")
    assert (tmp_path / "fs").stat().st_blocks * 512 < 1 << 20


def test_the_bytes_depend_on_the_tree_alone(tmp_path: Path) -> None:
    write(rich_tree(), tmp_path / "one", 64 << 20)
    write(rich_tree(), tmp_path / "two", 64 << 20)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


@pytest.mark.tool
def test_what_kata_needs_is_in_the_superblock(tmp_path: Path) -> None:
    write(rich_tree(), tmp_path / "fs", 64 << 20)
    done = subprocess.run(["dumpe2fs", "-h", tmp_path / "fs"], capture_output=True, text=True, env=ENV, check=True)
    fields = {k.strip(): v.strip() for k, _, v in (line.partition(":") for line in done.stdout.splitlines())}
    assert fields["Block size"] == "4096"
    assert fields["Filesystem state"] == "clean"
    assert "journal_data_ordered" in fields["Default mount options"]
    assert fields["Filesystem UUID"] == "00010203-0405-0607-0809-0a0b0c0d0e0f"
    assert "inline_data" not in fields["Filesystem features"]


def test_a_full_disk_is_a_clear_error(tmp_path: Path) -> None:
    """At the latest when the file is closed: writes are gathered."""
    out = SparseFile(tmp_path / "fs", 1 << 20)
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, out._fd)
    os.close(full)
    out.write(0, b"x")
    with pytest.raises(ToolError, match=r"cannot write .*: No space left on device"):
        out.__exit__(None, None, None)


def test_gathered_writes_are_as_single_ones(tmp_path: Path) -> None:
    """In any order, over what is there, with blocks half written: only what was given changes."""
    choice = random.Random(5)
    with SparseFile(tmp_path / "file", 64 * 4096) as out:
        meant = bytearray(64 * 4096)
        for number in range(400):
            at = choice.randrange(60) * 4096
            data = bytes([number % 255 + 1]) * choice.randrange(1, 4 * 4096)
            out.write(at, data)
            meant[at : at + len(data)] = data
            if number % 50 == 0:
                assert out.reader(0)(0, len(meant)) == meant
    assert (tmp_path / "file").read_bytes() == meant


def test_a_source_that_shrinks_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"x" * 9000)
    tree = tree_of({b"f": file(OnDisk.of(tmp_path / "source"))})
    (tmp_path / "source").write_bytes(b"x" * 8999)
    with pytest.raises(InputError, match="became shorter while it was read"):
        write(tree, tmp_path / "fs")


@pytest.mark.tool
@pytest.mark.parametrize("options", [[], ["-O", "^metadata_csum,^64bit"], ["-O", "64bit", "-I", "512"]])
def test_the_reader_reads_what_mke2fs_made(tmp_path: Path, options: list[str]) -> None:
    """Journal, checksums, hashed folders, 64-bit descriptors: a reader that only knows our writer proves nothing."""
    source = tmp_path / "source"
    (source / "folder").mkdir(parents=True)
    for i in range(600):
        (source / "folder" / f"file-with-a-rather-long-name-{i}").write_bytes(b"%d" % i * 1000)
    (source / "link").symlink_to("l" * 200)
    (source / "short").symlink_to("folder")
    os.mkfifo(source / "fifo")
    (source / "hard").hardlink_to(source / "folder" / "file-with-a-rather-long-name-7")
    with (source / "holes").open("wb") as stream:
        for i in range(10):
            stream.seek(i << 20)
            stream.write(b"%d" % i * 100)
    command = ["mke2fs", "-q", "-t", "ext4", "-b", "4096", *options, "-d", source, tmp_path / "fs", "64M"]
    subprocess.run(command, check=True, env=ENV)
    fd = os.open(tmp_path / "fs", os.O_RDONLY)
    try:
        reader = Ext4Reader(fd, 0, (tmp_path / "fs").stat().st_size)
        assert reader.has_journal
        found = dict(walk(reader))
        expected = {os.fsencode(p.relative_to(source)) for p in source.rglob("*")}
        assert found.keys() == expected | {b"", b"lost+found"}
        for path in expected:
            real, inode = source / os.fsdecode(path), found[path]
            info = real.lstat()
            assert (inode.mode, inode.uid, inode.gid) == (info.st_mode, info.st_uid, info.st_gid)
            assert inode.times[2] == int(info.st_mtime)
            if stat.S_ISREG(inode.mode):
                assert reader.read(inode, 0, inode.size) == real.read_bytes()
            if stat.S_ISLNK(inode.mode):
                assert inode.target == os.fsencode(real.readlink())
        assert found[b"hard"].number == found[b"folder/file-with-a-rather-long-name-7"].number
        assert len(found[b"holes"].runs) == 10
    finally:
        os.close(fd)


names = st.binary(min_size=1, max_size=60).map(lambda b: b.replace(b"/", b"_").replace(b"\0", b"_"))
contents = st.one_of(
    st.binary(max_size=10_000),
    st.integers(0, 40_000).map(lambda n: b"\0" * n + b"end"),
)


@pytest.mark.tool
@settings(max_examples=25, deadline=None, database=None)
@given(st.dictionaries(names.filter(lambda n: n not in (b".", b"..")), contents, max_size=40), st.integers(0, 3))
def test_any_tree_is_sound(tmp_path_factory: pytest.TempPathFactory, files: dict[bytes, bytes], depth: int) -> None:
    tree = tree_of({b"sbin/init": file(AGENT, 0o755)})
    for i, (name, data) in enumerate(files.items()):
        tree.add(b"d/" * (i % (depth + 1)) + b"s" + name, Node(Kind.FILE, i & 0o777, content=Bytes(data)))
    path = tmp_path_factory.mktemp("any") / "fs"
    write(tree, path)
    fsck(path)
    assert problems(path, tree) == []
