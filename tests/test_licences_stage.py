"""The licences of our own programs, and the C library that is in them."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path

import pytest
from kata_toolkit import run
from kata_toolkit.arch import arch_of, arches, native
from kata_toolkit.errors import ToolError
from kata_toolkit.pipeline.inputs import BuildInputs
from kata_toolkit.pipeline.store import Store
from kata_toolkit.stages.licences import COMPONENTS, LicencesStage
from kata_toolkit.static_c import StaticC
from kernel_harness import Bench

pytestmark = pytest.mark.tool


@pytest.mark.parametrize("arch", sorted(arches()))
def test_the_library_that_is_linked(arch: str, tmp_path: Path, root: Path) -> None:
    compiler = StaticC.for_arch(arch_of(arch))
    if not shutil.which(compiler.command):
        pytest.skip(f"{compiler.command} is not installed")
    bench = Bench(tmp_path)
    entry = bench.build([LicencesStage(arch)])["licences"]
    library = compiler.library(BuildInputs(Store(tmp_path)))
    [component] = json.loads(entry.path(COMPONENTS).read_bytes())
    assert component["sha256"] == hashlib.sha256(library.read_bytes()).hexdigest()
    assert entry.path("licences/kata-toolkit/LICENSE").read_bytes() == (root / "LICENSE").read_bytes()
    musl = compiler.command == "musl-gcc"
    assert ("musl" in str(library)) == musl, "the gcc behind musl-gcc was asked, which has a library of its own"
    assert ("licences/LGPL-2.1.txt" in entry.files) != musl
    if Path("/var/lib/dpkg/status").is_file():
        glibc = "libc6-dev" if arch_of(arch).native else arch_of(arch).libc_package
        assert component["name"] == ("musl-dev" if musl else glibc)
        assert f"licences/{component['name']}/copyright" in entry.files


def test_a_library_of_ones_own_is_not_taken_for_the_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A musl-gcc whose libc.a is not the package's."""
    real = shutil.which("musl-gcc")
    if real is None:
        pytest.skip("musl-gcc is not installed")
    own = tmp_path / "musl"
    own.mkdir()
    specs = Path(Path(real).read_text().partition('-specs "')[2].partition('"')[0])
    shutil.copy(specs, own / "musl-gcc.specs")
    (own / "libc.a").write_bytes(specs.with_name("libc.a").read_bytes() + b"\n")
    (tmp_path / "bin").mkdir()
    script = tmp_path / "bin" / "musl-gcc"
    script.write_text(f'#!/bin/sh\nexec gcc "$@" -specs "{own}/musl-gcc.specs"\n')
    script.chmod(0o755)
    path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
    monkeypatch.setattr(run, "environment", lambda extra=None: {"PATH": path, **(extra or {})})
    entry = Bench(tmp_path / "cache").build([LicencesStage(native().name)])["licences"]
    [component] = json.loads(entry.path(COMPONENTS).read_bytes())
    digest = hashlib.sha256((own / "libc.a").read_bytes()).hexdigest()
    assert component == {"name": "musl", "version": f"sha256:{digest}", "kind": "generic", "sha256": digest}


def test_no_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bin").mkdir()
    monkeypatch.setattr(run, "environment", lambda extra=None: {"PATH": str(tmp_path / "bin"), **(extra or {})})
    with pytest.raises(ToolError):
        LicencesStage(native().name).plan(BuildInputs(Store(tmp_path / "cache")))
