"""PAX extended headers (POSIX.1-2001): their records, and the extended attributes that tars carry in them."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Sequence
from urllib.parse import unquote_to_bytes

from ..errors import InputError
from .tar_sparse import decimal

Records = Sequence[tuple[bytes, bytes]]

_STAR = b"SCHILY.xattr."
_LIBARCHIVE = b"LIBARCHIVE.xattr."
# What says who may do what but is no extended attribute: losing it would open or close doors unseen.
_REFUSED = (b"SCHILY.acl.", b"RHT.security.")
_XATTR_NAME_MAX, _XATTR_SIZE_MAX = 255, 65536  # include/uapi/linux/limits.h


class Pax:
    """The records that apply to one member; later ones override, repeated ones stay (sparse maps repeat)."""

    def __init__(self, records: Iterable[tuple[bytes, bytes]] = ()) -> None:
        self.records: list[tuple[bytes, bytes]] = []
        self._last: dict[bytes, bytes] = {}
        self.update(records)

    def update(self, records: Iterable[tuple[bytes, bytes]]) -> None:
        """Add records. An empty value takes the record back, as POSIX has it; an attribute may be empty."""
        for key, value in records:
            self.records.append((key, value))
            if value or key.startswith((_STAR, _LIBARCHIVE)):
                self._last[key] = value
            else:
                self._last.pop(key, None)

    def forget_overridden(self) -> None:
        """Keep only the records that hold."""
        self.records = list(self._last.items())

    def get(self, key: bytes) -> bytes | None:
        """The last value of a key, or None."""
        return self._last.get(key)

    def keys(self) -> list[bytes]:
        """The keys that hold, sorted."""
        return sorted(self._last)

    @property
    def name(self) -> bytes | None:
        """The real name of a sparse file: its plain one is made up."""
        return self.get(b"GNU.sparse.name")

    def integer(self, key: bytes, default: int) -> int:
        """A record that is a whole number. Raises InputError."""
        value = self.get(key)
        return default if value is None else decimal(value)

    def seconds(self, key: bytes, default: int) -> int:
        """A time in whole seconds, rounded down; it may be negative. Raises InputError."""
        value = self.get(key)
        if value is None:
            return default
        whole, _, fraction = value.partition(b".")
        below = bool(fraction.strip(b"0"))
        if whole.startswith(b"-"):
            return -decimal(whole[1:]) - below
        return decimal(whole)


def parse_records(data: bytes) -> list[tuple[bytes, bytes]]:
    """The "LENGTH KEY=VALUE\\n" records of an extended header, in order. Raises InputError when damaged."""
    records = []
    at = 0
    while at < len(data):
        space = data.find(b" ", at, at + 12)
        digits = data[at:space]
        if space < 0 or not digits.isdigit():
            raise InputError("an extended header is damaged")
        end = at + int(digits)
        key, equals, value = data[space + 1 : end - 1].partition(b"=")
        if end <= space or end > len(data) or data[end - 1 : end] != b"\n" or not equals:
            raise InputError("an extended header is damaged")
        records.append((key, value))
        at = end
    return records


def format_records(records: Records) -> bytes:
    """Records as an extended header's data. A record's length counts its own digits."""
    out = []
    for key, value in records:
        bare = len(key) + len(value) + 3
        length = bare + len(str(bare))
        length = bare + len(str(length))
        out.append(b"%d %s=%s\n" % (length, key, value))
    return b"".join(out)


def xattrs_of(pax: Pax) -> tuple[tuple[bytes, bytes], ...]:
    """The extended attributes of a member, sorted by name.

    Raises InputError for access lists and labels in forms that cannot be carried: they are never dropped.
    """
    found: dict[bytes, bytes] = {}
    for key in pax.keys():  # noqa: SIM118 -- not a mapping
        value = pax.get(key) or b""
        if key.startswith(_REFUSED):
            raise InputError(f"has {key.decode(errors='replace')}, which cannot be carried over")
        if key.startswith(_LIBARCHIVE):
            # libarchive writes both forms; where both are there they agree, and the plain one wins.
            found.setdefault(unquote_to_bytes(key.removeprefix(_LIBARCHIVE)), _base64(value))
        elif key.startswith(_STAR):
            found[key.removeprefix(_STAR)] = value
    for name, value in found.items():
        if not name or len(name) > _XATTR_NAME_MAX or b"\0" in name:
            raise InputError(f"has an extended attribute of the name {name[:300]!r}")
        if len(value) > _XATTR_SIZE_MAX:
            raise InputError(f"has an extended attribute of {len(value)} bytes")
    return tuple(sorted(found.items()))


def _base64(value: bytes) -> bytes:
    try:
        return base64.b64decode(value + b"=" * (-len(value) % 4), validate=True)
    except binascii.Error as error:
        raise InputError("has an extended attribute that is not base64") from error


def xattr_records(xattrs: Records) -> Records:
    """Extended attributes as records, in the form that star, GNU tar and container tools read."""
    return [(_STAR + name, value) for name, value in xattrs]
