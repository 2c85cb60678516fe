"""One value on its way from one dialect into the other: what it becomes there, or why it cannot be said."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..spec.model import Dialect
from .keys import Carry, Setting, Side, tables
from .settings import NoCounterpartError, shown

FORCE_GUEST_PULL = "runtime.experimental_force_guest_pull"
"""A switch of its own in Go; an entry of the list ``experimental`` in Rust. Go has that list too, always empty."""

_ROOT = "disable_image_nvdimm"
_NVDIMM_NEVER = ("aarch64", "s390x", "ppc64le", "riscv64")


@dataclass(frozen=True, slots=True)
class Subject:
    """What is translated: from where to where, for which VMM, on which architecture (Kata's name; None: unknown).

    ``facts``: the whole file's values by setting name, as it has them.
    """

    source: Dialect
    target: Dialect
    hypervisor: str
    arch: str | None
    facts: Mapping[str, Any]

    def title(self, dialect: Dialect) -> str:
        """A runtime's name for a person."""
        return tables().title(dialect)


@dataclass(frozen=True, slots=True)
class Carried:
    """A value in the other dialect. ``rounded``: it is not exactly the same; says how."""

    side: Side
    value: Any
    rounded: str | None = None


def carry(setting: Setting, value: Any, subject: Subject) -> Carried:
    """The value in the words of the other dialect. Raises NoCounterpartError, which says why there are none."""
    setting = _other_name(setting, value, subject)
    side = setting.side(subject.target)
    there = subject.title(subject.target)
    if side is None:
        raise NoCounterpartError(f"the {there} has no such setting")
    if setting.name == _ROOT and subject.target == "rs":
        value = value or bool(_no_nvdimm(subject))
    value, rounded = _converted(value, setting.carry, side, subject)
    reason = refused(value, side, subject)
    if reason:
        raise NoCounterpartError(reason)
    return Carried(side, value, rounded)


def _other_name(setting: Setting, value: Any, subject: Subject) -> Setting:
    if setting.name == "runtime.experimental" and subject.source == "rs" and value:
        return tables().find(FORCE_GUEST_PULL) or setting
    return setting


def _no_nvdimm(subject: Subject) -> str | None:
    """Why the Go runtime attaches the image as a block device, whatever disable_image_nvdimm says."""
    facts = subject.facts
    if facts.get("confidential_guest"):
        return "a confidential guest has no NVDIMM"
    if facts.get("machine_type") == "microvm":
        return "microvm has no NVDIMM"
    return f"on {subject.arch} it is a block device" if subject.arch in _NVDIMM_NEVER else None


def _converted(value: Any, how: Carry | None, side: Side, subject: Subject) -> tuple[Any, str | None]:
    if how is None:
        return value, None
    to_rs = side.dialect == "rs"
    pairs = [pair if to_rs else (pair[1], pair[0]) for pair in how.values]
    matching = [there for here, there in pairs if same(here, value)]
    if how.multiply == how.divide == 1:
        if not matching:
            raise NoCounterpartError(f"{shown(value)} has no counterpart in the {subject.title(side.dialect)}")
        return _best(matching, value, side, subject), None
    if to_rs and matching:
        return matching[0], None
    times, by = (how.multiply, how.divide) if to_rs else (how.divide, how.multiply)
    whole, rest = divmod(value * times, by)
    if not rest:
        return whole, None
    # A time is rounded up, so that nothing is given up too early; a rate down, so that no limit is exceeded; but
    # not down to 0, which is no limit at all.
    up = how.multiply > 1 or whole == 0
    result = whole + 1 if up else whole
    unit = f" {side.unit}" if side.unit and how.divide == 1 else ""  # a rate's unit is not what the runtime counts
    return result, f"rounded {'up' if up else 'down'} to whole{unit or ' numbers'}"


def _best(matching: list[Any], value: Any, side: Side, subject: Subject) -> Any:
    """Of several words with one meaning, the same one, or the one that this VMM takes on this architecture."""
    if any(same(value, one) for one in matching):
        return value
    if side.key == "vm_rootfs_driver" and subject.arch == "s390x" and "virtio-blk-ccw" in matching:
        return "virtio-blk-ccw"
    return next((one for one in matching if refused(one, side, subject) is None), matching[0])


def refused(value: Any, side: Side, subject: Subject) -> str | None:
    """Why the runtime would not take this value, or None."""
    title = subject.title(side.dialect)
    choices = side.choices(subject.hypervisor, subject.arch)
    if choices is not None and side.heeded_by(subject.hypervisor) and side.allowed_checked != "no":
        for one in value if isinstance(value, list) else [value]:
            if one != "" and not any(same(one, choice) for choice in choices):
                return f"the {title} does not take {shown(one)}"
    for number in value if isinstance(value, list) else [value]:
        if isinstance(number, bool) or not isinstance(number, int):
            continue
        if (side.minimum is not None and number < side.minimum) or (side.maximum is not None and number > side.maximum):
            return f"the {title} takes {side.minimum} to {side.maximum}"
    return None


def useless(side: Side, subject: Subject) -> str | None:
    """Why a key does nothing in its runtime, or None."""
    why = side.inert
    if not why and not side.heeded_by(subject.hypervisor):
        why = f"it does nothing with {subject.hypervisor}"
    return f"in the {subject.title(side.dialect)}, {why}" if why else None


def replaced(value: Any, side: Side, subject: Subject) -> str | None:
    """What the runtime makes of a number that it reads and does not use as it is, or None.

    0 that stands for something is left aside.
    """
    if isinstance(value, bool) or not isinstance(value, int) or (value == 0 and side.zero is not None):
        return None
    for limit, sign in ((side.low, -1), (side.high, 1)):
        bound = limit.at(subject.hypervisor, subject.arch) if limit else None
        if limit and bound is not None and (value - bound) * sign > 0:
            return f"in the {subject.title(side.dialect)}, {value} {limit.effect}"
    return None


def same(left: Any, right: Any) -> bool:
    """Equal, and of the same kind: true is not 1; 1 is 1.0."""
    return isinstance(left, bool) == isinstance(right, bool) and bool(left == right)


def idle(value: Any, side: Side, hypervisor: str) -> str | None:
    """Why a value of the source changes nothing there, so that nothing is lost without it; None: it does something."""
    if side.internal:
        return "the runtime fills it in itself"
    if side.inert:
        return side.inert
    if not side.heeded_by(hypervisor):
        return f"it does nothing with {hypervisor}"
    default = side.default_of(hypervisor)
    if default is None:
        neutral = value in ("", [], {}) or value is False or (value == 0 and not side.zero_means(hypervisor))
    else:
        neutral = same(value, default) or same(value, _zero(side, hypervisor))
    return "it is what the runtime takes anyway" if neutral else None


def _zero(side: Side, hypervisor: str) -> Any:
    """0, where it means the default."""
    means = side.zero_means(hypervisor)
    return 0 if means is not None and means == side.default_of(hypervisor) else side.default_of(hypervisor)


# Settings that each runtime, when they are left out, fills in with what it was built with, or with nothing at all:
# to write the other one's default would be wrong on this host.
_OWN_DEFAULTS = frozenset(
    ("path", "kernel", "machine_type", "rootfs_type", "agent.cdh_api_timeout", "factory.template_path")
)


def silent_defaults(subject: Subject, written: set[str]) -> Iterator[tuple[Setting, Carried]]:
    """What the source takes for settings that its file leaves out, where the target would take something else.

    ``written``: the names of settings that the source's or the new file states.
    """
    for setting in tables().settings:
        here, there = setting.side(subject.source), setting.side(subject.target)
        if here is None or there is None or setting.name in written | _OWN_DEFAULTS or setting.type in _TABLES:
            continue
        if here.table.count(".") or not all(_matters(side, subject) for side in (here, there)):
            continue
        value = here.default_of(subject.hypervisor)
        if value is None or value in ("", []) or _broken_default(here, value) or _of_tdx(setting, subject):
            continue
        try:
            carried = carry(setting, value, subject)
        except NoCounterpartError:
            continue
        taken = there.default_of(subject.hypervisor)
        if taken == 0 and isinstance(there.zero_means(subject.hypervisor), int):
            taken = there.zero_means(subject.hypervisor)
        nothing = taken is None and carried.value in (0, False)
        if not there.default_host(subject.hypervisor) and not nothing and not same(carried.value, taken):
            yield setting, carried


_TABLES = ("table", "tables")


def _matters(side: Side, subject: Subject) -> bool:
    if side.inert or side.internal or not side.heeded_by(subject.hypervisor):
        return False
    return side.needs is None or same(subject.facts.get(side.needs["setting"]), side.needs["value"])


def _of_tdx(setting: Setting, subject: Subject) -> bool:
    """Whether a setting is for TDX guests, and this is none."""
    tdx = subject.facts.get("confidential_guest") and not subject.facts.get("sev_snp_guest")
    return setting.name.startswith("tdx_") and not (tdx and subject.arch in (None, "x86_64"))


def _broken_default(side: Side, value: Any) -> bool:
    """Whether the runtime does not work with its own default; then the target's can only be better."""
    return side.low is not None and isinstance(value, int) and value < side.low.value and side.zero is None


def homes(source: Dialect, target: Dialect) -> dict[str, str]:
    """For each of the source's tables, the target's that has most of its keys; a table without one is missing."""
    counts: dict[str, Counter[str]] = {}
    for setting in tables().settings:
        here, there = setting.side(source), setting.side(target)
        if here and there:
            counts.setdefault(here.table, Counter())[there.table] += 1
    return {table: count.most_common(1)[0][0] for table, count in counts.items()}
