"""The key tables themselves: their schema, that they name only what exists, and that our own defaults obey them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from kata_toolkit.kata.flavours import flavours
from kata_toolkit.kata.keys import DIALECTS, Side, make_tables, tables, version
from kata_toolkit.kata.settings import carried, choose
from kata_toolkit.spec.model import Hypervisor

SCHEMAS = Path(__file__).parent.parent / "schemas"
FILES = sorted((SCHEMAS / "kata").glob("*.json"))
SIDES = [(s, side) for s in tables().settings for side in (s.go, s.rs) if side]
NAMED = [pytest.param(setting, side, id=f"{side.dialect}:{side.name}") for setting, side in SIDES]


KINDS: dict[str, type | tuple[type, ...]] = {
    "boolean": bool,
    "integer": int,
    "float": (int, float),
    "string": str,
    "strings": list,
    "integers": list,
    "tables": list,
}


def schema() -> Any:
    return json.loads((SCHEMAS / "kata-keys.schema.json").read_text())


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.name)
def test_fits_its_schema(file: Path) -> None:
    jsonschema.Draft202012Validator.check_schema(schema())
    errors = jsonschema.Draft202012Validator(schema()).iter_errors(json.loads(file.read_text()))
    assert [f"{list(e.absolute_path)}: {e.message}" for e in errors] == []


@pytest.mark.parametrize(
    "change",
    [
        lambda s: s.update(unkown="x"),
        lambda s: s.update(type="number"),
        lambda s: s["go"].update(defualt=1),
        lambda s: s["go"].update(hypervisors=["qemuu"]),
        lambda s: s["go"].update(default={"by_hypervisor": {"qemuu": 1}}),
        lambda s: s["go"].update(default={"host": "disk"}),
        lambda s: s["go"].update(since="4"),
        lambda s: s["go"].update(allowed_checked="sometimes"),
        lambda s: s.update(meaning="no sentence"),
        lambda s: (s.pop("go"), s.pop("rs")),
    ],
)
def test_schema_sees_a_mistake(change: Any) -> None:
    # A schema that lets anything pass would make the test above worth nothing.
    document = json.loads((SCHEMAS / "kata" / "hypervisor.json").read_text())
    change(document["tables"][0]["settings"][0])
    assert list(jsonschema.Draft202012Validator(schema()).iter_errors(document))


def test_every_known_kind_of_file_is_there() -> None:
    kinds = {json.loads(f.read_text())["kind"] for f in FILES}
    assert kinds == {"settings", "dialects", "flavours", "boot", "constraints"}


def test_number_of_keys_of_each_parser() -> None:
    # 4.1.0: how many keys each table's structure has, counted from the parsers; an alias or two comes on top.
    go = {"hypervisor": 96, "hypervisor.guest_extension_images": 3, "factory": 4, "agent": 8, "runtime": 23}
    rs = {
        "hypervisor": 109 + 1,
        "hypervisor.factory": 2,
        "hypervisor.guest_extension_images": 3,
        "hypervisor.rootless_user": 4,
        "agent": 18,
        "agent.mem_agent": 16 + 1,
        "runtime": 26,
        "runtime.shared_mounts": 5,
    }
    assert {t: len(tables().keys("go", t)) for t in go} == go
    assert {t: len(tables().keys("rs", t)) for t in rs} == rs
    assert {side.table for _, side in SIDES if side.dialect == "go"} == go.keys()
    assert {side.table for _, side in SIDES if side.dialect == "rs"} == rs.keys()


def test_names_are_unique() -> None:
    names = [s.name for s in tables().settings]
    assert len(names) == len(set(names))
    for dialect in DIALECTS:
        keys = [side.name for _, side in SIDES if side.dialect == dialect]
        # experimental_force_guest_pull is an entry of the list `experimental` in the Rust runtime.
        assert sorted({k for k in keys if keys.count(k) > 1}) == (["runtime.experimental"] if dialect == "rs" else [])


@pytest.mark.parametrize(("setting", "side"), NAMED)
def test_a_side_does_not_contradict_itself(setting: Any, side: Side) -> None:
    assert setting.group in tables().dialects["groups"]
    if side.minimum is not None:
        assert side.maximum is not None
        assert side.minimum < side.maximum
    for hypervisor in side.hypervisors or tables().dialects[side.dialect]["hypervisors"]:
        assert hypervisor in tables().dialects[side.dialect]["hypervisors"]
        default = side.default_of(hypervisor)
        if default is None:
            continue
        assert isinstance(default, KINDS[side.type])
        if side.type in ("integer", "float"):
            assert not isinstance(default, bool)
        # What a runtime takes for itself is a value it accepts; the empty string often stands for a choice it makes.
        choices = side.choices(hypervisor, None)
        assert choices is None or default in ("", []) or default in choices


@pytest.mark.parametrize(("setting", "side"), NAMED)
def test_every_key_can_be_named(setting: Any, side: Side) -> None:
    found = tables().find(side.name)
    assert found is setting or side.name == "runtime.experimental"
    for alias in side.aliases:
        assert tables().find(side.name.removesuffix(side.key) + alias) is setting


def test_strict_tables_and_dead_keys_are_real() -> None:
    for dialect in DIALECTS:
        facts = tables().dialects[dialect]
        for table in facts["strict_tables"]:
            assert tables().keys(dialect, table)
        for dead in facts["dead_keys"]:
            known = tables().keys(dialect, dead["table"])
            assert dead["key"] not in known
            assert dead.get("instead", next(iter(known))) in known


def test_carried_values_lie_within_both_sides() -> None:
    for setting in tables().settings:
        if not setting.carry:
            continue
        assert setting.go
        assert setting.rs
        for go, rs in setting.carry.values:
            for value, side in ((go, setting.go), (rs, setting.rs)):
                accepted = set(map(json.dumps, side.allowed)) if side.allowed is not None else None
                for item in value if isinstance(value, list) else [value]:
                    assert accepted is None or json.dumps(item) in accepted, (setting.name, item)


@pytest.mark.parametrize("name", flavours())
def test_what_we_write_obeys_the_tables(name: str) -> None:
    kind = flavours()[name]
    for entry in kind.written:
        setting = tables().find(entry["setting"])
        assert setting, entry
        assert setting.name == entry["setting"]
        assert setting.name not in tables().decided
        for other in (entry.get("of"), *entry.get("when", {})):
            assert other is None or tables().find(other), entry
        heeded = 0
        for dialect in kind.files:
            if "of" in entry or entry.get("dialect", dialect) != dialect:
                heeded += 1
                continue
            side = setting.side(dialect)
            assert side, entry
            if not side.heeded_by(kind.vmm) or side.inert:
                continue
            heeded += 1
            value = entry["value"]
            if "dialect" not in entry and dialect == "rs":
                value = carried(value, setting.carry, side)
            one = Hypervisor(name, dialects=(dialect,), settings={side.name: value})
            arches = [entry["arch"]] if isinstance(entry.get("arch"), str) else entry.get("arch", kind.arches[dialect])
            for arch in arches:
                assert choose(one, "4.1", arch)[1] == [], entry
        if entry["setting"] not in COMMON:
            assert heeded, f"{name}: nothing heeds {entry}"


COMMON = {entry["setting"] for entry in json.loads((SCHEMAS / "kata" / "flavours.json").read_text())["common"]}


def test_decided_settings_exist() -> None:
    for name in tables().decided:
        assert tables().find(name)


def test_versions_are_those_of_the_spec() -> None:
    spec = json.loads((SCHEMAS / "spec.schema.json").read_text())
    runtime = spec["properties"]["runtime"]["properties"]
    assert runtime["kata"]["enum"] == tables().dialects["kata"]["versions"]
    assert set(runtime["hypervisors"]["properties"]) == set(flavours())


def test_versions_compare_as_numbers() -> None:
    assert version("4.1") < version("4.10") < version("5.0")


def test_since_and_until_bound_a_key() -> None:
    document = {
        "tables": [
            {
                "table": "runtime",
                "settings": [
                    {"name": "new", "group": "runtime", "type": "boolean", "meaning": "A.", "go": {"since": "4.1"}},
                    {"name": "old", "group": "runtime", "type": "boolean", "meaning": "A.", "rs": {"until": "4.1"}},
                ],
            }
        ]
    }
    made = make_tables([document], tables().dialects)
    new, old = made.settings
    assert new.go
    assert old.rs
    assert [new.go.exists_in(v) for v in ("4.0", "4.1", "4.10")] == [False, True, True]
    assert [old.rs.exists_in(v) for v in ("4.0", "4.1", "4.10")] == [True, False, False]
