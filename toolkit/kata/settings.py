"""The settings of a spec against the key tables: names, types, ranges, and what each dialect can express."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import Problem
from ..spec.model import Dialect, Hypervisor
from ..spec.suggest import nearest
from .keys import DIALECTS, Carry, Setting, Side, Tables, dotted, tables

_INT64 = 1 << 63
_SYMBOLS = ("MiB", "ms", "s")  # units that read well behind any number


class NoCounterpartError(Exception):
    """A value that the other dialect cannot say; ``args[0]`` says why."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """A setting that a spec gave, with its value in each dialect that it will be written to."""

    setting: Setting
    given_as: str
    values: dict[Dialect, Any]


def shown(value: Any) -> str:
    """A value as the messages show it, cut to a readable length."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."


def choose(
    hypervisor: Hypervisor, kata: str, arch: str | None = None, known: Tables | None = None
) -> tuple[list[Chosen], list[Problem]]:
    """Check every setting of a hypervisor and translate it to the dialects asked for.

    Returns what can be written and, in the order of the spec, everything that is wrong.
    """
    known = known or tables()
    chosen: list[Chosen] = []
    problems: list[Problem] = []
    seen: dict[str, str] = {}
    for name, value in hypervisor.settings.items():
        where = hypervisor.where.get(name)
        setting = known.find(name)
        found: list[tuple[str, str | None]]
        if setting is None:
            found = [_unknown(name, known)]
        elif setting.name in seen:
            found = [(f"{name} sets the same as {seen[setting.name]}", "keep one of them")]
        else:
            seen[setting.name] = name
            found = _refused(name, setting, known)
        if setting and not found:
            check = _Check(hypervisor, kata, arch, known, name, setting, value)
            found = check.problems()
            if not found:
                found = _taken(check.values, setting, chosen, known)
            if not found:
                chosen.append(Chosen(setting, name, check.values))
        problems += [Problem(message, where, hint) for message, hint in found]
    return chosen, problems + _needless(hypervisor, chosen)


def _needless(hypervisor: Hypervisor, chosen: Sequence[Chosen]) -> list[Problem]:
    """Names in ``ignored_by`` that are no settings, or that the runtime does know after all."""
    found = []
    for dialect, names in hypervisor.ignored_by.items():
        title = tables().title(dialect)
        for name, where in names.items():
            if name not in hypervisor.settings:
                match = nearest(name, hypervisor.settings)
                hint = f"did you mean {match}?" if match else "remove it"
                found.append(Problem(f"ignored_by names {name}, which is not among the settings", where, hint))
            elif any(c.given_as == name and dialect in c.values for c in chosen):
                hint = "remove it from ignored_by, so that it is written"
                found.append(Problem(f"{name} is not ignored by the {title}, which knows it", where, hint))
    return found


def _unknown(name: str, known: Tables) -> tuple[str, str | None]:
    message = f"unknown setting {name}"
    for dialect in DIALECTS:
        for dead in known.dialects[dialect]["dead_keys"]:
            if name == dotted(dead["table"], dead["key"]):
                return message, dead["why"]
    same_key = sorted(full for full in known.names() if full.rsplit(".", 1)[-1] == name.rsplit(".", 1)[-1])
    match = nearest(name, same_key or known.names()) or nearest(name.rsplit(".", 1)[-1], known.names())
    if same_key and ("." not in name or not match):
        return message, f"did you mean {' or '.join(same_key)}?"
    return message, f"did you mean {match}?" if match else None


def _refused(name: str, setting: Setting, known: Tables) -> list[tuple[str, str | None]]:
    if setting.name in known.decided:
        return [(f"{name} is not a setting: it follows from the spec", f"see {known.decided[setting.name]}")]
    for outer in (setting, known.parent(setting)):
        if outer and all(side.internal for side in (outer.go, outer.rs) if side):
            return [(f"{name} is filled in by the runtime", "remove it")]
        if outer and (outer.type == "tables" or (outer is setting and outer.type == "table")):
            what = "a table" if outer.type == "table" else "a list of tables"
            subject = f"{name} is" if outer is setting else f"{name} lies in"
            return [(f"{subject} {what}, which settings cannot hold", None)]
    return []


def _taken(
    values: Mapping[Dialect, Any], setting: Setting, chosen: Sequence[Chosen], known: Tables
) -> list[tuple[str, str | None]]:
    """Two settings may be one key in a dialect; then only one of them can be given."""
    for dialect in values:
        side = setting.side(dialect)
        for other in chosen:
            theirs = other.setting.side(dialect)
            if side and theirs and dialect in other.values and side.name == theirs.name:
                return [
                    (f"{setting.name} and {other.setting.name} are one key in the {known.title(dialect)}", "keep one")
                ]
    return []


@dataclass
class _Check:
    """One setting on its way into the dialects asked for."""

    hypervisor: Hypervisor
    kata: str
    arch: str | None
    known: Tables
    name: str
    setting: Setting
    value: Any

    def __post_init__(self) -> None:
        self.values: dict[Dialect, Any] = {}

    def problems(self) -> list[tuple[str, str | None]]:
        """What is wrong, as (message, hint); `values` is filled in when nothing is."""
        origin = self._origin()
        wrong = _wrong_type(self.name, origin, self.value, path=self.setting.path)
        if wrong:
            return [(wrong, f"it counts {origin.unit}" if origin.unit and origin.type == "integer" else None)]
        # The dialect whose words the spec uses speaks first: what it refuses is one mistake, not two.
        asked = [d for d in DIALECTS if d in self.hypervisor.dialects]
        asked.sort(key=lambda dialect: dialect != origin.dialect)
        left_out: list[tuple[str, str | None]] = []
        for dialect in asked:
            problem, lost = self._into(dialect, origin)
            if (problem or lost) and self.name in self.hypervisor.ignored_by.get(dialect, ()):
                left_out += [told for told in (lost, problem) if told]
                continue
            if lost:
                left_out.append(lost)
            if problem:
                return [problem]
        return left_out[:1] if not self.values else []

    def _origin(self) -> Side:
        """The dialect whose words the spec used: by the name, then by the value."""
        go, rs = self.setting.go, self.setting.rs
        if go is None or rs is None:
            side = go or rs
            assert side is not None  # noqa: S101 -- the schema wants one side at least
            return side
        if self.name not in (self.setting.name, go.name):
            return rs
        carry = self.setting.carry
        if carry and carry.values and carry.multiply == carry.divide == 1 and go.name == rs.name:
            if any(_same(self.value, pair[0]) for pair in carry.values):
                return go
            says_rs = any(_same(self.value, pair[1]) for pair in carry.values)
            only_rs = "go" not in self.hypervisor.dialects
            goes_rs = _in(self.value, rs.choices(self._hv, self.arch))
            if says_rs or only_rs or (goes_rs and not _in(self.value, go.choices(self._hv, self.arch))):
                return rs
        return go

    @property
    def _hv(self) -> str:
        return self.hypervisor.vmm

    def _into(
        self, dialect: Dialect, origin: Side
    ) -> tuple[tuple[str, str | None] | None, tuple[str, str | None] | None]:
        """Check and keep the value for one dialect: what is wrong, and why it was left out where that does no harm."""
        side = self.setting.side(dialect)
        title = self.known.title(dialect)
        why = self._unusable(dialect, side)
        if side is None or why:
            others = [d for d in self.hypervisor.dialects if not self._unusable(d, self.setting.side(d))]
            lost = (
                f"{self.name}: {why}",
                f"remove it, write dialects: [{', '.join(others)}], or ignored_by: {{{dialect}: [{self.name}]}}"
                if others
                else "remove it",
            )
            return (None, lost) if self._means_nothing(origin) else (lost, None)
        try:
            value = self.value if side is origin else carried(self.value, self.setting.carry, side)
        except NoCounterpartError as error:
            known_to_both = _choices_hint(self.setting, origin, side, self._hv, self.arch)
            return (f"{self.name}: {error} for the {title}", known_to_both), None
        problem = _out_of_bounds(self.name, side, value, self._hv, self.arch, title)
        if problem is None:
            self.values[dialect] = value
        return problem, None

    def _unusable(self, dialect: str, side: Side | None) -> str | None:
        title = self.known.title(dialect)
        if side is None:
            return f"the {title} has no such setting"
        if not side.exists_in(self.kata):
            span = f"since Kata {side.since}" if side.since else f"only before Kata {side.until}"
            return f"the {title} knows it {span}, the spec is for {self.kata}"
        if side.inert:
            return f"it does nothing in the {title}, where {side.inert}"
        if not side.heeded_by(self._hv):
            return f"it does nothing with {self._hv} in the {title}, only with {', '.join(side.hypervisors or ())}"
        return None

    def _means_nothing(self, origin: Side) -> bool:
        """Whether the value is what its dialect takes anyway, so that nothing is lost by leaving it out."""
        return _same(self.value, origin.default_of(self._hv))


def carried(value: Any, carry: Carry | None, into: Side) -> Any:
    """The value in the other dialect's words. Raises NoCounterpartError."""
    if carry is None:
        return value
    to_rs = into.dialect == "rs"
    if carry.multiply == carry.divide == 1:
        for go, rs in carry.values:
            if _same(value, go if to_rs else rs):
                return rs if to_rs else go
        raise NoCounterpartError(f"{shown(value)} has no counterpart")
    for go, rs in carry.values if to_rs else ():
        if _same(value, go):
            return rs
    times, by = (carry.multiply, carry.divide) if to_rs else (carry.divide, carry.multiply)
    if value * times % by:
        # A rate is divided because the runtime does not count in the unit that its documents name.
        whole = f"a multiple of {by}" if to_rs else f"a whole number of {into.unit or 'units'}"
        raise NoCounterpartError(f"{shown(value)} is not {whole}")
    return value * times // by


def _same(left: Any, right: Any) -> bool:
    """Equal, and of the same kind: true is not 1; 1 is 1.0."""
    return isinstance(left, bool) == isinstance(right, bool) and bool(left == right)


def _in(value: Any, choices: Sequence[Any] | None) -> bool:
    return choices is None or any(_same(value, choice) for choice in choices)


_NAMES = {
    "boolean": "true or false",
    "integer": "a whole number",
    "float": "a number",
    "string": "a string",
    "strings": "a list of strings",
    "integers": "a list of whole numbers",
}


def _same_type(value: Any, side: Side) -> bool:
    if side.type == "boolean":
        return isinstance(value, bool)
    if side.type in ("integer", "float") and isinstance(value, bool):
        return False
    if side.type == "integer":
        return isinstance(value, int)
    if side.type == "float":
        return isinstance(value, int | float)
    if side.type == "string":
        return isinstance(value, str)
    element = str if side.type == "strings" else int
    return isinstance(value, list) and all(isinstance(x, element) and not isinstance(x, bool) for x in value)


def _wrong_type(name: str, side: Side, value: Any, *, path: bool) -> str | None:
    if not _same_type(value, side):
        return f"{name} must be {_NAMES[side.type]}, not {shown(value)}"
    if isinstance(value, float) and not math.isfinite(value):
        return f"{name} must be a finite number"
    for text in value if isinstance(value, list) else [value]:
        if isinstance(text, str) and any(ord(c) < 0x20 or ord(c) == 0x7F for c in text):
            return f"{name} must not hold control characters"
        rule = _path_rule(text) if path and isinstance(text, str) and text else None
        if rule:
            return f"{name} must be {rule}, not {shown(text)}"
    return None


def _path_rule(text: str) -> str | None:
    """What a path should have been; None for one that is in order."""
    if not text.startswith("/"):
        return "an absolute path"
    return "a path without . and .. in it" if {".", ".."} & set(text.split("/")) else None


def _out_of_bounds(
    name: str, side: Side, value: Any, hypervisor: str, arch: str | None, title: str
) -> tuple[str, str | None] | None:
    """What a value of the right type does wrong, as (message, hint)."""
    choices = side.choices(hypervisor, arch)
    for item in value if side.type == "strings" else [value]:
        if choices is not None and not _in(item, choices):
            return f"{name} cannot be {shown(item)} in the {title}", _nearest_choice(item, choices)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    unit = f" {side.unit}" if side.unit in _SYMBOLS else ""
    low = -_INT64 if side.minimum is None else side.minimum
    high = _INT64 - 1 if side.maximum is None else side.maximum
    if not low <= value <= high:
        return f"{name} must lie between {low} and {high}{unit} in the {title}, not {value}", None
    if value == 0 and side.zero is not None:
        return None
    for limit, beyond, hint in ((side.low, -1, "at least"), (side.high, 1, "at most")):
        most = limit.at(hypervisor, arch) if limit else None
        if limit and most is not None and (value - most) * beyond > 0:
            return f"{name}: {value}{unit} {limit.effect} in the {title}", f"{hint} {most}{unit}"
    return None


def _nearest_choice(item: Any, choices: Sequence[Any]) -> str:
    if not choices:
        return "the list must be empty"
    match = nearest(item, [c for c in choices if isinstance(c, str)]) if isinstance(item, str) else None
    listed = "one of " + ", ".join(shown(c) for c in choices) if len(choices) > 1 else f"only {shown(choices[0])}"
    return f"did you mean {shown(match)}? {listed}" if match else listed


def _choices_hint(setting: Setting, origin: Side, into: Side, hypervisor: str, arch: str | None) -> str | None:
    """The values that both dialects can say."""
    carry = setting.carry
    if not carry or not carry.values or carry.multiply != 1 or carry.divide != 1:
        return None
    index = 0 if origin.dialect == "go" else 1
    both = [p[index] for p in carry.values if _in(p[1 - index], into.choices(hypervisor, arch))]
    return "both dialects know " + ", ".join(shown(v) for v in both)
