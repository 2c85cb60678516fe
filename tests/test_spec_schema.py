"""The schema itself: valid, without misspelt keywords, documented at every key, and rendered into docs/spec.md."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from kata_toolkit.spec.defaults import filled
from kata_toolkit.spec.reference import render
from kata_toolkit.spec.schema import Schema, branches, load_schema, matches, resolve_ref

# What our schemas use. jsonschema ignores a keyword that it does not know: `requird` would check nothing, silently.
KEYWORDS = {
    "$schema", "$ref", "$defs", "title", "description", "default", "examples",
    "type", "enum", "const", "pattern", "maxLength",
    "minimum", "maximum", "exclusiveMinimum", "multipleOf",
    "items", "minItems", "uniqueItems",
    "properties", "required", "additionalProperties", "propertyNames", "minProperties", "dependentRequired",
    "allOf", "oneOf", "if", "then",
}  # fmt: skip
MAPS = {"properties", "$defs"}
LISTS = {"allOf", "oneOf"}
SINGLE = {"items", "additionalProperties", "propertyNames", "if", "then"}


def subschemas(schema: Any, path: str = "#") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema in a schema, with its place."""
    if not isinstance(schema, dict):
        return
    yield path, schema
    for keyword, value in schema.items():
        here = f"{path}/{keyword}"
        if keyword in MAPS:
            for name, sub in value.items():
                yield from subschemas(sub, f"{here}/{name}")
        elif keyword in LISTS:
            for index, sub in enumerate(value):
                yield from subschemas(sub, f"{here}/{index}")
        elif keyword in SINGLE:
            yield from subschemas(value, here)


def properties(schema: Schema, path: str = "") -> Iterator[tuple[str, Schema]]:
    """Every key that a person may write, with its schema."""
    root = load_schema("spec")
    for branch in [schema, *branches(root, schema).values()]:
        for key, sub in branch.get("properties", {}).items():
            if "const" not in sub:
                resolved = resolve_ref(root, sub)
                yield f"{path}.{key}", resolved
                yield from properties(resolved, f"{path}.{key}")


PROPERTIES = dict(properties(load_schema("spec")))


def test_no_keyword_is_misspelt() -> None:
    unknown = {(path, key) for path, sub in subschemas(load_schema("spec")) for key in sub if key not in KEYWORDS}
    assert unknown == set()


@pytest.mark.tool
def test_the_schema_is_a_valid_schema(root: Path) -> None:
    checker = Path(sys.executable).with_name("check-jsonschema")
    subprocess.run([checker, "--check-metaschema", root / "schemas" / "spec.schema.json"], check=True)


@pytest.mark.tool
def test_another_validator_accepts_the_examples(root: Path) -> None:
    # Editors use the schema with other validators and YAML 1.1 readers; the examples must please them as well.
    checker = Path(sys.executable).with_name("check-jsonschema")
    examples = sorted((root / "examples").glob("*.yaml"))
    subprocess.run([checker, "--schemafile", root / "schemas" / "spec.schema.json", *examples], check=True)


def test_the_walk_sees_the_keys_of_every_part() -> None:
    assert {".name", ".kernel.source.vmlinux.sha256", ".agent.policy", ".runtime.hypervisors.qemu.boot"} <= set(
        PROPERTIES
    )


@pytest.mark.parametrize("path", PROPERTIES)
def test_every_key_is_documented(path: str) -> None:
    schema = PROPERTIES[path]
    assert schema["description"].endswith(".")
    assert "examples" in schema or "properties" in schema
    closed = "properties" not in schema or schema.get("additionalProperties") is False or "allOf" in schema
    assert closed, "an unknown key in it would be accepted"


@pytest.mark.parametrize("path", [path for path, schema in PROPERTIES.items() if "pattern" in schema])
def test_a_pattern_is_explained_and_fits_its_examples(path: str) -> None:
    schema = PROPERTIES[path]
    assert schema["title"]
    for value in [*schema["examples"], *([schema["default"]] if "default" in schema else [])]:
        assert matches(schema["pattern"], value)


def test_every_branch_of_a_union_is_closed_and_reached_by_exactly_one_kind() -> None:
    root = load_schema("spec")
    unions = {path: schema for path, schema in PROPERTIES.items() if "allOf" in schema}
    assert set(unions) == {".kernel.source", ".agent", ".rootfs"}
    for schema in unions.values():
        found = branches(root, schema)
        assert list(found) == schema["properties"]["kind"]["enum"]
        for kind, branch in found.items():
            assert branch["additionalProperties"] is False
            assert branch["properties"]["kind"] == {"const": kind}


def test_the_defaults_satisfy_the_schema() -> None:
    from jsonschema import Draft202012Validator

    document = filled(load_schema("spec"), {"version": 1, "name": "guest"})
    Draft202012Validator(load_schema("spec")).validate(document)
    assert document["kernel"]["source"] == {"kind": "debian", "package": "linux-source-6.12"}
    assert document["runtime"]["hypervisors"]["qemu"]["boot"] == "image"


def test_filling_in_defaults_leaves_schema_and_document_alone() -> None:
    before = json.dumps(load_schema("spec"))
    document = {"version": 1, "name": "guest", "image": {}}
    filled(load_schema("spec"), document)["kernel"]["options"]["CONFIG_A"] = True
    assert document == {"version": 1, "name": "guest", "image": {}}
    assert json.dumps(load_schema("spec")) == before


def test_the_reference_page_is_up_to_date(root: Path) -> None:
    assert (root / "docs" / "spec.md").read_text(encoding="utf-8") == render(), "run `make docs`"


def test_the_reference_page_names_every_key() -> None:
    page = render()
    for path in PROPERTIES:
        assert f"`{path.rpartition('.')[2]}`" in page


def test_links_of_the_reference_page_lead_to_headings() -> None:
    page = render()
    headings = {line.lstrip("# ").replace(".", "").lower() for line in page.splitlines() if line.startswith("## ")}
    links = {part.partition(")")[0] for part in page.split("](#")[1:]}
    assert links
    assert links <= headings


def test_the_starter_shows_defaults_only(root: Path) -> None:
    # It says so in its first line.
    text = (root / "templates" / "starter.yaml").read_text(encoding="utf-8").replace("@name@", "guest")
    schema = load_schema("spec")
    starter = filled(schema, yaml.safe_load(text))
    expected = filled(schema, {"version": 1, "name": "guest"})
    expected["install"]["prefix"] = "/opt/guest"
    assert starter == expected
