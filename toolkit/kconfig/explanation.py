"""All there is to tell of one symbol: what it is, who asked for it, what it became, why, and what it brings along."""

from __future__ import annotations

import difflib
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from .chain import Need, Ways
from .config import same_value
from .fragments import Library
from .renames import fate_of
from .requests import SPEC, Request, Wishes
from .symbols import PREFIX, Condition, Definition, Select, Tree, bare, holds
from .versions import version_tuple

_SIMILAR = 3  # symbols in a hint
_TELLING = 4  # letters that a part of a symbol's name must have to be one's guess


@dataclass(frozen=True, slots=True)
class Asker:
    """Somebody who asks for the symbol: a feature or the spec, with the place and the reason.

    ``counts``: its wish is part of this kernel's requests, and no other one overrules it.
    """

    by: str
    value: str
    why: str
    file: str
    line: int
    counts: bool


@dataclass(frozen=True, slots=True)
class Link:
    """One symbol of a chain: the value it has, why it has it, and where the kernel's tree says so (file:line)."""

    symbol: str
    value: str
    because: str
    place: str


@dataclass(frozen=True, slots=True)
class Reason:
    """Why the value is what it is. ``kind``: asked, selected, implied, default, blocked, unasked, choice, unset.

    ``chain`` leads from the symbol to a root: somebody who asked, or what stands in the way. ``settings``: what would
    have to be asked for to switch it on, when it is off and there is a way. ``tried``: whether conf was seen to
    switch it on for these and to leave the other requests met; None when it was not asked.
    """

    kind: str
    text: str
    chain: tuple[Link, ...] = ()
    settings: Mapping[str, str] | None = None
    tried: bool | None = None


@dataclass(frozen=True, slots=True)
class Definitions:
    """One place where the kernel defines the symbol, with the menus that lead there."""

    place: str
    menus: tuple[str, ...]
    prompt: str
    depends: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """The answer of ``kernel explain``. Symbols carry ``CONFIG_``; ``value`` is "n" when it has none.

    ``profiles``: its value in every profile on the same source, or None where that profile cannot be resolved; empty
    when nobody wanted to know.
    """

    symbol: str
    kernel: str
    arch: str
    profile: str
    type: str
    title: str
    help: str
    defined: tuple[Definitions, ...]
    value: str
    asked: tuple[Asker, ...]
    allowed_missing: str | None
    reason: Reason
    selects: tuple[str, ...]
    implies: tuple[str, ...]
    selected_by: tuple[str, ...]
    profiles: Mapping[str, str | None]

    def as_json(self) -> dict[str, Any]:
        """The shape that schemas/explanation.schema.json describes."""
        return {"version": 1, **asdict(self)}


@dataclass(frozen=True, slots=True)
class Subject:
    """A resolved kernel to explain from. ``values`` as `read_config` gives them."""

    tree: Tree
    values: Mapping[str, str]
    wishes: Wishes
    kernel: str
    arch: str
    profile: str


def find_symbol(text: str, tree: Tree) -> str | None:
    """The symbol meant by ``text``, with or without CONFIG_, in any case; None when the tree has none.

    A few symbols differ only in case (SND_SOC_…x, …X): the exact one wins.
    """
    plain = text[len(PREFIX) :] if text.upper().startswith(PREFIX) else text
    if plain in tree.definitions:
        return plain
    upper = plain.upper()
    if upper in tree.definitions:
        return upper
    return next((name for name in tree.definitions if name.upper() == upper), None)


def explain(
    name: str,
    of: Subject,
    library: Library,
    help_of: Callable[[Definition], str],
) -> Explanation:
    """Explain a symbol (without prefix) that the tree has; its values in other profiles are left empty."""
    definitions = of.tree.definitions[name]
    values = bare(of.values)
    symbol = PREFIX + name
    request = next((r for r in of.wishes.requests if r.symbol == symbol), None)
    main = next((d for d in definitions if d.help or d.title), definitions[0])
    return Explanation(
        symbol=symbol,
        kernel=of.kernel,
        arch=of.arch,
        profile=of.profile,
        type=of.tree.type_of(name),
        title=main.title,
        help=help_of(main),
        defined=tuple(
            Definitions(d.place, d.menus, d.title, tuple(c.text for c in d.depends if c.text != "y"))
            for d in definitions
        ),
        value=of.values.get(symbol, "n"),
        asked=tuple(_askers(symbol, of, library, request)),
        allowed_missing=request.allowed if request else None,
        reason=_reason(name, of, values, request),
        selects=tuple(_targets(name, of.tree.selects, values)),
        implies=tuple(_targets(name, of.tree.implies, values)),
        selected_by=tuple(
            f"{PREFIX}{s.by}{_if(s.condition)} ({s.condition.place})" for s in of.tree.selected_by(name, values)
        ),
        profiles={},
    )


def _askers(symbol: str, of: Subject, library: Library, request: Request | None) -> Iterable[Asker]:
    """The spec first, then the features of this kernel, then all others that would ask for it here."""
    if request and request.asked_by == (SPEC,):
        yield Asker(SPEC, request.value, request.why, request.where.file, request.where.line, counts=True)
    version = version_tuple(of.kernel)
    found = []
    for feature in library.features.values():
        if not feature.is_for(of.arch, version):
            continue
        for setting in feature.settings:
            if setting.symbol == symbol and version in setting.kernel and (not setting.arch or of.arch in setting.arch):
                counts = request is not None and feature.name in request.asked_by
                where = setting.where
                found.append(Asker(feature.name, setting.value, setting.why, where.file, where.line, counts))
    yield from sorted(found, key=lambda asker: (not asker.counts, asker.by))


def _reason(name: str, of: Subject, values: Mapping[str, str], request: Request | None) -> Reason:
    symbol = PREFIX + name
    got = of.values.get(symbol)
    if got in (None, "n") and (request is None or request.value != "n"):
        return _why_off(name, of, values, request)
    if request and same_value(request.value, got):
        return Reason("asked", _asked_text(request))
    selects = of.tree.selected_by(name, values)
    if selects:
        chain = _upwards(name, of, values)
        return Reason("selected", f"selected by {', '.join(PREFIX + s.by for s in selects)}", chain)
    implied = of.tree.implied_by(name, values)
    if implied:
        text = f"implied by {', '.join(PREFIX + s.by for s in implied)}"
        return Reason("implied", text, (_link(name, implied[0], values, "implied"),))
    default = of.tree.default_of(name, values)
    if default:
        text = f"the default: {default.value}{_if(default.condition)} ({default.condition.place})"
        return Reason("default", text)
    return Reason("unset", "conf decided it (see where it is defined)")


def _why_off(name: str, of: Subject, values: Mapping[str, str], request: Request | None) -> Reason:
    definitions = of.tree.definitions[name]
    lost = _lost_choice(definitions, of.tree, values)
    if lost:
        return Reason("choice", lost)
    if of.tree.type_of(name) not in ("bool", "tristate"):
        blocked = [d for d in definitions if not all(holds(c, values) for c in d.needs)]
        if len(blocked) < len(definitions):
            return Reason("unset", "it has no value: nobody asked for one, and it has no default")
    wanted = request.value if request and request.value in ("y", "m") else "y"
    need = Ways(of.tree, values, {r.symbol.removeprefix(PREFIX): r.value for r in of.wishes.requests}).on(name, wanted)
    chain = links(need)
    settings = {PREFIX + s: v for s, v in need.settings().items()} if need.possible else None
    if not need.possible:
        return Reason("blocked", "nothing that could be asked for switches it on here", chain)
    if need.below and need.asked:
        return Reason("blocked", "what it depends on does not hold", chain, settings)
    if need.below:
        return Reason("unasked", "it has no prompt, and nothing that brings it along is on", chain, settings)
    return Reason("unasked", "nobody asked for it", (), settings)


def links(need: Need) -> tuple[Link, ...]:
    """The most telling chain of a need, downwards from the symbol."""
    chain = need.chains()[0]
    found = []
    for one, below in zip(chain, [*chain[1:], None], strict=True):
        step = one.step_to(below) if below else one.root
        found.append(Link(PREFIX + one.symbol, one.value, step.says if step else "", step.place if step else ""))
    return tuple(found)


def _upwards(name: str, of: Subject, values: Mapping[str, str]) -> tuple[Link, ...]:
    """The shortest chain of what selects what, from the symbol up to one that somebody asked for or that nothing
    selects."""
    asked = {r.symbol.removeprefix(PREFIX): r for r in of.wishes.requests if r.value != "n"}
    came: dict[str, tuple[str, Select] | None] = {name: None}
    queue, end = deque([name]), name
    while queue:
        end = queue.popleft()
        if end in asked and end != name:
            break
        for select in of.tree.selected_by(end, values):
            if select.by not in came:
                came[select.by] = (end, select)
                queue.append(select.by)
    chain = [Link(PREFIX + end, values.get(end, "n"), _asked_text(asked[end]) if end in asked else "on by itself", "")]
    step = came[end]
    while step:
        below, select = step
        chain.append(_link(below, select, values))
        step = came[below]
    return tuple(reversed(chain))


def _link(name: str, select: Select, values: Mapping[str, str], how: str = "selected") -> Link:
    because = f"{how} by {PREFIX}{select.by}{_if(select.condition)}"
    return Link(PREFIX + name, values.get(name, "n"), because, select.condition.place)


def _asked_text(request: Request) -> str:
    who = "the spec" if request.asked_by == (SPEC,) else f"feature {', '.join(request.asked_by)}"
    return f"asked for by {who}"


def _lost_choice(definitions: list[Definition], tree: Tree, values: Mapping[str, str]) -> str | None:
    for definition in definitions:
        if definition.choice is not None:
            winner = tree.winner(definition.choice, values)
            if winner and winner != definition.name:
                choice = tree.choices[definition.choice]
                return f'of the choice "{choice.title}" ({choice.place}), {PREFIX}{winner} is on'
    return None


def _targets(name: str, by_target: Mapping[str, list[Select]], values: Mapping[str, str]) -> Iterable[str]:
    """What a symbol selects or implies, with the conditions; those whose condition does not hold say so."""
    for target, selects in sorted(by_target.items()):
        for select in selects:
            if select.by == name:
                idle = "" if holds(select.condition, values) else " (does not hold here)"
                yield f"{PREFIX}{target}{_if(select.condition)}{idle}"


def _if(condition: Condition) -> str:
    return "" if condition.text == "y" else f" if {condition.text}"


def similar_symbols(text: str, tree: Tree, kernel: str) -> str | None:
    """A hint for a symbol that the tree does not have: what it was renamed to, or what is written alike."""
    plain = (text[len(PREFIX) :] if text.upper().startswith(PREFIX) else text).upper()
    fate = fate_of(PREFIX + plain, kernel, tree.definitions)
    if fate:
        return fate.told
    words = [name for name in tree.definitions if plain in name][:_SIMILAR] if len(plain) >= _TELLING else []
    close = difflib.get_close_matches(plain[:100], tree.definitions, n=_SIMILAR, cutoff=0.75)
    found = [f"{PREFIX}{name}" for name in dict.fromkeys([*close, *words])][:_SIMILAR]
    return f"did you mean {' or '.join(found)}?" if found else None
