"""What the kernel verbs share: a session that tells on stderr when it must work, and how lists are shown."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..events import Event
    from ..kernel_session import KernelSession


@contextmanager
def kernel_session(*, offline: bool, quiet: bool) -> Iterator[KernelSession]:
    """A session. What takes its time is told on stderr, unless ``quiet``; what is in the store is not worth a word."""
    from ..kernel_session import KernelSession

    with KernelSession(_silent if quiet else _tell, offline=offline).open() as session:
        yield session


def _silent(event: Event) -> None:
    pass


_WORKING = {
    "sources": "fetching the kernel's source",
    "kernel_source": "unpacking the kernel's source",
    "kernel": "taking the kernel's package apart",
    "kernel_resolved": "asking the kernel's conf",
    "kernel_tried": "trying with the kernel's conf what would switch it on",
}


def _tell(event: Event) -> None:
    from ..events import Note, Started

    if isinstance(event, Started):
        sys.stderr.write(f"{_WORKING.get(event.stage, event.stage)} …\n")
    elif isinstance(event, Note):
        sys.stderr.write(f"{event.text}\n")
    sys.stderr.flush()
