"""What a guest wrote to its console: kept (bounded), searched for a panic, and passed on if someone watches."""

from __future__ import annotations

import re
from collections.abc import Callable

_KEPT_BYTES = 1 << 20
_PANIC = re.compile(r"Kernel panic - not syncing|Oops: |BUG: unable to handle|Attempted to kill init")
# What a terminal would act on: a guest must not be able to write escape sequences into our messages.
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[^\n\t\x20-\x7e\x80-\U0010ffff]|[\x80-\x9f]")


class Console:
    """Collects a console's bytes; the oldest go first once there are more than 1 MiB."""

    def __init__(self, sink: Callable[[bytes], None] | None = None) -> None:
        self.written = 0  # bytes, those that are no longer kept included
        self._data = bytearray()
        self._sink = sink

    def feed(self, data: bytes) -> None:
        """Take what the guest wrote."""
        self.written += len(data)
        self._data += data
        if len(self._data) > _KEPT_BYTES:
            del self._data[: len(self._data) - _KEPT_BYTES]
        if self._sink and data:
            self._sink(data)

    @property
    def text(self) -> str:
        """All that is kept, without control characters."""
        return _CONTROL.sub("", bytes(self._data).decode(errors="replace").replace("\r", ""))

    def panic(self) -> str | None:
        """The line that says the kernel panicked, or None."""
        found = _PANIC.search(text := self.text)
        if found is None:
            return None
        start = text.rfind("\n", 0, found.start()) + 1
        return text[start:].split("\n", 1)[0].strip()

    def tail(self, lines: int = 20) -> list[str]:
        """Its last non-empty lines."""
        return [line for line in self.text.split("\n") if line.strip()][-lines:]
