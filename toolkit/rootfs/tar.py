"""Reads tars: ustar, GNU and PAX, sparse files and extended attributes included; strict, streaming, hostile-proof.

Python's own tarfile takes a damaged header in the middle for the end of the archive; an image made from such a
tar would be silently incomplete. Here whatever is not understood is refused, and nothing is dropped.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from ..errors import InputError, Where
from . import tar_header as header
from . import tar_sparse as sparse
from .tar_header import BLOCK, number, padded, text
from .tar_pax import Pax, parse_records, xattrs_of
from .tree import CHUNK, Kind, Node, Tree, normalised, shown

_MAX_EXTENSION = 1 << 20  # bytes of one PAX header or GNU long name; real ones are a few hundred
_MAX_FILE = 1 << 44  # 16 TiB, what ext4 can hold with blocks of 4 KiB
_KINDS = {
    b"0": Kind.FILE, b"\0": Kind.FILE, b"7": Kind.FILE, b"S": Kind.FILE, b"2": Kind.SYMLINK, b"3": Kind.CHARACTER,
    b"4": Kind.BLOCK, b"5": Kind.DIRECTORY, b"6": Kind.FIFO,
}  # fmt: skip
_KEPT_OWNERS = 1024
_HARD_LINK = b"1"
_LINKS = (_HARD_LINK, b"2")


@dataclass(frozen=True, slots=True)
class Member:
    """One member: its path, and its node, or, for a hard link (``node`` None), the path it leads to."""

    path: bytes
    node: Node | None
    link: bytes = b""


class TarReader:
    """An uncompressed tar, open. Contents of its members can be read until it is closed.

    Raises InputError when it is missing or no regular file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise InputError(f"cannot read {path}: {error.strerror}") from error
        self._length = os.fstat(self._fd).st_size
        self._position = 0
        self._owners: dict[bytes, tuple[int, int, int]] = {}

    def __enter__(self) -> TarReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._fd)

    def bytes_at(self, position: int, length: int) -> bytes:
        """Bytes of the tar itself. Raises InputError when it ends before."""
        try:
            data = os.pread(self._fd, length, position)
        except OSError as error:
            raise InputError(f"cannot read {self.path}: {error.strerror}") from error
        if len(data) != length:
            raise self._wrong("the archive is cut short")
        return data

    def tree(self) -> Tree:
        """The whole archive as a tree. Raises InputError for whatever could lead outside it, or is damaged."""
        tree = Tree()
        for member in self:
            try:
                if member.node is None:
                    tree.link(member.path, member.link)
                else:
                    tree.add(member.path, member.node)
            except InputError as error:
                raise self._wrong(error.problems[0].message) from error
        return tree

    def __iter__(self) -> Iterator[Member]:
        """The members in order. Raises InputError."""
        defaults = Pax()
        self._position = 0
        while True:
            pax = Pax(defaults.records)
            block = self._next_header(pax, defaults)
            if block is None:
                return
            yield self._member(block, pax)

    def _next_header(self, pax: Pax, defaults: Pax) -> bytes | None:
        """The next real header; extension headers before it go into ``pax``. None at the end."""
        while True:
            block = self._block()
            if not block[0] and not block.strip(b"\0"):
                self._check_end()
                return None
            if not header.checksum_holds(block):
                raise self._wrong("a header is damaged (its checksum does not hold)")
            kind = header.TYPE.of(block)
            if kind == b"g":
                defaults.update(self._records(block))
                pax.update(defaults.records)
            elif kind in (b"x", b"X"):
                pax.update(self._records(block))
            elif kind == b"L":
                pax.update([(b"path", text(self._extension(block)))])
            elif kind == b"K":
                pax.update([(b"linkpath", text(self._extension(block)))])
            else:
                return block

    def _block(self) -> bytes:
        block = self.bytes_at(self._position, BLOCK)
        self._position += BLOCK
        return block

    def _extension(self, block: bytes) -> bytes:
        size = self._number(header.SIZE, block)
        if size > _MAX_EXTENSION:
            raise self._wrong(f"an extension header of {size} bytes is too large to be one")
        data = self.bytes_at(self._position, size)
        self._position += padded(size)
        return data

    def _records(self, block: bytes) -> list[tuple[bytes, bytes]]:
        try:
            return parse_records(self._extension(block))
        except InputError as error:
            raise self._wrong(error.problems[0].message) from error

    def _check_end(self) -> None:
        """After the end there may be zeros only: a second archive that follows would silently be lost."""
        while self._position < self._length:
            length = min(CHUNK, self._length - self._position)
            if self.bytes_at(self._position, length).strip(b"\0"):
                raise self._wrong("something follows the end of the archive", "concatenated archives are not read")
            self._position += length

    def _number(self, field: header.Field, block: bytes) -> int:
        try:
            value = number(field.of(block))
        except InputError as error:
            raise self._wrong(f"a header {error.problems[0].message}") from error
        if value < 0 and field is not header.MTIME:
            raise self._wrong("a header holds a negative number")
        return value

    def _mode_and_owner(self, block: bytes) -> tuple[int, int, int]:
        """Most members have the same few: what was read of one is kept for the others."""
        raw = block[header.MODE.offset : header.SIZE.offset]
        known = self._owners.get(raw)
        if known is None:
            fields = (header.MODE, header.UID, header.GID)
            mode, uid, gid = (self._number(field, block) for field in fields)
            known = (mode & 0o7777, uid, gid)
            if len(self._owners) < _KEPT_OWNERS:
                self._owners[raw] = known
        return known

    def _member(self, block: bytes, pax: Pax) -> Member:
        raw = pax.name or pax.get(b"path") or self._name(block)
        try:
            path = normalised(raw)
            node, link = self._node(block, pax, raw)
            if node is None:
                return Member(path, None, normalised(link))
        except InputError as error:
            if error.problems[0].where:
                raise
            raise self._wrong(f"the member {shown(raw)[1:]} {error.problems[0].message}") from error
        return Member(path, node)

    def _name(self, block: bytes) -> bytes:
        name = text(header.NAME.of(block))
        prefix = text(header.PREFIX.of(block)) if header.MAGIC.of(block)[:6] == header.USTAR[:6] else b""
        return prefix + b"/" + name if prefix else name

    def _node(self, block: bytes, pax: Pax, raw: bytes) -> tuple[Node | None, bytes]:
        if not raw:
            raise InputError("has no name")
        flag = header.TYPE.of(block)
        link = (pax.get(b"linkpath") or text(header.LINK.of(block))) if flag in _LINKS else b""
        size = pax.integer(b"size", self._number(header.SIZE, block))
        if flag == _HARD_LINK:
            if size:  # POSIX lets data follow, older programs wrote the size and no data: nobody can tell
                raise InputError("is a hard link that has a size")
            return None, link
        kind = _KINDS.get(flag)
        if kind is None:
            raise InputError(f"is of type {flag!r}, which is not supported")
        if flag in (b"0", b"\0") and raw.endswith(b"/"):
            kind = Kind.DIRECTORY  # how tars were before there was a type for folders
        if kind is Kind.SYMLINK and (not link or b"\0" in link):
            raise InputError("is a symbolic link to nowhere")
        # Only files have data; what other types say of their size means nothing (POSIX).
        content = self._content(block, pax, size) if kind is Kind.FILE else None
        device = kind in (Kind.CHARACTER, Kind.BLOCK)
        mode, uid, gid = self._mode_and_owner(block)
        return Node(
            kind=kind,
            mode=mode,
            uid=pax.integer(b"uid", uid),
            gid=pax.integer(b"gid", gid),
            mtime=pax.seconds(b"mtime", self._number(header.MTIME, block)),
            target=link if kind is Kind.SYMLINK else b"",
            rdev=(self._number(header.MAJOR, block), self._number(header.MINOR, block)) if device else (0, 0),
            xattrs=xattrs_of(pax) if pax.records else (),
            content=content,
        ), b""

    def _content(self, block: bytes, pax: Pax, size: int) -> TarContent:
        """A file's data, its holes worked out; the position moves behind it."""
        if not pax.records and header.TYPE.of(block) != b"S":  # as nearly always: no holes
            start = self._position
            if start + padded(size) > self._length:
                raise self._wrong("the archive is cut short")
            self._position = start + padded(size)
            return TarContent(self, size, ((0, size),), (start,)) if size else TarContent(self, 0, (), ())
        version = (pax.get(b"GNU.sparse.major"), pax.get(b"GNU.sparse.minor"))
        real, start = size, self._position
        end = start + padded(size)
        ranges = [(0, size)]
        if header.TYPE.of(block) == b"S":
            ranges, real = sparse.old_header(block, self._block)
            start = self._position
            end = start + padded(size)
        elif version == (b"1", b"0"):
            ranges, blocks = sparse.pax_1_0(self._block)
            real = pax.integer(b"GNU.sparse.realsize", 0)
            start += blocks * BLOCK
            size -= blocks * BLOCK
        elif version != (None, None):
            raise InputError("is sparse in a way that is not known")
        elif pax.get(b"GNU.sparse.size") is not None:
            map_ = pax.get(b"GNU.sparse.map")
            ranges = sparse.pax_0_1(map_) if map_ is not None else sparse.pax_0_0(pax.records)
            real = pax.integer(b"GNU.sparse.size", 0)
        if end > self._length:
            raise self._wrong("the archive is cut short")
        if real > _MAX_FILE:
            raise InputError(f"is {real} bytes long, more than a file system can hold")
        self._position = end
        found = sparse.checked(ranges, real, size)
        starts = []
        for _, length in found:
            starts.append(start)
            start += length
        return TarContent(self, real, found, tuple(starts))

    def _wrong(self, message: str, hint: str | None = None) -> InputError:
        return InputError(message, where=Where(str(self.path)), hint=hint)


def open_tar(path: Path) -> TarReader:
    """Open an uncompressed tar: iterate it for its members, or take its `TarReader.tree`. Raises InputError."""
    if not path.is_file():
        raise InputError(f"{path} is not a file" if path.exists() else f"{path} does not exist")
    return TarReader(path)
