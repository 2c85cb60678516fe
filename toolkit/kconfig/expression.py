"""Kconfig expressions: parse ``A && (B || C=m)``, evaluate it, and write it again.

The language is that of Documentation/kbuild/kconfig-language.rst. Values are tristate: n < m < y.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

_TOKEN = re.compile(r"""\s*(&&|\|\||!=|<=|>=|[!=<>()]|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|[\w./-]+)""")
_TRISTATE = {"n": 0, "m": 1, "y": 2}
_DEEPEST = 200  # operators above one another; no kernel comes near, and python's stack ends somewhere


@dataclass(frozen=True, slots=True)
class Symbol:
    """A symbol without its CONFIG_ prefix, or a constant (``y``, ``64``)."""

    name: str


@dataclass(frozen=True, slots=True)
class Literal:
    """A quoted string."""

    text: str


@dataclass(frozen=True, slots=True)
class Macro:
    """A ``$(…)`` whose value only the kernel's own make knows; taken to hold."""

    text: str


@dataclass(frozen=True, slots=True)
class Not:
    """``!operand``."""

    operand: Expression


@dataclass(frozen=True, slots=True)
class Both:
    """``left && right``."""

    left: Expression
    right: Expression


@dataclass(frozen=True, slots=True)
class Either:
    """``left || right``."""

    left: Expression
    right: Expression


@dataclass(frozen=True, slots=True)
class Compare:
    """``left OP right`` of two symbols or constants."""

    operator: str
    left: Symbol | Literal | Macro
    right: Symbol | Literal | Macro


Expression = Symbol | Literal | Macro | Not | Both | Either | Compare


def parse(text: str) -> Expression:
    """Parse an expression. Raises ValueError when it is not one."""
    tokens = list(_tokens(text))
    if sum(token in ("(", "!", "&&", "||") for token in tokens) > _DEEPEST:
        raise ValueError(f"more than {_DEEPEST} operators in one expression")
    tokens.append("")
    expression, rest = _either(tokens, 0)
    if tokens[rest]:
        raise ValueError(f"unexpected {tokens[rest]!r} in {text!r}")
    return expression


def _tokens(text: str) -> Iterator[str]:
    position = 0
    while position < len(text.rstrip()):
        start = len(text) - len(text[position:].lstrip())
        if text.startswith("$(", start):
            end = _macro_end(text, start)
        else:
            match = _TOKEN.match(text, position)
            if not match:
                raise ValueError(f"cannot read {text[position:]!r}")
            end = match.end()
        yield text[start:end]
        position = end


def _macro_end(text: str, start: int) -> int:
    depth = 0
    for index in range(start + 1, len(text)):
        depth += {"(": 1, ")": -1}.get(text[index], 0)
        if not depth:
            return index + 1
    raise ValueError(f"$( without its ) in {text!r}")


def _either(tokens: list[str], at: int) -> tuple[Expression, int]:
    left, at = _both(tokens, at)
    while tokens[at] == "||":
        right, at = _both(tokens, at + 1)
        left = Either(left, right)
    return left, at


def _both(tokens: list[str], at: int) -> tuple[Expression, int]:
    left, at = _operand(tokens, at)
    while tokens[at] == "&&":
        right, at = _operand(tokens, at + 1)
        left = Both(left, right)
    return left, at


def _operand(tokens: list[str], at: int) -> tuple[Expression, int]:
    if tokens[at] == "!":
        inner, at = _operand(tokens, at + 1)
        return Not(inner), at
    if tokens[at] == "(":
        inner, at = _either(tokens, at + 1)
        if tokens[at] != ")":
            raise ValueError("( without its )")
        return inner, at + 1
    left, at = _atom(tokens[at]), at + 1
    if tokens[at] in ("=", "!=", "<", "<=", ">", ">="):
        return Compare(tokens[at], left, _atom(tokens[at + 1])), at + 2
    return left, at


def _atom(token: str) -> Symbol | Literal | Macro:
    if token.startswith("$("):
        return Macro(token)
    if token[:1] in ('"', "'") and token:
        return Literal(re.sub(r"\\(.)", r"\1", token[1:-1]))
    if not re.fullmatch(r"[\w./-]+", token):
        raise ValueError(f"expected a symbol, found {token!r}")
    return Symbol(token)


def evaluate(expression: Expression, values: Mapping[str, str]) -> int:
    """0, 1 or 2 for n, m, y. ``values``: symbols (without prefix) that are on or have a value."""
    match expression:
        case Macro():
            return 2
        case Literal(text):
            return _TRISTATE.get(text, 0)
        case Symbol():
            return _TRISTATE.get(text_of(expression, values), 0)
        case Not(Macro()):
            return 2
        case Not(inner):
            return 2 - evaluate(inner, values)
        case Both(left, right):
            return min(evaluate(left, values), evaluate(right, values))
        case Either(left, right):
            return max(evaluate(left, values), evaluate(right, values))
        case Compare(operator, left, right):
            if only_make_knows(left) or only_make_knows(right):
                return 2
            return 2 if _compare(operator, text_of(left, values), text_of(right, values)) else 0


def only_make_knows(atom: Expression) -> bool:
    """Whether an atom is a macro, or a text with one in it."""
    return isinstance(atom, Macro) or (isinstance(atom, Literal) and "$(" in atom.text)


def is_constant(name: str) -> bool:
    """Whether a bare word is a constant (``y``, ``64``, ``0x10``) and no symbol."""
    return name in _TRISTATE or not re.match(r"[A-Z_]|\d+[A-Z_]", name)


def holds(name: str, values: Mapping[str, str]) -> bool:
    """Whether a symbol is m or y."""
    return values.get(name, "n") in ("m", "y")


def text_of(atom: Symbol | Literal | Macro, values: Mapping[str, str]) -> str:
    """The value of an atom, as comparisons see it; "n" for a symbol that has none."""
    if isinstance(atom, Symbol):
        return atom.name if is_constant(atom.name) else values.get(atom.name, "n")
    return atom.text


def _compare(operator: str, left: str, right: str) -> bool:
    try:
        order = int(left, 0) - int(right, 0)
    except ValueError:
        order = (left > right) - (left < right)
    holds = {"=": order == 0, "!=": order != 0, "<": order < 0, "<=": order <= 0, ">": order > 0, ">=": order >= 0}
    return holds[operator]


def show(expression: Expression) -> str:
    """The expression as Kconfig would write it."""
    match expression:
        case Symbol(text) | Macro(text):
            return text
        case Literal(text):
            return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
        case Not(inner):
            return f"!{_bracket(inner, (Both, Either, Compare))}"
        case Both(left, right):
            return f"{_bracket(left, (Either,))} && {_bracket(right, (Either, Both))}"
        case Either(left, right):
            return f"{show(left)} || {_bracket(right, (Either,))}"
        case Compare(operator, left, right):
            return f"{show(left)}{operator}{show(right)}"


def _bracket(expression: Expression, kinds: tuple[type, ...]) -> str:
    text = show(expression)
    return f"({text})" if isinstance(expression, kinds) else text
