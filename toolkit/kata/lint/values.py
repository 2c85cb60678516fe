"""Values against what the parser's types hold and what the runtime accepts, each with the runtime's own verdict."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ...spec.suggest import nearest
from ..keys import Setting, Side, tables
from ..settings import NoCounterpartError, carried
from .findings import Finding, Level, Place
from .known import Known
from .structure import Item

_INT64 = (1 << 63) - 1
_FLOAT32 = 3.4028234663852886e38
_NAMES = {
    "boolean": "true or false",
    "integer": "a whole number",
    "float": "a number",
    "string": "a string",
    "strings": "a list of strings",
    "integers": "a list of whole numbers",
    "table": "a table",
    "tables": "a list of tables",
}
STAGES = {
    # When a runtime notices, and what it does then.
    "load": "refuses to load the file",
    "create": "loads the file and refuses to make the sandbox",
    "parse": "refuses to load the file",
    "adjust": "refuses to load the file",
    "validate": "loads the file and refuses to start",
    "start": "fails when it starts the VM",
    "boot": "starts the VM, and the guest does not boot",
    "no": "does not check it, and nothing comes of it",
}


@dataclass(frozen=True, slots=True)
class Context:
    """For what a value is judged. ``effective``: no drop-in replaces it; ``arch``: Kata's name, None when unknown."""

    known: Known
    hypervisor: str | None
    arch: str | None
    effective: bool = True


def shown(value: Any) -> str:
    """A value as TOML has it, cut to a readable length."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else text[:57] + "..."


def value_findings(item: Item, context: Context) -> Iterator[Finding]:
    """All that is wrong with the value of a key that the parser knows."""
    match = item.match
    assert match is not None  # noqa: S101 -- the caller has told the unknown ones apart
    side, known = match.side, context.known
    if match.shadow and known.dialect == "rs":
        side = _plain(match.setting, side)
    if known.dialect == "rs" and not context.effective:
        return  # merged away before the parser sees it
    wrong = list(_type(item, side, context))
    yield from wrong
    if wrong or match.shadow or not context.effective:
        return
    if not isinstance(item.value, bool) and isinstance(item.value, int | float):
        yield from _bounds(item, side, context)
    yield from _choices(item, match.setting, side, context)
    if side.must_exist and isinstance(item.value, str) and item.value and not item.value.startswith(("/", "@")):
        told = f"{item.key} is a relative path, {shown(item.value)}"
        hint = "write it from the root: /…"
        does = f"the {known.title} looks it up from the folder in which it happens to be started"
        yield Finding("relative-path", "warning", told, item.value_where, hint, does, known.dialect)


def _plain(setting: Setting, side: Side) -> Side:
    """The type of a key that nothing reads: as in the other dialect, whose name it bears."""
    return setting.go or side


def _type(item: Item, side: Side, context: Context) -> Iterator[Finding]:
    known, value = context.known, item.value
    refuses = f"the {known.title} refuses to load the file"
    if not _is(value, side.type):
        told = f"{item.key} must be {_NAMES[side.type]}, not {_named(value)}"
        yield Finding("wrong-type", "error", told, item.value_where, _converted(item, side), refuses, known.dialect)
        return
    elements = value if side.type == "integers" else [value]
    for number in elements if side.type in ("integer", "integers", "float") else ():
        yield from _holds(item, side, number, context, refuses)


def _is(value: Any, kind: str) -> bool:
    if kind == "boolean":
        return isinstance(value, bool)
    if kind in ("integer", "float"):
        return not isinstance(value, bool) and isinstance(value, int if kind == "integer" else int | float)
    if kind == "string":
        return isinstance(value, str)
    if kind == "table":
        return isinstance(value, dict)
    element = {"strings": "string", "integers": "integer", "tables": "table"}[kind]
    return isinstance(value, list) and all(_is(one, element) for one in value)


def _named(value: Any) -> str:
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return f"the list {shown(value)}"
    kind = "the string" if isinstance(value, str) else "the date" if not isinstance(value, bool | int | float) else ""
    return f"{kind} {shown(value)}".strip()


def _converted(item: Item, side: Side) -> str | None:
    """The value in the right type, where it is clear."""
    value: Any = item.value
    new: Any = None
    if side.type == "boolean":
        new = {"true": True, "false": False, "1": True, "0": False}.get(str(value).lower())
    elif side.type in ("integer", "float") and isinstance(value, str | float) and not isinstance(value, bool):
        try:
            number = float(value)
            whole = math.isfinite(number) and number == int(number)
            new = int(number) if whole else number if side.type == "float" and math.isfinite(number) else None
        except ValueError:
            new = None
    elif side.type == "string" and isinstance(value, bool | int | float):
        new = json.dumps(value)
    elif side.type == "strings" and isinstance(value, str):
        new = [value] if value else []
    elif side.type == "string" and isinstance(value, list) and len(value) == 1 and isinstance(value[0], str):
        new = value[0]
    return None if new is None else f"write {item.key} = {json.dumps(new, ensure_ascii=False)}"


def _holds(item: Item, side: Side, number: Any, context: Context, refuses: str) -> Iterator[Finding]:
    known = context.known

    def found(rule: str, level: Level, message: str, hint: str | None, does: str) -> Finding:
        return Finding(rule, level, message, item.value_where, hint, does, known.dialect)

    if isinstance(number, float) and not math.isfinite(number):
        does = f"the {known.title} reads it as a number"
        yield found("not-finite", "error", f"{item.key} must be a finite number", None, does)
        return
    low = -_INT64 - 1 if side.minimum is None else side.minimum
    high = _INT64 if side.maximum is None else side.maximum
    if isinstance(number, int) and not -_INT64 - 1 <= number <= _INT64:
        yield found("out-of-range", "error", f"{item.key}: {number} does not fit into 64 bits", None, refuses)
    elif side.type == "float":
        if abs(number) > _FLOAT32:
            yield found("out-of-range", "error", f"{item.key}: {number} does not fit into 32 bits", None, refuses)
    elif number < 0 and low == 0 and high == _INT64 and known.dialect == "go":
        told = f"{item.key}: {number} is read as {(1 << 64) + number}"
        does = f"the {known.title} takes it for 2^64 - {-number}"
        yield found("wraps", "error", told, "write 0 or more", does)
    elif not low <= number <= high:
        told = f"{item.key} must lie between {low} and {high}, not {number}"
        yield found("out-of-range", "error", told, None, refuses)


def _bounds(item: Item, side: Side, context: Context) -> Iterator[Finding]:
    """Numbers that fit, and that the runtime does not use as they are."""
    value, known = item.value, context.known
    if (value == 0 and side.zero is not None) or not _heeded(side, context):
        return
    for limit, sign, which in ((side.low, -1, "at least"), (side.high, 1, "at most")):
        most = limit.at(context.hypervisor or "", context.arch) if limit else None
        if limit and most is not None and (value - most) * sign > 0:
            fatal = any(word in limit.effect for word in ("refused", "fail"))
            rule = "not-allowed" if fatal else "clamped"
            level: Level = "error" if fatal else "warning"
            hint = f"write {which} {most}{_unit(side)}"
            does = f"in the {known.title} it {limit.effect}"
            message = f"{item.key}: {value}{_unit(side)} {limit.effect}"
            yield Finding(rule, level, message, item.value_where, hint, does, known.dialect)


def _unit(side: Side) -> str:
    return f" {side.unit}" if side.unit in ("MiB", "ms", "s") else ""


def _heeded(side: Side, context: Context) -> bool:
    return context.hypervisor is None or side.heeded_by(context.hypervisor)


def _choices(item: Item, setting: Setting, side: Side, context: Context) -> Iterator[Finding]:
    choices = side.choices(context.hypervisor or "", context.arch)
    if choices is None or not (_heeded(side, context) or context.hypervisor in side.allowed_by_hypervisor):
        return  # what is refused is refused by name, also where the key does nothing
    known = context.known
    values: Sequence[Any] = item.value if isinstance(item.value, list) else [item.value]
    if side.type not in ("strings", "integers"):
        values = [item.value]
    for index, value in enumerate(values):
        if any(_same(value, choice) for choice in choices) or _means_default(value, side, context):
            continue
        stage = side.allowed_checked or "validate"
        does = f"the {known.title} {STAGES[stage]}"
        level: Level = "warning" if stage == "no" else "error"
        place: Place = item.value_where
        if side.type == "strings" and isinstance(item.value, list):
            place = item.document.value_place((*item.path, index))
        hint = _meant(value, setting, side, choices, known)
        told = f"{item.key} cannot be {shown(value)}"
        if context.hypervisor in side.allowed_by_hypervisor:
            told += f" with {context.hypervisor}"
        yield Finding("not-allowed", level, told, place, hint, does, known.dialect)


def _means_default(value: Any, side: Side, context: Context) -> bool:
    """Whether an empty string counts as left out, for this key."""
    if value != "" or side.type != "string":
        return False
    if context.known.dialect == "go":
        return bool(side.default_of(context.hypervisor or ""))
    return side.empty_means(context.hypervisor or "") is not None


def _meant(value: Any, setting: Setting, side: Side, choices: Sequence[Any], known: Known) -> str:
    if not [choice for choice in choices if choice != ""]:
        return "no value is accepted: leave it empty"
    try:
        other = setting.side(known.other)
        if other and any(_same(value, choice) for choice in other.choices("", None) or ()):
            here = carried(value, setting.carry, side)
            if not _same(here, value):
                return f"that is the {tables().title(known.other)}'s word; write {shown(here)}"
    except NoCounterpartError:
        pass
    listed = ", ".join(shown(choice) for choice in choices if choice != "")
    words = [choice for choice in choices if isinstance(choice, str) and choice]
    near = nearest(value, words) if isinstance(value, str) else None
    return f"did you mean {shown(near)}? There is: {listed}" if near else f"there is: {listed}"


def _same(left: Any, right: Any) -> bool:
    return isinstance(left, bool) == isinstance(right, bool) and bool(left == right)
