"""What a kernel tree's Kconfig files say, as data: definitions, selects, choices, each with its place.

Symbols carry no ``CONFIG_`` here. Places are relative to the tree, lines count from 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from . import expression as ex

PREFIX = "CONFIG_"


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition and where it is written: ``file`` relative to the tree. The text "y" always holds."""

    text: str
    file: str
    line: int

    def parsed(self) -> ex.Expression:
        """Raises ValueError when it is beyond our parser."""
        return ex.parse(self.text)

    @property
    def place(self) -> str:
        """``file:line``."""
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True)
class Default:
    """``default VALUE if …``; ``value`` is an expression as written."""

    value: str
    condition: Condition


@dataclass(frozen=True, slots=True)
class Range:
    """``range LOW HIGH if …``; both bounds as written: a number or a symbol."""

    low: str
    high: str
    condition: Condition


@dataclass(slots=True)
class Definition:
    """One ``config NAME`` block, with what the ``if``, ``menu`` and ``choice`` blocks around it add.

    ``depends`` is what the symbol needs; ``visible`` what only its prompt needs (``visible if`` of the menus around
    it, the ``if`` of its choice's prompt). ``prompt`` is the prompt's own ``if``, None when nobody can be asked;
    ``title`` its text. ``help``: first and last line of the help text.
    """

    name: str
    file: str
    line: int
    depends: list[Condition]
    visible: list[Condition] = field(default_factory=list)
    type: str = ""
    title: str = ""
    prompt: Condition | None = None
    choice: int | None = None
    menus: tuple[str, ...] = ()
    defaults: list[Default] = field(default_factory=list)
    ranges: list[Range] = field(default_factory=list)
    help: tuple[int, int] | None = None

    @property
    def place(self) -> str:
        """``file:line``."""
        return f"{self.file}:{self.line}"

    @property
    def needs(self) -> list[Condition]:
        """All that must hold for the symbol to be asked for, or to exist if it has no prompt."""
        asked = [self.prompt] if self.prompt and self.prompt.text != "y" else []
        return [*self.depends, *(self.visible if self.prompt else ()), *asked]


@dataclass(frozen=True, slots=True)
class Select:
    """``select TARGET if …`` (or ``imply``) in the block of ``by``."""

    by: str
    condition: Condition


@dataclass(slots=True)
class Choice:
    """A ``choice`` block: of its members at most one is y. ``members`` in the order of their definitions."""

    number: int
    file: str
    line: int
    title: str = ""
    optional: bool = False
    members: list[str] = field(default_factory=list)
    defaults: list[Default] = field(default_factory=list)

    @property
    def place(self) -> str:
        """``file:line``."""
        return f"{self.file}:{self.line}"


@dataclass(slots=True)
class Tree:
    """A kernel tree for one architecture, by symbol. ``modules``: the symbol that makes m possible."""

    definitions: Mapping[str, list[Definition]] = field(default_factory=dict)
    selects: Mapping[str, list[Select]] = field(default_factory=dict)
    implies: Mapping[str, list[Select]] = field(default_factory=dict)
    choices: Mapping[int, Choice] = field(default_factory=dict)
    modules: str = "MODULES"

    def type_of(self, name: str) -> str:
        """bool, tristate, int, hex or string. Raises KeyError for an unknown symbol."""
        return next((d.type for d in self.definitions[name] if d.type), "bool")

    def selected_by(self, name: str, values: Mapping[str, str]) -> list[Select]:
        """What selects a symbol now. ``values`` as `bare` gives them."""
        return [s for s in self.selects.get(name, ()) if ex.holds(s.by, values) and holds(s.condition, values)]

    def implied_by(self, name: str, values: Mapping[str, str]) -> list[Select]:
        """What implies a symbol now."""
        return [s for s in self.implies.get(name, ()) if ex.holds(s.by, values) and holds(s.condition, values)]

    def default_of(self, name: str, values: Mapping[str, str]) -> Default | None:
        """The default that counts now: the first whose condition and whose definition's dependencies hold."""
        for definition in self.definitions.get(name, ()):
            if all(holds(c, values) for c in definition.depends):
                for default in definition.defaults:
                    if holds(default.condition, values):
                        return default
        return None

    def range_of(self, name: str, values: Mapping[str, str]) -> tuple[Range, int, int] | None:
        """The range that counts now, and its bounds as numbers; None when there is none."""
        for definition in self.definitions.get(name, ()):
            for found in definition.ranges:
                if holds(found.condition, values):
                    low, high = (number(ex.text_of(ex.Symbol(b), values)) for b in (found.low, found.high))
                    return None if low is None or high is None else (found, low, high)
        return None

    def winner(self, choice: int, values: Mapping[str, str]) -> str | None:
        """The member of a choice that is y."""
        return next((m for m in self.choices[choice].members if values.get(m) == "y"), None)


def bare(values: Mapping[str, str]) -> dict[str, str]:
    """The values of a ``.config`` (see `read_config`) as expressions compare them: no prefix, no quotes."""
    return {name.removeprefix(PREFIX): value.strip('"') for name, value in values.items()}


def holds(condition: Condition, values: Mapping[str, str]) -> bool:
    """Whether a condition is m or y; one that is beyond our parser is taken to hold."""
    if condition.text == "y":
        return True
    try:
        return ex.evaluate(condition.parsed(), values) > 0
    except ValueError:
        return True


def number(text: str) -> int | None:
    """A value of an int or a hex symbol."""
    try:
        return int(text, 16 if text[:2].lower() == "0x" else 10)
    except ValueError:
        return None
