"""What the tests of root file systems and images share: trees to try, and stages run by the real engine and store."""

from __future__ import annotations

import hashlib
import io
import json
import struct
import subprocess
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from kata_toolkit.events import ignore
from kata_toolkit.image.erofs_packed import Cluster, Packed
from kata_toolkit.pipeline.engine import Engine
from kata_toolkit.pipeline.inputs import BuildInputs
from kata_toolkit.pipeline.stage import Inputs, Recipe, Stage, Work
from kata_toolkit.pipeline.store import Entry, Store
from kata_toolkit.rootfs.tar import open_tar
from kata_toolkit.rootfs.tar_write import write_tar
from kata_toolkit.rootfs.tree import Bytes, Content, Kind, Node, Tree, read_padded


@dataclass(frozen=True)
class Given(Stage):
    """A stage whose output is at hand: stands in for a stage that is not what a test is about."""

    stage: str
    files: dict[str, bytes]

    title: ClassVar[str] = "given"

    @property
    def name(self) -> str:
        return self.stage

    def plan(self, inputs: Inputs) -> Recipe:
        return Recipe(files={n: hashlib.sha256(data).hexdigest() for n, data in self.files.items()})

    def run(self, work: Work) -> None:
        for name, data in self.files.items():
            (work.out / name).write_bytes(data)


def build(stages: Sequence[Stage], name: str, folder: Path) -> Entry:
    """Run the stages needed for one, in a store of their own below ``folder``."""
    store = Store(folder / "cache")
    engine = Engine("test", stages, store, BuildInputs(store), ignore, io.StringIO(), 1)
    return engine.build([name])[name]


@dataclass(frozen=True, eq=False)
class Sparse:
    """Content with holes, as a tar's map of them gives it."""

    size: int
    parts: tuple[tuple[int, bytes], ...]

    @cached_property
    def ranges(self) -> tuple[tuple[int, int], ...]:
        return tuple((offset, len(data)) for offset, data in self.parts)

    def read(self, offset: int, length: int) -> bytes:
        start, data = self.parts[bisect_right(self.ranges, (offset, self.size)) - 1]
        assert start <= offset <= offset + length <= start + len(data), "read across ranges"
        return data[offset - start : offset - start + length]


def file(data: bytes | Content, mode: int = 0o644, **more: Any) -> Node:
    """A file node."""
    return Node(Kind.FILE, mode, content=Bytes(data) if isinstance(data, bytes) else data, **more)


def tree_of(nodes: dict[bytes, Node | bytes]) -> Tree:
    """A tree from path → node; bytes instead of a node are the path a hard link leads to."""
    tree = Tree()
    for path, node in nodes.items():
        if isinstance(node, bytes):
            tree.link(path, node)
        else:
            tree.add(path, node)
    return tree


AGENT = b"\x7fELF not really, but nobody runs it here" * 500
AGENT_SHA256 = hashlib.sha256(AGENT).hexdigest()

ODD_NAMES = (
    b"a b", b"quote\"'", b"new\nline", b"tab\tbell\x07", b"-rf", b"back\\slash", b"\xff\xfe not utf-8",
    "naïve-日本".encode(), b"*?[x]", b"x" * 255, b"<1234>", b"{\"json\": 1}", b"%s%n", b"$(reboot)", b"\x1b[31mred",
)  # fmt: skip


OUT_OF_CPIO = (b"etc/before-1970", b"etc/after-2106")  # times that a cpio cannot say


def rich_tree(*, any_time: bool = True) -> Tree:
    """A tree with one of everything: what a weaker test would leave out is what goes wrong."""
    nodes: dict[bytes, Node | bytes] = {
        b"": Node(Kind.DIRECTORY, 0o751, uid=7, gid=8, mtime=99),
        b"sbin/init": file(AGENT, 0o755),
        b"etc/empty": file(b""),
        b"etc/owned": file(b"x", 0o640, uid=70000, gid=4294967294, mtime=1700000000),
        b"etc/before-1970": file(b"old", mtime=-5),
        b"etc/after-2106": file(b"new", mtime=5_000_000_000),
        b"bin/setuid": file(b"s" * 5000, 0o6755),
        b"tmp": Node(Kind.DIRECTORY, 0o1777),
        b"link/one": file(b"linked" * 1000),
        b"link/two": b"link/one",
        b"also-linked": b"link/one",
        b"short": Node(Kind.SYMLINK, 0o777, target=b"../../etc/passwd"),
        b"exactly-59": Node(Kind.SYMLINK, 0o777, target=b"t" * 59),
        b"exactly-60": Node(Kind.SYMLINK, 0o777, target=b"t" * 60),
        b"long": Node(Kind.SYMLINK, 0o777, target=b"d/" * 1000, uid=3),
        b"symlink-twice": b"short",
        b"dev/console": Node(Kind.CHARACTER, 0o600, rdev=(5, 1)),
        b"dev/wide": Node(Kind.BLOCK, 0o660, gid=6, rdev=(259, 70000)),
        b"dev/minor-256": Node(Kind.CHARACTER, 0o600, rdev=(8, 256)),
        b"run/fifo": Node(Kind.FIFO, 0o622),
        b"zeros": file(bytes(50000)),
        b"sparse": file(Sparse(10_000_000, ((0, b"start"), (4096 * 700 + 9, b"y" * 9000), (9_999_990, b"end of it!")))),
        b"all-hole": file(Sparse(1 << 20, ())),
        b"/".join([b"deep"] * 60) + b"/leaf": file(b"down here"),
    }
    for name in ODD_NAMES:
        nodes[b"odd/" + name] = file(name)
        nodes[b"odd-folders/" + name + b"/in"] = file(b"in")
    if not any_time:
        for path in OUT_OF_CPIO:
            del nodes[path]
    return tree_of(nodes)


def rootfs_of(tree: Tree, folder: Path, digest: str = AGENT_SHA256) -> Given:
    """The rootfs stage's output, as if it had been made from that tree."""
    write_tar(tree, folder / "given.tar")
    info = json.dumps({"agent": {"path": "/sbin/init", "sha256": digest}}).encode()
    return Given("rootfs", {"rootfs.tar": (folder / "given.tar").read_bytes(), "rootfs.json": info})


# user::rwx group::r-x group:4:r-x mask::r-x other::r-x, as getxattr(2) gives it: what systemd sets on its journal
ACCESS_LIST = struct.pack(
    "<I" + 5 * "HHI", 2, 1, 7, 0xFFFFFFFF, 4, 5, 0xFFFFFFFF, 8, 5, 4, 16, 5, 0xFFFFFFFF, 32, 5, 0xFFFFFFFF
)


def with_attributes() -> Tree:
    """Extended attributes: inside the inode, too many for it, empty, access lists, and on a folder and a link."""
    capability = bytes.fromhex("0100000200200000000000000000000000000000")
    return tree_of(
        {
            b"sbin/init": file(AGENT, 0o755),
            b"ping": file(b"p", 0o755, xattrs=((b"security.capability", capability),)),
            b"many": file(b"m", xattrs=tuple((b"user.k%02d" % i, b"v" * i * 5) for i in range(20))),
            b"folder": Node(Kind.DIRECTORY, 0o755, xattrs=((b"trusted.overlay.opaque", b"y"), (b"user.empty", b""))),
            b"link": Node(Kind.SYMLINK, 0o777, target=b"x" * 100, xattrs=((b"trusted.note", b"n" * 300),)),
            b"var/log/journal": Node(
                Kind.DIRECTORY,
                0o2755,
                xattrs=((b"system.posix_acl_access", ACCESS_LIST), (b"system.posix_acl_default", ACCESS_LIST)),
            ),
        }
    )


class PackedWithZstd:
    """Files compressed as a mkfs.erofs that knows zstd would: in the form in which the writer takes them over."""

    features, algorithms = 3, 1 << 3
    configuration = b"\x06\0\0\x0a\0\0\0\0"  # its size, the format, a window of 2^(10 + 10) bytes

    def __init__(self, tree: Tree) -> None:
        self._data: dict[int, bytes] = {}
        self.packed: dict[int, Packed] = {}
        for node in {id(node): node for _, node in tree.walk() if node.size > 4096 and node.content}.values():
            assert node.content
            clusters, data = [], b""
            for start in range(0, node.size, 100_000):
                plain = read_padded(node.content, start, min(100_000, node.size - start))
                block = subprocess.run(
                    ["zstd", "-c", "--zstd=wlog=17"], input=plain, capture_output=True, check=True
                ).stdout
                clusters.append(Cluster(start, -(-len(block) // 4096), stored=False))
                data += bytes(-len(block) % 4096) + block
            if len(data) < node.size // 4096 * 4096:
                self.packed[id(node)] = Packed(node.size, clusters, 3, len(self._data))
                self._data[len(self._data)] = data

    def blocks(self, packed: Packed) -> Iterator[tuple[int, bytes]]:
        yield 0, self._data[packed.source]


def same_tree(one: Tree, other: Tree) -> list[str]:
    """What differs between two trees, hard links included; contents too."""
    differences = []
    left, right = dict(one.walk()), dict(other.walk())
    for path in sorted(left.keys() | right.keys()):
        a, b = left.get(path), right.get(path)
        if a is None or b is None:
            differences.append(f"{path!r} is only in one")
            continue
        differences += [
            f"{path!r}: {key} {getattr(a, key)!r} != {getattr(b, key)!r}"
            for key in ("kind", "mode", "uid", "gid", "mtime", "target", "rdev", "xattrs", "size")
            if getattr(a, key) != getattr(b, key)
        ]
        if a.content and b.content:
            both = (*a.content.ranges, *b.content.ranges)
            if any(read_padded(a.content, *r) != read_padded(b.content, *r) for r in both):
                differences.append(f"{path!r}: other bytes")
    links = [sorted(sorted(p for p, n in t.items() if n is node) for node in set(t.values())) for t in (left, right)]
    if links[0] != links[1]:
        differences.append("other hard links")
    return differences


def tar_tree(path: Path) -> Tree:
    """A tar as a tree that outlives the open file."""
    with open_tar(path) as tar:
        tree = Tree()
        copies: dict[int, Node] = {}
        for name, node in tar.tree().walk():
            if node.content:
                parts = tuple((o, node.content.read(o, n)) for o, n in node.content.ranges)
                copy = copies.setdefault(id(node), Node(
                    node.kind, node.mode, node.uid, node.gid, node.mtime, node.target, node.rdev, node.xattrs,
                    Sparse(node.content.size, parts),
                ))  # fmt: skip
                tree.add(name, copy)
            else:
                tree.add(name, node)
        return tree
