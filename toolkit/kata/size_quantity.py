"""Kubernetes quantities: ``500m``, ``1.5``, ``128Mi``, ``1e3`` (apimachinery, pkg/api/resource/quantity.go)."""

from __future__ import annotations

import re
from fractions import Fraction

_FORM = re.compile(r"([+-]?)([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:([eE][+-]?[0-9]{1,3})|([A-Za-z]{0,2}))")
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
_INT64 = (1 << 63) - 1
_WRITTEN = {"K": "k or Ki", "KB": "k or Ki", "kb": "k or Ki", "MB": "M or Mi", "mb": "M or Mi", "Mb": "M or Mi"}
_WRITTEN |= {"GB": "G or Gi", "gb": "G or Gi", "Gb": "G or Gi", "mi": "Mi", "gi": "Gi", "ki": "Ki", "g": "G or Gi"}


class QuantityError(ValueError):
    """Text that is no quantity; ``args[0]`` says why, ``hint`` what was probably meant."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


def quantity(text: str) -> Fraction:
    """The number that a quantity stands for. Raises QuantityError for text that is none, and for a negative one."""
    match = _FORM.fullmatch(text)
    if not match:
        raise QuantityError("is no quantity", "write it like 500m, 1.5, 128Mi or 1G")
    sign, number, exponent, suffix = match.groups()
    if exponent:
        scale = Fraction(10) ** int(exponent[1:])
    elif suffix in _DECIMAL:
        scale = Fraction(10) ** _DECIMAL[suffix]
    elif suffix in _BINARY:
        scale = Fraction(2) ** _BINARY[suffix]
    else:
        hint = f"write {_WRITTEN[suffix]}" if suffix in _WRITTEN else f"there is {', '.join([*_DECIMAL, *_BINARY][3:])}"
        raise QuantityError(f"has the unknown suffix {suffix}", hint.replace("there is , ", "there is "))
    value = Fraction(number if not number.endswith(".") else number[:-1]) * scale
    if sign == "-" and value:
        raise QuantityError("is negative")
    if value > _INT64:
        raise QuantityError("is too large")
    return value


def whole(value: Fraction) -> int:
    """Rounded up, as Kubernetes does where it needs a whole number."""
    return -(-value.numerator // value.denominator)
