"""A root file system for a kernel with modules: they lie in it, and a program that loads them is what starts first."""

from __future__ import annotations

from pathlib import Path

from .minimal import AGENT, MOVED_AGENT
from .tree import Kind, Node, OnDisk, Tree

_KERNEL_LOG = b"dev/kmsg"  # where the loader speaks: no console has a driver yet (admin-guide/devices.txt)


def add_modules(tree: Tree, loader: Path, modules: Tree) -> None:
    """Move the agent aside, and add the loader in its place and /lib/modules.

    Raises InputError when the loader cannot be read, or something is in the way.
    """
    place = tree.resolved(AGENT)
    agent = tree.get(place)
    assert agent is not None  # noqa: S101 -- every root file system of ours has one
    tree.add(tree.resolved(MOVED_AGENT), agent)
    tree.add(place, Node(Kind.FILE, 0o755, content=OnDisk.of(loader)))
    tree.add(tree.resolved(_KERNEL_LOG), Node(Kind.CHARACTER, 0o600, rdev=(1, 11)))
    for path, node in modules.walk():
        target = tree.resolved(path)
        if target not in tree:
            tree.add(target, node)
