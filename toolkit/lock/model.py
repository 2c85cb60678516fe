"""What a lock file holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import Where


@dataclass(frozen=True, slots=True)
class Locked:
    """One wish of a spec, and what it was resolved to; both JSON."""

    request: Mapping[str, Any]
    answer: Mapping[str, Any]

    def records(self) -> list[Mapping[str, Any]]:
        """The answer as records: one a package, or the answer itself."""
        packages = self.answer.get("packages")
        return list(packages) if isinstance(packages, list) else [self.answer]


@dataclass(frozen=True, slots=True)
class Lock:
    """One lock file. ``inputs`` by the wish's place in the spec, ``tools`` by name: all that decide bytes.

    ``toolkit``: the version of kata-toolkit that wrote it, for information. ``file`` and ``digest`` (of its bytes)
    are empty for a lock that was not read from a file; ``where`` has the place of each entry in it.
    """

    toolkit: str
    inputs: Mapping[str, Locked]
    tools: Mapping[str, str]
    file: str = ""
    digest: str = ""
    where: Mapping[str, Where] = field(default_factory=dict)

    def says_as(self, other: Lock) -> bool:
        """Whether both hold the same, whoever wrote them."""
        return (self.inputs, self.tools) == (other.inputs, other.tools)

    def names(self) -> Iterator[str]:
        """All that ``--update`` can name: wishes, and the packages in their answers."""
        for key, locked in self.inputs.items():
            yield key
            for record in locked.records():
                if name := name_of(record):
                    yield name


def name_of(record: Mapping[str, Any]) -> str:
    """What a package, an image or the like is called; empty for what has no name."""
    return str(record.get("name") or record.get("package") or record.get("reference") or "")


def version_of(record: Mapping[str, Any]) -> str:
    """What tells one record of a name from another, for a person: its version, else the start of its digest."""
    digest = str(record.get("sha256") or record.get("digest") or "")
    return str(record.get("version") or digest.removeprefix("sha256:")[:12])
