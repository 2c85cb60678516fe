"""What is asked of the kernel: the profile's features and the spec's single options, merged to one value a symbol."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import InputError, Problem, Where
from ..spec.model import FeatureChanges, KernelOption
from .config import config_line, count_on
from .fragments import AllowedMissing, Library, Setting
from .selection import NO_CHANGES, select
from .versions import version_tuple

SPEC = "spec"  # who asks, when the spec itself does


@dataclass(frozen=True, slots=True)
class Request:
    """One symbol's wished-for value; ``value`` as ``.config`` writes it, "n" for off.

    ``asked_by``: the features (or "spec") that want it, ``why`` the reason of the first of them. ``overridden``:
    features whose wish the spec overrules. ``allowed``: why it may stay unmet, or None; ``allowed_at``: where that
    is said. Only where every feature that asks allows it. Where ``allowed`` is None, ``allowed_at`` is the place of an
    allowance that is for other kernels or architectures.
    """

    symbol: str
    value: str
    why: str
    where: Where
    asked_by: tuple[str, ...]
    overridden: tuple[str, ...] = ()
    allowed: str | None = None
    allowed_at: Where | None = None


@dataclass(frozen=True, slots=True)
class SpecChange:
    """One symbol that the spec gives another value than the profile would.

    ``request``: what the spec wants, with its place. ``instead``: what the features want, or None. ``dropped``: the
    feature that the spec drops; without it, the spec asks for the symbol itself.
    """

    request: Request
    instead: str | None
    dropped: str | None = None

    @property
    def key(self) -> str:
        """The same for all symbols that change together."""
        return f"feature {self.dropped}" if self.dropped else self.request.symbol


@dataclass(frozen=True, slots=True)
class Wishes:
    """All requests, by symbol, and the names of the features behind them.

    ``changes``: where the spec departs from its profile. ``needs``: what each feature needs.
    """

    features: tuple[str, ...]
    requests: tuple[Request, ...]
    changes: tuple[SpecChange, ...] = ()
    needs: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def needing(self, names: Iterable[str]) -> tuple[str, ...]:
        """These features and all that need one of them, directly or not; sorted."""
        found = set(names)
        for name in self.features:  # what is needed comes first
            if found & self.needs.get(name, frozenset()):
                found.add(name)
        return tuple(sorted(found))

    def allconfig(self) -> str:
        """The text for KCONFIG_ALLCONFIG: one line a symbol, sorted."""
        return "".join(config_line(r.symbol, r.value) for r in self.requests)

    def report(self, values: Mapping[str, str], *, arch: str, kernel: str, profile: str) -> dict[str, Any]:
        """The part of kernel-config.json that every kernel has: who asked for each symbol, why, and what it became."""
        return {
            "version": 1,
            "kernel": kernel,
            "arch": arch,
            "profile": profile,
            "features": list(self.features),
            "options_on": count_on(dict(values)),
            "requests": [
                {
                    "symbol": r.symbol,
                    "value": r.value,
                    "result": values.get(r.symbol, "n"),
                    "asked_by": list(r.asked_by),
                    "why": r.why,
                    **({"overrules": list(r.overridden)} if r.overridden else {}),
                    **({"allowed_missing": r.allowed} if r.allowed else {}),
                }
                for r in self.requests
            ],
        }


def collect(
    library: Library,
    profile: str,
    options: Sequence[KernelOption],
    *,
    arch: str,
    kernel: str,
    where: Where | None = None,
    changes: FeatureChanges = NO_CHANGES,
) -> Wishes:
    """Merge a profile's features, as the spec changes them, and single options: for one architecture and version.

    Raises InputError for features that contradict or exclude each other, and for changes that do not fit the profile;
    an option of the spec has the last word.
    """
    version = version_tuple(kernel)
    features = select(library, profile, changes, arch=arch, kernel=version, where=where)
    wanted: dict[str, list[tuple[str, Setting]]] = {}
    allowed: dict[tuple[str, str], AllowedMissing] = {}
    expired: dict[str, Where] = {}
    for feature in features:
        for setting in feature.settings:
            if (not setting.arch or arch in setting.arch) and version in setting.kernel:
                wanted.setdefault(setting.symbol, []).append((feature.name, setting))
        for entry in feature.allow_missing:
            if (not entry.arch or arch in entry.arch) and version in entry.kernel:
                allowed[entry.symbol, feature.name] = entry
            else:
                expired.setdefault(entry.symbol, entry.where)
    chosen = {option.symbol: option for option in options}
    spec_changes = []
    _refuse_contradictions({s: w for s, w in wanted.items() if s not in chosen})
    requests = {s: _from_features(s, w, allowed, expired.get(s)) for s, w in wanted.items() if s not in chosen}
    for symbol, option in chosen.items():
        overruled = tuple(name for name, s in wanted.get(symbol, ()) if s.value != option.value)
        requests[symbol] = Request(symbol, option.value, "asked for by the spec", option.where, (SPEC,), overruled)
        instead = wanted[symbol][0][1].value if symbol in wanted else None
        spec_changes.append(SpecChange(requests[symbol], instead))
    spec_changes += [c for c in _dropped(library, changes, arch, version) if c.request.symbol not in requests]
    return Wishes(
        tuple(f.name for f in features),
        tuple(requests[s] for s in sorted(requests)),
        tuple(spec_changes),
        {f.name: frozenset(f.needs) for f in features},
    )


def _dropped(library: Library, changes: FeatureChanges, arch: str, version: tuple[int, ...]) -> Iterator[SpecChange]:
    """What goes with the features that the spec drops."""
    for name, where in changes.drop.items():
        for setting in library.features[name].settings:
            if (not setting.arch or arch in setting.arch) and version in setting.kernel and setting.value != "n":
                request = Request(setting.symbol, "n", f"the spec drops {name}", where, (SPEC,))
                yield SpecChange(request, setting.value, name)


def _from_features(
    symbol: str,
    wanted: list[tuple[str, Setting]],
    allowed: Mapping[tuple[str, str], AllowedMissing],
    expired: Where | None,
) -> Request:
    first = wanted[0][1]
    names = tuple(name for name, _ in wanted)
    entries = [allowed[symbol, name] for name in names if (symbol, name) in allowed]
    entry = entries[0] if len(entries) == len(names) else None
    return Request(
        symbol,
        first.value,
        first.why,
        first.where,
        names,
        allowed=entry.reason if entry else None,
        allowed_at=entry.where if entry else expired,
    )


def _refuse_contradictions(wanted: dict[str, list[tuple[str, Setting]]]) -> None:
    problems = []
    for symbol, settings in sorted(wanted.items()):
        first_name, first = settings[0]
        for name, setting in settings[1:]:
            if setting.value != first.value:
                problems.append(
                    Problem(
                        f'{symbol}: the feature "{name}" wants {setting.value}, but "{first_name}" wants {first.value}',
                        setting.where,
                        f"the other request is at {first.where}; kernel.options in the spec has the last word",
                    )
                )
    if problems:
        raise InputError.many(problems)
