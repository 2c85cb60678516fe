"""Dataclasses as JSON and back, driven by their annotations: for what is kept in the cache.

Known are str, int, float, bool, None, dataclasses, ``X | None``, lists, tuples, frozensets and mappings by text.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, TypeVar

T = TypeVar("T")
_PLAIN = (str, int, float, bool, type(None))


def encode(value: object) -> Any:
    """Plain JSON; a dataclass becomes the list of its fields. Raises TypeError for what is not known."""
    if isinstance(value, _PLAIN):
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [encode(getattr(value, f.name)) for f in dataclasses.fields(value)]
    if isinstance(value, frozenset):
        return sorted(encode(item) for item in value)
    if isinstance(value, list | tuple):
        return [encode(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): encode(item) for key, item in value.items()}
    raise TypeError(f"{type(value).__name__} cannot be kept as JSON")


def decode(kind: type[T], value: Any) -> T:
    """The value that `encode` made JSON of. Raises TypeError, ValueError, KeyError for other JSON."""
    anything: Any = kind
    result: T = _decoder(anything)(value)
    return result


@cache
def _decoder(kind: Any) -> Callable[[Any], Any]:
    """A function for one type, made once: thousands of records are read."""
    if kind in _PLAIN or kind is Any:
        return _same
    if dataclasses.is_dataclass(kind):
        return _of_dataclass(kind)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        inner = [a for a in arguments if a is not type(None)]
        if len(inner) == 1:
            some = _decoder(inner[0])
            return lambda value: None if value is None else some(value)
    if origin is tuple and len(arguments) == 2 and arguments[1] is Ellipsis:
        item = _decoder(arguments[0])
        return lambda value: tuple([item(v) for v in value])
    if origin in (list, frozenset):
        item = _decoder(arguments[0])
        return lambda value: origin([item(v) for v in value])
    if origin is not None and issubclass(origin, Mapping):
        item = _decoder(arguments[1])
        return lambda value: {key: item(v) for key, v in value.items()}
    raise TypeError(f"{kind} cannot be read from JSON")


def _same(value: Any) -> Any:
    return value


def _of_dataclass(kind: Any) -> Callable[[Any], Any]:
    hints = typing.get_type_hints(kind)
    items = [_decoder(hints[f.name]) for f in dataclasses.fields(kind)]

    def make(value: Any) -> Any:
        return kind(*[item(v) for item, v in zip(items, value, strict=True)])

    return make
