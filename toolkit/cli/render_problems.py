"""Shows problems to a person: ``file:line:col: error: message``, the source line with a caret, a hint; or JSON."""

from __future__ import annotations

import json
import os
import re
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TextIO

from ..errors import KataToolkitError, Problem, Where
from ..spec.source import read_source, split_lines

_CONTEXT = 100  # columns of a source line that are shown; a longer one is cut around the caret
_SHOWN = 100  # problems; a person does not read more at once, and --json has them all
_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")

_STYLES = {
    "error": "1;31",
    "warning": "1;33",
    "note": "1;36",
    "caret": "1;31",
    "hint": "36",
    "gutter": "2",
    "place": "1",
}


def print_problems(problems: Iterable[Problem], *, as_json: bool = False) -> None:
    """All problems: on stderr for a person, or as ``{"errors": [...]}`` on stdout, one line like a build's events."""
    found = list(problems)
    if as_json:
        sys.stdout.write(json.dumps({"errors": [problem.as_json() for problem in found]}) + "\n")
    else:
        sys.stderr.write(render(found[:_SHOWN], color=wants_color()))
        if len(found) > _SHOWN:
            sys.stderr.write(f"… and {len(found) - _SHOWN} more\n")


def wants_color(stream: TextIO | None = None) -> bool:
    """Whether a stream (stderr) should be coloured: NO_COLOR wins, then FORCE_COLOR, then whether it is a terminal."""
    if os.environ.get("NO_COLOR"):
        return False
    return bool(os.environ.get("FORCE_COLOR")) or ((stream or sys.stderr).isatty() and os.environ.get("TERM") != "dumb")


def render(
    problems: Iterable[Problem],
    sources: Mapping[str, str] | None = None,
    *,
    color: bool = False,
    label: str = "error",
) -> str:
    """The problems as text that ends in a newline; ``label`` says what they are.

    ``sources`` maps file names to their text; a file that is not in it is read from disk, and one that cannot be
    read is shown without its line.
    """
    return "".join(render_labelled(((label, problem) for problem in problems), sources, color=color))


def render_labelled(
    problems: Iterable[tuple[str, Problem]], sources: Mapping[str, str] | None = None, *, color: bool = False
) -> Iterator[str]:
    """As `render`, a text for each problem, and each with a label of its own."""
    lines_of: dict[str, list[str]] = {name: split_lines(text) for name, text in (sources or {}).items()}
    for label, problem in problems:
        yield "".join(f"{line}\n" for line in _problem(problem, lines_of, color, label))


def _problem(problem: Problem, lines_of: dict[str, list[str]], color: bool, label: str) -> list[str]:
    place = _style(f"{_safe(str(problem.where))}:", "place", color) + " " if problem.where else ""
    out = [f"{place}{_style(f'{label}:', label, color)} {_safe(problem.message)}"]
    if problem.where and problem.where.line:
        out += _snippet(problem.where, lines_of, color)
    out += [f"    {_safe(line)}" for line in problem.details]
    if problem.hint:
        out.append(f"  {_style('hint:', 'hint', color)} {_safe(problem.hint)}")
    return out


def _snippet(where: Where, lines_of: dict[str, list[str]], color: bool) -> list[str]:
    if where.file not in lines_of:
        try:
            lines_of[where.file] = read_source(Path(where.file)).lines
        except KataToolkitError:
            lines_of[where.file] = []
    lines = lines_of[where.file]
    if where.line > len(lines):
        return []
    text, before = _excerpt(lines[where.line - 1], where.column)
    number = f"{where.line:>5} |"
    out = [f"{_style(number, 'gutter', color)} {text}".rstrip()]
    if where.column:
        out.append(f"{_style('      |', 'gutter', color)} {' ' * before}{_style('^', 'caret', color)}")
    return out


def _excerpt(line: str, column: int) -> tuple[str, int]:
    """The part of a line around a column, safe for a terminal, and the width of what stands before the column."""
    shown = "".join(
        " " if char == "\t" else "\N{REPLACEMENT CHARACTER}" if _UNSAFE.match(char) else char for char in line
    )
    start = 0
    if len(shown) > _CONTEXT and column > _CONTEXT * 2 // 3:
        start = column - 1 - _CONTEXT // 2
    text = shown[start : start + _CONTEXT]
    before = shown[start : max(column - 1, start)]
    lead, tail = "…" if start else "", "…" if len(shown) > start + _CONTEXT else ""
    return lead + text + tail, len(lead) + sum(map(_width, before))


def _width(char: str) -> int:
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def _safe(text: str) -> str:
    """Control characters (such as a terminal's escape) made visible; line ends and tabs stay."""
    return _UNSAFE.sub(lambda match: f"\\x{ord(match.group()):02x}", text)


def _style(text: str, style: str, color: bool) -> str:
    return f"\x1b[{_STYLES[style]}m{text}\x1b[0m" if color else text
