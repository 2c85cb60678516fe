"""What features lose because the spec overruled something that they need: one finding for it all, at the spec's line.

Without it, one option of the spec makes as many errors as there are symbols that depend on it, each at a line of our
own files, which the person who wrote the spec never sees.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from .config import config_line, same_value
from .findings import ChoiceLost, DependencyUnmet, Finding, Forced, NoPrompt, PromptHidden
from .requests import SPEC, SpecChange, Wishes
from .resolve import Conf
from .symbols import PREFIX

_TRIED = 3  # changes of a spec that are tried to be taken back; each takes conf two runs


@dataclass(frozen=True, slots=True, kw_only=True)
class Overruled(Finding):
    """``request``: what the spec wants, and gets. ``lost``: the features with the symbols that they no longer get.

    ``dropped``: the feature that the spec drops, where that is what it overrules with. ``without``: the features to do
    without instead. ``keeping``, ``leaving``: whether conf, asked without the change, or without these features,
    meets all others.
    """

    kind: ClassVar[str] = "overruled"

    lost: Mapping[str, tuple[str, ...]]
    without: tuple[str, ...]
    dropped: str | None = None
    keeping: bool = False
    leaving: bool = False

    @property
    def text(self) -> str:
        """See Finding."""
        names = list(self.lost)
        return f"{'feature' if len(names) == 1 else 'features'} {', '.join(names)} cannot have what they ask for"

    @property
    def message(self) -> str:
        """See Finding."""
        change = (
            f"without the feature {self.dropped}" if self.dropped else f"{self.request.symbol}={self.request.value}"
        )
        text = self.text if len(self.lost) > 1 else self.text.replace("they ask", "it asks")
        return f"{change}: {text}"

    @property
    def advice(self) -> str | None:
        """See Finding."""
        tried = [" (tried: it works)" if works else "" for works in (self.keeping, self.leaving)]
        undo = f"keep {self.dropped}" if self.dropped else f"leave {self.request.symbol} out"
        more = " as well" if self.dropped else ""
        return f"{undo}{tried[0]}, or do without these features{more}{tried[1]}: drop: [{', '.join(self.without)}]"

    @property
    def table(self) -> tuple[str, ...]:
        """See Finding: each feature, and the symbols that it loses."""
        width = max(map(len, self.lost))
        return tuple(f"{name:<{width}}  {', '.join(symbols)}" for name, symbols in self.lost.items())

    def as_json(self) -> dict[str, Any]:
        """See Finding."""
        # Named, since a dataclass with slots is another class than the one that super() without arguments would mean.
        return {**Finding.as_json(self), "lost": {name: list(symbols) for name, symbols in self.lost.items()}}


def gathered(findings: Sequence[Finding], wishes: Wishes, conf: Conf) -> tuple[list[Finding], list[Finding]]:
    """The findings that the spec's own changes explain, one for each change; and all others, as they are."""
    by_symbol = {change.request.symbol: change for change in wishes.changes}
    groups: dict[str, list[Finding]] = {}
    others = []
    for finding in findings:
        change = next(_causes(finding, by_symbol), None)
        if change:
            groups.setdefault(change.key, []).append(finding)
        else:
            others.append(finding)
    changes = {change.key: change for change in reversed(wishes.changes)}
    found: list[Finding] = []
    for number, (key, group) in enumerate(groups.items()):
        tried = conf if number < _TRIED else None
        found.append(_overruled(changes[key], group, wishes, others, tried))
    return found, others


def _causes(finding: Finding, changes: Mapping[str, SpecChange]) -> Iterator[SpecChange]:
    """The changes of the spec that keep a feature's request from being met."""
    if finding.request.asked_by == (SPEC,):
        return
    match finding:
        case DependencyUnmet(need=need) | NoPrompt(need=need) | PromptHidden(need=need):
            wanted = [(PREFIX + link.symbol, link.wanted) for chain in need.chains() for link in reversed(chain)]
        case ChoiceLost(winner=winner):
            wanted = [(PREFIX + winner, "n")]
        case Forced(by=by):
            wanted = [(selector.partition(" ")[0], "n") for selector in by]
        case _:
            wanted = []
    for symbol, value in wanted:
        change = changes.get(symbol)
        if change and not same_value(change.request.value, value):
            yield change


def _overruled(
    change: SpecChange, group: Iterable[Finding], wishes: Wishes, others: Iterable[Finding], conf: Conf | None
) -> Overruled:
    lost: dict[str, list[str]] = {}
    for finding in group:
        for name in finding.request.asked_by:
            lost.setdefault(name, []).append(finding.request.symbol)
    without = wishes.needing(lost)
    unmet = {finding.request.symbol for finding in others}
    kept = {r.symbol: r.value for r in wishes.requests}
    for other in wishes.changes:
        if other.key == change.key:
            kept.pop(other.request.symbol, None)
            kept.update({other.request.symbol: other.instead} if other.instead else {})
    left = {r.symbol: r.value for r in wishes.requests if not set(r.asked_by) <= set(without)}
    return Overruled(
        request=change.request,
        got=change.request.value,
        lost={name: tuple(symbols) for name, symbols in sorted(lost.items())},
        without=without,
        dropped=change.dropped,
        keeping=conf is not None and _all_met(kept, unmet, conf),
        leaving=conf is not None and _all_met(left, unmet, conf),
    )


def _all_met(wanted: Mapping[str, str], unmet: Iterable[str], conf: Conf) -> bool:
    """Whether conf gives all that is wanted but what is unmet for other reasons."""
    values = conf("".join(config_line(name, wanted[name]) for name in sorted(wanted)))
    return all(same_value(value, values.get(name)) for name, value in wanted.items() if name not in unmet)
