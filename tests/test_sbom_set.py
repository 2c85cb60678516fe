"""The bills of materials of real sets: valid by the formats' own libraries, complete, and the same bytes always."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from kata_toolkit import set_paths
from sbom_checks import digests, require_bills

pytestmark = pytest.mark.tool

BILLS = (set_paths.SPDX, set_paths.CYCLONEDX)


def spec_of(folder: Path, built_set: Path, *, busybox: bool = True) -> Path:
    """A set with the kernel of another, which is built in a moment."""
    root = json.loads((built_set / "manifest.json").read_bytes())["root"]
    kernel = {
        "vmlinux": {"path": str(built_set / root["kernel"])},
        "config": {"path": str(built_set / root["kernel_config"])},
    }
    folder.mkdir(exist_ok=True)
    document = {
        "version": 1,
        "name": "small",
        "kernel": {"source": {"kind": "prebuilt", **kernel}},
        "rootfs": {"kind": "minimal", "busybox": busybox},
    }
    (folder / "small.yaml").write_text(json.dumps(document))
    return folder / "small.yaml"


def built(tool: Path, spec: Path, out: Path, cache: Path, *before: str, **env: str) -> Path:
    environment = {**os.environ, "KATA_TOOLKIT_CACHE": str(cache), **env}
    subprocess.run([*before, tool, "build", "-q", spec, "-o", out], env=environment, check=True, cwd=spec.parent)
    return out


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def small(tool: Path, built_set: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("small")
    return built(tool, spec_of(folder, built_set), folder / "out", cache)


@pytest.fixture(params=["compiled kernel", "prebuilt kernel"])
def a_set(request: pytest.FixtureRequest, built_set: Path, small: Path) -> Path:
    return built_set if request.param == "compiled kernel" else small


def schema(root: Path, name: str) -> Any:
    return json.loads((root / "schemas" / f"{name}.schema.json").read_text())


def test_valid_complete_and_with_every_file(a_set: Path, root: Path) -> None:
    manifest = json.loads((a_set / "manifest.json").read_bytes())
    jsonschema.validate(manifest, schema(root, "manifest"))
    files = {a["path"]: a["sha256"] for a in manifest["artifacts"]}
    for bill in BILLS:
        assert files.pop(bill) == hashlib.sha256((a_set / bill).read_bytes()).hexdigest()
    of_spdx, of_cyclonedx = digests(*require_bills(a_set))
    assert of_spdx == of_cyclonedx == files


def test_the_parts_of_a_set(a_set: Path) -> None:
    _, cyclonedx = require_bills(a_set)
    by_role: dict[str, list[Any]] = {}
    for component in cyclonedx["components"]:
        by_role.setdefault(component["properties"][0]["value"], []).append(component)
    [agent], [library] = by_role["agent"], by_role["library"]
    [kernel_part] = [c for c in by_role["kernel"] if c["type"] == "operating-system"]
    assert agent["name"] == "kata-toolkit-agent"
    assert agent["licenses"] == [{"license": {"id": "Apache-2.0"}}]
    assert kernel_part["licenses"] == [{"expression": "GPL-2.0-only WITH Linux-syscall-note"}]
    needs = {entry["ref"]: entry["dependsOn"] for entry in cyclonedx["dependencies"]}
    assert library["bom-ref"] in needs[agent["bom-ref"]], "the C library is linked into the agent"
    manifest = json.loads((a_set / "manifest.json").read_bytes())
    assert agent["hashes"][0]["content"] == manifest["root"]["agent"]["sha256"]
    [image] = [c for c in by_role["image"] if c["type"] == "file"]
    [root] = by_role["root"]
    assert root["bom-ref"] in needs[image["bom-ref"]]
    assert {agent["bom-ref"], by_role["package"][0]["bom-ref"]} <= set(needs[root["bom-ref"]])


def test_licences_lie_beside_it(a_set: Path, root: Path) -> None:
    manifest = json.loads((a_set / "manifest.json").read_bytes())
    folder = a_set / set_paths.licences(manifest["name"])
    assert (folder / "programs/kata-toolkit/LICENSE").read_bytes() == (root / "LICENSE").read_bytes()
    assert b"GNU GENERAL PUBLIC LICENSE" in (folder / "programs/GPL-2.0.txt").read_bytes()
    sources = json.loads((folder / "sources.json").read_bytes())
    jsonschema.validate(sources, schema(root, "sources"))
    parts = {part["name"]: part for part in sources["parts"]}
    assert "agent/main.c" in parts["kata-toolkit-agent"]["compiled_from"]
    assert all(name.startswith("wrapper/") for name in parts["kata-toolkit-wrapper"]["compiled_from"])
    packaged = [part for part in sources["parts"] if part["kind"] == "deb"]
    assert all(part["source"] for part in packaged)
    for part in packaged:
        assert list(folder.glob(f"*/{part['name']}/copyright")), part["name"]


def test_the_source_of_a_compiled_kernel_is_named(built_set: Path) -> None:
    manifest = json.loads((built_set / "manifest.json").read_bytes())
    folder = built_set / set_paths.licences(manifest["name"])
    kernel = json.loads((folder / "sources.json").read_bytes())["kernel"]
    fetched = manifest["sources"]["kernel"]
    assert (kernel["made_from"]["name"], kernel["made_from"]["sha256"]) == (fetched["package"], fetched["sha256"])
    assert kernel["configuration"]["path"] == manifest["root"]["kernel_config"]
    assert b"GPL-2.0" in (folder / "linux/COPYING").read_bytes()
    assert (folder / "linux/LICENSES/exceptions/Linux-syscall-note").is_file()


def test_the_same_bytes_elsewhere_and_later(
    tool: Path, built_set: Path, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not shutil.which("faketime"):
        pytest.skip("faketime is not installed")
    monkeypatch.setattr(
        os, "environ", {**os.environ, "TZ": "Pacific/Kiritimati", "LC_ALL": "C.UTF-8", "HOME": "/nowhere"}
    )
    spec = spec_of(tmp_path / "elsewhere", built_set)
    again = built(
        tool,
        spec,
        tmp_path / "set",
        tmp_path / "cache",
        "faketime",
        "-f",
        "@2031-05-06 07:08:09",
        SOURCE_DATE_EPOCH="99",
    )
    for name in (*BILLS, "share/small/licences/sources.json"):
        assert (again / name).read_bytes() == (small / name).read_bytes(), name


def test_a_part_that_goes_is_told(tool: Path, built_set: Path, small: Path, cache: Path, tmp_path: Path) -> None:
    other = built(tool, spec_of(tmp_path / "x", built_set, busybox=False), tmp_path / "other", cache)
    same = subprocess.run(
        [tool, "sbom", "diff", small, small / set_paths.CYCLONEDX], capture_output=True, text=True, check=False
    )
    assert (same.returncode, same.stdout.splitlines()[-1]) == (0, "they list the same")
    told = subprocess.run([tool, "sbom", "diff", small, other], capture_output=True, text=True, check=False)
    assert told.returncode == 1
    lines = told.stdout.splitlines()
    assert any(line.startswith("  - busybox") for line in lines)
    assert any(line.startswith("  ~ share/kata-containers/small.img") and "digest" in line for line in lines)
    assert not any("linux" in line and line.startswith("  ~ l") for line in lines)


def test_what_is_shown(tool: Path, small: Path, root: Path) -> None:
    told = subprocess.run([tool, "sbom", "show", small], capture_output=True, text=True, check=True).stdout.splitlines()
    assert told[0].split() == ["component", "version", "licence", "source"]
    assert any(line.startswith("linux ") and "GPL-2.0-only WITH Linux-syscall-note" in line for line in told)
    assert not any(".img" in line for line in told)
    for words, name in ((["show", "--files", small], "sbom-show"), (["diff", small, small], "sbom-diff")):
        answer = subprocess.run([tool, "sbom", *words, "--json"], capture_output=True, text=True, check=True)
        jsonschema.validate(json.loads(answer.stdout), schema(root, name))


def test_a_build_with_nothing_to_do_writes_no_bill(tool: Path, small: Path, cache: Path) -> None:
    """Not even the code that would is loaded: their digests are remembered."""
    spec = small.parent / "small.yaml"
    built(tool, spec, small, cache)
    program = (
        "import sys; from kata_toolkit.cli.app import run; "
        f"status = run(['build', '-q', {str(spec)!r}, '-o', {str(small)!r}]); "
        "print(status, 'kata_toolkit.sbom.documents' in sys.modules, 'kata_toolkit.sbom.collect' in sys.modules)"
    )
    env = {**os.environ, "KATA_TOOLKIT_CACHE": str(cache)}
    done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0", "True", "False"], done.stderr
