"""Holds a kernel configuration to what the Kernel Self-Protection Project recommends, symbol by symbol.

The recommendations are data (kernel-configs/hardening.yaml), as is where a guest differs on purpose, and why.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .. import resources
from ..errors import InputError
from ..spec.schema import check, load_schema
from ..spec.yamltree import Tree as YamlTree
from ..spec.yamltree import load_yaml
from .chain import Ways
from .config import same_value
from .symbols import PREFIX, Tree, bare
from .versions import VersionRange, version_tuple

AS_RECOMMENDED, ON_PURPOSE, DIFFERS, NOT_THERE = "as recommended", "differs on purpose", "differs", "not in this kernel"
CanHave = Callable[[str], bool]
"""Whether a kernel can get a symbol (with prefix) to y."""

VERDICTS = (AS_RECOMMENDED, ON_PURPOSE, DIFFERS, NOT_THERE)


@dataclass(frozen=True, slots=True)
class Recommendation:
    """One setting that is recommended; ``value`` as ``.config`` writes it, "n" for off. ``arch`` empty: all.

    ``moot``: a symbol and a value that leave it nothing to protect. ``guest``: why a guest may differ.
    """

    symbol: str
    value: str
    protects: str
    moot: tuple[str, str] | None
    guest: str | None
    arch: frozenset[str]
    kernel: VersionRange


@dataclass(frozen=True, slots=True)
class Verdict:
    """How one symbol stands. ``value``: what it is, "n" when it has none. ``because``: what explains the verdict."""

    symbol: str
    recommended: str
    value: str
    verdict: str
    protects: str
    because: str | None


@dataclass(frozen=True, slots=True)
class Hardening:
    """The comparison, for the command line and the build's report. ``kernel`` and ``arch``: None when not known."""

    kernel: str | None
    arch: str | None
    verdicts: tuple[Verdict, ...]

    def count(self, verdict: str) -> int:
        """How many symbols have a verdict."""
        return sum(v.verdict == verdict for v in self.verdicts)

    @property
    def ok(self) -> bool:
        """Whether nothing differs without a reason."""
        return self.count(DIFFERS) == 0

    def summary(self) -> dict[str, Any]:
        """The counts, and the symbols that differ without a reason: for a build's report."""
        return {
            **{verdict.replace(" ", "_"): self.count(verdict) for verdict in VERDICTS},
            "symbols": [v.symbol for v in self.verdicts if v.verdict == DIFFERS],
        }

    def as_json(self) -> dict[str, Any]:
        """The shape that schemas/kernel-hardening.schema.json describes."""
        return {
            "version": 1,
            "kernel": self.kernel,
            "arch": self.arch,
            "ok": self.ok,
            "counts": {verdict: self.count(verdict) for verdict in VERDICTS},
            "feature_cost": measured_cost(),
            "settings": [asdict(verdict) for verdict in self.verdicts],
        }


def measured_cost() -> dict[str, Any]:
    """What the feature `hardening` cost when it was measured: ``boot_minstr`` beside ``of`` without it (both millions
    of instructions), ``overhead_mib``, and on which ``kernel`` and ``arch``."""
    return dict(_loaded().value["measured"])


def load_recommendations(file: Path | None = None) -> tuple[Recommendation, ...]:
    """All of them, in the order of the file. Raises InputError when it is not as its schema says."""
    return tuple(_recommendations(_loaded(file).value["settings"]))


def _loaded(file: Path | None = None) -> YamlTree:
    tree = load_yaml(file or resources.resource("kernel-configs", "hardening.yaml"))
    mistakes = [problem for _, problem in check(tree, load_schema("hardening"))]
    if mistakes:
        raise InputError.many(mistakes)
    return tree


def _recommendations(settings: Mapping[str, Any]) -> Iterator[Recommendation]:
    for symbol, given in settings.items():
        for facts in given if isinstance(given, list) else [given]:
            moot = facts.get("moot")
            yield Recommendation(
                symbol,
                str(facts["value"]),
                facts["protects"],
                (moot.partition("=")[0], moot.partition("=")[2]) if moot else None,
                facts.get("guest"),
                frozenset(facts.get("arch", ())),
                VersionRange.parse(facts.get("kernel")),
            )


def possible_in(tree: Tree, values: Mapping[str, str]) -> CanHave:
    """What a kernel with these values can switch on, as its Kconfig files say."""
    ways = Ways(tree, bare(values))
    return lambda symbol: ways.on(symbol.removeprefix(PREFIX)).possible


def compare(
    values: Mapping[str, str],
    *,
    kernel: str | None,
    arch: str | None,
    can_have: CanHave | None = None,
    recommendations: tuple[Recommendation, ...] | None = None,
) -> Hardening:
    """Judge the values of a ``.config`` (see `read_config`).

    ``can_have``: what this kernel can switch on at all, where its tree is at hand (see `possible_in`); else only the
    version ranges of the table tell. What is for other architectures is left out. Raises InputError for a table
    that is wrong.
    """
    table = load_recommendations() if recommendations is None else recommendations
    chosen = _variants([r for r in table if not arch or not r.arch or arch in r.arch], kernel)
    return Hardening(kernel, arch, tuple(_judge(r, values, kernel, can_have) for r in chosen))


def _variants(table: Iterable[Recommendation], kernel: str | None) -> Iterable[Recommendation]:
    """One recommendation a symbol: the first that is for this kernel, else the first there is."""
    chosen: dict[str, Recommendation] = {}
    for one in table:
        before = chosen.setdefault(one.symbol, one)
        if kernel and version_tuple(kernel) not in before.kernel and version_tuple(kernel) in one.kernel:
            chosen[one.symbol] = one
    return chosen.values()


def _judge(wanted: Recommendation, values: Mapping[str, str], kernel: str | None, can_have: CanHave | None) -> Verdict:
    value = values.get(wanted.symbol, "n")
    verdict, because = _verdict(wanted, values, kernel, can_have)
    return Verdict(wanted.symbol, wanted.value, value, verdict, wanted.protects, because)


def _verdict(
    wanted: Recommendation, values: Mapping[str, str], kernel: str | None, can_have: CanHave | None
) -> tuple[str, str | None]:
    got = values.get(wanted.symbol)
    if got is None and kernel and version_tuple(kernel) not in wanted.kernel:
        return NOT_THERE, f"Linux {kernel} has it no more or not yet"
    if _met(wanted.value, got):
        return AS_RECOMMENDED, None
    if wanted.moot and same_value(wanted.moot[1], values.get(wanted.moot[0])):
        return AS_RECOMMENDED, f"nothing to protect: {wanted.moot[0]}={wanted.moot[1]}"
    if got is None and can_have and not can_have(wanted.symbol):
        return NOT_THERE, "nothing switches it on for this architecture and compiler"
    if wanted.guest:
        return ON_PURPOSE, wanted.guest
    return DIFFERS, None


def _met(wanted: str, got: str | None) -> bool:
    """m is on: what a module protects is protected once it is loaded, and what should be off is not."""
    return same_value(wanted, "y" if got == "m" else got)
