"""Takes a file apart as the runtime does: tables, keys that are known, and keys that are not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from .document import Document
from .findings import Place
from .known import TABLES, Known, Match
from .positions import Path


@dataclass(frozen=True, slots=True)
class Item:
    """A key with its value, in a table that the runtime knows.

    ``table`` is ours (``hypervisor.factory``), ``owner`` the name in the file of what lies in ``hypervisor`` or
    ``agent`` (``qemu``, ``kata``). ``match`` is None when the parser does not know the key.
    """

    document: Document
    path: Path
    table: str
    owner: str | None
    key: str
    value: Any
    match: Match | None

    @property
    def identity(self) -> tuple[str, str | None, str]:
        """The same for all spellings that mean one key."""
        counts = self.match if self.match and not self.match.shadow else None
        return self.table, self.owner, counts.side.key if counts else self.key

    @property
    def where(self) -> Place:
        """Where the key stands."""
        return self.document.key_place(self.path)

    @property
    def value_where(self) -> Place:
        """Where the value stands."""
        return self.document.value_place(self.path)


@dataclass(frozen=True, slots=True)
class Owner:
    """A table with a name of its own: ``[hypervisor.NAME]`` or ``[agent.NAME]``."""

    document: Document
    path: Path
    kind: str
    name: str

    @property
    def where(self) -> Place:
        """Where the name stands."""
        return self.document.key_place(self.path)


@dataclass(frozen=True, slots=True)
class Stray:
    """What stands where no key of that name can be: ``expected`` says what should be there (None: nothing known)."""

    document: Document
    path: Path
    key: str
    value: Any
    expected: str | None = None

    @property
    def where(self) -> Place:
        """Where the key stands."""
        return self.document.key_place(self.path)


@dataclass(slots=True)
class Parts:
    """A file, taken apart. Items in the order of the file's tables."""

    document: Document
    items: list[Item] = field(default_factory=list)
    owners: list[Owner] = field(default_factory=list)
    strays: list[Stray] = field(default_factory=list)


def take_apart(document: Document, known: Known) -> Parts:
    """All that a file has, as the dialect's parser sees it."""
    parts = Parts(document)
    for key, value in (document.tree or {}).items():
        name = key.lower() if known.any_case else key
        path: Path = (key,)
        if name not in TABLES or (name == "factory" and "factory" not in known.by_table):
            parts.strays.append(Stray(document, path, key, value))
        elif not isinstance(value, dict):
            parts.strays.append(Stray(document, path, key, value, f"a table [{name}]"))
        elif name in ("hypervisor", "agent"):
            _named(document, path, name, value, known, parts)
        else:
            parts.items += _items(document, path, name, None, value, known)
    return parts


def _named(document: Document, path: Path, kind: str, table: dict[str, Any], known: Known, parts: Parts) -> None:
    for name, value in table.items():
        inner = (*path, name)
        if isinstance(value, dict):
            parts.owners.append(Owner(document, inner, kind, name))
            parts.items += _items(document, inner, kind, name, value, known)
        else:
            parts.strays.append(Stray(document, inner, name, value, f"a table [{kind}.NAME]"))


def _items(
    document: Document, path: Path, table: str, owner: str | None, values: dict[str, Any], known: Known
) -> Iterator[Item]:
    for key, value in values.items():
        inner = (*path, key)
        item = Item(document, inner, table, owner, key, value, known.find(table, key))
        yield item
        kind = item.match.side.type if item.match else None
        if item.match is None or kind not in ("table", "tables"):
            continue
        below = f"{table}.{item.match.side.key}"
        if kind == "table" and isinstance(value, dict):
            yield from _items(document, inner, below, owner, value, known)
        elif kind == "tables" and isinstance(value, list):
            for index, element in enumerate(value):
                if isinstance(element, dict):
                    yield from _items(document, (*inner, index), below, owner, element, known)
