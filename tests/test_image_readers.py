"""Whole images as programs of others see them: debugfs, dump.erofs, sfdisk. Every path, mode, owner, link, content.

Names reach no command language: debugfs is given inodes by number, and what it prints is taken apart by what a name
cannot hold, a slash.
"""

from __future__ import annotations

import os
import re
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from image_parts import rich_tree, with_attributes
from kata_toolkit.image.erofs_read import ErofsReader
from kata_toolkit.image.filesystem import Inode, walk
from kata_toolkit.image.make import Wanted, write_image
from kata_toolkit.image.sparse_file import copy_data
from kata_toolkit.rootfs.tree import Kind, Node, Tree, hard_links, read_padded
from kata_toolkit.run import environment

ENV = {**environment(), "TZ": "UTC"}
_ENTRY = re.compile(rb"/(\d+)/(\d{6})/(-?\d+)/(-?\d+)/([^/]*)/(\d*)/\n", re.DOTALL)
_FILE = re.compile(
    rb"File : (?P<path>.*)\nSize: (?P<size>\d+) .*?\nNID: \d+ +Links: (?P<links>\d+) .*?"
    rb"Uid: (?P<uid>\d+) +Gid: (?P<gid>\d+) +Access: (?P<mode>\d+)/.*?Timestamp: (?P<time>\S+ \S+)",
    re.DOTALL,
)
Line = tuple[bytes, int, int, int, int]  # path, inode, mode with type, owner, group


def image(folder: Path, tree: Tree, wanted: Wanted) -> Path:
    """The image's file system alone; its partition tables are looked at on the way."""
    made = write_image(tree, folder / "image", wanted, "ab" * 32)
    subprocess.run(["sfdisk", "--verify", "-q", folder / "image"], env=ENV, check=True)
    copy_data(folder / "image", made.layout.start, made.layout.filesystem_size, folder / "fs")
    return folder / "fs"


def debugfs(path: Path, requests: list[str]) -> list[bytes]:
    """What it prints for each request."""
    script = path.with_name("script")
    script.write_text("".join(f"{request}\n" for request in requests))
    done = subprocess.run(["debugfs", "-f", script, path], env=ENV, capture_output=True, check=True)
    parts = re.split(rb"(?m)^debugfs: (?=%s)" % requests[0].split()[0].encode(), done.stdout)[1:]
    assert len(parts) == len(requests)
    return [part.partition(b"\n")[2] for part in parts]


def ext4_paths(path: Path) -> Iterator[Line]:
    """All paths, folder by folder from the root's inode on."""
    left: list[tuple[bytes, int]] = [(b"", 2)]
    while left:
        listings = debugfs(path, [f"ls -p <{number}>" for _, number in left])
        folders, left = left, []
        for (above, _), listing in zip(folders, listings, strict=True):
            for number, mode, uid, gid, name, _ in _ENTRY.findall(listing):
                if name in (b".", b".."):
                    continue
                below = above + b"/" + name if above else name
                yield below, int(number), int(mode, 8), int(uid) % 2**32, int(gid) % 2**32
                if stat.S_ISDIR(int(mode, 8)):
                    left.append((below, int(number)))


def expected(tree: Tree) -> dict[bytes, tuple[int, int, int]]:
    return {path: (node.kind.value | node.mode, node.uid, node.gid) for path, node in tree.walk() if path}


@pytest.mark.tool
@pytest.mark.parametrize("make", [rich_tree, with_attributes])
@pytest.mark.parametrize("layout", ["packed", "huge"])
def test_debugfs_walks_and_dumps_all_of_it(tmp_path: Path, make: Callable[[], Tree], layout: str) -> None:
    tree = make()
    path = image(tmp_path, tree, Wanted(layout=layout))
    lines = list(ext4_paths(path))
    assert {line[0]: line[2:] for line in lines} == expected(tree)
    numbers = {line[0]: line[1] for line in lines}
    for names in hard_links(tree.walk()).values():
        assert len({numbers[name] for name in names}) == 1
    assert len(set(numbers.values())) == len({id(node) for name, node in tree.walk() if name})
    files = [(name, node) for name, node in tree.walk() if node.content]
    debugfs(path, [f"dump <{numbers[name]}> {tmp_path}/{index}.out" for index, (name, _) in enumerate(files)])
    for index, (name, node) in enumerate(files):
        assert (tmp_path / f"{index}.out").read_bytes() == whole(node), name


@pytest.mark.tool
def test_debugfs_lists_every_attribute(tmp_path: Path) -> None:
    tree = with_attributes()
    path = image(tmp_path, tree, Wanted())
    numbers = {line[0]: line[1] for line in ext4_paths(path)}
    with_some = [(name, node) for name, node in tree.walk() if node.xattrs]
    for (name, node), text in zip(
        with_some, debugfs(path, [f"ea_list <{numbers[name]}>" for name, _ in with_some]), strict=True
    ):
        found = dict(re.findall(rb"(?m)^  ([a-z][^ ]*) \((\d+)\)", text))
        # An access list is shorter on disk where entries are for nobody by number.
        sizes = {key: b"%d" % (28 if b"posix_acl" in key else len(value)) for key, value in node.xattrs}
        assert found == sizes, name


@pytest.mark.tool
@pytest.mark.parametrize("make", [rich_tree, with_attributes])
@pytest.mark.parametrize("layout", ["packed", "huge"])
def test_dump_erofs_knows_every_inode(tmp_path: Path, make: Callable[[], Tree], layout: str) -> None:
    tree = make()
    path = image(tmp_path, tree, Wanted("erofs", layout=layout))
    linked = hard_links(tree.walk())
    seen: set[bytes] = set()
    for name, inode in inodes(path).items():
        node = tree.get(name)
        assert node is not None
        done = subprocess.run(
            ["dump.erofs", f"--nid={inode.number}", path], env=ENV, capture_output=True, check=True
        ).stdout
        found = _FILE.match(done)
        assert found, done
        names = linked.get(id(node), (name,))
        assert found["path"] in {b"/" + other for other in names}
        seen.add(name)
        owner = tuple(int(found[key]) % 2**32 for key in ("uid", "gid"))
        assert (owner, int(found["mode"], 8)) == ((node.uid, node.gid), node.mode & 0o777), name  # it shows no more
        if node.kind is not Kind.DIRECTORY:
            assert (int(found["size"]), int(found["links"])) == (node.size, len(names)), name
        if 0 <= node.mtime < 1 << 31:
            text = subprocess.run(
                ["date", "-u", "-d", f"@{node.mtime}", "+%F %T"], capture_output=True, check=True
            ).stdout.strip()
            assert found["time"].startswith(text), name
    assert seen == {name for name, _ in tree.walk()}


def inodes(path: Path) -> dict[bytes, Inode]:
    fd = os.open(path, os.O_RDONLY)
    try:
        return dict(walk(ErofsReader(fd, 0, path.stat().st_size)))
    finally:
        os.close(fd)


def whole(node: Node) -> bytes:
    assert node.content is not None
    return read_padded(node.content, 0, node.size)
