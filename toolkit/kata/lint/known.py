"""What a dialect's parser knows, looked up as the parser does: by table and key, with or without regard to case."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from ...spec.model import Dialect
from ...spec.suggest import nearest
from ..keys import DIALECTS, Setting, Side, tables

TABLES = ("hypervisor", "agent", "runtime", "factory")


@dataclass(frozen=True, slots=True)
class Match:
    """A key that the parser knows. ``spelt``: as in the tables; ``shadow``: it does nothing, another key counts."""

    setting: Setting
    side: Side
    spelt: str
    shadow: bool = False


@dataclass(frozen=True, slots=True)
class Known:
    """One dialect: its tables and their keys."""

    dialect: Dialect
    by_table: dict[str, dict[str, Match]]

    @property
    def title(self) -> str:
        """The runtime's name for a person."""
        return tables().title(self.dialect)

    @property
    def other(self) -> Dialect:
        """The other dialect."""
        return "rs" if self.dialect == "go" else "go"

    @property
    def any_case(self) -> bool:
        """Whether keys match whatever their case: so does BurntSushi/toml, and serde does not."""
        return self.dialect == "go"

    @property
    def facts(self) -> Any:
        """The dialect's entry of schemas/kata/dialects.json."""
        return tables().dialects[self.dialect]

    @property
    def hypervisors(self) -> tuple[str, ...]:
        """The hypervisor tables that the runtime knows."""
        return tuple(self.facts["hypervisors"])

    def find(self, table: str, key: str) -> Match | None:
        """The key as the parser finds it."""
        keys = self.by_table.get(table, {})
        if key in keys or not self.any_case:
            return keys.get(key)
        lowered = key.lower()
        return next((match for name, match in keys.items() if name.lower() == lowered), None)

    def elsewhere(self, table: str, key: str) -> list[Match]:
        """The key in other tables."""
        found = [keys[key] for name, keys in self.by_table.items() if name != table and key in keys]
        return [match for match in found if not match.side.internal]

    def near(self, table: str, key: str) -> str | None:
        """The key of that table which was probably meant."""
        return nearest(key, self.by_table.get(table, {}))

    def strict(self, table: str) -> bool:
        """Whether an unknown key in that table stops the parser."""
        return table in self.facts["strict_tables"]

    def dead(self, table: str, key: str) -> Any:
        """What is known of a key that files have and the parser does not know."""
        return next((d for d in self.facts["dead_keys"] if d["table"] == table and d["key"] == key), None)


@lru_cache(maxsize=2)
def known(dialect: Dialect) -> Known:
    """All that is known of a dialect."""
    by_table: dict[str, dict[str, Match]] = {}
    for setting in tables().settings:
        side = setting.side(dialect)
        if side is None:
            continue
        keys = by_table.setdefault(side.table, {})
        mine = setting.name == side.name
        for name in (side.key, *side.aliases):
            # Two settings may be one key of a dialect: the one that is named like it speaks for it.
            if name not in keys or mine:
                keys[name] = Match(setting, side, name)
        for name in side.shadows:
            keys.setdefault(name, Match(setting, side, name, shadow=True))
    return Known(dialect, by_table)


def counterpart(dialect: Dialect, table: str, key: str) -> Setting | None:
    """The setting that the other dialect calls so, preferring the same table, if only the other one does."""
    theirs = known("rs" if dialect == "go" else "go")
    match = theirs.find(table, key)
    if match is None:
        found = theirs.elsewhere(table, key)
        match = found[0] if found else None
    return match.setting if match else None


def in_brackets(table: str, dialect: Dialect, hypervisor: str | None) -> str:
    """A table as a file names it: ``[hypervisor.qemu.factory]``."""
    path = tables().table_path(table, dialect, hypervisor or "NAME")
    setting = tables().parent(_any_in(table, dialect)) if "." in table else None
    text = ".".join(path)
    return f"[[{text}]]" if setting and setting.type == "tables" else f"[{text}]"


def _any_in(table: str, dialect: Dialect) -> Setting:
    return next(iter(known(dialect).by_table[table].values())).setting


def evidence(keys: list[tuple[str, str]]) -> dict[Dialect, int]:
    """How many of these (table, key) only that dialect knows."""
    count: dict[Dialect, int] = {}
    for dialect in DIALECTS:
        own, others = known(dialect), known("rs" if dialect == "go" else "go")
        count[dialect] = sum(1 for table, key in keys if own.find(table, key) and not others.find(table, key))
    return count
