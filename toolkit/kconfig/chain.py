"""What must change so that a symbol gets another value: the cheapest way, and the chain of symbols down to its roots.

``FS_DAX ← ZONE_DEVICE ← MEMORY_HOTREMOVE ← MIGRATION=n`` is read: FS_DAX is off because it needs ZONE_DEVICE, and so
on down to MIGRATION, which is off because nobody asked for it. The search counts the symbols to be changed; of two
ways through an ``||`` the one with fewer wins, and of two equal ones the one that is written first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import PurePosixPath

from . import expression as ex
from .symbols import Condition, Definition, Select, Tree

_NEVER = 1000.0  # the price of what nobody can do
_AGAINST_REQUEST = 10.0  # of changing what somebody asked for
_DEEPEST = 25  # symbols in one chain
_FAR = 1.5  # of switching on something of another folder only for what it selects
_PATHS = 500  # that are looked at for the chains to show


@dataclass(frozen=True, slots=True)
class Step:
    """Why a symbol is as it is: ``says`` ("depends on A || B", "selected by X") at ``place`` in the kernel's tree."""

    says: str
    place: str


@dataclass(frozen=True, slots=True)
class Need:
    """A symbol that must get another value, and what that needs in turn.

    ``value`` is what it has, ``wanted`` what it must get (y, m, n, or a comparison such as ``> 4``). ``asked``: it
    has a prompt, so it must be asked for. ``root`` says why there is nothing below it. ``below``: each further need
    with the step that leads to it. ``possible`` is false when the tree offers no way.
    """

    symbol: str
    value: str
    wanted: str
    asked: bool
    root: Step | None
    below: tuple[tuple[Step, Need], ...]
    cost: float

    @property
    def possible(self) -> bool:
        """Whether there is a way at all, as far as we can tell."""
        return self.cost < _NEVER

    def settings(self) -> dict[str, str]:
        """All that must be asked for, this symbol included; deepest first."""
        found: dict[str, str] = {}
        for _, need in self.below:
            found.update((s, v) for s, v in need.settings().items() if s not in found)
        if self.asked:
            found.setdefault(self.symbol, self.wanted)
        return found

    def chains(self) -> list[tuple[Need, ...]]:
        """Chains from this symbol down that together name every symbol of the way, as few as will do.

        The first is the one that explains most: to a root that nobody can change if there is one, else the longest.
        """
        paths = list(islice(self._paths(), _PATHS))
        first = max(paths, key=lambda path: (not path[-1].possible, len(path)))
        chosen, named = [first], {need.symbol for need in first}
        while True:
            path = max(paths, key=lambda path: (len({need.symbol for need in path} - named), -len(path)))
            if {need.symbol for need in path} <= named:
                return chosen
            chosen.append(path)
            named |= {need.symbol for need in path}

    def _paths(self) -> Iterator[tuple[Need, ...]]:
        if not self.below:
            yield (self,)
        for _, need in self.below:
            for path in need._paths():
                yield (self, *path)

    def step_to(self, need: Need) -> Step:
        """Why it needs that one. Raises KeyError when it does not, directly."""
        for step, below in self.below:
            if below.symbol == need.symbol:
                return step
        raise KeyError(need.symbol)


class Ways:
    """Finds the cheapest `Need` in a tree, given the values of a resolved ``.config`` and what was asked for.

    ``values`` and ``asked`` without prefix (see `bare`). Symbols that somebody asked for otherwise are changed only
    when there is no other way.
    """

    def __init__(self, tree: Tree, values: Mapping[str, str], asked: Mapping[str, str] | None = None) -> None:
        self.tree, self.values, self.asked = tree, values, dict(asked or {})
        self._known: dict[tuple[str, str], Need] = {}
        self._open: list[tuple[str, str]] = []

    def on(self, name: str, wanted: str = "y") -> Need:
        """What it takes to get a bool or tristate to at least ``wanted`` (m or y), or to make a value possible.

        Whatever it needs in turn is m only when ``wanted`` is, and modules are on.
        """
        return self._need(name, self._level(wanted))

    def off(self, name: str) -> Need:
        """What it takes to get it to n."""
        return self._need(name, "n")

    def blocked(self, definition: Definition, wanted: str = "y") -> list[tuple[Step, Need]]:
        """What stands in the way of one definition; empty when it can be asked for (or takes its default)."""
        return self._blocks(definition, 1 if wanted == "m" else 2)

    def _level(self, wanted: str) -> str:
        return wanted if ex.holds(self.tree.modules, self.values) else "y"

    def _need(self, name: str, wanted: str) -> Need:
        key = (name, wanted)
        if key in self._known:
            return self._known[key]
        if key in self._open or len(self._open) >= _DEEPEST:
            return self._dead(name, wanted, Step("needs itself", self._place(name)))
        self._open.append(key)
        need = self._make_off(name) if wanted == "n" else self._make_on(name, wanted)
        self._open.pop()
        if not self._open or need.possible:
            self._known[key] = need  # what is impossible within a circle may be possible outside it
        return need

    def _make_on(self, name: str, wanted: str) -> Need:
        definitions = self.tree.definitions.get(name)
        if not definitions:
            return self._dead(name, wanted, Step("this kernel has no such symbol", ""))
        ways = [self._by_asking(d, wanted) for d in definitions if d.prompt]
        if not any(way.possible for way in ways):
            ways += [self._by_default(d, wanted) for d in definitions]
            ways += self._by_select(name, wanted, definitions)
        if not ways:
            return self._dead(name, wanted, Step("nothing sets it", definitions[0].place))
        best = min(ways, key=lambda way: way.cost)
        if not best.possible:
            best = ways[0]
        if self.asked.get(name) == "n":
            return self._priced(best, _AGAINST_REQUEST)
        return best

    def _by_asking(self, definition: Definition, wanted: str) -> Need:
        below = self._blocks(definition, 1 if wanted == "m" else 2)
        unasked = "asked for as n" if self.asked.get(definition.name) == "n" else "not asked for"
        root = None if below else Step(unasked, definition.place)
        return self._made(definition.name, wanted, True, root, below)

    def _by_default(self, definition: Definition, wanted: str) -> Need:
        """Without a prompt: by the first default that can count."""
        blocks = self._blocks(definition, 1 if wanted == "m" else 2)
        best = self._dead(definition.name, wanted, Step("has no prompt", definition.place))
        for default in definition.defaults:
            if default.value.startswith(("$(", "!$(")):
                says = f"the compiler or its tools decide it: default {default.value}"
                way = self._dead(definition.name, wanted, Step(says, default.condition.place))
                best = way if best.root and best.root.says == "has no prompt" else best
                continue
            parts = [default.value, *([default.condition.text] if default.condition.text != "y" else [])]
            value = Condition(" && ".join(f"({part})" for part in parts), "", 0)
            shown = f"default {default.value}" + (f" if {parts[1]}" if len(parts) > 1 else "")
            below = self._condition(value, 2, Step(shown, default.condition.place))
            if below is not None:
                way = self._made(definition.name, wanted, False, None, [*blocks, *below])
                best = min(best, way, key=lambda w: w.cost)
        return best

    def _by_select(self, name: str, wanted: str, definitions: list[Definition]) -> Iterator[Need]:
        """By the symbols that select it; its own dependencies must hold as well, or conf warns."""
        blocks = min((self._blocks(d, 1) for d in definitions), key=_cost)
        for select in self.tree.selects.get(name, ()):
            step = Step(f"selected by {select.by}{_if(select.condition)}", select.condition.place)
            below = [*blocks]
            if not self._is(select.by, wanted):
                below.append((step, self._need(select.by, wanted)))
            more = self._condition(select.condition, 1, step)
            if more is not None and (below or more):
                far = 0.0 if self._folder(select.by) == self._folder(name) else _FAR
                yield self._priced(self._made(name, wanted, False, None, [*below, *more]), far)

    def _make_off(self, name: str) -> Need:
        definitions = self.tree.definitions.get(name, [])
        selects = self.tree.selected_by(name, self.values)
        if selects:
            below = [(_selecting(s), self._need(s.by, "n")) for s in selects]
            return self._against(name, self._made(name, "n", False, None, below))
        visible = [d for d in definitions if d.prompt and not self._blocks(d, 1)]
        if visible:
            root = Step("asked for" if name in self.asked else "on by default", visible[0].place)
            return self._against(name, self._made(name, "n", True, root, []))
        ways = [
            self._made(name, "n", False, None, [(Step(f"depends on {c.text}", c.place), need)])
            for d in definitions
            for c in d.depends
            for need in self._falsified(c)
        ]
        place = definitions[0].place if definitions else ""
        return min(ways, key=lambda w: w.cost, default=self._dead(name, "n", Step("has no prompt", place)))

    def _falsified(self, condition: Condition) -> list[Need]:
        try:
            need = self._expression(condition.parsed(), False, 1)
        except ValueError:
            return []
        return [need[0]] if len(need) == 1 else []

    def _against(self, name: str, need: Need) -> Need:
        return self._priced(need, _AGAINST_REQUEST) if self.asked.get(name, "n") != "n" else need

    def _blocks(self, definition: Definition, level: int) -> list[tuple[Step, Need]]:
        """The needs of all conditions of a definition that do not hold; ``level``: 1 or 2 for m or y."""
        found: dict[str, tuple[Step, Need]] = {}
        if definition.type == "bool" or level == 1:
            level = 1  # for a bool, dependencies that are m will do
        for condition in definition.needs:
            only = " (of its prompt)" if condition is definition.prompt else ""
            only = " (of its menu)" if condition in definition.visible else only
            step = Step(f"depends on {condition.text}{only}", condition.place)
            for one, need in self._condition(condition, level, step) or ():
                found.setdefault(need.symbol, (one, need))
        return list(found.values())

    def _condition(self, condition: Condition, level: int, step: Step) -> list[tuple[Step, Need]] | None:
        """The needs of a condition, empty when it holds; None when it is beyond our parser."""
        if condition.text == "y":
            return []
        try:
            parsed = condition.parsed()
        except ValueError:
            return None
        return [(step, need) for need in self._expression(parsed, True, level)]

    def _expression(self, expression: ex.Expression, wanted: bool, level: int) -> list[Need]:
        """What it takes to make an expression hold, or not hold."""
        value = ex.evaluate(expression, self.values)
        if (value >= level) if wanted else (value == 0):
            return []
        match expression:
            case ex.Not(inner):
                return self._expression(inner, not wanted, level)
            case ex.Both(left, right) | ex.Either(left, right):
                parts = [self._expression(part, wanted, level) for part in (left, right)]
                if isinstance(expression, ex.Both) == wanted:
                    return _merged(parts)
                return min(parts, key=lambda needs: sum(need.cost for need in needs))
            case ex.Symbol(name) if not ex.is_constant(name):
                return [self._need(name, "y" if wanted else "n")]
            case ex.Compare(operator, ex.Symbol(name), right) if not ex.is_constant(name):
                return self._compare(name, operator, ex.text_of(right, self.values), wanted)
        return [self._dead(ex.show(expression), "y" if wanted else "n", Step("cannot be changed", ""))]

    def _compare(self, name: str, operator: str, right: str, wanted: bool) -> list[Need]:
        equal = (operator == "=") == wanted
        if operator in ("=", "!=") and right in ("y", "m", "n"):
            if equal:
                return [self._need(name, right)]
            return [self._need(name, "y" if right == "n" else "n")]
        text = f"{operator} {right}" if wanted else f"not {operator} {right}"
        definitions = self.tree.definitions.get(name, [])
        place = definitions[0].place if definitions else ""
        return [self._dead(name, text, Step(f"is {self.values.get(name, 'n')}, not {text}", place))]

    def _is(self, name: str, wanted: str) -> bool:
        return self.values.get(name, "n") in (("y",) if wanted == "y" else ("y", "m"))

    def _place(self, name: str) -> str:
        definitions = self.tree.definitions.get(name)
        return definitions[0].place if definitions else ""

    def _folder(self, name: str) -> PurePosixPath:
        return PurePosixPath(self._place(name)).parent

    def _made(self, name: str, wanted: str, asked: bool, root: Step | None, below: list[tuple[Step, Need]]) -> Need:
        wanted = "y" if wanted == "m" and self.tree.type_of(name) == "bool" else wanted
        value = self.values.get(name, "n")
        cost = (1.0 if asked else 0.25) + _cost(below)
        return Need(name, value, wanted, asked, root, tuple(below), cost)

    def _dead(self, name: str, wanted: str, root: Step) -> Need:
        return Need(name, self.values.get(name, "n"), wanted, False, root, (), _NEVER)

    def _priced(self, need: Need, more: float) -> Need:
        return replace(need, cost=need.cost + more)


def _cost(below: Iterable[tuple[Step, Need]]) -> float:
    return sum(need.cost for _, need in below)


def _merged(parts: list[list[Need]]) -> list[Need]:
    found: dict[str, Need] = {}
    for needs in parts:
        for need in needs:
            found.setdefault(need.symbol, need)
    return list(found.values())


def _if(condition: Condition) -> str:
    return "" if condition.text == "y" else f" if {condition.text}"


def _selecting(select: Select) -> Step:
    return Step(f"selected by {select.by}{_if(select.condition)}", select.condition.place)
