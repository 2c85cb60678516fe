"""Layers of a container image, applied one on the other: OCI image-spec, layer.md.

A whiteout (``.wh.NAME``) takes away what lower layers have under that name; ``.wh..wh..opq`` all that they have in
its folder. Both act on lower layers only, wherever in their own layer they stand.
"""

from __future__ import annotations

from ..errors import InputError
from .tar import Member, TarReader
from .tree import Kind, Tree, shown

_WHITEOUT = b".wh."
_OPAQUE = b".wh..wh..opq"
_AUFS = b".wh..wh."  # its own notes, which mean nothing to others


def apply_layer(tree: Tree, layer: TarReader) -> None:
    """Change the tree as the layer says; the layer must stay open as long as the tree is used.

    Raises InputError for a whiteout that could act elsewhere, and whatever else could lead out of the root.
    """
    with layer.named():
        for member in layer:
            _whiteout(tree, member)
        for member in layer:
            if not member.path.rpartition(b"/")[2].startswith(_WHITEOUT):
                _add(tree, member)


def _whiteout(tree: Tree, member: Member) -> None:
    """Take away what a member says, if it is a whiteout."""
    folder, _, name = member.path.rpartition(b"/")
    if name == _OPAQUE:
        _empty(tree, tree.resolved(member.path).rpartition(b"/")[0])
    elif name.startswith(_WHITEOUT) and not name.startswith(_AUFS):
        hidden = name.removeprefix(_WHITEOUT)
        if hidden in (b"", b".", b".."):
            raise InputError(f"the layer has a whiteout of no name: {shown(member.path)}")
        tree.remove(tree.resolved(folder + b"/" + hidden if folder else hidden))


def _empty(tree: Tree, folder: bytes) -> None:
    """Take out all that is in a folder; the folder itself stays."""
    node = tree.get(folder)
    if node and node.kind is Kind.DIRECTORY:
        tree.remove(folder, itself=False)


def _add(tree: Tree, member: Member) -> None:
    place = tree.resolved(member.path)
    there = tree.get(place)
    if there and there.kind is Kind.DIRECTORY and (member.node is None or member.node.kind is not Kind.DIRECTORY):
        if not place:
            raise InputError("the layer's root is not a folder")
        tree.remove(place)  # a file where lower layers have a folder
    if member.node is None:
        tree.link(place, tree.resolved(member.link))
    else:
        tree.add(place, member.node)
