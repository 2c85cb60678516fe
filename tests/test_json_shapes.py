"""What programs read is as the schemas say, and the pages people read hold no placeholder."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def run(tool: Path, cache: Path, *words: str | Path) -> list[Any]:
    """The JSON values that a command prints on stdout."""
    env = {**os.environ, "KATA_TOOLKIT_CACHE": str(cache)}
    text = subprocess.run([tool, *words], env=env, capture_output=True, text=True, check=False).stdout
    decoder, values, at = json.JSONDecoder(), [], 0
    while at < len(text.rstrip()):
        value, end = decoder.raw_decode(text, at)
        values.append(value)
        at = end + len(text[end:]) - len(text[end:].lstrip())
    return values


def schema(root: Path, name: str) -> Any:
    return json.loads((root / "schemas" / f"{name}.schema.json").read_text())


def test_plan_events_and_errors(tool: Path, cache: Path, root: Path, tmp_path: Path) -> None:
    spec = tmp_path / "s.yaml"
    spec.write_text("version: 1\nname: s\nkernel: {source: {kind: tree, path: .}}\n")
    (plan,) = run(tool, cache, "plan", "--json", root / "examples/quickstart.yaml")
    jsonschema.validate(plan, schema(root, "plan"))
    events = run(
        tool, cache, "build", "--json", "--only", "rootfs", root / "examples/quickstart.yaml", "-o", tmp_path / "o"
    )
    assert events[-1]["event"] == "result"
    for event in events:
        jsonschema.validate(event, schema(root, "event"))
    (errors,) = run(tool, cache, "build", "--json", spec, "-o", tmp_path / "x")
    jsonschema.validate(errors, schema(root, "errors"))
    spec.write_text("version: 2\n")
    (errors,) = run(tool, cache, "validate", "--json", spec)
    jsonschema.validate(errors, schema(root, "errors"))
    assert {e["line"] for e in errors["errors"]} == {1}


def test_no_page_holds_a_placeholder(root: Path) -> None:
    for page in [root / "README.md", *(root / "docs").glob("*.md"), root / "agent/README.md"]:
        assert not re.findall(r"^@[A-Z]+@$", page.read_text(), re.MULTILINE), page
