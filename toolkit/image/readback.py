"""Opens a finished image again and compares all of it with what was meant: an empty or wrong one never passes."""

from __future__ import annotations

import hashlib
import os
import stat
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

from ..errors import Problem, ToolError, Where
from ..rootfs.agent_file import AgentFile
from ..rootfs.tree import CHUNK, Content, Node, Tree, hard_links, read_padded, shown
from . import dax, mbr
from .filesystem import DamagedError, Inode, Reader, lookup, walk
from .layout import Layout

_MAX_PROBLEMS = 20


def check_image(path: Path, layout: Layout, kind: str, tree: Tree, agent: AgentFile | None) -> None:
    """Compare an image with its layout, the tree and the agent that it may hold; ``kind``: of file system.

    Raises ToolError with all that differs.
    """
    texts = image_problems(path, layout, kind, tree, agent)
    problems = [Problem(text, Where(str(path))) for text in islice(texts, _MAX_PROBLEMS)]
    if problems:
        raise ToolError.many([Problem("the image read back is not what was written"), *problems])


def image_problems(path: Path, layout: Layout, kind: str, tree: Tree | None, agent: AgentFile | None) -> Iterator[str]:
    """What is wrong with an image, one sentence each. Without a tree only the frame and the agent are looked at."""
    with _opened(path) as fd:
        yield from _frame_problems(fd, layout)
        if layout.filesystem_size <= 0:
            return  # too short to hold a file system, which has been said
        try:
            reader = reader_of(kind, fd, layout)
            yield from reader.problems(layout.filesystem_size)
            if tree:
                yield from _tree_problems(reader, tree)
            if agent:
                yield from _agent_problems(reader, agent)
        except DamagedError as damage:
            yield f"the file system is damaged: {damage}"


def reader_of(kind: str, fd: int, layout: Layout) -> Reader:
    """Reader of an image (``kind``: ext4 or erofs), open as ``fd``; only its own is loaded. Raises DamagedError."""
    if kind == "erofs":
        from .erofs_read import ErofsReader

        return ErofsReader(fd, layout.start, layout.filesystem_size)
    from .ext4_read import Ext4Reader

    return Ext4Reader(fd, layout.start, layout.filesystem_size)


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise ToolError(f"cannot read {path}: {error.strerror}") from error
    try:
        yield fd
    except OSError as error:
        raise ToolError(f"cannot read {path}: {error.strerror}") from error
    finally:
        os.close(fd)


def _frame_problems(fd: int, layout: Layout) -> Iterator[str]:
    """File size, partition tables, DAX header."""
    size = os.fstat(fd).st_size
    if size != layout.size:
        yield f"it is {size} bytes long, not {layout.size}"
    if layout.filesystem_size <= 0:
        yield f"the image ends at {size}, before its file system begins at {layout.start}"
    for offset, wanted in layout.tables if layout.filesystem_size > 0 else ():
        try:
            found = mbr.partitions_of(os.pread(fd, mbr.SIZE, offset))
        except ValueError as error:
            yield f"the partition table at {offset} is wrong: {error}"
            continue
        beyond = [p for p in found if offset + p.start + p.size > size]
        if beyond:
            yield f"the partition table at {offset} names {_partitions(found)}, but the image ends at {size}"
        elif found != wanted:
            yield f"the partition table at {offset} names {_partitions(found)}, not {_partitions(wanted)}"
    block = os.pread(fd, dax.SIZE, dax.OFFSET)
    if layout.dax:
        wrong = dax.pfn_problem(block)
        if wrong:
            yield f"the DAX header is wrong: {wrong}"
    elif block.strip(b"\0"):
        yield "there is something where an image without DAX has nothing"


def _partitions(partitions: tuple[mbr.Partition, ...]) -> str:
    return " and ".join(f"{p.size} bytes at {p.start}" for p in partitions) or "no partition"


def _tree_problems(reader: Reader, tree: Tree) -> Iterator[str]:
    """Every path, both ways: what is there and should not be, what differs, what is missing."""
    linked = hard_links(tree.walk())
    inode_of: dict[int, int] = {}
    compared: set[int] = set()
    found: set[bytes] = set()
    for path, inode in walk(reader):
        if path in found:
            yield f"{shown(path)} is there twice"
        found.add(path)
        node = tree.get(path)
        if node is None:
            yield f"{shown(path)} is there and should not be"
            continue
        yield from (f"{shown(path)} {text}" for text in _node_problems(inode, node))
        if stat.S_ISDIR(inode.mode):
            continue
        if inode_of.setdefault(id(node), inode.number) != inode.number:
            yield f"{shown(path)} is not the hard link it should be"
        names = len(linked.get(id(node), (path,)))
        if inode.links != names:
            yield f"{shown(path)} has {inode.links} links, not {names}"
        if node.content and inode.number not in compared:
            compared.add(inode.number)
            yield from (f"{shown(path)} {text}" for text in _content_problems(reader, inode, node.content))
    if len(set(inode_of.values())) != len(inode_of):
        yield "files that should be separate share an inode"
    for path, _ in tree.walk() if len(found) < len(tree) else ():
        if path not in found:
            yield f"{shown(path)} is missing"


def _node_problems(inode: Inode, node: Node) -> Iterator[str]:
    owner = (inode.uid, inode.gid)
    if stat.S_IFMT(inode.mode) != node.kind.value:
        yield f"is a {stat.filemode(inode.mode)[0]!r}, not a {stat.filemode(node.kind.value)[0]!r}"
        return
    if stat.S_IMODE(inode.mode) != node.mode:
        yield f"has the mode {stat.S_IMODE(inode.mode):04o}, not {node.mode:04o}"
    if owner != (node.uid, node.gid):
        yield f"belongs to {owner[0]}:{owner[1]}, not {node.uid}:{node.gid}"
    if set(inode.times) != {node.mtime}:
        yield f"has the times {inode.times}, not {node.mtime}"
    if inode.target != node.target:
        yield f"leads to {shown(inode.target)[1:]}, not {shown(node.target)[1:]}"
    if inode.rdev != node.rdev:
        yield f"is the device {inode.rdev}, not {node.rdev}"
    if inode.xattrs != node.xattrs:
        yield "has other extended attributes"
    if not stat.S_ISDIR(inode.mode) and inode.size != node.size:
        yield f"has {inode.size} bytes, not {node.size}"


def _content_problems(reader: Reader, inode: Inode, content: Content) -> Iterator[str]:
    """Compare the bytes of every block the file has, and see that no data lies in its holes."""
    size = reader.block_size
    stretches = [(run.logical * size, (run.logical + run.length) * size) for run in inode.runs]
    if inode.tail:
        at = stretches[-1][1] if stretches else 0
        stretches.append((at, at + len(inode.tail)))
    covered: list[tuple[int, int]] = []
    for start, end in stretches:
        joined = covered.pop()[0] if covered and covered[-1][1] == start else start
        covered.append((joined, end))
    for offset, length in content.ranges:
        index = bisect_right(covered, (offset, inode.size + size)) - 1
        if index < 0 or covered[index][1] < offset + length:
            yield "has a hole where its data should be"
            return
    for start, end in stretches:
        for at in range(start, end, CHUNK):
            length = min(CHUNK, end - at)
            if reader.read(inode, at, length) != read_padded(content, at, length):
                yield f"differs in its bytes {at} to {at + length}"
                return


def _agent_problems(reader: Reader, agent: AgentFile) -> Iterator[str]:
    inode = lookup(reader, agent.path)
    if inode is None or not stat.S_ISREG(inode.mode):
        yield f"there is no agent at {shown(agent.path)}"
        return
    if not inode.mode & 0o111:
        yield f"the agent at {shown(agent.path)} is not executable"
    if not inode.clusters and inode.size > reader.blocks * reader.block_size:  # what is compressed may well be larger
        yield f"the agent at {shown(agent.path)} claims to have {inode.size} bytes"
        return
    digest = hashlib.sha256()
    for at in range(0, inode.size, CHUNK):
        digest.update(reader.read(inode, at, min(CHUNK, inode.size - at)))
    if digest.hexdigest() != agent.sha256:
        yield f"the agent at {shown(agent.path)} has the digest {digest.hexdigest()}, not {agent.sha256}"
