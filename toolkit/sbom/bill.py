"""What a bill of materials says, whatever the format it is written in."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from ..components import Component

Role = Literal["agent", "kernel", "library", "package", "program", "root", "source", "tool", "toolkit"]
"""What a part is for. ``package``: in the root file system; ``root``: all of that; ``source``: what something was made
from; ``library``: linked into our programs; ``tool``: what built it, which is not in the set."""

Relation = Literal["BUILD_TOOL_OF", "CONTAINS", "GENERATED_FROM", "PATCH_FOR", "STATIC_LINK"]
"""As SPDX names them (SPDX 2.3, clause 11)."""

SET = "set"
"""The id of the set itself."""

SHORT = 12  # hex digits of a digest that stands for a version, or tells ids apart


def short_version(component: Component) -> str:
    """The version; where a thing has none, the beginning of its digest is the only name of what it is."""
    return component.version or f"sha256:{component.sha256[:SHORT]}"


def _id(name: str, *facts: object) -> str:
    """An id that stays the same for the same facts: good as SPDXRef-… and as a bom-ref."""
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    return f"{re.sub(r'[^A-Za-z0-9.]+', '-', name).strip('-')}-{digest[:SHORT]}"


@dataclass(frozen=True)
class Part:
    """One component and what it is for; ``note``: more that is known of it, in words."""

    component: Component
    role: Role
    note: str = ""

    @cached_property
    def id(self) -> str:
        """Unique in a bill."""
        return _id(self.component.name, self.role, self.component.as_json())


@dataclass(frozen=True)
class SetFile:
    """A file of the set; ``role`` as in manifest.json."""

    path: str
    sha256: str
    role: str

    @cached_property
    def id(self) -> str:
        """Unique in a bill."""
        return _id(f"file-{self.path.rpartition('/')[2]}", self.path, self.sha256)


@dataclass(frozen=True, slots=True)
class Link:
    """``one`` RELATION ``other``, both ids of parts or files, or `SET`."""

    one: str
    relation: Relation
    other: str


@dataclass(frozen=True, slots=True)
class Bill:
    """All of it, in an order that depends on nothing but the content."""

    name: str
    arch: str
    toolkit: str
    parts: tuple[Part, ...]
    files: tuple[SetFile, ...]
    links: tuple[Link, ...]

    @property
    def digest(self) -> str:
        """The sha256 of the files with their paths: what the set is."""
        return digest_of(self.files)


def digest_of(files: Iterable[SetFile]) -> str:
    """One sha256 for several files with their paths."""
    lines = sorted(f"{file.sha256}  {file.path}\n" for file in files)
    return hashlib.sha256("".join(lines).encode(errors="surrogateescape")).hexdigest()


def uuid_of(text: str) -> str:
    """A name in the form of a UUID (RFC 9562, version 8: what its bits mean is ours to say) out of a text's digest."""
    digits = list(hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:32])
    digits[12], digits[16] = "8", "89ab"[int(digits[16], 16) & 3]
    joined = "".join(digits)
    return "-".join((joined[:8], joined[8:12], joined[12:16], joined[16:20], joined[20:]))
