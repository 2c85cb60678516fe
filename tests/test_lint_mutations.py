"""Every key of every file that we write, written wrongly in every way: lint says the right thing, on the right line."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest
from kata_toolkit.kata.flavours import flavours
from kata_toolkit.kata.keys import DIALECTS, Setting, Side, tables
from kata_toolkit.kata.lint.findings import Finding
from kata_toolkit.kata.lint.known import in_brackets, known
from kata_toolkit.kata.rules import RULES
from kata_toolkit.kata.settings import NoCounterpartError, carried
from kata_toolkit.spec.model import Dialect
from lint_files import Path, Tree, at, dump, every_file, found_in, text_of, tree_of

INT64 = (1 << 63) - 1
TOGETHER = {rule.id for rule in RULES}
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
    """A key that a file of this dialect and VMM can have."""

    setting: Setting
    side: Side
    path: Path

    @property
    def table(self) -> Path:
        return self.path[:-1]


@dataclass(frozen=True)
class File:
    """A file of ours with every key that it can have: many are changed at once, each on a line of its own."""

    dialect: Dialect
    vmm: str
    arch: str
    tree: Tree
    cases: tuple[Case, ...]

    def found(self, changes: dict[Path, tuple[str, Any]]) -> dict[Path, list[Finding]]:
        """The findings on the line of each changed key; a change is a new name and a new value."""
        text, places = dump(_changed(self.tree, (), changes))
        findings = found_in(text, self.dialect, self.arch)
        return {path: at(findings, places[(*path[:-1], name)]) for path, (name, _) in changes.items()}

    def renamed(self, name_of: Callable[[Case], str | None]) -> Iterator[tuple[Case, str, list[Finding]]]:
        """Each case with its new name and what is said; None: it keeps its name."""
        names = {case.path: name for case in self.cases if (name := name_of(case)) is not None}
        found = self.found({path: (name, value_at(self.tree, path)) for path, name in names.items()})
        return ((case, names[case.path], found[case.path]) for case in self.cases if case.path in names)

    def valued(self, value_of: Callable[[Case], Any]) -> Iterator[tuple[Case, Any, list[Finding]]]:
        """Each case with its new value and what is said; None: it keeps its value."""
        values = {case.path: value for case in self.cases if (value := value_of(case)) is not None}
        found = self.found({path: (path[-1], value) for path, value in values.items()})
        return ((case, values[case.path], found[case.path]) for case in self.cases if case.path in values)

    def alone(self, case: Case, value: Any) -> list[Finding]:
        """What is said of one value."""
        return self.found({case.path: (case.path[-1], value)})[case.path]

    def added(self, keys: dict[Path, Any]) -> dict[Path, list[Finding]]:
        """What is said of keys that the file does not have."""
        tree = copy.deepcopy(self.tree)
        for path, value in keys.items():
            value_at(tree, path[:-1])[path[-1]] = value
        text, places = dump(tree)
        findings = found_in(text, self.dialect, self.arch)
        return {path: at(findings, places[path]) for path in keys}


def _changed(tree: Tree, path: Path, changes: dict[Path, tuple[str, Any]]) -> Tree:
    new: Tree = {}
    for key, value in tree.items():
        here = (*path, key)
        name, changed = changes.get(here, (key, value))
        new[name] = _changed(value, here, changes) if isinstance(changed, dict) and here not in changes else changed
    return new


def value_at(tree: Tree, path: Path) -> Any:
    value: Any = tree
    for step in path:
        value = value[step]
    return value


@cache
def file_of(flavour: str, dialect: Dialect, arch: str) -> File:
    """A file of ours, filled up with the keys that it does not have."""
    vmm = flavours()[flavour].vmm
    tree = copy.deepcopy(tree_of(flavour, dialect, arch))
    found = []
    for setting in tables().settings:
        side = setting.side(dialect)
        if side is None or side.type not in SCALARS or side.internal or ("." in side.table and not _is_table(setting)):
            continue
        match = known(dialect).find(side.table, side.key)
        if match is None or match.setting is not setting or not side.heeded_by(vmm):
            continue
        path = tables().table_path(side.table, dialect, vmm)
        table: Any = tree
        for step in path:
            table = table.setdefault(step, {})
        table.setdefault(side.key, _plain(side, vmm, arch))
        found.append(Case(setting, side, (*path, side.key)))
    return File(dialect, vmm, arch, tree, tuple(found))


def _is_table(setting: Setting) -> bool:
    parent = tables().parent(setting)
    return parent is not None and parent.type == "table"


def _plain(side: Side, vmm: str, arch: str) -> Any:
    choices = side.choices(vmm, arch)
    if choices and side.type not in ("strings", "integers"):
        return choices[0]
    default = side.default_of(vmm)
    return PLAIN[side.type] if default is None else default


def only(findings: list[Finding], rule: str, case: Case, dialect: Dialect) -> Finding:
    """The one finding, which must be of that rule."""
    assert [f.rule for f in findings] == [rule], (case.side.name, [(f.rule, f.message) for f in findings])
    found = findings[0]
    assert found.does, f"{rule} must say what the runtime does"
    assert found.dialect == dialect
    return found


ALL = pytest.mark.parametrize(("flavour", "dialect", "arch"), files())


@ALL
@pytest.mark.parametrize("how", ["a letter less", "a letter more", "dashes"])
def test_misspelt(flavour: str, dialect: Dialect, arch: str, how: str) -> None:
    def name_of(case: Case) -> str | None:
        key, half = case.side.key, len(case.side.key) // 2
        name = {
            "a letter less": key[:half] + key[half + 1 :],
            "a letter more": key[:half] + "x" + key[half:],
            "dashes": key.replace("_", "-"),
        }[how]
        taken = name == key or any(known(d).find(case.side.table, name) for d in DIALECTS)
        return None if taken else name

    for case, name, said in file_of(flavour, dialect, arch).renamed(name_of):
        found = only(said, "unknown-key", case, dialect)
        assert found.level == "error"
        assert found.where.column == 1
        assert found.hint == f"did you mean {case.side.key}?", name
        assert ("refuses" in str(found.does)) == known(dialect).strict(case.side.table), case.side.table


@ALL
def test_other_capitals(flavour: str, dialect: Dialect, arch: str) -> None:
    for case, _, said in file_of(flavour, dialect, arch).renamed(lambda case: case.side.key.title()):
        if dialect == "go":
            assert "key-case" in [f.rule for f in said]
            assert not [f for f in said if f.level == "error" and f.rule not in TOGETHER], case.side.name
        else:
            assert only(said, "unknown-key", case, dialect).hint == f"write {case.side.key}"


@ALL
@pytest.mark.parametrize("number", range(max(map(len, WRONG.values()))))
def test_mistyped(flavour: str, dialect: Dialect, arch: str, number: int) -> None:
    file = file_of(flavour, dialect, arch)
    for case, _, said in file.valued(lambda case: dict(enumerate(WRONG[case.side.type])).get(number)):
        found = only([f for f in said if f.level == "error"], "wrong-type", case, dialect)
        assert found.where.column == len(case.side.key) + 4
        assert "refuses to load" in str(found.does)


@ALL
@pytest.mark.parametrize("end", ["low", "high"])
def test_out_of_range(flavour: str, dialect: Dialect, arch: str, end: str) -> None:
    def value_of(case: Case) -> int | None:
        low, high = case.side.minimum, case.side.maximum
        if case.side.type != "integer" or low is None or high is None:
            return None
        return low - 1 if end == "low" else high + 1

    for case, value, said in file_of(flavour, dialect, arch).valued(value_of):
        wraps = dialect == "go" and case.side.maximum == INT64 and value == -1
        rule = "wraps" if wraps else "out-of-range"
        found = only([f for f in said if f.level == "error"], rule, case, dialect)
        assert ("refuses" in str(found.does)) != wraps


@ALL
def test_beyond_what_is_used(flavour: str, dialect: Dialect, arch: str) -> None:
    file = file_of(flavour, dialect, arch)
    for case in file.cases:
        for limit, sign in ((case.side.low, -1), (case.side.high, 1)):
            most = limit.at(file.vmm, arch) if limit else None
            value = (most or 0) + sign
            if limit is None or most is None or not (case.side.minimum or 0) <= value <= (case.side.maximum or INT64):
                continue
            said = [f for f in file.alone(case, value) if f.rule in ("clamped", "not-allowed")]
            if value == 0 and case.side.zero is not None:
                assert not said
                continue
            assert len(said) == 1, case.side.name
            assert str(most) in str(said[0].hint)
            assert (said[0].level == "error") == ("refused" in limit.effect or "fail" in limit.effect)


@ALL
def test_not_allowed(flavour: str, dialect: Dialect, arch: str) -> None:
    file = file_of(flavour, dialect, arch)
    for case in file.cases:
        choices = case.side.choices(file.vmm, arch)
        if choices is None or case.side.type == "boolean":
            continue
        wrong: Any = {"string": "no-such-word", "strings": ["no-such-word"], "integer": 511}[case.side.type]
        said = [f for f in file.alone(case, wrong) if f.rule == "not-allowed"]
        found = only(said, "not-allowed", case, dialect)
        assert found.level == ("warning" if case.side.allowed_checked == "no" else "error")
        for choice in choices:
            value = [choice] if case.side.type == "strings" else choice
            assert not [f for f in file.alone(case, value) if f.rule == "not-allowed"]


@ALL
@pytest.mark.parametrize("table", ["hypervisor", "agent", "runtime"])
def test_in_another_table(flavour: str, dialect: Dialect, arch: str, table: str) -> None:
    file = file_of(flavour, dialect, arch)
    of, theirs = known(dialect), known("rs" if dialect == "go" else "go")
    there = tables().table_path(table, dialect, file.vmm)
    moved = {
        (*there, case.side.key): case
        for case in file.cases
        if table != case.side.table and not of.find(table, case.side.key) and not of.dead(table, case.side.key)
    }
    assert len(moved) > 10
    said = file.added({path: value_at(file.tree, case.path) for path, case in moved.items()})
    for path, case in moved.items():
        key = case.side.key
        rule = "other-dialect" if theirs.find(table, key) else "wrong-table"
        found = only(said[path], rule, case, dialect)
        assert found.level == "error"
        if len({match.side.table for match in of.elsewhere(table, key)}) == 1:
            right = in_brackets(case.side.table, dialect, file.vmm)
            assert right in f"{found.message} {found.hint}", (case.side.name, table)


@ALL
def test_the_other_dialects_key(flavour: str, dialect: Dialect, arch: str) -> None:
    file = file_of(flavour, dialect, arch)
    of = known(dialect)
    theirs_at: dict[Path, tuple[Setting, Side]] = {}
    for setting in tables().settings:
        theirs = setting.side(of.other)
        if theirs is None or theirs.table.count(".") or theirs.table == "factory" or theirs.internal:
            continue
        if of.find(theirs.table, theirs.key) or of.dead(theirs.table, theirs.key) or theirs.type not in SCALARS:
            continue
        match = known(of.other).find(theirs.table, theirs.key)
        if match and match.setting is setting:
            theirs_at[(*tables().table_path(theirs.table, dialect, file.vmm), theirs.key)] = setting, theirs
    assert len(theirs_at) > 10
    values = {path: _plain(theirs, file.vmm, arch) for path, (_, theirs) in theirs_at.items()}
    for path, said in file.added(values).items():
        setting, theirs = theirs_at[path]
        ours = setting.side(dialect)
        assert [f.rule for f in said] == ["other-dialect"], (theirs.name, [(f.rule, f.message) for f in said])
        if ours:
            assert ours.key in str(said[0].hint), theirs.name
            assert expected_value(values[path], setting, ours) in str(said[0].hint)
        else:
            assert said[0].hint == "remove it"


def expected_value(value: Any, setting: Setting, side: Side) -> str:
    try:
        return json.dumps(carried(value, setting.carry, side))
    except NoCounterpartError:
        return ""


@ALL
def test_the_other_dialects_words(flavour: str, dialect: Dialect, arch: str) -> None:
    file = file_of(flavour, dialect, arch)
    mine = 0 if dialect == "go" else 1
    for case in file.cases:
        carry = case.setting.carry
        other = case.setting.side("rs" if dialect == "go" else "go")
        if not carry or not carry.values or other is None or other.type != case.side.type:
            continue
        choices = case.side.choices(file.vmm, arch)
        for pair in carry.values:
            word = pair[1 - mine]
            if choices is None or word in choices or not isinstance(word, str) or word not in (other.allowed or ()):
                continue
            said = [f for f in file.alone(case, word) if f.rule == "not-allowed"]
            assert len(said) == 1, (case.side.name, word)
            wanted = next(p[mine] for p in carry.values if p[1 - mine] == word)
            if wanted in choices:
                assert f"write {json.dumps(wanted)}" in str(said[0].hint)
