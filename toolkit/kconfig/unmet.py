"""Compares what was asked with what the kernel's ``conf`` made of it, and says why a request was not met."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path

from ..errors import Problem
from . import expression as ex
from .config import same_value
from .requests import SPEC, Request
from .scan import Condition, Definition, Tree, scan

PREFIX = "CONFIG_"


def unmet(requests: Iterable[Request], values: Mapping[str, str]) -> list[Request]:
    """The requests whose result is another than asked for; ``values`` as `read_config` gives them."""
    return [r for r in requests if not same_value(r.value, values.get(r.symbol))]


def explain(requests: Iterable[Request], values: Mapping[str, str], tree: Path, srcarch: str) -> list[Problem]:
    """One problem for each unmet request: where it was asked, what came out, and the reason found in the tree."""
    known = scan(tree, srcarch)
    bare = {name.removeprefix(PREFIX): value.strip('"') for name, value in values.items()}
    return [_problem(request, values, bare, known) for request in requests]


def _problem(request: Request, values: Mapping[str, str], bare: Mapping[str, str], known: Tree) -> Problem:
    name = request.symbol.removeprefix(PREFIX)
    definitions = known.definitions.get(name)
    if not definitions:
        close = difflib.get_close_matches(name, known.definitions, n=1, cutoff=0.75)
        hint = f"did you mean {PREFIX}{close[0]}?" if close else None
        return Problem(f"{request.symbol}: this kernel has no such symbol", request.where, hint)
    got = values.get(request.symbol, "n")
    asker = "" if request.asked_by == (SPEC,) else f" (feature {', '.join(request.asked_by)})"
    reason, hint = _reason(request, got, definitions, bare, known)
    return Problem(f"{request.symbol}: wanted {request.value}, got {got}{asker}: {reason}", request.where, hint)


def _reason(
    request: Request, got: str, definitions: list[Definition], bare: Mapping[str, str], known: Tree
) -> tuple[str, str | None]:
    name = definitions[0].name
    kind = next((d.type for d in definitions if d.type), "bool")
    mistyped = _mistyped(request.value, kind)
    if mistyped:
        return f"it is {_article(kind)}, and {mistyped}", None
    if request.value == "m" and got == "y":
        return "it cannot be a module", f"ask for {request.symbol}=y"
    if request.value == "n" or (request.value, got) == ("m", "y"):
        return _forced(name, bare, known)
    blocked = [_blocked(d, bare) for d in definitions]
    if all(blocked):
        first = min((b for b in blocked if b), key=len)
        return "; ".join(first), None
    lost = _choice(definitions, bare, known)
    if lost:
        return lost
    if not any(d.prompt for d in definitions):
        return f"nobody can set it: it has no prompt ({_place(definitions[0])})", _selectors(name, known)
    if kind in ("int", "hex"):
        return f"the value is out of its range ({_place(definitions[0])})", None
    return f"conf decided otherwise (see {_place(definitions[0])})", None


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


def _article(kind: str) -> str:
    return {"int": "an int", "hex": "a hex number"}.get(kind, f"a {kind}")


def _blocked(definition: Definition, bare: Mapping[str, str]) -> list[str]:
    """The conditions of a definition that do not hold, each quoted with its place and its culprits."""
    conditions = list(definition.depends)
    if definition.prompt and definition.prompt.text != "y":
        conditions.append(definition.prompt)
    found: dict[str, None] = {}
    for condition in conditions:
        culprits = _culprits(condition, bare)
        if culprits:
            found[f"depends on {condition.text} ({condition.file}:{condition.line}): {', '.join(culprits)}"] = None
    return list(found)


def _culprits(condition: Condition, bare: Mapping[str, str]) -> list[str]:
    try:
        return ex.blockers(condition.parsed(), bare)
    except ValueError:
        return []


def _forced(name: str, bare: Mapping[str, str], known: Tree) -> tuple[str, str | None]:
    by = [
        f"{PREFIX}{s.by} ({s.condition.file}:{s.condition.line})"
        for s in known.selects.get(name, ())
        if bare.get(s.by, "n") in ("y", "m") and not _culprits(s.condition, bare)
    ]
    if by:
        return f"selected by {', '.join(by)}", "switch that off, or leave this one on"
    definition = known.definitions[name][0]
    if not definition.prompt or _culprits(definition.prompt, bare):
        return f"nobody can switch it off here: it has no prompt ({_place(definition)})", None
    return f"conf decided otherwise (see {_place(definition)})", None


def _choice(definitions: list[Definition], bare: Mapping[str, str], known: Tree) -> tuple[str, str | None] | None:
    for definition in definitions:
        if definition.choice is None:
            continue
        for other, others in known.definitions.items():
            if (
                other != definition.name
                and bare.get(other) == "y"
                and any(o.choice == definition.choice for o in others)
            ):
                return (
                    f"its choice went to {PREFIX}{other} ({_place(definition)})",
                    f"ask for {PREFIX}{other}=n as well",
                )
    return None


def _selectors(name: str, known: Tree) -> str | None:
    by = sorted({f"{PREFIX}{s.by}" for s in known.selects.get(name, ())})
    return f"it comes with one of: {', '.join(by[:6])}" if by else None


def _place(definition: Definition) -> str:
    return f"{definition.file}:{definition.line}"
