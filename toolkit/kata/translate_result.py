"""What a translation comes to: the new file's text, and what became of each of the old one's keys."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ..errors import Where
from ..spec.model import Dialect
from .settings import shown


@dataclass(frozen=True, slots=True)
class Lost:
    """A key that the new file does not have. ``matters``: it did something in the old one."""

    key: str
    value: Any
    why: str
    matters: bool
    where: Where
    hint: str | None = None


@dataclass(frozen=True, slots=True)
class Changed:
    """A key with another name, place or value there. ``note``: what else there is to know."""

    key: str
    value: Any
    new_key: str
    new_value: Any
    where: Where
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Added:
    """A key that only the new file has, and why."""

    key: str
    value: Any
    why: str


@dataclass(slots=True)
class Translation:
    """The new file's text, and what became of the old one's keys. ``warnings``: what the runtime will not like."""

    file: str
    source: Dialect
    target: Dialect
    why_source: str
    hypervisor: str
    text: str = ""
    lost: list[Lost] = field(default_factory=list)
    inert: list[Lost] = field(default_factory=list)
    changed: list[Changed] = field(default_factory=list)
    added: list[Added] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def lossy(self) -> bool:
        """Whether something that the old file does is not done with the new one."""
        return any(entry.matters for entry in (*self.lost, *self.inert))

    def as_json(self, output: str | None) -> dict[str, Any]:
        """The document of ``config translate --json``: schemas/config-translate.schema.json."""
        return {
            "version": 1,
            "file": self.file,
            "from": self.source,
            "to": self.target,
            "hypervisor": self.hypervisor,
            "lossy": self.lossy,
            "output": output,
            **({"text": self.text} if output is None else {}),
            "lost": [_lost_json(entry) for entry in self.lost],
            "inert": [_lost_json(entry) for entry in self.inert],
            "changed": [
                {"key": c.key, "value": _plain(c.value), "new_key": c.new_key, "new_value": _plain(c.new_value)}
                | {"note": c.note, **_place(c.where)}
                for c in self.changed
            ],
            "added": [{"key": a.key, "value": a.value, "why": a.why} for a in self.added],
            "warnings": self.warnings,
        }


def _lost_json(entry: Lost) -> dict[str, Any]:
    told = {"key": entry.key, "value": _plain(entry.value), "why": entry.why, "matters": entry.matters}
    return {**told, "hint": entry.hint, **_place(entry.where)}


def _plain(value: Any) -> Any:
    """The value as JSON can have it: dates become text."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    return value if isinstance(value, bool | int | float | str) else str(value)


def _place(where: Where) -> dict[str, Any]:
    return {"file": where.file, "line": where.line or None, "column": where.column or None}


def summary(entry: Lost) -> str:
    """One line for a person: ``measurement_algo = "sha384": the Rust runtime has no such setting``."""
    return f"{entry.key} = {shown(_plain(entry.value))}: {entry.why}"
