"""What lint finds: a finding has a rule, a level, a place, and says what the runtime makes of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ...spec.model import Dialect

Level = Literal["error", "warning", "note"]
LEVELS: tuple[Level, ...] = ("error", "warning", "note")


@dataclass(frozen=True, slots=True)
class Place:
    """A stretch of a file: lines and columns from 1, the end excluded; line 0 is the file as a whole."""

    file: str
    line: int = 0
    column: int = 0
    end_line: int = 0
    end_column: int = 0

    def as_json(self) -> dict[str, object]:
        """As the JSON document has it."""
        return {
            "file": self.file,
            "line": self.line or None,
            "column": self.column or None,
            "end_line": self.end_line or None,
            "end_column": self.end_column or None,
        }


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to say about a file.

    ``rule``: an id of `catalogue.RULES`. ``does``: what the runtime does with it. ``dialect``: whose finding it is;
    None: that of any reader. ``related``: other places that it is about, each with what stands there.
    """

    rule: str
    level: Level
    message: str
    where: Place
    hint: str | None = None
    does: str | None = None
    dialect: Dialect | None = None
    related: tuple[tuple[Place, str], ...] = ()

    def as_json(self) -> dict[str, object]:
        """As the JSON document has it."""
        return {
            "rule": self.rule,
            "level": self.level,
            "message": self.message,
            **self.where.as_json(),
            "does": self.does,
            "hint": self.hint,
            "dialect": self.dialect,
            "related": [{**place.as_json(), "message": text} for place, text in self.related],
        }


def in_order(findings: list[Finding]) -> list[Finding]:
    """By file and place, each once. Files stay in the order in which they come up."""
    files = {finding.where.file: 0 for finding in findings}
    rank = {file: number for number, file in enumerate(files)}
    unique = list(dict.fromkeys(findings))
    return sorted(unique, key=lambda f: (rank[f.where.file], f.where.line, f.where.column, LEVELS.index(f.level)))
