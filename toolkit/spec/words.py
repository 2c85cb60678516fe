"""How values and types are named in messages."""

from __future__ import annotations

from typing import Any

_TYPES = {
    "string": "a string",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "a mapping (key: value)",
    "null": "nothing",
}
_SHOWN = 60
_FALSE = frozenset(("no", "off", "n", "false"))
_TRUE = frozenset(("yes", "on", "y", "true"))


def type_name(kind: str) -> str:
    """A JSON Schema type in words."""
    return _TYPES[kind]


def either(words: list[str]) -> str:
    """``a``, ``a or b``, ``a, b or c``."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def shown(value: Any, raw: str | None = None) -> str:
    """A value as it stands in the file, shortened: strings in quotes, other scalars as written."""
    if isinstance(value, str):
        return f'"{shorten(value)}"'
    if isinstance(value, bool):
        return raw or str(value).lower()
    if isinstance(value, int | float):
        return shorten(raw or str(value))
    if isinstance(value, list):
        return "a list"
    return "a mapping" if isinstance(value, dict) else "nothing"


def described(value: Any, raw: str | None = None) -> str:
    """A value with its type: ``the string "256"``, ``the number 6.10``, ``a list``."""
    if isinstance(value, str):
        return f"the string {shown(value)}"
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"the number {shown(value, raw)}"
    return shown(value, raw)


def shorten(text: str) -> str:
    """At most 60 characters, on one line."""
    line = text.replace("\n", "\\n").replace("\t", "\\t")
    return line if len(line) <= _SHOWN else line[: _SHOWN - 1] + "…"


def type_hint(expected: list[str], value: Any, raw: str | None) -> str | None:
    """What to write instead of a value of the wrong type, where that can be guessed."""
    if value is None:
        return "give it a value, or remove the key"
    if isinstance(value, str):
        return _hint_for_string(expected, value)
    if "string" in expected and not isinstance(value, list | dict):
        return f'quote it: "{raw or str(value).lower()}"'
    if "array" in expected and not isinstance(value, dict):
        return f"make it a list: [{shown(value, raw)}]"
    return None


def _hint_for_string(expected: list[str], value: str) -> str | None:
    if "boolean" in expected and value.lower() in _FALSE | _TRUE:
        return f"write {'false' if value.lower() in _FALSE else 'true'}"
    if {"integer", "number"} & set(expected) and value.strip().replace(".", "", 1).isdecimal():
        return f"remove the quotes: {value.strip()}"
    if "array" in expected:
        return f"make it a list: [{shorten(value)}]" if value.isprintable() else None
    return None
