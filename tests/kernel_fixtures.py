"""Fixtures of the kernel's tests: the fake tree, and the real one."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest
from kata_toolkit import resources
from kata_toolkit.errors import ToolError
from kata_toolkit.kconfig.fragments import load_library
from kata_toolkit.kconfig.requests import collect
from kata_toolkit.kernel_tree import from_archive, version_of
from kata_toolkit.pipeline.engine import Engine
from kata_toolkit.pipeline.inputs import BuildInputs
from kata_toolkit.pipeline.store import Store, cache_folder
from kata_toolkit.spec.model import DebianKernel
from kata_toolkit.stages.sources import SourcesStage
from kernel_harness import Bench, fake_library, fake_tree

PACKAGE = "linux-source-6.12"


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """A bench whose stages read the fake tree's own kernel-configs/, at ``bench.cache.parent / "kernel-configs"``."""
    library = fake_library(tmp_path / "kernel-configs")
    real = resources.resource
    monkeypatch.setattr(resources, "resource", lambda *p: library if p == ("kernel-configs",) else real(*p))
    return Bench(tmp_path / "cache")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """The fake kernel tree."""
    return fake_tree(tmp_path / "linux")


@pytest.fixture(scope="session")
def real_tree() -> Path:
    """Debian's kernel source, unpacked in the user's own cache, where `make build` has put it too."""
    store = Store(cache_folder())
    inputs = BuildInputs(store)
    stage = SourcesStage(DebianKernel(PACKAGE))
    try:
        with (store.cache / "test.log").open("w") as log:
            entry = Engine("tests", [stage], store, inputs, lambda _: None, log, 1).build(["sources"])["sources"]
    except ToolError as error:
        pytest.skip(f"no {PACKAGE} here, and it cannot be fetched: {error}")
    digest = hashlib.file_digest(entry.path("kernel").open("rb"), "sha256").hexdigest()
    return from_archive(entry.path("kernel"), digest, (), store.cache, lambda _: None).path


@pytest.fixture(scope="session")
def real_config(real_tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the real conf makes of the default profile."""
    return run_conf(real_tree, tmp_path_factory.mktemp("conf"), "default")


def run_conf(tree: Path, build: Path, profile: str) -> Path:
    """Resolve a profile with the tree's conf; the path of the .config."""
    wishes = collect(load_library(), profile, (), arch="x86_64", kernel=version_of(tree))
    return conf(tree, build, wishes.allconfig())


def conf(tree: Path, build: Path, requests: str) -> Path:
    """Run the tree's conf on a text of requests; the path of the .config."""
    (build / "requests").write_text(requests)
    subprocess.run(
        ["make", "-C", tree, f"O={build}", "ARCH=x86_64", "allnoconfig"],
        env={"PATH": "/usr/bin:/bin", "LC_ALL": "C", "KCONFIG_ALLCONFIG": str(build / "requests")},
        check=True,
        capture_output=True,
    )
    return build / ".config"
