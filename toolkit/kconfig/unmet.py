"""Compares what was asked with what the kernel's ``conf`` made of it, and finds out why a request was not met."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from . import expression as ex
from .chain import Need, Ways
from .config import same_value
from .findings import (
    AllowedMissing,
    ChoiceLost,
    DependencyUnmet,
    Finding,
    Forced,
    NoModule,
    NoPrompt,
    OutOfRange,
    PromptHidden,
    StaleAllowance,
    Undecided,
    UnknownSymbol,
    WrongType,
)
from .renames import fate_of
from .requests import Request
from .resolve import Source
from .symbols import PREFIX, Definition, Select, Tree, bare

_SHOWN = 3  # selectors, or places in other architectures, that a message names


def unmet(requests: Iterable[Request], values: Mapping[str, str]) -> list[Request]:
    """The requests whose result is another than asked for; ``values`` as `read_config` gives them."""
    return [r for r in requests if not same_value(r.value, values.get(r.symbol))]


@dataclass
class Inquiry:
    """A resolved configuration, and the tree it was resolved in.

    ``tree``: the source's scan; ``values``: as `read_config` gives them; ``requests``: all of them, met or not.
    """

    tree: Tree
    source: Source
    values: Mapping[str, str]
    requests: Sequence[Request]
    ways: Ways = field(init=False)
    bare: Mapping[str, str] = field(init=False)

    def __post_init__(self) -> None:
        self.bare = bare(self.values)
        asked = {r.symbol.removeprefix(PREFIX): r.value for r in self.requests}
        self.ways = Ways(self.tree, self.bare, asked)

    def findings(self) -> list[Finding]:
        """One for each request that was not met, and for each that was in spite of an allowance."""
        found: list[Finding] = []
        for request in self.requests:
            got = self.values.get(request.symbol)
            met = same_value(request.value, got)
            if not met and request.allowed:
                cause = self.explain(request).text
                found.append(
                    AllowedMissing(request=request, got=got or "n", reason=request.allowed, cause=cause),
                )
            elif not met:
                found.append(self.explain(request))
            elif request.allowed:
                found.append(
                    StaleAllowance(request=request, got=got or "n", kernel=self.source.kernel, reason=request.allowed)
                )
        return found

    def explain(self, request: Request) -> Finding:
        """Why this request was not met."""
        name = request.symbol.removeprefix(PREFIX)
        got = self.values.get(request.symbol, "n")
        definitions = self.tree.definitions.get(name)
        if not definitions:
            return self._unknown(request, name, got)
        kind = self.tree.type_of(name)
        wrong = _mistyped(request.value, kind)
        if wrong:
            return WrongType(request=request, got=got, type=kind, reason=wrong)
        if request.value == "m" and got == "y":
            by = () if not ex.holds(self.tree.modules, self.bare) else self._selectors(name)
            return NoModule(request=request, got=got, modules=self.tree.modules, by=by)
        if request.value == "n":
            return self._kept_on(request, got, name, definitions)
        return self._kept_off(request, got, name, definitions, kind)

    def _unknown(self, request: Request, name: str, got: str) -> Finding:
        fate = fate_of(request.symbol, self.source.kernel, self.tree.definitions)
        elsewhere = () if fate else defined_elsewhere(self.source.root, self.source.srcarch, name)
        told = fate or elsewhere
        close = [] if told else difflib.get_close_matches(name, self.tree.definitions, n=1, cutoff=0.75)
        return UnknownSymbol(
            request=request,
            got=got,
            renamed=fate.told if fate else None,
            elsewhere=elsewhere,
            nearest=close[0] if close else None,
        )

    def _kept_on(self, request: Request, got: str, name: str, definitions: list[Definition]) -> Finding:
        place = definitions[0].place
        by = self._selectors(name)
        prompts = [d for d in definitions if d.prompt]
        if not by and prompts and all(self.ways.blocked(d, "m") for d in prompts):
            need = self.ways.on(name)
            if need.possible and need.below:
                return PromptHidden(request=request, got=got, need=need)
            prompts = []
        if by or not prompts:
            return Forced(request=request, got=got, by=by, place=place)
        choice = next((d.choice for d in definitions if d.choice), None)
        if choice:
            return ChoiceLost(request=request, got=got, winner=name, place=self.tree.choices[choice].place)
        return Undecided(request=request, got=got, place=place)

    def _kept_off(self, request: Request, got: str, name: str, definitions: list[Definition], kind: str) -> Finding:
        wanted = "m" if request.value == "m" else "y"
        if not any(d.prompt for d in definitions):
            need = self.ways.on(name, wanted)
            return NoPrompt(request=request, got=got, need=need, place=definitions[0].place)
        if all(self.ways.blocked(d, wanted) for d in definitions if d.prompt):
            return DependencyUnmet(request=request, got=got, need=self._need(name, wanted, kind))
        lost = self._choice(request, got, definitions)
        if lost:
            return lost
        found = self.tree.range_of(name, self.bare)
        if kind in ("int", "hex") and found:
            range_, low, high = found
            low_, high_ = (hex(n) if kind == "hex" else str(n) for n in (low, high))
            return OutOfRange(request=request, got=got, low=low_, high=high_, place=range_.condition.place)
        return Undecided(request=request, got=got, place=definitions[0].place)

    def _need(self, name: str, wanted: str, kind: str) -> Need:
        """For a number or a text, whatever makes it possible to ask for one."""
        return self.ways.on(name, wanted if kind in ("bool", "tristate") else "y")

    def _choice(self, request: Request, got: str, definitions: list[Definition]) -> ChoiceLost | None:
        for definition in definitions:
            winner = self.tree.winner(definition.choice, self.bare) if definition.choice else None
            if winner and definition.choice:
                rival = next((r for r in self.requests if r.symbol == PREFIX + winner and r.value == "y"), None)
                place = self.tree.choices[definition.choice].place
                return ChoiceLost(request=request, got=got, winner=winner, place=place, rival=rival)
        return None

    def _selectors(self, name: str) -> tuple[str, ...]:
        return tuple(_shown(s) for s in self.tree.selected_by(name, self.bare))


def _shown(select: Select) -> str:
    return f"{PREFIX}{select.by} ({select.condition.place})"


def _mistyped(value: str, kind: str) -> str | None:
    """Why a value cannot be one of a symbol of this type, or None."""
    text, number = value.startswith('"'), value[:1].isdigit() or value[:1] == "-"
    if kind in ("bool", "tristate") and (text or number):
        return f"{value} is not y or n"
    if kind == "bool" and value == "m":
        return "only a tristate can be m"
    if kind == "string" and not text and value != "n":
        return "its value must be in double quotes: '\"text\"'"
    if kind in ("int", "hex") and not number and value != "n":
        return f"{value} is not a number"
    return None


def defined_elsewhere(root: Path, srcarch: str, name: str) -> tuple[str, ...]:
    """Where other architectures define a symbol: ``arch/arm64/Kconfig:123``, the first place of each."""
    head = re.compile(rf"^\s*(menu)?config\s+{re.escape(name)}\s*$", re.MULTILINE)
    found = []
    for arch in sorted(p.name for p in (root / "arch").glob("*/") if p.is_dir() and p.name != srcarch):
        for file in _kconfig_files(root / "arch" / arch):
            text = file.read_text(encoding="utf-8", errors="replace")
            match = head.search(text) if name in text else None
            if match:
                line = text.count("\n", 0, match.start(0)) + 1 + match.group().count("\n")
                found.append(f"{file.relative_to(root)}:{line}")
                break
    more = [f"and {len(found) - _SHOWN} more"] if len(found) > _SHOWN else []
    return tuple(found[:_SHOWN] + more)


def _kconfig_files(folder: Path) -> Iterable[Path]:
    for parent, folders, files in os.walk(folder):
        folders.sort()
        yield from (Path(parent, f) for f in sorted(files) if f.startswith("Kconfig"))
