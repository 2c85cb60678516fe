"""Which documents are known to satisfy their schema: jsonschema loads longer than a build that does nothing runs."""

from __future__ import annotations

import contextlib
import hashlib
import json
from pathlib import Path
from typing import Any

from ..pipeline.files import write_atomically
from .schema import Schema

_CODE = Path(__file__).with_name("schema.py")


class SoundnessMemo:
    """Remembers one document and schema in a folder of the cache. Only that it is sound: mistakes are found anew."""

    def __init__(self, folder: Path, value: Any, schema: Schema) -> None:
        hasher = hashlib.sha256(_CODE.read_bytes())
        hasher.update(json.dumps([value, schema], sort_keys=True).encode())
        self._mark = folder / hasher.hexdigest()[:32]

    def known(self) -> bool:
        """Whether it was found sound before."""
        return self._mark.exists()

    def remember(self) -> None:
        """It is sound. A cache that cannot be written changes nothing."""
        with contextlib.suppress(OSError):
            write_atomically(self._mark, b"")
