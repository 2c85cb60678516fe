"""The table of architectures agrees with its schema, with the kernel's own folders, and with Kata's names."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from kata_toolkit.arch import arch_of, arch_of_uname, arches, native
from kata_toolkit.errors import InputError


def test_the_table_is_as_its_schema_says(root: Path) -> None:
    checker = Path(sys.executable).with_name("check-jsonschema")
    schemas = root / "schemas"
    subprocess.run([checker, "--schemafile", schemas / "arches.schema.json", schemas / "arches.json"], check=True)


def test_the_other_tables_name_the_same_architectures(root: Path) -> None:
    fragment = json.loads((root / "schemas" / "fragment.schema.json").read_text())
    assert set(fragment["$defs"]["arch"]["items"]["enum"]) == set(arches())
    spec = json.loads((root / "schemas" / "spec.schema.json").read_text())
    assert set(spec["properties"]["arch"]["enum"]) == set(arches())
    machine_type = next(
        entry
        for entry in json.loads((root / "schemas" / "kata" / "hypervisor.json").read_text())["tables"][0]["settings"]
        if entry["name"] == "machine_type"
    )
    allowed = machine_type["go"]["allowed_by_arch"]
    assert set(allowed) == {arch.uname for arch in arches().values()}
    assert all(arch.machine_type in allowed[arch.uname] for arch in arches().values())


def test_an_architecture_by_its_names() -> None:
    assert (arch_of("arm64").uname, arch_of("arm64").machine) == ("aarch64", 183)
    found = arch_of_uname("aarch64")
    assert found is not None
    assert found.name == "arm64"
    assert arch_of_uname("sparc64") is None
    assert native().native
    with pytest.raises(InputError) as caught:
        arch_of("vax")
    assert "x86_64, arm64" in str(caught.value.problems[0].hint)


def test_asking_for_one_loads_nothing_heavy(root: Path) -> None:
    script = "import sys; from kata_toolkit.arch import arch_of; arch_of('arm64'); print('yaml' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=root)
    assert told.stdout == "False\n"
