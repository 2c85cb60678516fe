"""Extended attributes of EROFS: a header of 12 bytes behind the inode, then each on a multiple of four."""

from __future__ import annotations

import struct

from ..errors import InputError

_PREFIXES = {
    b"user.": 1,
    b"system.posix_acl_access": 2,
    b"system.posix_acl_default": 3,
    b"trusted.": 4,
    b"security.": 6,
}


def attributes(xattrs: tuple[tuple[bytes, bytes], ...]) -> bytes:
    """The bytes that follow an inode. Raises InputError for what EROFS cannot hold, saying only what is wrong."""
    if not xattrs:
        return b""
    body = bytearray(12)
    for name, value in xattrs:
        prefix = next((p for p in _PREFIXES if name.startswith(p)), None)
        if prefix is None:
            raise InputError(f"has the attribute {name!r}, which EROFS cannot hold")
        rest = name[len(prefix) :]
        if len(rest) > 0xFF or len(value) > 0xFFFF:
            raise InputError("has an extended attribute larger than EROFS allows")
        body += struct.pack("<BBH", len(rest), _PREFIXES[prefix], len(value)) + rest + value
        body += bytes(-len(body) % 4)
    if len(body) > 0xFFFF * 4:
        raise InputError("has more extended attributes than EROFS allows")
    return bytes(body)
