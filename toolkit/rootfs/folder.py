"""A folder on the host as a root file system: for trees that another tool made.

Everything in it belongs to root: whose files they are on the host says nothing about the guest. Permissions, links,
device nodes and the attributes that travel (``user.*``, file capabilities) are kept; times are the epoch, so that a
copy of the folder gives the same bytes. What cannot be in an image is refused.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
from collections.abc import Collection, Iterator
from pathlib import Path

from ..errors import InputError, ToolError, Where
from ..pipeline.files import read_json, write_atomically
from .tree import Kind, Node, OnDisk, Tree, chunks, shown

_KINDS = {kind.value: kind for kind in Kind}
_KEPT = (b"user.", b"security.capability")  # other attributes are the host's own labels


def folder_tree(folder: Path, leave_out: Collection[bytes] = ()) -> Tree:
    """The tree, without what is named in ``leave_out`` at its top.

    Raises InputError, naming what cannot be read or has no place in an image.
    """
    tree = Tree()
    nodes: dict[tuple[int, int], bytes] = {}
    for path, entry in _entries(folder, leave_out):
        try:
            info = os.lstat(entry)
            linked = info.st_nlink > 1 and not stat.S_ISDIR(info.st_mode)
            first = nodes.setdefault((info.st_dev, info.st_ino), path) if linked else path
            if first != path:
                tree.link(path, first)
            else:
                tree.add(path, _node(entry, info, path))
        except OSError as error:
            raise InputError(f"cannot read {os.fsdecode(entry)}: {error.strerror}", hint=_HINT) from error
        except InputError as error:
            problem = error.problems[0]
            raise InputError(problem.message, where=problem.where or Where(str(folder)), hint=problem.hint) from error
    return tree


_HINT = "everything in the folder must be readable by whoever builds; as a tar it may hold any owner and mode"


def _node(entry: bytes, info: os.stat_result, path: bytes) -> Node:
    kind = _KINDS.get(stat.S_IFMT(info.st_mode))
    if kind is None:
        raise InputError(f"{shown(path)} is a socket, which no image can hold", hint="leave it out of the folder")
    mode = 0o777 if kind is Kind.SYMLINK else stat.S_IMODE(info.st_mode)
    names = sorted(os.fsencode(name) for name in os.listxattr(entry, follow_symlinks=False))
    xattrs = tuple((n, os.getxattr(entry, n, follow_symlinks=False)) for n in names if n.startswith(_KEPT))
    if kind is Kind.SYMLINK:
        return Node(kind, mode, target=os.readlink(entry), xattrs=xattrs)  # noqa: PTH115 -- a path of bytes
    if kind is Kind.FILE:
        with open(entry, "rb"):  # noqa: PTH123 -- a path of bytes; unreadable ones are found now
            return Node(kind, mode, xattrs=xattrs, content=OnDisk(Path(os.fsdecode(entry)), info.st_size))
    rdev = (os.major(info.st_rdev), os.minor(info.st_rdev)) if kind in (Kind.CHARACTER, Kind.BLOCK) else (0, 0)
    return Node(kind, mode, rdev=rdev, xattrs=xattrs)


def folder_identity(folder: Path, cache: Path, leave_out: Collection[bytes] = ()) -> str:
    """The sha256 of all that goes into the tree; remembered while no file's size and times change.

    ``leave_out`` as of `folder_tree`.

    Raises InputError.
    """
    fingerprint = _fingerprint(folder, leave_out)
    key = b"\0".join([os.fsencode(folder.absolute()), *leave_out])
    memo = cache / "folders" / f"{hashlib.sha256(key).hexdigest()[:32]}.json"
    known = read_json(memo, {})
    if known.get("fingerprint") != fingerprint:
        known = {"fingerprint": fingerprint, "content": _content(folder_tree(folder, leave_out))}
        write_atomically(memo, json.dumps(known).encode())
    return str(known["content"])


def _content(tree: Tree) -> str:
    hasher = hashlib.sha256()
    numbers: dict[int, int] = {}
    for path, node in tree.walk():
        facts = [path, node.kind.name.encode(), b"%o" % node.mode, node.target, b"%d:%d" % node.rdev]
        facts += [part for attribute in node.xattrs for part in attribute]
        facts.append(b"%d" % numbers.setdefault(id(node), len(numbers)))
        if node.content:
            inner = hashlib.sha256()
            for _, data in chunks(node.content):
                inner.update(data)
            facts.append(inner.digest())
        hasher.update(b"".join(len(fact).to_bytes(4, "little") + fact for fact in facts))
    return hasher.hexdigest()


def write_out(tree: Tree, target: Path) -> None:
    """Write a folder's tree to the new folder ``target``, for tools that want to write beside the sources.

    Raises InputError for what is no file, folder or relative link; ToolError for the disk.
    """
    try:
        for path, node in tree.walk():
            here = target / os.fsdecode(path)
            if node.kind is Kind.DIRECTORY:
                here.mkdir(parents=True)
            elif node.kind is Kind.SYMLINK and not node.target.startswith(b"/"):
                here.symlink_to(os.fsdecode(node.target))
            elif isinstance(node.content, OnDisk):
                shutil.copyfile(node.content.path, here)
                here.chmod(0o755 if node.mode & 0o100 else 0o644)
            else:
                raise InputError(f"{shown(path)} is no file, folder or relative link", hint="leave it out")
    except OSError as error:
        raise ToolError(f"cannot copy the folder to {target}: {error.strerror}") from error


def _fingerprint(folder: Path, leave_out: Collection[bytes]) -> str:
    hasher = hashlib.sha256()
    for path, entry in _entries(folder, leave_out):
        info = os.lstat(entry)
        hasher.update(b"%s\0%d %d %d %d\n" % (path, info.st_size, info.st_ino, info.st_mtime_ns, info.st_ctime_ns))
    return hasher.hexdigest()


def _entries(folder: Path, leave_out: Collection[bytes] = ()) -> Iterator[tuple[bytes, bytes]]:
    """(path below the folder, path on the host) of everything, the folder itself first, in a fixed order."""
    root = os.fsencode(folder)
    yield b"", root
    left = [b""]
    while left:
        above = left.pop()
        here = root + b"/" + above if above else root
        try:
            with os.scandir(here) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except OSError as error:
            raise InputError(f"cannot read {os.fsdecode(here)}: {error.strerror}", hint=_HINT) from error
        for entry in entries:
            if not above and entry.name in leave_out:
                continue
            path = above + b"/" + entry.name if above else entry.name
            yield path, here + b"/" + entry.name
            if entry.is_dir(follow_symlinks=False):
                left.append(path)
