"""Finds what to ask for so that an unmet request is met, and tries it with the kernel's own conf before it is told.

All fixes are tried together first, since each run of conf costs seconds; what does not work then is tried alone.
A fix that was tried and leaves something unmet is enlarged by what the new result lacks, a few times.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from .config import config_line, same_value
from .findings import (
    ChoiceLost,
    DependencyUnmet,
    Finding,
    Forced,
    NoModule,
    NoPrompt,
    OutOfRange,
    PromptHidden,
    Undecided,
    UnknownSymbol,
    WrongType,
)
from .fix import Fix
from .requests import Request
from .resolve import Conf
from .symbols import PREFIX, number
from .unmet import Inquiry

_ROUNDS = 4  # of enlarging the fixes
_ALONE = 6  # findings that are tried alone


@dataclass
class _Draft:
    """A fix that is being found."""

    finding: Finding
    settings: dict[str, str]
    replaces: bool = False
    question: bool = False
    goal: str = field(init=False)

    def __post_init__(self) -> None:
        self.goal = self.finding.request.symbol

    def fix(self, requests: Mapping[str, Request], together: bool, meets: Iterable[str] = ()) -> Fix:
        """As it is told; ``meets``: what else it was seen to meet."""
        others = {name: request for name, request in requests.items() if name != self.goal}
        new = [(n, v) for n, v in self.settings.items() if n not in others or not same_value(v, others[n].value)]
        settings = tuple(new or list(self.settings.items())[-1:])
        against = tuple(others[name] for name, _ in new if name in others)
        return Fix(settings, self.replaces, against, together, self.question, tuple(meets))


def with_fixes(inquiry: Inquiry, findings: Sequence[Finding], conf: Conf) -> list[Finding]:
    """The findings, those with a fix that works told so. Runs conf only when there is something to try."""
    drafts = [d for d in (_draft(inquiry, finding) for finding in findings) if d]
    works: dict[int, Fix] = {}
    requests = {r.symbol: r for r in inquiry.requests}
    trial = _Trial(inquiry, conf)
    for some in (drafts, [d for d in drafts if d.replaces]):
        group = [d for d in some if id(d.finding) not in works]
        if len(group) > 1 and _agree(group):
            for draft in trial.run([replace(d, settings=dict(d.settings)) for d in group], _ROUNDS):
                works[id(draft.finding)] = draft.fix(requests, True)
    alone = 0
    for draft in drafts:
        if id(draft.finding) in works or alone == _ALONE:
            continue
        alone += 1
        for done in trial.run([draft], _ROUNDS):
            also = [d for d in drafts if d is not draft and id(d.finding) not in works and trial.met(d)]
            works[id(draft.finding)] = done.fix(requests, False, [d.goal for d in also])
            for other in also:
                works[id(other.finding)] = replace(done.fix(requests, False), of=draft.goal)
    return [replace(f, fix=works[id(f)]) if id(f) in works else f for f in findings]


def tried_way(inquiry: Inquiry, request: Request, conf: Conf) -> dict[str, str] | None:
    """What to ask for so that a bool or tristate is what a request wants, nobody's request or an unmet one.

    Settings with prefix, tried with ``conf``: it met them, the request and all that were met before. None when no
    way was found that does.
    """
    wanted = [r for r in inquiry.requests if r.symbol != request.symbol]
    inquiry = replace(inquiry, requests=[*wanted, request])
    name = request.symbol.removeprefix(PREFIX)
    need = inquiry.ways.on(name, request.value)
    settings = _settings(need.settings()) if need.possible else {}
    settings.pop(request.symbol, None)
    got = inquiry.values.get(request.symbol, "n")
    draft = _Draft(Undecided(request=request, got=got, place=""), settings)
    done = _Trial(inquiry, conf).run([draft], _ROUNDS)
    asked = any(d.prompt for d in inquiry.tree.definitions[name])  # without a prompt nobody can
    return {**done[0].settings, **({request.symbol: request.value} if asked else {})} if done else None


class _Trial:
    def __init__(self, inquiry: Inquiry, conf: Conf) -> None:
        self._inquiry, self._conf = inquiry, conf
        self._last: Mapping[str, str] = {}
        self._met = [r for r in inquiry.requests if same_value(r.value, inquiry.values.get(r.symbol))]

    def run(self, drafts: list[_Draft], rounds: int) -> list[_Draft]:
        """Try them together, enlarged as the results demand; those that work."""
        for _ in range(rounds):
            wanted = self._wanted(drafts)
            values = self._conf("".join(config_line(name, wanted[name]) for name in sorted(wanted)))
            self._last = values
            good = [d for d in drafts if self._works(d, values)]
            if len(good) == len(drafts):
                break
            after = replace(self._inquiry, values=values)
            grown = [_enlarge(d, after) for d in drafts if d not in good]
            if not any(grown):
                break
        broken = [r for r in self._met if r.symbol in wanted and not same_value(wanted[r.symbol], values.get(r.symbol))]
        return [] if broken else good

    def met(self, draft: _Draft) -> bool:
        """Whether the last run met what this one is for, though it was not part of it."""
        request = draft.finding.request
        return same_value(request.value, self._last.get(request.symbol))

    def _wanted(self, drafts: Iterable[_Draft]) -> dict[str, str]:
        """All requests, changed as the drafts say."""
        wanted = {r.symbol: r.value for r in self._inquiry.requests}
        for draft in drafts:
            if draft.replaces:
                wanted.pop(draft.goal, None)
        for draft in drafts:
            wanted.update(draft.settings)
        return wanted

    def _works(self, draft: _Draft, values: Mapping[str, str]) -> bool:
        request = draft.finding.request
        goal = draft.replaces or same_value(request.value, values.get(request.symbol))
        return goal and all(same_value(value, values.get(name)) for name, value in draft.settings.items())


def _agree(drafts: Iterable[_Draft]) -> bool:
    """Whether no two drafts want different values of one symbol."""
    wanted: dict[str, str] = {}
    return all(wanted.setdefault(name, value) == value for d in drafts for name, value in d.settings.items())


def _draft(inquiry: Inquiry, finding: Finding) -> _Draft | None:
    """What to try first; None when there is no idea."""
    request = finding.request
    match finding:
        case UnknownSymbol(renamed=str()):
            from .renames import fate_of

            fate = fate_of(request.symbol, inquiry.source.kernel, inquiry.tree.definitions)
            return _replaced(finding, {fate.name: request.value}) if fate and fate.name else None
        case UnknownSymbol(elsewhere=(), nearest=str(nearest)):
            return replace(_replaced(finding, {PREFIX + nearest: request.value}), question=True)
        case WrongType(type="bool" | "tristate") if request.value == "m":
            return _replaced(finding, {request.symbol: "y"})
        case WrongType(type="string") if request.value[:1] not in ("", '"'):
            return _replaced(finding, {request.symbol: f'"{request.value}"'})
        case DependencyUnmet(need=need) | NoPrompt(need=need) | PromptHidden(need=need) if need.possible:
            settings = _settings(need.settings())
            settings.pop(request.symbol, None)  # which is asked for already
            return _Draft(finding, settings) if settings else None
        case ChoiceLost(winner=winner) if request.value == "y":
            return _Draft(finding, {PREFIX + winner: "n"})
        case NoModule():
            return _replaced(finding, {request.symbol: "y"})
        case OutOfRange(low=low, high=high):
            wanted, bottom = number(request.value), number(low)
            if wanted is not None and bottom is not None:
                return _replaced(finding, {request.symbol: low if wanted < bottom else high})
        case Forced():
            need = inquiry.ways.off(request.symbol.removeprefix(PREFIX))
            if need.possible and need.settings():
                return _Draft(finding, _settings(need.settings()))
    return None


def _replaced(finding: Finding, settings: dict[str, str]) -> _Draft:
    return _Draft(finding, settings, replaces=True)


def _settings(bare: Mapping[str, str]) -> dict[str, str]:
    return {PREFIX + name: value for name, value in bare.items()}


def _enlarge(draft: _Draft, after: Inquiry) -> bool:
    """Add what the result of a trial shows to be missing; whether there was something."""
    before = dict(draft.settings)
    request = draft.finding.request
    wanted = {**draft.settings, **({} if draft.replaces else {request.symbol: request.value})}
    for symbol, value in wanted.items():
        name = symbol.removeprefix(PREFIX)
        if same_value(value, after.values.get(symbol)) or name not in after.tree.definitions:
            continue
        need = after.ways.off(name) if value == "n" else after.ways.on(name, value if value == "m" else "y")
        if need.possible:
            more = {s: v for s, v in _settings(need.settings()).items() if s not in wanted}
            draft.settings = {**more, **draft.settings}
    return draft.settings != before
