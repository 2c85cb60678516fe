"""The block that makes a guest's NVDIMM driver map an image directly (DAX): ``struct nd_pfn_sb``.

Kernel source: drivers/nvdimm/pfn.h (layout), nd_fletcher64() in drivers/nvdimm/core.c (checksum). Without it the
namespace is raw: ext4 refuses to mount with ``dax``, and erofs silently mounts without.
"""

from __future__ import annotations

import struct

OFFSET = 4096  # where the driver looks, from the start of the namespace
SIZE = 4096
DATA_OFFSET = 2 << 20  # where /dev/pmem0 begins: the driver hides everything before it
ALIGNMENT = 2 << 20  # of the data, and so of the whole image: another size fails to probe (-95)

_SIGNATURE = b"NVDIMM_PFN_INFO\0"
_MODE_RAM = 1  # the guest keeps the struct pages in its own memory, not on the device
_VERSION = (0, 2)
# signature, uuid, parent_uuid, flags, version major and minor, dataoff, npfns, mode, start_pad, end_trunc, align
_FIELDS = struct.Struct("<16s16s16sIHHQQIIII")
_CHECKSUM_AT = SIZE - 8


def fletcher64(data: bytes) -> int:
    """The driver's checksum over little-endian 32-bit words: high sum << 32 | low sum."""
    low = high = 0
    for (word,) in struct.iter_unpack("<I", data):
        low = (low + word) & 0xFFFFFFFF
        high += low
    return (high & 0xFFFFFFFF) << 32 | low


def pfn_block() -> bytes:
    """The 4096 bytes; they do not depend on the image."""
    fields = _FIELDS.pack(_SIGNATURE, bytes(16), bytes(16), 0, *_VERSION, DATA_OFFSET, 0, _MODE_RAM, 0, 0, ALIGNMENT)
    body = fields.ljust(_CHECKSUM_AT, b"\0")
    return body + fletcher64(body + bytes(8)).to_bytes(8, "little")


def pfn_problem(block: bytes) -> str | None:
    """What is wrong with a block read back, or None."""
    if len(block) != SIZE or not block.startswith(_SIGNATURE):
        return "it has no NVDIMM_PFN_INFO signature"
    stored = int.from_bytes(block[_CHECKSUM_AT:], "little")
    if stored != fletcher64(block[:_CHECKSUM_AT] + bytes(8)):
        return "its checksum does not hold"
    found = _FIELDS.unpack_from(block)
    for name, value, wanted in zip(("dataoff", "align"), (found[6], found[11]), (DATA_OFFSET, ALIGNMENT), strict=True):
        if value != wanted:
            return f"{name} is {value}, not {wanted}"
    if found[8] != _MODE_RAM:
        return f"its mode is {found[8]}, not {_MODE_RAM}"
    return None
