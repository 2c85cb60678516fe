"""What a plain YAML scalar means: the YAML 1.2 core schema, minus what other YAML readers take for something else.

Source: YAML 1.2.2, section 10.3.2 (core schema); YAML 1.1 type repository (int, float) for the doubtful forms.
"""

from __future__ import annotations

import math
import re

_NULLS = frozenset(("", "~", "null", "Null", "NULL"))
_BOOLS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INT = re.compile(r"[-+]?[0-9]+")
_OCTAL = re.compile(r"0o[0-7]+")
_HEX = re.compile(r"0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")

# Forms that YAML 1.1 readers (most of them) and YAML 1.2 readers take for different values.
_LEADING_ZERO = re.compile(r"[-+]?0[0-9_]+")
_SEXAGESIMAL = re.compile(r"[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?")
_UNDERSCORES = re.compile(r"[-+]?[0-9][0-9]*(_[0-9]+)+(\.[0-9_]*)?")
_BINARY = re.compile(r"[-+]?0b[01_]+")

_MAX_DIGITS = 20  # enough for any 64-bit number; no quadratic conversion of a megabyte of digits


class DoubtfulScalarError(ValueError):
    """A scalar that is refused: the message says why, ``hint`` what to write instead."""

    def __init__(self, message: str, hint: str) -> None:
        self.hint = hint
        super().__init__(message)


def resolve(text: str) -> str | int | float | bool | None:
    """The value of a plain (unquoted) scalar. Raises DoubtfulScalarError."""
    if text in _NULLS:
        return None
    if text in _BOOLS:
        return _BOOLS[text]
    _refuse_doubtful(text)
    if _INT.fullmatch(text):
        return int(_limited(text))
    if _OCTAL.fullmatch(text):
        return int(_limited(text[2:]), 8)
    if _HEX.fullmatch(text):
        return int(_limited(text[2:]), 16)
    if _FLOAT.fullmatch(text):
        number = float(text)
        if not math.isfinite(number):
            raise DoubtfulScalarError(f"{_shown(text)} is too large a number", _quote(text))
        return number
    return text


def _refuse_doubtful(text: str) -> None:
    if _NOT_FINITE.fullmatch(text):
        raise DoubtfulScalarError(f"{text} is not a number that can be used here", _quote(text))
    if _LEADING_ZERO.fullmatch(text):
        raise DoubtfulScalarError(
            f"{_shown(text)} has a leading zero: octal to some YAML readers, decimal to others",
            f"{_quote(text)}; as a number, write it without the zero, or 0o… for octal",
        )
    if _SEXAGESIMAL.fullmatch(text):
        raise DoubtfulScalarError(
            f"{_shown(text)} is a base-60 number to some YAML readers, text to others", _quote(text)
        )
    if _UNDERSCORES.fullmatch(text) or _BINARY.fullmatch(text):
        raise DoubtfulScalarError(
            f"{_shown(text)} is a number to some YAML readers, text to others",
            f"{_quote(text)}; as a number, write it in plain digits",
        )


def _limited(digits: str) -> str:
    if len(digits.lstrip("+-")) > _MAX_DIGITS:
        raise DoubtfulScalarError(f"{_shown(digits)} is too large a number", "if it is text, quote it")
    return digits


def _quote(text: str) -> str:
    return f'if it is text, quote it: "{text}"' if len(text) <= 80 else "if it is text, quote it"


def _shown(text: str) -> str:
    return text if len(text) <= 80 else text[:77] + "…"
