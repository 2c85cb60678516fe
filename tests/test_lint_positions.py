"""Where keys and values stand: held to tomllib, which reads the same texts without telling places."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kata_toolkit.kata.lint.positions import Path, Positions, read_positions

BLANKS = st.sampled_from(["", " ", "  ", "\t"])
ENDS = st.sampled_from(["", " ", " # note", "\t# [no] = table", ' # "'])
NAMES = st.sampled_from(["a", "b", "c-d", "7", '"a b"', "'q.r'", '"\\u00e9"', '"a\\"b"', '""', '"#"', "''"])
GAPS = st.sampled_from(["", " ", "\n", " # x ] , }\n  ", "\r\n\t"])
SCALARS = st.sampled_from(
    [
        *("0", "-17", "+1_000", "0xff", "0o17", "0b1", "1.5", "-3e-2", "inf", "nan", "true", "false"),
        *("1979-05-27", "07:32:00", "1979-05-27T07:32:00Z", "1979-05-27 07:32:00.5+01:00"),
        *('""', '"a # b"', '"\\\\"', '"\\""', "''", "'c:\\x'", '"é ü 漢"', '"]"', "'}'", '"="'),
        *('"""x"""', '"""\na = 1\n[t]\n"""', '"""a\\"""" """', '""""q""""', '"""""q"""""', '"""a \\\n  b"""'),
        *("'''x'''", "'''\n# no comment\n'''", "''''q''''", "'''''q'''''", "'''a\\'''"),
    ]
)


@st.composite
def arrays(draw: Any, inner: Any) -> str:
    values = draw(st.lists(inner, max_size=3))
    texts = [f"{draw(GAPS)}{value}{draw(GAPS)}" for value in values]
    comma = "," if values and draw(st.booleans()) else ""
    return f"[{','.join(texts)}{comma}{draw(GAPS)}]"


@st.composite
def inlines(draw: Any, inner: Any) -> str:
    pairs = [f"{draw(BLANKS)}{draw(keys())}={draw(BLANKS)}{value}" for value in draw(st.lists(inner, max_size=3))]
    return "{" + f"{draw(BLANKS)},".join(pairs) + draw(BLANKS) + "}"


@st.composite
def keys(draw: Any) -> str:
    return draw(st.sampled_from([".", " . ", ". "])).join(draw(st.lists(NAMES, min_size=1, max_size=3)))


VALUES = st.recursive(SCALARS, lambda inner: arrays(inner) | inlines(inner), max_leaves=5)


@st.composite
def lines(draw: Any) -> str:
    kind = draw(st.sampled_from(["pair", "pair", "pair", "table", "array", "comment"]))
    lead, end = draw(BLANKS), draw(ENDS)
    if kind == "pair":
        return f"{lead}{draw(keys())}{draw(BLANKS)}={draw(BLANKS)}{draw(VALUES)}{end}"
    if kind == "comment":
        return f"{lead}{end}"
    brackets = ("[", "]") if kind == "table" else ("[[", "]]")
    return f"{lead}{brackets[0]}{draw(BLANKS)}{draw(keys())}{draw(BLANKS)}{brackets[1]}{end}"


def parses(text: str) -> bool:
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return False
    return True


@st.composite
def documents(draw: Any) -> str:
    """Lines that go together: one that tomllib refuses after the others is left out."""
    kept = ""
    for line in draw(st.lists(lines(), max_size=10)):
        more = kept + line + draw(st.sampled_from(["\n", "\r\n"]))
        kept = more if parses(more) else kept
    return kept if draw(st.booleans()) else kept.removesuffix("\n").removesuffix("\r")


def paths(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    if path:
        yield path, value
    steps: Any = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, inner in steps:
        yield from paths(inner, (*path, step))


def same(left: Any, right: Any) -> bool:
    if isinstance(left, float) and isinstance(right, float) and math.isnan(left):
        return math.isnan(right)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    return type(left) is type(right) and bool(left == right)


def hold(text: str) -> Positions:
    """The same paths as tomllib, and at each place what it reads there."""
    found, expected = read_positions(text), dict(paths(tomllib.loads(text)))
    assert set(found.entries) == set(expected)
    assert found.twice == []
    for path, entry in found.entries.items():
        key, value = text[slice(*entry.key)], text[slice(*entry.value)]
        if isinstance(path[-1], str):
            assert list(tomllib.loads(f"{key} = 1")) == [path[-1]]
        tables = isinstance(expected[path], list) and all(isinstance(one, dict) for one in expected[path])
        if value.startswith("[") and isinstance(expected[path], dict):
            continue  # its header
        if value.startswith("[[") and tables:
            continue  # the header of its first table
        if entry.key != entry.value or isinstance(path[-1], int):
            assert same(tomllib.loads(f"v = {value}")["v"], expected[path])
        else:
            assert isinstance(expected[path], dict)  # mentioned by a dotted key only
    return found


@settings(max_examples=300, deadline=None)
@given(documents())
def test_finds_what_tomllib_reads(text: str) -> None:
    hold(text)


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="ab=[]{}\"'.#,\n\r\\ 1é", max_size=40))
def test_any_text_is_survived_and_what_parses_is_found(text: str) -> None:
    read_positions(text)
    if parses(text):
        hold(text)


def test_places_count_lines_and_characters_from_one() -> None:
    text = 'é = 1\r\n[t]\r\n  "ü b" . c = [ 2,\n 3 ]\n'
    text = text.replace("é", '"é"', 1)
    found = hold(text)
    places = {path: found.place(entry.key[0]) for path, entry in found.entries.items()}
    assert places == {
        ("é",): (1, 1),
        ("t",): (2, 2),
        ("t", "ü b"): (3, 3),
        ("t", "ü b", "c"): (3, 11),
        ("t", "ü b", "c", 0): (3, 17),
        ("t", "ü b", "c", 1): (4, 2),
    }


@pytest.mark.parametrize(
    ("text", "path", "first", "second"),
    [
        ("a = 1\na = 2\n", ("a",), 1, 2),
        ("[t]\nx = 1\n[u]\n[t]\n", ("t",), 1, 4),
        ("[t]\nx.y = 1\nx.y = 2\n", ("t", "x", "y"), 2, 3),
        ("[[t]]\nx = 1\n[[t]]\nx = 1\nx = 2\n", ("t", 1, "x"), 4, 5),
        ('a = 1\n"a" = 2\n', ("a",), 1, 2),
        ("a = { b = 1, b = 2 }\n", ("a", "b"), 1, 1),
    ],
)
def test_tells_what_is_there_twice(text: str, path: Path, first: int, second: int) -> None:
    assert not parses(text)
    found = read_positions(text)
    assert [(p, found.place(one[0])[0], found.place(two[0])[0]) for p, one, two in found.twice] == [
        (path, first, second)
    ]


def test_a_large_text_is_read_in_time() -> None:
    text = "".join(f"[t{n}]\nkey = 'value' # comment\nlist = [1, 2, 3]\n" for n in range(20_000))
    assert len(read_positions(text).entries) == 20_000 * 6
