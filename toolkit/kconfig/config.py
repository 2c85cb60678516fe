"""The lines of a kernel ``.config``."""

from __future__ import annotations


def read_config(text: str) -> dict[str, str]:
    """Symbols (with CONFIG_) that have a value, as written there; what is "not set" is left out."""
    values: dict[str, str] = {}
    for line in text.splitlines():
        name, separator, value = line.partition("=")
        if separator and name.startswith("CONFIG_"):
            values[name] = value
    return values


def config_line(symbol: str, value: str) -> str:
    """A symbol as ``.config`` writes it, with its newline; "n" is off."""
    return f"# {symbol} is not set\n" if value == "n" else f"{symbol}={value}\n"


def count_on(values: dict[str, str]) -> int:
    """How many options are switched on (y or m)."""
    return sum(value in ("y", "m") for value in values.values())


def same_value(wanted: str, got: str | None) -> bool:
    """Whether a result is what was asked for; None: the symbol has no value."""
    if got is None or wanted == "n":
        return wanted == "n" and got in (None, "n")
    if wanted == got:
        return True
    try:
        return int(wanted, 0) == int(got, 0)
    except ValueError:
        return False
