"""Locks between processes: released by the kernel when their holder dies, however it dies."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def locked(file: Path, *, wait: bool = True) -> Iterator[bool]:
    """Hold a lock file; yields whether we got it, which without ``wait`` may be False. Raises OSError."""
    from filelock import FileLock, Timeout  # 25 ms, which a build with nothing to do can save

    lock = FileLock(str(file))
    try:
        lock.acquire(timeout=-1 if wait else 0)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()
