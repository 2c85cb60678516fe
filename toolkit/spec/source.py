"""Reads a text file that a person wrote, carefully: size, kind and encoding are checked before its content."""

from __future__ import annotations

import difflib
import hashlib
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError, Where

MAX_BYTES = 1 << 20

# Line breaks as libyaml counts them (YAML 1.1, section 5.4), so that our line numbers agree with its marks.
_LINE_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
# What YAML 1.2 (production c-printable) does not allow in a document.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff\ufeff\ufffe\uffff]")
_BYTE_ORDER_MARKS = (
    (b"\xef\xbb\xbf", "UTF-8 with a byte order mark", "save it without one, as plain UTF-8"),
    (b"\xff\xfe", "UTF-16", "convert it: iconv -f utf-16 -t utf-8"),
    (b"\xfe\xff", "UTF-16", "convert it: iconv -f utf-16 -t utf-8"),
)
_KINDS = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
)


@dataclass(frozen=True, slots=True)
class Source:
    """A text file as read: ``file`` is its name as the user gave it, ``digest`` the sha256 of its bytes."""

    file: str
    text: str
    digest: str

    @property
    def lines(self) -> list[str]:
        """The lines, without their ends, numbered as YAML numbers them."""
        return split_lines(self.text)


def split_lines(text: str) -> list[str]:
    """The lines of a YAML text, without their ends."""
    return _LINE_BREAK.split(text)


def kind_of(mode: int) -> str | None:
    """What a path is, in words, when it is not a regular file; None when it is one."""
    if stat.S_ISREG(mode):
        return None
    return next((words for test, words in _KINDS if test(mode)), "not a regular file")


def read_source(path: Path, *, max_bytes: int = MAX_BYTES) -> Source:
    """Read a UTF-8 text file of at most ``max_bytes`` bytes.

    Nothing is read from what is too big, and a pipe or a device is never opened. Raises InputError.
    """
    file = str(path)
    data = _read_bytes(path, Where(file), max_bytes)
    return Source(file, _decode(data, file), hashlib.sha256(data).hexdigest())


def _read_bytes(path: Path, where: Where, max_bytes: int) -> bytes:
    try:
        _refuse_kind(path.stat(), where)
        # O_NONBLOCK: should a pipe have taken the file's place meanwhile, opening it must not wait for a writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as stream:
            status = os.fstat(stream.fileno())
            _refuse_kind(status, where)
            data = b"" if status.st_size > max_bytes else stream.read(max_bytes + 1)
    except FileNotFoundError as error:
        raise InputError("no such file", where=where, hint=_similar_file(path)) from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise InputError(f"cannot be read: {reason}", where=where) from error
    if status.st_size > max_bytes or len(data) > max_bytes:
        size = max(status.st_size, len(data))
        raise InputError(
            f"is {size / (1 << 20):,.1f} MiB; at most {max_bytes / (1 << 20):g} MiB is read",
            where=where,
            hint="is it the right file?",
        )
    return data


def _refuse_kind(status: os.stat_result, where: Where) -> None:
    kind = kind_of(status.st_mode)
    if kind:
        raise InputError(f"is {kind}, not a file" if kind != "not a regular file" else f"is {kind}", where=where)


def _similar_file(path: Path) -> str | None:
    try:
        names = sorted(entry.name for entry in path.parent.iterdir() if entry.is_file())
    except OSError:
        return None
    close = difflib.get_close_matches(path.name, names, n=1)
    return f"did you mean {path.parent / close[0]}?" if close else None


def _decode(data: bytes, file: str) -> str:
    for mark, name, hint in _BYTE_ORDER_MARKS:
        if data.startswith(mark):
            raise InputError(f"is {name}, not plain UTF-8", where=Where(file, 1, 1), hint=hint)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        where = _position(data[: error.start].decode("utf-8"), file)
        raise InputError(
            f"the byte 0x{data[error.start]:02x} is not UTF-8", where=where, hint="save the file as UTF-8"
        ) from error
    bad = _UNPRINTABLE.search(text)
    if bad:
        raise InputError(
            f"the control character U+{ord(bad.group()):04X} is not allowed in a text file",
            where=_position(text[: bad.start()], file),
            hint="remove it" if bad.group() != "\0" else "is it a binary file?",
        )
    return text


def _position(before: str, file: str) -> Where:
    """The place right after ``before``, the text from the start of the file."""
    lines = split_lines(before)
    return Where(file, len(lines), len(lines[-1]) + 1)
