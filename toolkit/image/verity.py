"""dm-verity: a tree of digests over a file system, so that the guest refuses a block that was changed.

As ``veritysetup format --no-superblock`` writes it: format 1 (the salt before the data), SHA-256, blocks of 4 KiB, the
topmost level first. Format: Documentation/admin-guide/device-mapper/verity.rst.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

BLOCK = 4096
_DIGEST = 32
_PER_BLOCK = BLOCK // _DIGEST
_CHUNK_BLOCKS = 256
Read = Callable[[int, int], bytes]
Put = Callable[[int, bytes], None]


@dataclass(frozen=True, slots=True)
class Verity:
    """What a guest must know to check its root: ``root_hash`` and ``salt`` in hex, ``data_blocks`` of 4 KiB."""

    root_hash: str
    salt: str
    data_blocks: int

    @property
    def params(self) -> str:
        """As Kata's ``kernel_verity_params`` wants it."""
        return (
            f"root_hash={self.root_hash},salt={self.salt},data_blocks={self.data_blocks},"
            f"data_block_size={BLOCK},hash_block_size={BLOCK}"
        )


def parse(params: str) -> Verity:
    """The description in ``kernel_verity_params``. Raises ValueError when it is none, or of other block sizes."""
    fields = dict(part.split("=", 1) for part in params.split(",") if "=" in part)
    try:
        verity = Verity(fields["root_hash"], fields["salt"], int(fields["data_blocks"]))
        bytes.fromhex(verity.salt)
    except (KeyError, ValueError):
        raise ValueError(f"{params[:80]!r} does not describe a dm-verity image") from None
    if verity.params != params or verity.data_blocks <= 0:
        raise ValueError(f"{params[:80]!r} does not describe an image of ours")
    return verity


def tree_size(data_blocks: int) -> int:
    """The size in bytes of the digests over that many blocks; at least one block, since a partition is not empty."""
    return max(sum(_level_blocks(data_blocks)), 1) * BLOCK


def hash_tree(read: Read, data_blocks: int, salt: bytes, put: Put) -> Verity:
    """Describe ``data_blocks`` blocks that ``read(offset, length)`` gives; ``put(offset, block)`` gets their tree.

    Blocks of the tree come as they fill up, so that no more than one of each level is in memory.
    """
    salted = hashlib.sha256(salt)
    counts = list(_level_blocks(data_blocks))
    levels = [_Level(sum(counts[number + 1 :])) for number in range(len(counts))]
    root = b""

    def add(number: int, digest: bytes) -> None:
        nonlocal root
        if number == len(levels):
            root = digest
            return
        level = levels[number]
        level.pending += digest
        if len(level.pending) == BLOCK:
            close(number)

    def close(number: int) -> None:
        level = levels[number]
        block = bytes(level.pending.ljust(BLOCK, b"\0"))
        put((level.first + level.done) * BLOCK, block)
        level.pending, level.done = bytearray(), level.done + 1
        add(number + 1, _digest(salted, block))

    for digest in _digests(read, data_blocks, salted):
        add(0, digest)
    for number, level in enumerate(levels):
        if level.pending:
            close(number)
    return Verity(root.hex(), salt.hex(), data_blocks)


def holds(fd: int, start: int, hash_start: int, described: Verity) -> bool:
    """Whether a file's data from ``start`` and digests from ``hash_start`` are those described. Raises OSError."""
    differing = 0

    def compare(offset: int, block: bytes) -> None:
        nonlocal differing
        differing += os.pread(fd, len(block), hash_start + offset) != block

    def read(offset: int, length: int) -> bytes:
        return os.pread(fd, length, start + offset)

    found = hash_tree(read, described.data_blocks, bytes.fromhex(described.salt), compare)
    return found == described and not differing


@dataclass(slots=True)
class _Level:
    """A level of the tree: its ``first`` block, how many are ``done``, and the one that fills up."""

    first: int
    done: int = 0
    pending: bytearray = field(default_factory=bytearray)


def _digests(read: Read, data_blocks: int, salted: hashlib._Hash) -> Iterator[bytes]:
    zeros = bytes(BLOCK)
    of_zeros = _digest(salted, zeros)  # most of a sparse image
    for first in range(0, data_blocks, _CHUNK_BLOCKS):
        count = min(_CHUNK_BLOCKS, data_blocks - first)
        data = read(first * BLOCK, count * BLOCK)
        for at in range(0, count * BLOCK, BLOCK):
            block = data[at : at + BLOCK]
            yield of_zeros if block == zeros else _digest(salted, block)


def _digest(salted: hashlib._Hash, block: bytes) -> bytes:
    hasher = salted.copy()
    hasher.update(block)
    return hasher.digest()


def _level_blocks(data_blocks: int) -> Iterator[int]:
    """How many blocks each level has, the lowest first."""
    while data_blocks > 1:
        data_blocks = -(-data_blocks // _PER_BLOCK)
        yield data_blocks
