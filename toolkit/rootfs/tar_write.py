"""Writes the one tar a root file system becomes: sorted, PAX where needed, numeric owners, nothing of this machine.

Names that are not plain ASCII or too long, large numbers, extended attributes and holes go into PAX headers; all
the rest is plain ustar, which every program reads.
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from ..errors import ToolError
from . import tar_header as header
from .tar_header import BLOCK, Field, fits_octal, octal, padded
from .tar_pax import format_records, xattr_records
from .tree import CHUNK, Content, Kind, Node, Tree, hard_links, read_padded

_TYPES = {
    Kind.FILE: b"0", Kind.SYMLINK: b"2", Kind.CHARACTER: b"3", Kind.BLOCK: b"4", Kind.DIRECTORY: b"5", Kind.FIFO: b"6"
}  # fmt: skip
_RECORD = 20 * BLOCK  # archives are padded to whole records of 20 blocks, as tar(1) does
_PAX_NAME = b"././@PaxHeader"  # what programs without PAX would call the extension header
_Records = list[tuple[bytes, bytes]]


def write_tar(tree: Tree, path: Path) -> None:
    """Write a tree as a tar. The same tree gives the same bytes. Raises ToolError, InputError (a source is gone)."""
    links = hard_links(tree.walk())
    try:
        with path.open("xb") as out:
            for name, node in tree.walk():
                linked = links[id(node)][0] if id(node) in links else name
                if linked != name:
                    out.write(_headers(name, Node(node.kind, node.mode, node.uid, node.gid, node.mtime), linked, 0))
                elif node.content:
                    _write_file(out, name, node, node.content)
                else:
                    out.write(_headers(name, node, None, 0))
            out.write(bytes(2 * BLOCK))
            out.write(bytes(-out.tell() % _RECORD))
    except OSError as error:
        raise ToolError(f"cannot write {path}: {error.strerror}") from error


def _write_file(out: BinaryIO, name: bytes, node: Node, content: Content) -> None:
    pieces = _pieces(content)
    map_ = _sparse_map(content.size, pieces)
    stored = len(map_) + sum(length for _, length in pieces)
    out.write(_headers(name, node, None, stored, sparse=bool(map_)))
    out.write(map_)
    for start, length in pieces:
        for at in range(start, start + length, CHUNK):
            out.write(read_padded(content, at, min(CHUNK, start + length - at)))
    out.write(bytes(padded(stored) - stored))


def _pieces(content: Content) -> list[tuple[int, int]]:
    """What is stored of a file, as (offset, length).

    Holes shrink to whole blocks: GNU tar lets every piece begin a new block, others put them end to end, and they
    agree only on pieces of whole blocks.
    """
    pieces: list[tuple[int, int]] = []
    for offset, length in content.ranges:
        start, end = offset // BLOCK * BLOCK, min(padded(offset + length), content.size)
        if pieces and sum(pieces[-1]) >= start:
            start = pieces.pop()[0]
        pieces.append((start, end - start))
    return pieces


def _sparse_map(size: int, pieces: list[tuple[int, int]]) -> bytes:
    """The PAX 1.0 map at the head of a sparse file's data; empty for a file without holes."""
    if not size or pieces == [(0, size)]:
        return b""
    if not pieces or sum(pieces[-1]) < size:
        pieces = [*pieces, (size, 0)]  # GNU tar wants an empty piece at the end to see a hole there
    lines = [len(pieces), *(n for pair in pieces for n in pair)]
    text = b"".join(b"%d\n" % n for n in lines)
    return text + bytes(padded(len(text)) - len(text))


def _headers(name: bytes, node: Node, linked: bytes | None, size: int, *, sparse: bool = False) -> bytes:
    """The header of a member, with its PAX header before it where one is needed."""
    if node.kind is Kind.DIRECTORY:
        name = name + b"/" if name else b"./"
    records: _Records = []
    fields: dict[Field, bytes] = {
        header.MODE: octal(node.mode, header.MODE.length),
        header.TYPE: b"1" if linked is not None else _TYPES[node.kind],
        header.MAJOR: octal(node.rdev[0], header.MAJOR.length),
        header.MINOR: octal(node.rdev[1], header.MINOR.length),
    }
    link = linked if linked is not None else node.target
    if sparse:
        records += [(b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.name", name)]
        records.append((b"GNU.sparse.realsize", b"%d" % node.size))
    _put_text(fields, records, header.NAME, b"path", name)
    _put_text(fields, records, header.LINK, b"linkpath", link)
    _put_number(fields, records, header.UID, b"uid", node.uid)
    _put_number(fields, records, header.GID, b"gid", node.gid)
    _put_number(fields, records, header.SIZE, b"size", size)
    _put_number(fields, records, header.MTIME, b"mtime", node.mtime)
    if linked is None:
        records += xattr_records(node.xattrs)
    return _pax_header(records) + header.build(fields)


def _put_text(fields: dict[Field, bytes], records: _Records, field: Field, key: bytes, value: bytes) -> None:
    fields[field] = value[: field.length]
    if len(value) > field.length or not value.isascii():
        records.append((key, value))


def _put_number(fields: dict[Field, bytes], records: _Records, field: Field, key: bytes, value: int) -> None:
    fits = fits_octal(value, field.length)
    fields[field] = octal(value if fits else 0, field.length)
    if not fits:
        records.append((key, b"%d" % value))


def _pax_header(records: _Records) -> bytes:
    if not records:
        return b""
    texts = [v for k, v in records if k in (b"path", b"linkpath", b"GNU.sparse.name")]
    if not all(_is_utf8(v) for v in texts):
        # Without this a reader may take the names for UTF-8 and give up (POSIX.1-2008).
        records = [(b"hdrcharset", b"BINARY"), *records]
    data = format_records(records)
    head = {
        header.NAME: _PAX_NAME,
        header.MODE: octal(0o644, header.MODE.length),
        header.UID: octal(0, header.UID.length),
        header.GID: octal(0, header.GID.length),
        header.SIZE: octal(len(data), header.SIZE.length),
        header.MTIME: octal(0, header.MTIME.length),
        header.TYPE: b"x",
    }
    return header.build(head) + data + bytes(padded(len(data)) - len(data))


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True
