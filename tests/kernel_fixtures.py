"""Fixtures of the kernel's tests: the fake tree, and the real one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from kata_toolkit import resources
from kata_toolkit.errors import ToolError
from kata_toolkit.kernel_tree import from_archive
from kata_toolkit.pipeline.engine import Engine
from kata_toolkit.pipeline.inputs import BuildInputs
from kata_toolkit.pipeline.store import Store, cache_folder
from kata_toolkit.spec.model import DebianKernel
from kata_toolkit.stages.sources import SourcesStage
from kernel_harness import Bench, fake_library, fake_tree, resolve

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
def real_tree() -> Iterator[Path]:
    """Debian's kernel source, unpacked in the user's own cache, where `make build` has put it too."""
    store = Store(cache_folder())
    stage = SourcesStage(DebianKernel(PACKAGE))
    try:
        with (store.cache / "test.log").open("w") as log:
            engine = Engine("tests", [stage], store, BuildInputs(store), lambda _: None, log, 1)
            entry = engine.build(["sources"])["sources"]
    except ToolError as error:
        pytest.skip(f"no {PACKAGE} here, and it cannot be fetched: {error}")
    with from_archive(entry.path("kernel"), entry.files["kernel"].sha256, (), store.cache, lambda _: None) as tree:
        yield tree.path


@pytest.fixture(scope="session")
def conf_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the real conf is compiled, once for all tests."""
    return tmp_path_factory.mktemp("conf")


@pytest.fixture(scope="session")
def real_config(real_tree: Path, conf_folder: Path) -> dict[str, str]:
    """What the real conf makes of the default profile."""
    return resolve(real_tree, conf_folder, "default")
