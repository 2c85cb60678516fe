"""The tar a root file system becomes: read by other programs, read back by ours, the same bytes whatever the order."""

from __future__ import annotations

import os
import subprocess
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_parts import ODD_NAMES, Sparse, file, rich_tree, same_tree, tar_tree, tree_of, with_attributes
from kata_toolkit.errors import ToolError
from kata_toolkit.rootfs.tar_write import write_tar
from kata_toolkit.rootfs.tree import Bytes, Kind, Node, OnDisk, Tree


@pytest.mark.parametrize("tree", [rich_tree(), with_attributes(), Tree()], ids=["rich", "attributes", "empty"])
def test_reads_back_as_it_was(tmp_path: Path, tree: Tree) -> None:
    write_tar(tree, tmp_path / "t.tar")
    assert same_tree(tree, tar_tree(tmp_path / "t.tar")) == []


def test_the_order_of_making_does_not_matter(tmp_path: Path) -> None:
    names = [b"b", b"a", b"a/x", b"a-b", b"a.b", b"c/d/e"]
    nodes = [file(name) if name != b"a" else Node(Kind.DIRECTORY, 0o755) for name in names]
    for i, order in enumerate((range(6), reversed(range(6)))):
        write_tar(tree_of({names[n]: nodes[n] for n in order}), tmp_path / f"{i}.tar")
    assert (tmp_path / "0.tar").read_bytes() == (tmp_path / "1.tar").read_bytes()


def test_members_are_sorted_and_hold_nothing_of_this_machine(tmp_path: Path) -> None:
    write_tar(rich_tree(), tmp_path / "t.tar")
    with tarfile.open(tmp_path / "t.tar") as tar:
        members = tar.getmembers()
    names = [os.fsencode(m.name) for m in members]
    assert names == sorted(names)
    assert {(m.uname, m.gname) for m in members} == {("", "")}
    assert {m.mtime for m in members} <= {0, 99, -5, 1700000000, 5_000_000_000}
    assert (tmp_path / "t.tar").stat().st_size % 10240 == 0


def test_python_reads_everything(tmp_path: Path) -> None:
    tree = rich_tree()
    write_tar(tree, tmp_path / "t.tar")
    with tarfile.open(tmp_path / "t.tar") as tar:
        members = {os.fsencode(m.name): m for m in tar}
        assert {b"" if name == b"." else name for name in members} == {path for path, _ in tree.walk()}
        assert members[b"link/two"].islnk() or members[b"link/one"].islnk() or members[b"also-linked"].islnk()
        assert (members[b"etc/owned"].uid, members[b"etc/owned"].gid) == (70000, 4294967294)
        assert (members[b"dev/wide"].devmajor, members[b"dev/wide"].devminor) == (259, 70000)
        assert members[b"bin/setuid"].mode == 0o6755
        sparse = tar.extractfile(members[b"sparse"])
        assert sparse is not None
        data = sparse.read()
        assert (len(data), data[:5], data[-10:]) == (10_000_000, b"start", b"end of it!")


@pytest.mark.tool
def test_gnu_tar_unpacks_it(tmp_path: Path) -> None:
    """Names byte by byte, contents, links and holes, as the tool most people would use sees them."""
    tree = rich_tree()
    write_tar(tree, tmp_path / "t.tar")
    into = tmp_path / "into"
    into.mkdir()
    done = subprocess.run(
        ["tar", "-xf", tmp_path / "t.tar", "-C", into, "--exclude=./dev", "--exclude=dev/*", "--no-same-owner",
         "--delay-directory-restore"],
        capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for path, node in tree.walk():
        if path.startswith(b"dev"):
            continue
        real = Path(os.fsdecode(os.path.join(os.fsencode(into), path)))  # noqa: PTH118 -- bytes
        info = real.lstat()
        assert info.st_mode & 0o170000 == node.kind.value, path
        assert node.kind is not Kind.FILE or info.st_size == node.size, path
        # Path.readlink would tidy the target up.
        assert node.kind is not Kind.SYMLINK or os.readlink(os.fsencode(real)) == node.target, path  # noqa: PTH115
    for name in ODD_NAMES:
        with open(os.path.join(os.fsencode(into), b"odd", name), "rb") as stream:  # noqa: PTH118, PTH123 -- bytes
            assert stream.read() == name
    assert (into / "link/one").stat().st_ino == (into / "also-linked").stat().st_ino
    assert (into / "sparse").stat().st_blocks * 512 < 100_000


def test_holes_are_kept_to_the_block(tmp_path: Path) -> None:
    parts = ((512, b"a" * 512), (5000, b"b"), (5100, b"c" * 100), (10_000, b"d" * 240), (50_000, b"e" * 7))
    write_tar(tree_of({b"f": file(Sparse(50_007, parts))}), tmp_path / "t.tar")
    node = tar_tree(tmp_path / "t.tar").get(b"f")
    assert node is not None
    assert node.content is not None
    assert node.size == 50_007
    assert node.content.ranges == ((512, 512), (4608, 1024), (9728, 512), (49664, 343))


def test_a_source_that_cannot_be_written_leaves_an_error(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match=r"cannot write .*missing/t\.tar: No such file"):
        write_tar(Tree(), tmp_path / "missing" / "t.tar")


def test_holes_of_files_on_disk_do_not_matter(tmp_path: Path) -> None:
    """Whether a zero block is a hole depends on the host's file system: the tar must not."""
    (tmp_path / "dense").write_bytes(bytes(1 << 20))
    with (tmp_path / "holes").open("wb") as stream:
        stream.truncate(1 << 20)
    for name in ("dense", "holes"):
        write_tar(tree_of({b"f": file(OnDisk.of(tmp_path / name))}), tmp_path / f"{name}.tar")
    assert (tmp_path / "dense.tar").read_bytes() == (tmp_path / "holes.tar").read_bytes()


PLAIN = bytes.maketrans(b"=\0", b"__")  # what no name of an attribute may hold in a tar
names = st.binary(min_size=1, max_size=120).map(lambda b: b.replace(b"/", b"_").replace(b"\0", b"_"))
nodes = st.builds(
    Node,
    kind=st.sampled_from([Kind.FILE, Kind.DIRECTORY, Kind.FIFO]),
    mode=st.integers(0, 0o7777),
    uid=st.integers(0, 2**32 - 2),
    gid=st.integers(0, 2**32 - 2),
    mtime=st.integers(-(2**31), 2**34 - 2**31 - 1),
    xattrs=st.dictionaries(st.binary(min_size=1, max_size=20).map(lambda n: b"user." + n.translate(PLAIN)),
                           st.binary(max_size=40), max_size=3).map(lambda d: tuple(sorted(d.items()))),
)  # fmt: skip


@settings(max_examples=60, deadline=None, database=None)
@given(st.dictionaries(names.filter(lambda n: n not in (b".", b"..")), st.tuples(nodes, st.binary(max_size=2000))))
def test_any_tree_survives(tmp_path_factory: pytest.TempPathFactory, content: dict[bytes, tuple[Node, bytes]]) -> None:
    tree = Tree()
    for name, (node, data) in content.items():
        tree.add(name, replace(node, content=Bytes(data)) if node.kind is Kind.FILE else node)
    path = tmp_path_factory.mktemp("any") / "t.tar"
    write_tar(tree, path)
    assert same_tree(tree, tar_tree(path)) == []
