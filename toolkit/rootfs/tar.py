"""Reads tars: ustar, GNU and PAX, sparse files and extended attributes included; strict, streaming, hostile-proof.

Python's own tarfile takes a damaged header in the middle for the end of the archive; an image made from such a
tar would be silently incomplete. Here whatever is not understood is refused, and nothing is dropped.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from ..errors import InputError, Where
from . import tar_header as header
from .tar_content import SparseContent, TarContent
from .tar_header import BLOCK, number, padded, text
from .tar_pax import Pax, parse_records, xattrs_of
from .tar_sparse import checked, map_of
from .tree import CHUNK, Kind, Node, Tree, normalised, shown

_MAX_EXTENSION = 1 << 20  # bytes of PAX headers and GNU long names before one member; real ones are a few hundred
_MAX_DEFAULTS = 1 << 16  # bytes of the records that hold for all members
_MAX_FILE = 1 << 44  # 16 TiB, what ext4 can hold with blocks of 4 KiB
_MAX_OWNER = 0xFFFFFFFE  # the one above means "none" (chown(2))
_MAX_MAJOR, _MAX_MINOR = 0xFFF, 0xFFFFF  # include/linux/kdev_t.h
_KINDS = {
    b"0": Kind.FILE, b"\0": Kind.FILE, b"7": Kind.FILE, b"S": Kind.FILE, b"2": Kind.SYMLINK, b"3": Kind.CHARACTER,
    b"4": Kind.BLOCK, b"5": Kind.DIRECTORY, b"6": Kind.FIFO,
}  # fmt: skip
_KEPT_OWNERS = 1024
_HARD_LINK = b"1"
_LINKS = (_HARD_LINK, b"2")
# What makes no sense for all members of an archive alike; programs read it in different ways.
_NO_DEFAULTS = (b"path", b"linkpath", b"size", b"GNU.sparse.")


@dataclass(frozen=True, slots=True)
class Member:
    """One member: its path, and its node, or, for a hard link (``node`` None), the path it leads to."""

    path: bytes
    node: Node | None
    link: bytes = b""


class TarReader:
    """An uncompressed tar, open. Contents of its members can be read until it is closed. ``name``: in messages.

    Raises InputError when it is missing or no regular file.
    """

    def __init__(self, path: Path, name: str | None = None) -> None:
        self._name = name or str(path)
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise InputError(f"cannot read {self._name}: {error.strerror}") from error
        self._length = os.fstat(self._fd).st_size
        self._position = 0
        self._header = 0  # where the header that is read begins
        self._extended = 0  # bytes of extended headers that belong to it
        self._last: bytes | None = None  # the member before it
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
            raise InputError(f"cannot read {self._name}: {error.strerror}") from error
        if len(data) != length:
            raise self._damaged("the archive is cut short")
        return data

    def tree(self) -> Tree:
        """The whole archive as a tree. Raises InputError for whatever could lead outside it, or is damaged."""
        tree = Tree()
        with self.named():
            for member in self:
                if member.node is None:
                    tree.link(member.path, member.link)
                else:
                    tree.add(member.path, member.node)
        return tree

    @contextmanager
    def named(self) -> Iterator[None]:
        """What is wrong with what is done with its members is told with the archive's name."""
        try:
            yield
        except InputError as error:
            problem = error.problems[0]
            if problem.where:
                raise
            raise self._wrong(problem.message, problem.hint) from error

    def __iter__(self) -> Iterator[Member]:
        """The members in order. Raises InputError."""
        defaults = Pax()
        self._position, self._last = 0, None
        while True:
            pax = Pax(defaults.records)
            block = self._next_header(pax, defaults)
            if block is None:
                return
            yield self._member(block, pax)

    def _next_header(self, pax: Pax, defaults: Pax) -> bytes | None:
        """The next real header; extension headers before it go into ``pax``. None at the end."""
        self._extended = 0
        while True:
            self._header = self._position
            block = self._block()
            if not block[0] and not block.strip(b"\0"):
                if self._extended:
                    raise self._damaged("an extended header belongs to no member")
                self._check_end()
                return None
            if not header.checksum_holds(block):
                raise self._damaged("a header is damaged (its checksum does not hold)")
            kind = header.TYPE.of(block)
            if kind == b"g":
                self._read_defaults(block, pax, defaults)
            elif kind in (b"x", b"X"):
                pax.update(self._records(block))
            elif kind == b"L":
                pax.update([(b"path", text(self._extension(block)))])
            elif kind == b"K":
                pax.update([(b"linkpath", text(self._extension(block)))])
            else:
                return block

    def _read_defaults(self, block: bytes, pax: Pax, defaults: Pax) -> None:
        """A global header: its records hold for all members behind it."""
        before = self._extended
        records = self._records(block)
        self._extended = before
        wrong = next((key for key, _ in records if key.startswith(_NO_DEFAULTS)), None)
        if wrong:
            raise self._damaged(f"a header for all members sets their {wrong.decode(errors='backslashreplace')}")
        defaults.update(records)
        defaults.forget_overridden()
        if sum(len(key) + len(value) for key, value in defaults.records) > _MAX_DEFAULTS:
            raise self._damaged(f"headers for all members hold more than {_MAX_DEFAULTS >> 10} KiB")
        pax.update(records)

    def _block(self) -> bytes:
        block = self.bytes_at(self._position, BLOCK)
        self._position += BLOCK
        return block

    def _extension(self, block: bytes) -> bytes:
        size = self._number(header.SIZE, block)
        self._extended += BLOCK + size
        if self._extended > _MAX_EXTENSION:
            raise self._damaged(f"an extended header of {size} bytes is too large to be one")
        data = self.bytes_at(self._position, size)
        self._position += padded(size)
        return data

    def _records(self, block: bytes) -> list[tuple[bytes, bytes]]:
        data = self._extension(block)
        try:
            return parse_records(data)
        except InputError as error:
            raise self._damaged(error.problems[0].message) from error

    def _check_end(self) -> None:
        """After the end there may be zeros only: a second archive that follows would silently be lost."""
        while self._position < self._length:
            length = min(CHUNK, self._length - self._position)
            if self.bytes_at(self._position, length).strip(b"\0"):
                raise self._damaged("something follows the end of the archive", "concatenated archives are not read")
            self._position += length

    def _number(self, field: header.Field, block: bytes) -> int:
        try:
            value = number(field.of(block))
        except InputError as error:
            raise self._damaged(f"a header {error.problems[0].message}") from error
        if value < 0 and field is not header.MTIME:
            raise self._damaged("a header holds a negative number")
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
        raw = pax.name or pax.get(b"path") or self._name_of(block)
        try:
            path = normalised(raw)
            node, link = self._node(block, pax, raw)
            member = Member(path, node, b"" if node else normalised(link))
        except InputError as error:
            if error.problems[0].where:
                raise
            raise self._wrong(f"the member {shown(raw)[1:]} {error.problems[0].message}") from error
        self._last = raw
        return member

    def _name_of(self, block: bytes) -> bytes:
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
        mode, uid, gid = self._mode_and_owner(block)
        uid, gid = pax.integer(b"uid", uid), pax.integer(b"gid", gid)
        if uid > _MAX_OWNER or gid > _MAX_OWNER:
            raise InputError(f"belongs to {uid}:{gid}, beyond what Linux can name")
        return Node(
            kind=kind,
            mode=mode,
            uid=uid,
            gid=gid,
            mtime=pax.seconds(b"mtime", self._number(header.MTIME, block)),
            target=link if kind is Kind.SYMLINK else b"",
            rdev=self._device(block) if kind in (Kind.CHARACTER, Kind.BLOCK) else (0, 0),
            xattrs=xattrs_of(pax) if pax.records else (),
            content=content,
        ), b""

    def _device(self, block: bytes) -> tuple[int, int]:
        major, minor = self._number(header.MAJOR, block), self._number(header.MINOR, block)
        if major > _MAX_MAJOR or minor > _MAX_MINOR:
            raise InputError(f"is the device {major}:{minor}, beyond what Linux can name")
        return major, minor

    def _content(self, block: bytes, pax: Pax, size: int) -> TarContent | SparseContent:
        """A file's data, its holes worked out; the position moves behind it."""
        start = self._position
        holes = map_of(block, pax, self._block) if pax.records or header.TYPE.of(block) == b"S" else None
        data = self._position  # behind what told of the holes
        # The map of PAX 1.0 counts as a part of the member's data, extension blocks of GNU's old header do not.
        end = padded(size) + (start if holes and holes.inside else data)
        if end > self._length:
            raise self._damaged("the archive is cut short")
        self._position = end
        if holes is None:
            return TarContent(self, size, data)
        if holes.size > _MAX_FILE:
            raise InputError(f"is {holes.size} bytes long, more than a file system can hold")
        return SparseContent.of(self, holes.size, checked(holes, size - (data - start) * holes.inside), data)

    def _wrong(self, message: str, hint: str | None = None) -> InputError:
        return InputError(message, where=Where(self._name), hint=hint)

    def _damaged(self, message: str, hint: str | None = None) -> InputError:
        """What is wrong with the archive itself, and where in it."""
        behind = f", behind the member {shown(self._last)[1:]}" if self._last is not None else ""
        return self._wrong(f"{message}, at byte {self._header:,}{behind}", hint)


def open_tar(path: Path, name: str | None = None) -> TarReader:
    """Open an uncompressed tar: iterate it for its members, or take its `TarReader.tree`. Raises InputError.

    ``name``: what messages call it, such as the archive that it was unpacked from; the path if there is none.
    """
    if not path.is_file():
        raise InputError(f"{path} is not a file" if path.exists() else f"{path} does not exist")
    return TarReader(path, name)
