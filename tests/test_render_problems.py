"""How problems look: place, source line, caret, hint; safe for a terminal, and as JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from kata_toolkit.cli.render_problems import print_problems, render, wants_color
from kata_toolkit.errors import Problem, Where


def shown(text: str, line: int, column: int) -> list[str]:
    """The rendered source line and caret of a problem in a text."""
    rendered = render([Problem("bad", Where("x.yaml", line, column))], {"x.yaml": text})
    head, *rest = rendered.splitlines()
    assert head == f"x.yaml:{line}:{column}: error: bad"
    return rest


def test_a_problem_with_everything() -> None:
    problem = Problem('unknown key "kernal"', Where("x.yaml", 3, 1), 'did you mean "kernel"?')
    assert render([problem], {"x.yaml": "version: 1\nname: guest\nkernal: {}\n"}) == (
        'x.yaml:3:1: error: unknown key "kernal"\n'
        "    3 | kernal: {}\n"
        "      | ^\n"
        '  hint: did you mean "kernel"?\n'
    )  # fmt: skip


def test_several_problems_follow_each_other() -> None:
    problems = [Problem("one"), Problem("two", Where("gone.yaml", 1, 1)), Problem("three", Where("dir"), "do it")]
    assert render(problems) == "error: one\ngone.yaml:1:1: error: two\ndir: error: three\n  hint: do it\n"


def test_the_source_is_read_from_disk(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("a: b\n")
    assert render([Problem("bad", Where(str(path), 1, 4))]).splitlines()[1:] == ["    1 | a: b", "      |    ^"]


def test_a_place_after_the_end_shows_no_line() -> None:
    assert shown("a", 7, 1) == []


@pytest.mark.parametrize(
    ("line", "column", "caret"),
    [
        ("abc", 1, "^"),
        ("abc", 3, "  ^"),
        ("abc", 4, "   ^"),
        ("\t\tabc", 3, "  ^"),  # a tab is shown as one blank, so the caret stays below its character
        ("äöü: x", 6, "     ^"),
        ("日本: x", 3, "    ^"),  # wide characters take two columns of a terminal
        ("e\u0301: x", 3, " ^"),  # a combining accent takes none
    ],
)
def test_the_caret_stands_below_its_column(line: str, column: int, caret: str) -> None:
    assert shown(line, 1, column) == [f"    1 | {line}".replace("\t", " "), f"      | {caret}"]


def test_a_long_line_is_cut_around_the_column() -> None:
    text, caret = shown("x" * 500 + "!" + "y" * 500, 1, 501)
    assert len(text) < 120
    assert text[caret.index("^")] == "!"
    assert text.startswith("    1 | …x")
    assert text.endswith("y…")
    text, caret = shown("!" + "y" * 500, 1, 1)
    assert text[caret.index("^")] == "!"


def test_nothing_reaches_the_terminal_as_a_control_sequence() -> None:
    problem = Problem("got \x1b[31m\x9b", Where("\x1bx.yaml", 1, 3), "a\x07")
    out = render([problem], {"\x1bx.yaml": "a: \x1b[2J\n"})
    assert not [char for char in out if char < " " and char != "\n"]
    assert out.splitlines()[0] == "\\x1bx.yaml:1:3: error: got \\x1b[31m\\x9b"


def test_colour_changes_no_letter() -> None:
    problem = Problem("bad", Where("x.yaml", 1, 1), "do it")
    plain, colored = (render([problem], {"x.yaml": "a"}, color=color) for color in (False, True))
    assert "\x1b[" not in plain
    assert "\x1b[1;31m" in colored
    for code in ("1", "1;31", "2", "36", "0"):
        colored = colored.replace(f"\x1b[{code}m", "")
    assert colored == plain


@pytest.mark.parametrize(
    ("variables", "wanted"),
    [
        ({}, False),  # stderr is no terminal here
        ({"FORCE_COLOR": "1"}, True),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
        ({"NO_COLOR": ""}, False),
        ({"FORCE_COLOR": "1", "NO_COLOR": ""}, True),  # no-color.org: only when not empty
    ],
)
def test_who_decides_about_colour(variables: dict[str, str], wanted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert wants_color() is wanted


def test_json_is_all_that_is_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    print_problems([Problem("bad", Where("x.yaml", 1, 4), "do it"), Problem("worse")], as_json=True)
    out, err = capsys.readouterr()
    assert err == ""
    assert json.loads(out) == {
        "errors": [
            {"message": "bad", "file": "x.yaml", "line": 1, "column": 4, "hint": "do it"},
            {"message": "worse", "file": None, "line": None, "column": None, "hint": None},
        ]
    }


def test_a_person_sees_the_first_hundred(capsys: pytest.CaptureFixture[str]) -> None:
    print_problems([Problem(f"bad {index}") for index in range(103)])
    lines = capsys.readouterr().err.splitlines()
    assert lines[-2:] == ["error: bad 99", "… and 3 more"]
