"""Files that a spec gives, by path or by url."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class GivenFile:
    """A file given by path or by url; ``sha256`` is required with a url."""

    path: Path | None = None
    url: str | None = None
    sha256: str | None = None

    @property
    def name(self) -> str:
        """The file's own name, for messages and logs."""
        return Path(self.path or self.url or "").name
