"""A base file and its drop-ins as one configuration: which value counts, for which hypervisor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .files import Group
from .findings import Finding, Place
from .known import Known
from .structure import Item, Owner, Parts, take_apart


@dataclass(slots=True)
class Merged:
    """One configuration as one runtime reads it.

    ``parts``: each file for itself, in the order of merging. ``effective``: the item that counts, by its identity;
    the later file wins, key by key, and arrays are replaced. ``lone``: a drop-in without its base file.
    """

    known: Known
    parts: list[Parts]
    effective: dict[tuple[str, str | None, str], Item]
    lone: bool
    file: str

    @property
    def items(self) -> list[Item]:
        """All items of all files."""
        return [item for parts in self.parts for item in parts.items]

    def owners(self, kind: str) -> dict[str, Owner]:
        """The ``[hypervisor.NAME]`` or ``[agent.NAME]`` tables, by name, each where it is mentioned first."""
        found: dict[str, Owner] = {}
        for parts in self.parts:
            for owner in parts.owners:
                if owner.kind == kind:
                    found.setdefault(owner.name, owner)
        return found

    def runtime(self, key: str) -> Item | None:
        """What the ``[runtime]`` table says."""
        return self.effective.get(("runtime", None, key))

    def in_use(self) -> str | None:
        """The hypervisor that the runtime takes; None when that is not clear."""
        names = list(self.owners("hypervisor"))
        if self.known.dialect == "rs":
            item = self.runtime("hypervisor_name")
            if item and isinstance(item.value, str) and item.value in names:
                return item.value
        return names[0] if len(names) == 1 else None

    def hypervisor_of(self, item: Item) -> str | None:
        """The hypervisor that an item is judged for: its own table's, or the one in use."""
        return item.owner if item.table.startswith("hypervisor") else self.in_use()

    def table(self, name: str) -> Place:
        """Where a table of that name is mentioned first; the top of the file where none is."""
        for parts in self.parts:
            for key in parts.document.tree or {}:
                if name in (key, key.lower() if self.known.any_case else key):
                    return parts.document.value_place((key,))
        return self.top()

    def top(self) -> Place:
        """Where to say what is about the file as a whole."""
        return Place(self.file, 1, 1, 1, 1)


def merge(group: Group, known: Known) -> tuple[Merged, list[Finding]]:
    """The configuration, and what is wrong with the spellings in it."""
    parts = [take_apart(document, known) for document in group.documents if document.tree is not None]
    effective: dict[tuple[str, str | None, str], Item] = {}
    findings: list[Finding] = []
    for one in parts:
        here: dict[tuple[Any, ...], Item] = {}
        for item in one.items:
            if any(isinstance(step, int) for step in item.path):
                continue  # elements of arrays of tables stand for themselves
            before = here.setdefault(item.identity, item)
            if before is not item:
                findings.append(_twice(before, item, known))
            effective[item.identity] = item
    return Merged(known, parts, effective, group.base.drop_in, group.base.file), findings


def _twice(before: Item, item: Item, known: Known) -> Finding:
    told = f"{item.key} and {before.key} are one key for the {known.title}"
    random = known.any_case and before.key.lower() == item.key.lower()
    does = (
        f"the {known.title} takes one of the two values at random" if random else f"the {known.title} refuses the file"
    )
    related = ((before.where, before.key),)
    return Finding("same-key-twice", "error", told, item.where, "keep one of them", does, known.dialect, related)
