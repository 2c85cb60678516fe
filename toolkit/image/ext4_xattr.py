"""Extended attributes of ext4: in the inode's spare room when they fit, else in a block of their own."""

from __future__ import annotations

import struct

from ..errors import InputError

Attributes = tuple[tuple[bytes, bytes], ...]

_MAGIC = struct.pack("<I", 0xEA020000)
# Documentation/filesystems/ext4/attributes.rst. Access lists are there under an empty name.
_PREFIXES = ((1, b"user."), (4, b"trusted."), (6, b"security."))
_ACCESS_LISTS = {b"system.posix_acl_access": 2, b"system.posix_acl_default": 3}
# An access list as programs see it (include/uapi/linux/posix_acl_xattr.h): a version, then tag, permissions and id of
# each entry. On disk (fs/ext4/acl.h) the version is another, and only users and groups by number have an id.
_LIST_VERSION, _DISK_VERSION = struct.pack("<I", 2), struct.pack("<I", 1)
_LIST_ENTRY = struct.Struct("<HHI")
_WITH_ID = (2, 8)
_HEADER = 32
_MASK = 0xFFFFFFFF


def inline_attributes(attributes: Attributes, room: int) -> bytes | None:
    """The attributes as they lie in an inode, in at most ``room`` bytes; None when they do not fit.

    Raises InputError for names that ext4 does not have.
    """
    if not attributes:
        return b""
    body = _layout(attributes, 0, room - len(_MAGIC), hashed=False)
    return None if body is None else _MAGIC + body


def attribute_block(attributes: Attributes, size: int) -> bytes:
    """A block of attributes. Raises InputError when they do not fit one."""
    body = _layout(attributes, _HEADER, size - _HEADER, hashed=True)
    if body is None:
        raise InputError("has more extended attributes than a file system can hold")
    total = 0
    for hash_ in _entry_hashes(attributes):
        total = (total << 16 ^ total >> 16 ^ hash_) & _MASK
    return _MAGIC + struct.pack("<IIII", 1, 1, total, 0).ljust(_HEADER - len(_MAGIC), b"\0") + body


def _split(name: bytes, value: bytes) -> tuple[int, bytes, bytes]:
    """An attribute as it is on disk: the number of its prefix, the rest of its name, its value."""
    if name in _ACCESS_LISTS:
        return _ACCESS_LISTS[name], b"", _access_list(value)
    for index, prefix in _PREFIXES:
        if name.startswith(prefix):
            return index, name.removeprefix(prefix), value
    shown = name.decode(errors="backslashreplace")
    raise InputError(f"has the extended attribute {shown}, which cannot be carried over")


def _access_list(value: bytes) -> bytes:
    """An access list in the form that is on disk. Raises InputError."""
    if not value.startswith(_LIST_VERSION) or len(value) % _LIST_ENTRY.size != len(_LIST_VERSION):
        raise InputError("has an access list that is damaged")
    entries = _LIST_ENTRY.iter_unpack(value[len(_LIST_VERSION) :])
    return _DISK_VERSION + b"".join(
        _LIST_ENTRY.pack(tag, may, id_) if tag in _WITH_ID else struct.pack("<HH", tag, may)
        for tag, may, id_ in entries
    )


def _sorted(attributes: Attributes) -> list[tuple[int, bytes, bytes]]:
    """As the kernel wants them in a block: by prefix, length of the name, name."""
    split = [_split(name, value) for name, value in attributes]
    return sorted(split, key=lambda item: (item[0], len(item[1]), item[1]))


def _layout(attributes: Attributes, base: int, room: int, *, hashed: bool) -> bytes | None:
    """Entries from the front, values from the back; offsets count from ``base`` bytes before."""
    entries, values = b"", b""
    for (index, name, value), hash_ in zip(_sorted(attributes), _entry_hashes(attributes), strict=True):
        padded = value + bytes(-len(value) % 4)
        values = padded + values
        offset = base + room - len(values) if value else 0
        if len(name) > 255 or len(entries) + len(values) > room:
            return None
        entries += struct.pack("<BBHIII", len(name), index, offset, 0, len(value), hash_ if hashed else 0)
        entries += name + bytes(-len(name) % 4)
    entries += bytes(4)  # an empty entry ends the list
    if len(entries) + len(values) > room:
        return None
    return entries + bytes(room - len(entries) - len(values)) + values


def _entry_hashes(attributes: Attributes) -> list[int]:
    found = []
    for _, name, value in _sorted(attributes):
        hash_ = 0
        for byte in name:
            hash_ = (hash_ << 5 ^ hash_ >> 27 ^ byte) & _MASK
        for (word,) in struct.iter_unpack("<I", value + bytes(-len(value) % 4)):
            hash_ = (hash_ << 16 ^ hash_ >> 16 ^ word) & _MASK
        found.append(hash_)
    return found
