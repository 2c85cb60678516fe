"""Holds the configuration of a kernel that others have built to what the guest needs, feature by feature."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .config import same_value
from .fragments import Library
from .hardening import compare
from .prebuilt_rules import PrebuiltRules
from .requests import Request, Wishes

BUILT_IN, AS_MODULES, IN_PART, MISSING = "built in", "as modules", "in part", "missing"


@dataclass(frozen=True, slots=True)
class FeatureFound:
    """What a kernel has of one feature. ``missing``: symbols; ``modules``: symbols that are modules."""

    name: str
    title: str
    status: str
    modules: tuple[str, ...]
    missing: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """The entry of kernel-config.json."""
        return {
            "feature": self.name,
            "title": self.title,
            "status": self.status,
            "modules": list(self.modules),
            "missing": list(self.missing),
        }


def features_found(
    wishes: Wishes, values: Mapping[str, str], library: Library, rules: PrebuiltRules
) -> Iterator[FeatureFound]:
    """What the kernel has of each feature of the wishes, in their order."""
    by_feature: dict[str, list[Request]] = {name: [] for name in wishes.features}
    for request in wishes.requests:
        for name in request.asked_by:
            if name in by_feature and request.value == "y" and request.symbol not in rules.tuning:
                by_feature[name].append(request)
    for name, requests in by_feature.items():
        if not requests:
            continue
        modules = tuple(r.symbol for r in requests if values.get(r.symbol) == "m")
        missing = tuple(
            r.symbol
            for r in requests
            if r.allowed is None and not same_value("y", values.get(r.symbol)) and r.symbol not in modules
        )
        asked = sum(r.allowed is None or r.symbol in values for r in requests)
        there = AS_MODULES if modules else BUILT_IN
        status = (MISSING if len(missing) == asked else IN_PART) if missing else there
        yield FeatureFound(name, library.features[name].title, status, modules, missing)


def wanted_modules(found: Iterable[FeatureFound], rules: PrebuiltRules) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Symbols whose modules go into the guest: those loaded at boot, and those loaded when asked for; sorted."""
    symbols = {symbol for feature in found for symbol in feature.modules}
    first = sorted(symbols & rules.at_boot)
    return tuple(first), tuple(sorted(symbols - rules.at_boot))


def fit_report(
    wishes: Wishes, values: Mapping[str, str], found: Sequence[FeatureFound], *, arch: str, kernel: str, profile: str
) -> dict[str, Any]:
    """kernel-config.json, as a compiled kernel has it, and ``prebuilt``: what there is of each feature."""
    return {
        **wishes.report(values, arch=arch, kernel=kernel, profile=profile),
        "hardening": compare(values, kernel=kernel, arch=arch).summary(),
        "prebuilt": [feature.as_json() for feature in found],
    }
