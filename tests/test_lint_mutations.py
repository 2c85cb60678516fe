"""Every key of every file that we write, written wrongly in every way: lint says the right thing, on the right line."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from kata_toolkit.kata.flavours import flavours
from kata_toolkit.kata.keys import DIALECTS, Setting, Side, tables
from kata_toolkit.kata.lint.findings import Finding
from kata_toolkit.kata.lint.known import in_brackets, known
from kata_toolkit.kata.settings import NoCounterpartError, carried
from kata_toolkit.spec.model import Dialect
from lint_files import Path, Tree, at, dump, every_file, found_in, text_of, tree_of

INT64 = (1 << 63) - 1
SCALARS = ("boolean", "integer", "float", "string", "strings", "integers")
# Values of a type, for keys that the file does not have, and values that are of none of the right types.
PLAIN: dict[str, Any] = {"boolean": True, "integer": 1, "float": 1, "string": "", "strings": [], "integers": []}
WRONG: dict[str, tuple[Any, ...]] = {
    "boolean": ("true", 1, [True]),
    "integer": ("5", 5.5, True, [5]),
    "float": ("1.5", False),
    "string": (5, True, ["x"], 1.5),
    "strings": ("x", [1], ["x", 2]),
    "integers": (1, ["1"]),
}


def files() -> list[Any]:
    """One file for each VMM, dialect and architecture: the flavours of a VMM have the same keys."""
    seen: dict[tuple[str, str], Any] = {}
    for name, dialect, arch in every_file():
        key = flavours()[name].vmm, dialect
        seen.setdefault(key, pytest.param(name, dialect, arch, id=f"{name}-{dialect}-{arch}"))
    return list(seen.values())


@pytest.mark.parametrize(("flavour", "dialect", "arch"), every_file())
def test_what_we_write_is_clean(flavour: str, dialect: Dialect, arch: str) -> None:
    findings = found_in(text_of(flavour, dialect, arch), dialect)
    assert [(f.rule, f.message) for f in findings if f.level != "note"] == []


@dataclass(frozen=True)
class Case:
    """A key in a file: its table, and the file's tree with the key in it."""

    dialect: Dialect
    vmm: str
    arch: str
    setting: Setting
    side: Side
    tree: Tree

    @property
    def table(self) -> Path:
        return tables().table_path(self.side.table, self.dialect, self.vmm)

    @property
    def path(self) -> Path:
        return (*self.table, self.side.key)

    def changed(self, change: Any) -> Tree:
        """The tree with a changed table: `change` maps the table's items to new ones."""
        tree = copy.deepcopy(self.tree)
        outer: Any = tree
        for step in self.table[:-1]:
            outer = outer[step]
        outer[self.table[-1]] = change(outer[self.table[-1]])
        return tree

    def renamed(self, name: str) -> Tree:
        return self.changed(lambda table: {name if key == self.side.key else key: v for key, v in table.items()})

    def valued(self, value: Any) -> Tree:
        return self.changed(lambda table: {**table, self.side.key: value})

    def found(self, tree: Tree, path: Path) -> list[Finding]:
        text, places = dump(tree)
        return at(found_in(text, self.dialect, self.arch), places[path])


def cases(flavour: str, dialect: Dialect, arch: str) -> Iterator[Case]:
    """Every key that a file of this dialect can have, in a file of ours."""
    vmm = flavours()[flavour].vmm
    for setting in tables().settings:
        side = setting.side(dialect)
        if side is None or side.type not in SCALARS or side.internal or ("." in side.table and not _is_table(setting)):
            continue
        match = known(dialect).find(side.table, side.key)
        if match is None or match.setting is not setting or not side.heeded_by(vmm):
            continue
        tree = tree_of(flavour, dialect, arch)
        table: Any = tree
        for step in tables().table_path(side.table, dialect, vmm):
            table = table.setdefault(step, {})
        table.setdefault(side.key, _plain(side, vmm, arch))
        yield Case(dialect, vmm, arch, setting, side, tree)


def _is_table(setting: Setting) -> bool:
    parent = tables().parent(setting)
    return parent is not None and parent.type == "table"


def _plain(side: Side, vmm: str, arch: str) -> Any:
    choices = side.choices(vmm, arch)
    if choices and side.type not in ("strings", "integers"):
        return choices[0]
    default = side.default_of(vmm)
    return PLAIN[side.type] if default is None else default


def only(findings: list[Finding], rule: str, case: Case) -> Finding:
    """The one finding, which must be of that rule."""
    assert [f.rule for f in findings] == [rule], (case.side.name, [(f.rule, f.message) for f in findings])
    found = findings[0]
    assert found.does, f"{rule} must say what the runtime does"
    assert found.dialect == case.dialect
    return found


@pytest.mark.parametrize(("flavour", "dialect", "arch"), files())
def test_misspelt(flavour: str, dialect: Dialect, arch: str) -> None:
    for case in cases(flavour, dialect, arch):
        key = case.side.key
        half = len(key) // 2
        for name in (key[:half] + key[half + 1 :], key[:half] + "x" + key[half:], key.replace("_", "-")):
            if name == key or any(known(d).find(case.side.table, name) for d in DIALECTS):
                continue
            found = only(case.found(case.renamed(name), (*case.table, name)), "unknown-key", case)
            assert found.level == "error"
            assert found.where.column == 1
            assert found.hint == f"did you mean {key}?", name
            strict = known(dialect).strict(case.side.table)
            assert ("refuses" in str(found.does)) == strict, case.side.table


@pytest.mark.parametrize(("flavour", "dialect", "arch"), files())
def test_other_capitals(flavour: str, dialect: Dialect, arch: str) -> None:
    for case in cases(flavour, dialect, arch):
        name = case.side.key.title()
        found = case.found(case.renamed(name), (*case.table, name))
        if dialect == "go":
            assert "key-case" in [f.rule for f in found]
            assert not [f for f in found if f.level == "error" and f.rule != "conflict"], case.side.name
        else:
            assert only(found, "unknown-key", case).hint == f"write {case.side.key}"


@pytest.mark.parametrize(("flavour", "dialect", "arch"), files())
def test_mistyped(flavour: str, dialect: Dialect, arch: str) -> None:
    for case in cases(flavour, dialect, arch):
        for value in WRONG[case.side.type]:
            found = [f for f in case.found(case.valued(value), case.path) if f.level == "error"]
            one = only(found, "wrong-type", case)
            assert one.where.column == len(case.side.key) + 4
            assert "refuses to load" in str(one.does)


@pytest.mark.parametrize(("flavour", "dialect", "arch"), files())
def test_out_of_range(flavour: str, dialect: Dialect, arch: str) -> None:
    for case in cases(flavour, dialect, arch):
        side = case.side
        if side.type != "integer" or side.minimum is None or side.maximum is None:
            continue
        for value in (side.minimum - 1, side.maximum + 1):
            found = only([f for f in case.found(case.valued(value), case.path) if f.level == "error"], RANGE, case)
            wraps = dialect == "go" and side.maximum == INT64 and value == -1
            assert found.rule == ("wraps" if wraps else "out-of-range"), (side.name, value)
            assert ("refuses" in str(found.does)) != wraps


class _Either(str):
    """Equal to both rules about numbers; which one it is, the test asks itself."""

    def __eq__(self, other: object) -> bool:
        return other in ("wraps", "out-of-range")

    __hash__ = str.__hash__


RANGE = _Either("out-of-range or wraps")


@pytest.mark.parametrize(("flavour", "dialect", "arch"), files())
def test_beyond_what_is_used(flavour: str, dialect: Dialect, arch: str) -> None:
    for case in cases(flavour, dialect, arch):
        for limit, sign in ((case.side.low, -1), (case.side.high, 1)):
            most = limit.at(case.vmm, arch) if limit else None
            value = (most or 0) + sign
            if limit is None or most is None or not (case.side.minimum or 0) <= value <= (case.side.maximum or INT64):
                continue
            found = case.found(case.valued(value), case.path)
            if value == 0 and case.side.zero is not None:
                assert "clamped" not in [f.rule for f in found]
                continue
            said = [f for f in found if f.rule in ("clamped", "not-allowed")]
            assert len(said) == 1, case.side.name
            assert str(most) in str(said[0].hint)
            assert (said[0].level == "error") == ("refused" in limit.effect or "fail" in limit.effect)


@pytest.mark.parametrize(("flavour", "dialect", "arch"), files())
def test_not_allowed(flavour: str, dialect: Dialect, arch: str) -> None:
    for case in cases(flavour, dialect, arch):
        choices = case.side.choices(case.vmm, arch)
        if choices is None or case.side.type == "boolean":
            continue
        wrong: Any = {"string": "no-such-word", "strings": ["no-such-word"], "integer": 511}[case.side.type]
        found = [f for f in case.found(case.valued(wrong), case.path) if f.rule == "not-allowed"]
        one = only(found, "not-allowed", case)
        assert one.level == ("warning" if case.side.allowed_checked == "no" else "error")
        for choice in choices:
            value = [choice] if case.side.type == "strings" else choice
            assert not [f for f in case.found(case.valued(value), case.path) if f.rule == "not-allowed"]


@pytest.mark.parametrize(("flavour", "dialect", "arch"), files())
def test_in_another_table(flavour: str, dialect: Dialect, arch: str) -> None:
    of, theirs = known(dialect), known("rs" if dialect == "go" else "go")
    for case in cases(flavour, dialect, arch):
        for table in ("hypervisor", "agent", "runtime"):
            key = case.side.key
            if table == case.side.table or of.find(table, key) or of.dead(table, key):
                continue
            there = tables().table_path(table, dialect, case.vmm)
            tree = copy.deepcopy(case.tree)
            place: Any = tree
            for step in there:
                place = place[step]
            place[key] = case.tree and _value(case)
            found = case.found(tree, (*there, key))
            right = in_brackets(case.side.table, dialect, case.vmm)
            rule = "other-dialect" if theirs.find(table, key) else "wrong-table"
            one = only(found, rule, case)
            assert one.level == "error"
            if len({m.side.table for m in of.elsewhere(table, key)}) == 1:
                assert right in f"{one.message} {one.hint}", (case.side.name, table, one.message, one.hint)


def _value(case: Case) -> Any:
    value: Any = case.tree
    for step in case.path:
        value = value[step]
    return value


@pytest.mark.parametrize(("flavour", "dialect", "arch"), files())
def test_the_other_dialects_key(flavour: str, dialect: Dialect, arch: str) -> None:
    of = known(dialect)
    vmm = flavours()[flavour].vmm
    seen = 0
    for setting in tables().settings:
        theirs, ours = setting.side(of.other), setting.side(dialect)
        if theirs is None or theirs.table.count(".") or theirs.table == "factory" or theirs.internal:
            continue
        if of.find(theirs.table, theirs.key) or of.dead(theirs.table, theirs.key) or theirs.type not in SCALARS:
            continue
        if known(of.other).find(theirs.table, theirs.key).setting is not setting:  # type: ignore[union-attr]
            continue
        tree = tree_of(flavour, dialect, arch)
        path = tables().table_path(theirs.table, dialect, vmm)
        table: Any = tree
        for step in path:
            table = table[step]
        table[theirs.key] = value = _plain(theirs, vmm, arch)
        text, places = dump(tree)
        found = at(found_in(text, dialect, arch), places[(*path, theirs.key)])
        assert [f.rule for f in found] == ["other-dialect"], (theirs.name, [(f.rule, f.message) for f in found])
        if ours:
            assert f"{ours.key}" in str(found[0].hint), theirs.name
            assert expected_value(value, setting, ours) in str(found[0].hint)
        else:
            assert found[0].hint == "remove it"
        seen += 1
    assert seen > 10


def expected_value(value: Any, setting: Setting, side: Side) -> str:
    try:
        return json.dumps(carried(value, setting.carry, side))
    except NoCounterpartError:
        return ""


@pytest.mark.parametrize(("flavour", "dialect", "arch"), files())
def test_the_other_dialects_words(flavour: str, dialect: Dialect, arch: str) -> None:
    mine = 0 if dialect == "go" else 1
    for case in cases(flavour, dialect, arch):
        carry = case.setting.carry
        other = case.setting.side("rs" if dialect == "go" else "go")
        if not carry or not carry.values or other is None or other.type != case.side.type:
            continue
        choices = case.side.choices(case.vmm, arch)
        for pair in carry.values:
            word = pair[1 - mine]
            if choices is None or word in choices or not isinstance(word, str) or word not in (other.allowed or ()):
                continue
            found = [f for f in case.found(case.valued(word), case.path) if f.rule == "not-allowed"]
            assert len(found) == 1, (case.side.name, word)
            wanted = next(p[mine] for p in carry.values if p[1 - mine] == word)
            if wanted in choices:
                assert f"write {json.dumps(wanted)}" in str(found[0].hint)
