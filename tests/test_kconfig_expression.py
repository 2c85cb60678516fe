"""Kconfig expressions: read, evaluated and blamed as the kernel's own documentation says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kata_toolkit.kconfig import expression as ex

VALUES = {"ON": "y", "MOD": "m", "NUMBER": "64", "TEXT": "abc"}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("ON", 2),
        ("OFF", 0),
        ("MOD", 1),
        ("!OFF", 2),
        ("!MOD", 1),
        ("ON && MOD", 1),
        ("ON && OFF", 0),
        ("OFF || MOD", 1),
        ("OFF || ON && MOD", 1),  # && binds tighter than ||
        ("(OFF || ON) && !(OFF)", 2),
        ("y", 2),
        ("MOD=m", 2),
        ("ON!=n", 2),
        ("NUMBER > 9", 2),  # as numbers: "64" < "9" as text
        ("NUMBER<=63", 0),
        ('TEXT = "abc"', 2),
        ("TEXT = 'abd'", 0),
        ("$(cc-option,-mfoo)", 2),  # only make knows; never the reason we give
        ("ON && $(success,test -n (x))", 2),
        ("9P_FS", 0),  # a symbol may start with a digit
    ],
)
def test_an_expression_has_the_value_that_conf_gives_it(text: str, value: int) -> None:
    assert ex.evaluate(ex.parse(text), VALUES) == value


@pytest.mark.parametrize("text", ["", "A &&", "A B", "(A", "A)", "&& A", "$(x", "A = && B", "A @ B"])
def test_what_is_no_expression_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 -- the text is not for people
        ex.parse(text)


_NAMES = st.sampled_from(["ON", "OFF", "MOD", "NUMBER", "TEXT"]).map(ex.Symbol)
_ATOMS = st.one_of(_NAMES, st.text(st.characters(exclude_categories=["C"]), max_size=5).map(ex.Literal))
_EXPRESSIONS: st.SearchStrategy[ex.Expression] = st.recursive(
    st.one_of(_NAMES, st.builds(ex.Compare, st.sampled_from(["=", "!=", "<", ">="]), _NAMES, _ATOMS)),
    lambda inner: st.one_of(
        st.builds(ex.Not, inner), st.builds(ex.Both, inner, inner), st.builds(ex.Either, inner, inner)
    ),
    max_leaves=8,
)


@given(_EXPRESSIONS)
def test_what_is_shown_is_the_same_when_read_again(expression: ex.Expression) -> None:
    assert ex.parse(ex.show(expression)) == expression


@given(st.text(max_size=200) | st.text("AB!()&|=<>\"' $\\y", max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        parsed = ex.parse(text)
    except ValueError:
        return
    assert ex.evaluate(parsed, VALUES) in (0, 1, 2)
    assert ex.parse(ex.show(parsed)) == parsed


@pytest.mark.parametrize("text", ["(" * 5000 + "A" + ")" * 5000, "!" * 5000 + "A", " && ".join(["A"] * 5000)])
def test_an_absurdly_deep_expression_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="more than 200 operators"):
        ex.parse(text)
