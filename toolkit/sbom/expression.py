"""Licence expressions: whether one holds what the SPDX specification, annex D, allows, with names on its list."""

from __future__ import annotations

import re
from collections.abc import Iterable

from .spdx_ids import EXCEPTIONS, LICENCES

_TOKEN = re.compile(r"\s*([()]|[^\s()]+)")
_REFERENCE = re.compile(r"(?:DocumentRef-[A-Za-z0-9.-]+:)?LicenseRef-[A-Za-z0-9.-]+")


def is_expression(text: str) -> bool:
    """Whether ``text`` is a licence expression: listed names, LicenseRef-…, WITH, AND, OR and parentheses."""
    tokens = _TOKEN.findall(text)
    end = _compound(tokens, 0)
    return end is not None and end == len(tokens)


def references(expressions: Iterable[str]) -> list[str]:
    """The LicenseRef-… names in them, sorted: a document must say what each of them is."""
    return sorted({t for text in expressions for t in _TOKEN.findall(text) if _REFERENCE.fullmatch(t)})


def conjunction(expressions: Iterable[str]) -> str:
    """All of them together: each once, sorted, alternatives in parentheses."""
    parts = {part for text in expressions for part in _conjuncts(text)}
    alone = len(parts) == 1
    return " AND ".join(sorted(p if alone or " OR " not in p else f"({p})" for p in parts))


def _conjuncts(text: str) -> list[str]:
    """The parts of ``a AND b``; what is an alternative as a whole stays one."""
    parts: list[list[str]] = [[]]
    depth = 0
    for word in _TOKEN.findall(text):
        if word == "OR" and not depth:
            return [text]
        if word == "AND" and not depth:
            parts.append([])
            continue
        depth += {"(": 1, ")": -1}.get(word, 0)
        parts[-1].append(word)
    return [_unwrapped(" ".join(part).replace("( ", "(").replace(" )", ")")) for part in parts]


def _unwrapped(part: str) -> str:
    """Without parentheses around the whole of an alternative."""
    inner = part[1:-1]
    return inner if part.startswith("(") and part.endswith(")") and "(" not in inner else part


def _compound(tokens: list[str], at: int) -> int | None:
    """The index behind a compound expression that begins at ``at``, or None when there is none."""
    end = _simple(tokens, at)
    while end is not None and end < len(tokens) and tokens[end] in ("AND", "OR"):
        end = _simple(tokens, end + 1)
    return end


def _simple(tokens: list[str], at: int) -> int | None:
    if at >= len(tokens):
        return None
    if tokens[at] == "(":
        end = _compound(tokens, at + 1)
        return end + 1 if end is not None and end < len(tokens) and tokens[end] == ")" else None
    if not (_REFERENCE.fullmatch(tokens[at]) or tokens[at].removesuffix("+") in LICENCES):
        return None
    if at + 1 < len(tokens) and tokens[at + 1] == "WITH":
        return at + 3 if at + 2 < len(tokens) and tokens[at + 2] in EXCEPTIONS else None
    return at + 1
