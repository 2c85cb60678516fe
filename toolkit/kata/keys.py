"""Kata's configuration keys: one setting has one name here, and a side for each dialect that knows it.

The facts are data (schemas/kata/*.json, checked against schemas/kata-keys.schema.json); this module only reads them.
A setting of the hypervisor's table is named by its key alone (``default_memory``), others by table and key
(``agent.dial_timeout``, ``runtime.enable_debug``, ``factory.enable_template``).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from .. import resources
from ..spec.model import Dialect

DIALECTS: tuple[Dialect, ...] = ("go", "rs")
_FILES = ("hypervisor", "factory", "agent", "runtime")
_PREFIX = {"hypervisor": "", "hypervisor.factory": "factory."}


def dotted(table: str, key: str) -> str:
    """The name by which a spec speaks of a key of a table."""
    return _PREFIX.get(table, f"{table}.") + key


def version(text: str) -> tuple[int, ...]:
    """A Kata version that can be compared: ``4.1`` before ``4.10``."""
    return tuple(int(part) for part in text.split("."))


@dataclass(frozen=True, slots=True)
class Limit:
    """A number beyond which the runtime does something else than what was written."""

    value: int
    effect: str
    by_hypervisor: Mapping[str, int] = field(default_factory=dict)
    arch: str | None = None
    by_arch: Mapping[str, int] = field(default_factory=dict)

    def at(self, hypervisor: str, arch: str | None) -> int | None:
        """The limit there, or None where it does not apply."""
        if self.arch and arch and arch != self.arch:
            return None
        if self.by_arch and arch:
            return self.by_arch.get(arch)
        return self.by_hypervisor.get(hypervisor, self.value)


@dataclass(frozen=True, slots=True)
class Side:
    """A setting as one dialect has it.

    ``table`` is ``hypervisor``, ``hypervisor.factory``, ``agent``, …; ``hypervisors``: those that heed the key (None:
    not narrowed down). ``minimum`` and ``maximum`` are what the parser's type holds, ``low`` and ``high`` what the
    runtime really uses. ``shadows``: other keys of that dialect that mean the same and do nothing.
    """

    dialect: Dialect
    table: str
    key: str
    type: str
    unit: str | None = None
    meaning: str | None = None
    minimum: int | None = None
    maximum: int | None = None
    allowed: tuple[Any, ...] | None = None
    allowed_by_arch: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    allowed_by_hypervisor: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    allowed_checked: str | None = None
    default: Any = None
    zero: Any = None
    empty: Any = None
    low: Limit | None = None
    high: Limit | None = None
    hypervisors: tuple[str, ...] | None = None
    needs: Mapping[str, Any] | None = None
    must_exist: bool = False
    required: bool = False
    internal: bool = False
    inert: str | None = None
    deprecated: str | None = None
    since: str | None = None
    until: str | None = None
    note: str | None = None
    aliases: tuple[str, ...] = ()
    shadows: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The name by which a spec speaks of this key."""
        return dotted(self.table, self.key)

    def choices(self, hypervisor: str, arch: str | None) -> tuple[Any, ...] | None:
        """The values it can take with this hypervisor on this architecture (None: either); None: no fixed set."""
        if hypervisor in self.allowed_by_hypervisor:
            return tuple(self.allowed_by_hypervisor[hypervisor])
        if self.allowed_by_arch:
            wanted = [arch] if arch and arch in self.allowed_by_arch else list(self.allowed_by_arch)
            return tuple(value for name in wanted for value in self.allowed_by_arch[name])
        return self.allowed

    def default_of(self, hypervisor: str) -> Any:
        """What the runtime takes when the key is left out; None: unset, or taken from the host."""
        value = _by_hypervisor(self.default, hypervisor)
        return None if isinstance(value, Mapping) else value

    def default_host(self, hypervisor: str) -> str | None:
        """``cpus`` or ``ram`` when the default is that of the host."""
        value = _by_hypervisor(self.default, hypervisor)
        return str(value["host"]) if isinstance(value, Mapping) else None

    def zero_means(self, hypervisor: str) -> Any:
        """What 0 stands for: a number, ``{"host": "cpus"|"ram"}``, or None when it is just 0."""
        return _by_hypervisor(self.zero, hypervisor)

    def empty_means(self, hypervisor: str) -> Any:
        """What an empty string stands for with this hypervisor; None when it is just empty."""
        return _by_hypervisor(self.empty, hypervisor)

    def heeded_by(self, hypervisor: str) -> bool:
        """Whether the key does anything with this hypervisor."""
        return self.hypervisors is None or hypervisor in self.hypervisors

    def exists_in(self, kata: str) -> bool:
        """Whether this Kata version knows the key (``since`` included, ``until`` excluded)."""
        here = version(kata)
        return not (self.since and here < version(self.since)) and not (self.until and here >= version(self.until))


def _by_hypervisor(value: Any, hypervisor: str) -> Any:
    if isinstance(value, Mapping) and "by_hypervisor" in value:
        return value["by_hypervisor"].get(hypervisor)
    return value


@dataclass(frozen=True, slots=True)
class Carry:
    """How a value goes from the Go dialect to the Rust one: a factor, or pairs (Go value, Rust value)."""

    multiply: int = 1
    divide: int = 1
    values: tuple[tuple[Any, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting: what it means, and its side in each dialect that has it. ``path``: it names a file, or files."""

    name: str
    group: str
    type: str
    meaning: str
    unit: str | None
    go: Side | None
    rs: Side | None
    carry: Carry | None
    path: bool = False

    def side(self, dialect: str) -> Side | None:
        """The side of a dialect, None when it has no such key."""
        return self.go if dialect == "go" else self.rs


@dataclass(frozen=True, slots=True)
class Tables:
    """All settings in the order in which a file lists them, and what else is known of the dialects."""

    settings: tuple[Setting, ...]
    dialects: Mapping[str, Any]
    decided: Mapping[str, str]
    _by_name: Mapping[str, Setting]

    def find(self, name: str) -> Setting | None:
        """The setting of that name: ours, or either dialect's own."""
        return self._by_name.get(name)

    def parent(self, setting: Setting) -> Setting | None:
        """The setting whose value is the table that this one lies in, for tables inside tables."""
        side = setting.go or setting.rs
        outer, dot, key = side.table.rpartition(".") if side else ("", "", "")
        return self.find(dotted(outer, key)) if dot else None

    def names(self) -> tuple[str, ...]:
        """Every name that `find` knows."""
        return tuple(self._by_name)

    def keys(self, dialect: Dialect, table: str) -> frozenset[str]:
        """The keys that a dialect's parser knows in a table, inert and internal ones included."""
        found: set[str] = set()
        for setting in self.settings:
            side = setting.side(dialect)
            if side and side.table == table:
                found.update((side.key, *side.aliases, *side.shadows))
        return frozenset(found)

    def table_path(self, table: str, dialect: Dialect, hypervisor: str) -> tuple[str, ...]:
        """Where one of our tables lies in a file: ``hypervisor.factory`` is ``hypervisor``, ``qemu``, ``factory``."""
        first, *rest = table.split(".")
        if first == "hypervisor":
            return ("hypervisor", hypervisor, *rest)
        if first == "agent":
            return ("agent", str(self.dialects[dialect]["agent_table"]), *rest)
        return (first, *rest)

    def title(self, dialect: str) -> str:
        """A dialect's name for a person."""
        return str(self.dialects[dialect]["title"])

    def group_title(self, group: str) -> str:
        """A group's heading."""
        return str(self.dialects["groups"][group])


def _side(dialect: Dialect, table: str, setting: Mapping[str, Any]) -> Side | None:
    if dialect not in setting:
        return None
    data = dict(setting[dialect])
    for name in ("low", "high"):
        if name in data:
            data[name] = Limit(**data[name])
    for name in ("allowed", "hypervisors", "aliases", "shadows"):
        if name in data:
            data[name] = tuple(data[name])
    return Side(
        dialect=dialect,
        table=data.pop("table", table),
        key=data.pop("key", setting["name"]),
        type=data.pop("type", setting["type"]),
        unit=data.pop("unit", setting.get("unit")),
        minimum=data.pop("min", None),
        maximum=data.pop("max", None),
        **data,
    )


def _carry(data: Mapping[str, Any] | None) -> Carry | None:
    if data is None:
        return None
    return Carry(**{**data, "values": tuple((go, rs) for go, rs in data.get("values", ()))})


def parse(documents: Sequence[Mapping[str, Any]]) -> Iterator[Setting]:
    """The settings of ``kind: settings`` documents, in order."""
    for document in documents:
        for table in document["tables"]:
            for entry in table["settings"]:
                yield Setting(
                    name=dotted(table["table"], entry["name"]),
                    group=entry["group"],
                    type=entry["type"],
                    meaning=entry["meaning"],
                    unit=entry.get("unit"),
                    go=_side("go", table["table"], entry),
                    rs=_side("rs", table["table"], entry),
                    carry=_carry(entry.get("carry")),
                    path=entry.get("path", False),
                )


def _index(settings: Sequence[Setting]) -> dict[str, Setting]:
    """Names to settings. Our own name wins over a dialect's, which wins over an alias."""
    index: dict[str, Setting] = {s.name: s for s in settings}
    for setting in settings:
        for side in (setting.go, setting.rs):
            if side:
                index.setdefault(side.name, setting)
    for setting in settings:
        for side in (setting.go, setting.rs):
            for alias in side.aliases if side else ():
                index.setdefault(dotted(side.table, alias), setting) if side else None
    return index


def make_tables(documents: Sequence[Mapping[str, Any]], dialects: Any) -> Tables:
    """Tables from parsed JSON documents."""
    settings = tuple(parse(documents))
    return Tables(settings, dialects, dialects["decided"], _index(settings))


@lru_cache(maxsize=1)
def tables() -> Tables:
    """The tables of this installation. Raises FileNotFoundError when it is incomplete."""

    def read(name: str) -> Any:
        return json.loads(resources.resource("schemas", "kata", f"{name}.json").read_bytes())

    return make_tables([read(name) for name in _FILES], read("dialects"))
