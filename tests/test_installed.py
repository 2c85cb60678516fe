"""The program as others get it: a wheel in an empty venv, and Debian's own Python packages without any venv."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

DATA_FOLDERS = ("schemas", "templates", "kernel-configs", "agent", "wrapper", "loader", "licences")
SOURCES = {".json", ".yaml", ".j2", ".c", ".h", ".proto", ".txt"}


@pytest.fixture(scope="session")
def wheel(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from a copy of this checkout: setuptools leaves its traces where it builds."""
    out = tmp_path_factory.mktemp("wheel")
    copy = out / "source"
    for folder in ("toolkit", *DATA_FOLDERS):
        shutil.copytree(root / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(root / name, copy / name)
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, copy],
        check=True,
        capture_output=True,
        env={**os.environ, "PIP_NO_INDEX": "1"},
    )
    return next(out.glob("*.whl"))


def _data(root: Path) -> set[str]:
    files = (p for folder in DATA_FOLDERS for p in (root / folder).rglob("*") if p.suffix in SOURCES)
    return {f"kata_toolkit/data/{p.relative_to(root)}" for p in files}


def test_the_wheel_carries_all_code_and_data(wheel: Path, root: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    code = {f"kata_toolkit/{p.relative_to(root / 'toolkit')}" for p in (root / "toolkit").rglob("*.py")}
    assert code <= names, "a package is missing in pyproject.toml"
    assert _data(root) <= names
    assert not [n for n in names if not n.startswith("kata_toolkit")]


def test_the_wheel_carries_its_licence(wheel: Path, root: Path) -> None:
    """In its metadata, where installers look, and in its data, from where it goes into every set."""
    licence = (root / "LICENSE").read_bytes()
    with zipfile.ZipFile(wheel) as archive:
        metadata = [n for n in archive.namelist() if ".dist-info/" in n and n.endswith("/LICENSE")]
        assert [archive.read(name) for name in metadata] == [licence]
        assert archive.read("kata_toolkit/data/licences/Apache-2.0.txt") == licence


def _check(argv: list[str | Path], env: dict[str, str], cwd: Path, spec: Path) -> None:
    """Validate and plan: that reads schemas, templates, fragments, and the agent's and wrapper's sources."""
    subprocess.run([*argv, "validate", spec], check=True, env=env, cwd=cwd, capture_output=True)
    done = subprocess.run([*argv, "plan", "--json", spec], check=True, env=env, cwd=cwd, capture_output=True, text=True)
    stages = [s["stage"] for s in json.loads(done.stdout)["stages"]]
    assert stages[:3] == ["sources", "kernel_source", "kernel_config"]
    only = ["--only", "agent", "-o", cwd / "set"]
    subprocess.run([*argv, "build", "-q", *only, spec], check=True, env=env, cwd=cwd, capture_output=True)
    assert json.loads((cwd / "set" / "manifest.json").read_text())["partial"] is True


@pytest.mark.tool
def test_the_wheel_works_in_an_empty_venv(wheel: Path, root: Path, tmp_path: Path) -> None:
    """The venv sees this one's libraries through a .pth (no network in a test); the program is the wheel's."""
    venv = tmp_path / "venv"
    subprocess.run(["/usr/bin/python3", "-m", "venv", venv], check=True)
    subprocess.run([venv / "bin/pip", "install", "-q", "--no-index", "--no-deps", wheel], check=True)
    site = next(venv.glob("lib/python*/site-packages"))
    libraries = next(Path(p) for p in sys.path if p.endswith("site-packages"))
    (site / "libraries.pth").write_text(f"{libraries}\n")
    found = subprocess.run(
        [venv / "bin/python", "-c", "import kata_toolkit; print(kata_toolkit.__file__)"],
        check=True,
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert found.stdout.startswith(str(venv))
    env = {"PATH": os.environ["PATH"], "KATA_TOOLKIT_CACHE": str(tmp_path / "cache")}
    _check([venv / "bin/kata-toolkit"], env, tmp_path, root / "examples/quickstart.yaml")


@pytest.mark.full
@pytest.mark.tool
def test_what_a_package_index_gives_suffices(wheel: Path, root: Path, tmp_path: Path) -> None:
    """The newest of each library that the wheel allows; what its metadata forgets would be missing."""
    venv = tmp_path / "venv"
    subprocess.run(["/usr/bin/python3", "-m", "venv", venv], check=True)
    subprocess.run([venv / "bin/pip", "install", "-q", "--disable-pip-version-check", f"{wheel}[boot]"], check=True)
    env = {"PATH": os.environ["PATH"], "KATA_TOOLKIT_CACHE": str(tmp_path / "cache")}
    _check([venv / "bin/kata-toolkit"], env, tmp_path, root / "examples/quickstart.yaml")


def test_every_library_is_named_in_the_metadata(root: Path) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    named = [*project["dependencies"], *project["optional-dependencies"]["boot"]]
    declared = {re.split(r"[<>=]", word)[0].lower() for word in named}
    owners = packages_distributions()
    used: set[str] = set()
    for path in (root / "toolkit").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                used |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                used.add(node.module.partition(".")[0])
    foreign = {owners[name][0].lower() for name in used - sys.stdlib_module_names - {"google"}}
    assert foreign == declared - {"protobuf"}


@pytest.mark.tool
def test_debians_own_packages_suffice(root: Path, tmp_path: Path) -> None:
    """Packagers build without a venv: /usr/bin/python3 with typer 0.7, rich 13.3, jsonschema 4.10, jinja2 3.1."""
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "kata_toolkit").symlink_to(root / "toolkit")
    program = "from kata_toolkit.cli.app import main; main()"
    env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "PYTHONPATH": str(tmp_path / "lib"), "PYTHONNOUSERSITE": "1"}
    env |= {"KATA_TOOLKIT_CACHE": str(tmp_path / "cache"), "PYTHONDONTWRITEBYTECODE": "1"}
    versions = "import typer, sys; print(typer.__version__, typer.__file__, sys.version_info[:2])"
    seen = subprocess.run(["/usr/bin/python3", "-c", versions], check=True, capture_output=True, text=True, env=env)
    assert "/usr/lib/python3/dist-packages" in seen.stdout
    python: list[str | Path] = ["/usr/bin/python3", "-W", "error::SyntaxWarning", "-c", program]
    help_ = subprocess.run([*python, "--help"], check=True, capture_output=True, text=True, env=env, cwd=tmp_path)
    assert "check-host" in help_.stdout
    _check(python, env, tmp_path, root / "examples/quickstart.yaml")
