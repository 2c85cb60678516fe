"""The report as Markdown, for a CI job's summary: the verdict first, what failed next, tables below."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .sections import Section, heading, sections, verdict

_FOLDED = {"proof", "components", "stages", "contents", "features"}  # long; opened by whoever wants them
_SIGNS = {"pass": "✅", "fail": "❌", "warn": "⚠️", "skip": "➖"}


def markdown(document: Mapping[str, Any]) -> str:
    """The whole report; text from guests cannot become markup."""
    return "\n".join(_lines(document)) + "\n"


def _lines(document: Mapping[str, Any]) -> Iterator[str]:
    yield f"## {_cell(heading(document))}"
    yield ""
    yield f"**{_cell(verdict(document))}** · {_cell(document['figures'])}"
    failed = [c for c in (document["proof"] or {"checks": ()})["checks"] if c["status"] in ("fail", "warn")]
    for check in failed:
        yield f"- {_SIGNS[check['status']]} **{check['id']}**: {_cell(check['detail'])}"
        if check["remedy"]:
            yield f"  → {_cell(check['remedy'])}"
    for section in sections(document):
        yield ""
        if section.id in _FOLDED:
            yield f"<details><summary>{_cell(section.title)}</summary>"
        else:
            yield f"### {_cell(section.title)}"
        yield ""
        yield from _table(section)
        if section.note:
            yield ""
            yield _cell(section.note)
        if section.id in _FOLDED:
            yield ""
            yield "</details>"


def _table(section: Section) -> Iterator[str]:
    yield _row(section.head)
    yield _row("--:" if column in section.numbers else "---" for column in range(len(section.head)))
    for row in section.rows:
        shown = [
            _SIGNS.get(cell, cell) if section.id == "proof" and n == 1 else _cell(cell) for n, cell in enumerate(row)
        ]
        yield _row(shown)


def _row(cells: Any) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(text: str) -> str:
    """Text in a table's cell: nothing of it is markup, and it stays on its line."""
    text = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    for char in "\\`*_[]|#":
        text = text.replace(char, "\\" + char)
    return text
