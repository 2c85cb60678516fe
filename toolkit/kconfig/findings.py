"""What a resolution found, as data: one dataclass a kind of finding, each of which can say itself in words and JSON.

All are errors but `AllowedMissing`. Symbols of requests carry their ``CONFIG_``, those inside the tree do not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar

from ..errors import Problem, Where
from .chain import Need
from .fix import Fix, asker_of
from .requests import SPEC, Request
from .symbols import PREFIX

ARROW = " ← "


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One request that came out otherwise. ``got`` as ``.config`` has it, "n" when it has nothing."""

    kind: ClassVar[str]
    is_error: ClassVar[bool] = True

    request: Request
    got: str
    fix: Fix | None = None

    @property
    def text(self) -> str:
        """What the matter is, in one line."""
        raise NotImplementedError

    @property
    def advice(self) -> str | None:
        """What to do when no fix was found."""
        return None

    @property
    def where(self) -> Where:
        """The place in a file a person wrote."""
        return self.request.where

    @property
    def table(self) -> tuple[str, ...]:
        """Lines of detail for people."""
        return ()

    @property
    def message(self) -> str:
        """The line that stands behind ``error:``."""
        asker = "" if self.request.asked_by == (SPEC,) else f" ({asker_of(self.request)})"
        return f"{self.request.symbol}: wanted {self.request.value}, got {self.got}{asker}: {self.text}"

    def problem(self) -> Problem:
        """As the command line shows errors."""
        hint = str(self.fix) if self.fix else self.advice
        expired = self.request.allowed_at if self.request.allowed is None else None
        more = f"; the allowance at {expired} is not for this kernel" if expired else ""
        return Problem(self.message + more, self.where, hint, self.table, self.as_json())

    def as_json(self) -> dict[str, Any]:
        """The shape that schemas/finding.schema.json describes."""
        own = [f.name for f in fields(self) if f.name not in ("request", "got", "fix")]
        return {
            "kind": self.kind,
            "error": self.is_error,
            "symbol": self.request.symbol,
            "wanted": self.request.value,
            "got": self.got,
            "asked_by": list(self.request.asked_by),
            "text": self.text,
            **{name: _plain(getattr(self, name)) for name in own},
            "fix": self.fix.as_json() if self.fix else None,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class UnknownSymbol(Finding):
    """The tree has no such symbol. ``renamed``: what our data know of it; ``elsewhere``: places below arch/."""

    kind: ClassVar[str] = "unknown symbol"
    renamed: str | None = None
    elsewhere: tuple[str, ...] = ()
    nearest: str | None = None

    @property
    def text(self) -> str:
        """See Finding."""
        more = f": {self.renamed}" if self.renamed else ""
        if not more and self.elsewhere:
            more = f" for this architecture; it is defined in {', '.join(self.elsewhere)}"
        return f"this kernel has no such symbol{more}"

    @property
    def message(self) -> str:
        """See Finding."""
        asker = "" if self.request.asked_by == (SPEC,) else f" ({asker_of(self.request)})"
        return f"{self.request.symbol}{asker}: {self.text}"

    @property
    def advice(self) -> str | None:
        """See Finding."""
        if self.renamed or self.elsewhere or not self.nearest:
            return None
        return f"did you mean {PREFIX}{self.nearest}?"


@dataclass(frozen=True, slots=True, kw_only=True)
class WrongType(Finding):
    """The value cannot be one of a symbol of this type."""

    kind: ClassVar[str] = "wrong type"
    type: str
    reason: str

    @property
    def text(self) -> str:
        """See Finding."""
        article = {"int": "an int", "hex": "a hex number"}.get(self.type, f"a {self.type}")
        return f"it is {article}, and {self.reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Chained(Finding):
    """With the chains of symbols that must change."""

    need: Need

    @property
    def chain(self) -> str:
        """The first chain: ``FS_DAX ← ZONE_DEVICE ← MIGRATION=n``."""
        chains = self.need.chains()
        first = ARROW.join(need.symbol for need in chains[0]) + f"={chains[0][-1].value}"
        return first + (f" (and {len(chains) - 1} more)" if len(chains) > 1 else "")

    @property
    def table(self) -> tuple[str, ...]:
        """See Finding: every symbol on its own line, with why it is as it is, and where that is said."""
        return rows(self.need)


@dataclass(frozen=True, slots=True, kw_only=True)
class DependencyUnmet(_Chained):
    """What it depends on does not hold."""

    kind: ClassVar[str] = "dependency unmet"

    @property
    def text(self) -> str:
        """See Finding."""
        return f"dependency unmet: {self.chain}"

    @property
    def advice(self) -> str | None:
        """See Finding."""
        return None if self.need.possible else f"no option changes {self.need.chains()[0][-1].symbol}"


@dataclass(frozen=True, slots=True, kw_only=True)
class NoPrompt(_Chained):
    """Nobody can ask for it: it only comes along with others."""

    kind: ClassVar[str] = "no prompt"
    place: str

    @property
    def text(self) -> str:
        """See Finding."""
        way = f"; {self.chain}" if self.need.below else ""
        return f"nobody can set it: it has no prompt ({self.place}){way}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptHidden(_Chained):
    """It is on by default, and its prompt, with which it could be switched off, is not shown."""

    kind: ClassVar[str] = "prompt hidden"

    @property
    def text(self) -> str:
        """See Finding."""
        return f"on by default, and its prompt is hidden: {self.chain}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChoiceLost(Finding):
    """Another member of its choice is y. ``rival``: the request that wants that one."""

    kind: ClassVar[str] = "choice lost"
    winner: str
    place: str
    rival: Request | None = None

    @property
    def text(self) -> str:
        """See Finding."""
        rival = f", which {asker_of(self.rival)} wants at {self.rival.where}" if self.rival else ""
        return f"its choice ({self.place}) went to {PREFIX}{self.winner}{rival}"

    @property
    def advice(self) -> str | None:
        """See Finding."""
        return "only one of a choice can be y: leave one of them out" if self.rival else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Forced(Finding):
    """Something keeps it on: what selects it, with places; or, when nothing does, a default without a prompt."""

    kind: ClassVar[str] = "forced"
    by: tuple[str, ...]
    place: str

    @property
    def text(self) -> str:
        """See Finding."""
        if self.by:
            return f"selected by {', '.join(self.by)}"
        return f"nobody can switch it off here: it has no prompt ({self.place})"

    @property
    def advice(self) -> str | None:
        """See Finding."""
        if len(self.by) > 1:
            return "it is on as long as one of them is: leave it on, or find out with kernel explain who wants them"
        return "switch that off, or leave this one on" if self.by else None


@dataclass(frozen=True, slots=True, kw_only=True)
class NoModule(Finding):
    """A tristate that was asked for as m came out y. ``modules``: the symbol that makes modules possible."""

    kind: ClassVar[str] = "no module"
    modules: str
    by: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """See Finding."""
        why = f"something built in selects it: {', '.join(self.by)}" if self.by else f"{PREFIX}{self.modules} is off"
        return f"it cannot be a module: {why}"


@dataclass(frozen=True, slots=True, kw_only=True)
class OutOfRange(Finding):
    """A number outside of its symbol's range."""

    kind: ClassVar[str] = "out of range"
    low: str
    high: str
    place: str

    @property
    def text(self) -> str:
        """See Finding."""
        return f"its range is {self.low} to {self.high} ({self.place})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Undecided(Finding):
    """We cannot tell why."""

    kind: ClassVar[str] = "unexplained"
    place: str

    @property
    def text(self) -> str:
        """See Finding."""
        return f"conf decided otherwise (see {self.place})"


@dataclass(frozen=True, slots=True, kw_only=True)
class AllowedMissing(Finding):
    """No error: its feature allows it to be missing. ``cause``: why it is."""

    kind: ClassVar[str] = "allowed missing"
    is_error: ClassVar[bool] = False
    reason: str
    cause: str

    @property
    def text(self) -> str:
        """See Finding."""
        return f"{self.cause}; allowed, because {self.reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class StaleAllowance(Finding):
    """It was allowed to be missing, and is not."""

    kind: ClassVar[str] = "stale allow_missing"
    kernel: str
    reason: str

    @property
    def where(self) -> Where:
        """See Finding."""
        return self.request.allowed_at or self.request.where

    @property
    def text(self) -> str:
        """See Finding."""
        return f"allow_missing is stale: Linux {self.kernel} meets the request"

    @property
    def message(self) -> str:
        """See Finding."""
        return f"{self.request.symbol} ({asker_of(self.request)}): {self.text}"

    @property
    def advice(self) -> str | None:
        """See Finding."""
        return 'take the entry out, or limit it ("kernel:", "arch:") to where the symbol is missing'


def rows(need: Need) -> tuple[str, ...]:
    """The chains of a need as an aligned table: symbol, value, why, place in the kernel's tree."""
    cells: dict[tuple[str, str, str, str], None] = {}
    for chain in need.chains():
        for one, below in zip(chain, [*chain[1:], None], strict=True):
            step = one.step_to(below) if below else one.root
            if step:
                cells[one.symbol, one.value, step.says, step.place] = None
    widths = [max(len(row[column]) for row in cells) for column in range(3)]
    return tuple(
        f"{symbol:<{widths[0]}}  {value:<{widths[1]}}  {says:<{widths[2]}}  {place}".rstrip()
        for symbol, value, says, place in cells
    )


def _plain(value: object) -> Any:
    """A finding's own field as JSON."""
    match value:
        case Need():
            return [[_link(need, below) for need, below in zip(c, [*c[1:], None], strict=True)] for c in value.chains()]
        case Request():
            return {"symbol": value.symbol, "value": value.value, "asked_by": list(value.asked_by)}
        case tuple():
            return list(value)
    return value


def _link(need: Need, below: Need | None) -> Mapping[str, str]:
    step = need.step_to(below) if below else need.root
    facts = {"symbol": need.symbol, "value": need.value, "wanted": need.wanted}
    return {**facts, "why": step.says if step else "", "place": step.place if step else ""}
