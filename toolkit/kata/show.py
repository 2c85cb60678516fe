"""All that is known of one setting, as the document that ``config show --json`` prints and its text is made from."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from .. import resources
from ..errors import InputError
from ..spec.model import Dialect
from ..spec.suggest import nearest
from .flavours import flavours
from .keys import DIALECTS, Setting, Side, tables
from .lint.known import in_brackets
from .rules import RULES
from .translate_text import toml_text

ANNOTATIONS = "io.katacontainers.config."
"""What annotations of a pod that stand for a setting start with."""

_HOST = {"cpus": "the host's CPUs", "ram": "the host's memory"}
_EXAMPLES: Mapping[str, Any] = {
    "boolean": True,
    "integer": 1,
    "float": 1.5,
    "string": "…",
    "strings": ["…"],
    "integers": [1],
    "table": {},
    "tables": [],
}


def find(word: str) -> list[Setting]:
    """The settings that a word means: by our name, a dialect's key with or without its table, or an annotation.

    Raises InputError with the nearest name for a word that means none.
    """
    wanted = word.strip().lower().strip("[]").replace("] ", ".").replace("]", ".")
    wanted = wanted.removeprefix(ANNOTATIONS)
    wanted = _without_names(wanted)
    names = _full_names if "." in wanted else _bare_names
    found = [setting for setting in tables().settings if wanted in names(setting)]
    if found:
        return found
    for dialect in DIALECTS:
        for dead in tables().dialects[dialect]["dead_keys"]:
            if wanted.rsplit(".", 1)[-1] == dead["key"]:
                told = f"no runtime knows {word}: {dead['why']}"
                raise InputError(told, hint=f"see {dead['instead']}" if "instead" in dead else None)
    known = [name for setting in tables().settings for name in (*_full_names(setting), *_bare_names(setting))]
    near = nearest(wanted, known) or nearest(wanted.rsplit(".", 1)[-1], known)
    hint = f"did you mean {near}?" if near else f"search for it: kata-toolkit config show --search {word}"
    raise InputError(f"no runtime knows {word}", hint=hint)


def _without_names(word: str) -> str:
    """``hypervisor.qemu.path`` and ``agent.kata.log_level`` without the tables' own names."""
    first, _, rest = word.partition(".")
    name, dot, below = rest.partition(".")
    if first == "hypervisor" and dot and name in _every_hypervisor():
        return f"hypervisor.{below}"
    if first == "agent" and dot and name == tables().dialects["go"]["agent_table"]:
        return f"agent.{below}"
    return word


def _every_hypervisor() -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for d in DIALECTS for name in tables().dialects[d]["hypervisors"]))


def _full_names(setting: Setting) -> set[str]:
    names = {setting.name}
    for side in _sides(setting):
        names |= {f"{side.table}.{key}" for key in (side.key, *side.aliases)} | {side.name}
    return names


def _bare_names(setting: Setting) -> set[str]:
    return {key for side in _sides(setting) for key in (side.key, *side.aliases)} | {setting.name.rsplit(".", 1)[-1]}


def _sides(setting: Setting) -> list[Side]:
    return [side for side in (setting.go, setting.rs) if side]


def hypervisor_named(word: str | None) -> str | None:
    """The VMM that a word names, itself or by a flavour. Raises InputError for another word."""
    if word is None or word in _every_hypervisor():
        return word
    known = flavours()
    if word in known:
        return known[word].vmm
    names = [*_every_hypervisor(), *known]
    near = nearest(word, names)
    hint = f"did you mean {near}?" if near else f"there is {', '.join(_every_hypervisor())}"
    raise InputError(f"no hypervisor is called {word}", hint=hint)


def listed(dialect: Dialect | None, hypervisor: str | None, search: str | None) -> list[Setting]:
    """The settings that a dialect has, that do something with a hypervisor, and that speak of a text."""
    found = []
    for setting in tables().settings:
        sides = [side for side in _sides(setting) if dialect in (None, side.dialect)]
        if hypervisor:
            sides = [side for side in sides if side.heeded_by(hypervisor)]
        if sides and (not search or all(word in _text(setting) for word in search.lower().split())):
            found.append(setting)
    return found


def _text(setting: Setting) -> str:
    words = [setting.meaning, *_full_names(setting)]
    for side in _sides(setting):
        words += [side.meaning or "", side.note or "", json.dumps(side.allowed or "")]
    return " ".join(words).lower()


@lru_cache(maxsize=1)
def constraints() -> tuple[Mapping[str, Any], ...]:
    """What rules are about, in words: the entries of schemas/kata/constraints.json."""
    return tuple(json.loads(resources.resource("schemas", "kata", "constraints.json").read_bytes())["constraints"])


def document(setting: Setting, dialect: Dialect | None = None, hypervisor: str | None = None) -> dict[str, Any]:
    """All there is to say of a setting; only for one dialect or one hypervisor, if they are given."""
    wanted = [d for d in DIALECTS if dialect in (None, d)]
    return {
        "name": setting.name,
        "group": tables().group_title(setting.group),
        "meaning": setting.meaning,
        "type": setting.type,
        "unit": setting.unit,
        **{d: _side(side, hypervisor) if (side := setting.side(d)) else None for d in wanted},
        "carried": _carried(setting),
        "constraints": list(_constraints(setting, wanted)),
    }


def _constraints(setting: Setting, dialects: Sequence[Dialect]) -> Iterator[dict[str, Any]]:
    rules = {rule.id: rule for rule in RULES}
    for entry in constraints():
        rule = rules[entry["rule"]]
        verdicts = {d: list(verdict) for d in dialects if (verdict := rule.verdict(d))}
        if setting.name in entry["settings"] and verdicts:
            others = [name for name in entry["settings"] if name != setting.name]
            yield {"rule": rule.id, "text": entry["text"], "with": others, "verdicts": verdicts}


def _carried(setting: Setting) -> dict[str, Any] | None:
    """How a value goes from Go to Rust, where it is not the same."""
    how = setting.carry
    if how is None:
        return None
    return {"multiply": how.multiply, "divide": how.divide, "values": [list(pair) for pair in how.values]}


def _side(side: Side, hypervisor: str | None) -> dict[str, Any]:
    names = [hypervisor] if hypervisor else list(tables().dialects[side.dialect]["hypervisors"])
    heeded = [name for name in names if side.heeded_by(name)]
    path = tables().table_path(side.table, side.dialect, hypervisor or "NAME")
    return {
        "table": ".".join(path),
        "key": side.key,
        "type": side.type,
        "unit": side.unit,
        "meaning": side.meaning,
        "range": None if side.minimum is None and side.maximum is None else [side.minimum, side.maximum],
        "allowed": _allowed(side, hypervisor),
        "allowed_checked": side.allowed_checked,
        "limits": list(_limits(side, hypervisor)),
        "default": {name: _default(side, name) for name in heeded},
        "zero_means": {n: _meant(side.zero_means(n)) for n in heeded if side.zero_means(n) is not None},
        "hypervisors": heeded,
        "needs": dict(side.needs) if side.needs else None,
        "must_exist": side.must_exist,
        "internal": side.internal,
        "inert": side.inert,
        "deprecated": side.deprecated,
        "since": side.since,
        "until": side.until,
        "note": side.note,
        "aliases": list(side.aliases),
        "shadows": list(side.shadows),
        "example": _example(side, hypervisor or next(iter(heeded), "qemu")),
    }


def _allowed(side: Side, hypervisor: str | None) -> list[Any] | None:
    choices = side.choices(hypervisor or "", None)
    return None if choices is None else list(choices)


def _limits(side: Side, hypervisor: str | None) -> Iterator[dict[str, Any]]:
    for kind, limit in (("low", side.low), ("high", side.high)):
        value = limit.at(hypervisor or "", None) if limit else None
        if limit and value is not None:
            by = {} if hypervisor else dict(limit.by_hypervisor)
            yield {"kind": kind, "value": value, "effect": limit.effect, "arch": limit.arch, "by_hypervisor": by}


def _default(side: Side, hypervisor: str) -> Any:
    host = side.default_host(hypervisor)
    return _HOST[host] if host else side.default_of(hypervisor)


def _meant(zero: Any) -> Any:
    return _HOST[zero["host"]] if isinstance(zero, Mapping) else zero


def _example(side: Side, hypervisor: str) -> str:
    """The header and a line, as they would stand in a file."""
    header = in_brackets(side.table, side.dialect, hypervisor)
    default = side.default_of(hypervisor)
    choices = side.choices(hypervisor, None)
    value = default if default not in (None, "", []) else _EXAMPLES[side.type]
    if choices and default in (None, "", []):
        value = [choices[0]] if side.type in ("strings", "integers") else choices[0]
    elif side.type == "integer" and default is None and side.minimum:
        value = side.minimum
    return f"{header}\n{side.key} = {toml_text(value)}"
