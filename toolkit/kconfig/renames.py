"""What became of symbols that other kernel versions have: data in kernel-configs/renames.yaml."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from functools import cache

from .. import resources
from ..errors import InputError
from ..spec.schema import check, load_schema
from ..spec.yamltree import load_yaml
from .symbols import PREFIX
from .versions import version_tuple


@dataclass(frozen=True, slots=True)
class Rename:
    """``old`` is called ``new`` from version ``since`` on, both with prefix; ``new`` None: it is gone.

    ``same``: a request for the old name can be met by one for the new, with the same value.
    """

    old: str
    new: str | None
    since: str
    note: str | None
    same: bool


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of a symbol: in words, and the name (with prefix) that takes the same value, if there is one."""

    told: str
    name: str | None


@cache
def load_renames() -> list[Rename]:
    """All of them. Raises InputError when the file is not as its schema says."""
    tree = load_yaml(resources.resource("kernel-configs", "renames.yaml"))
    mistakes = [problem for _, problem in check(tree, load_schema("renames"))]
    if mistakes:
        raise InputError.many(mistakes)
    return [
        Rename(entry["old"], entry.get("new"), entry["since"], entry.get("note"), entry.get("same", True))
        for entry in tree.value["renames"]
    ]


def fate_of(symbol: str, kernel: str, known: Container[str]) -> Fate | None:
    """What became of a symbol (with prefix) that this kernel does not have; None when our data do not tell.

    ``known``: the symbols (without prefix) that it has. They decide, since distributions port renames back.
    """
    for rename in load_renames():
        note = f" ({rename.note})" if rename.note else ""
        here = version_tuple(kernel) >= version_tuple(rename.since)
        if rename.old == symbol and rename.new is None and here:
            return Fate(f"it is gone since Linux {rename.since}{note}", None)
        if rename.old == symbol and rename.new and rename.new.removeprefix(PREFIX) in known:
            since = f"since Linux {rename.since}" if here else "in this kernel"
            return Fate(f"{since} it is called {rename.new}{note}", rename.new if rename.same else None)
        if rename.new == symbol and rename.old.removeprefix(PREFIX) in known:
            return Fate(f"before Linux {rename.since} it is called {rename.old}", rename.old if rename.same else None)
    return None
