"""What lies beside the store: told, and dropped only when nothing is made from it and nothing has used it for long."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import time
from pathlib import Path

import pytest
from kata_toolkit.download import Pool
from kata_toolkit.events import ignore
from kata_toolkit.pipeline.engine import Engine
from kata_toolkit.pipeline.inputs import BuildInputs
from kata_toolkit.pipeline.leftovers import drop_downloads, sizes
from kata_toolkit.pipeline.store import Store
from kata_toolkit.spec.model import GivenFile
from kata_toolkit.stages.sources import SourcesStage

DAY = 86_400


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cache")


def keep(store: Store, data: bytes, *, days: float = 0) -> str:
    """Put something among the downloads that was used last so many days ago."""
    digest = hashlib.sha256(data).hexdigest()
    Pool(store.cache).bring(digest, lambda part: part.write_bytes(data) and None, "it")
    age(store.cache / "downloads" / digest, days)
    return digest


def age(path: Path, days: float) -> None:
    then = time.time() - days * DAY
    os.utime(path, (then, then))


def there(store: Store) -> set[str]:
    return {path.name for path in (store.cache / "downloads").iterdir() if path.suffix != ".lock"}


def build(store: Store, source: Path) -> str:
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    stage = SourcesStage(None, GivenFile(url=source.as_uri(), sha256=digest))
    Engine("x", [stage], store, BuildInputs(store), ignore, io.StringIO(), 1).build(["sources"])
    return digest


def test_old_downloads_go_and_new_ones_stay(store: Store) -> None:
    keep(store, b"old" * 100, days=40)
    new = keep(store, b"new", days=10)
    assert drop_downloads(store, 30) == 300
    assert there(store) == {new}
    assert drop_downloads(store, 0) == 3
    assert there(store) == set()


def test_what_is_used_again_counts_as_new(store: Store) -> None:
    digest = keep(store, b"used", days=40)
    Pool(store.cache).bring(digest, lambda _: pytest.fail("it is here"), "it")
    assert drop_downloads(store, 30) == 0
    assert there(store) == {digest}


def test_what_the_store_was_made_from_stays(store: Store, tmp_path: Path) -> None:
    layer = keep(store, b"a layer", days=99)
    stray = keep(store, b"of nothing", days=99)
    source = tmp_path / "manifest"
    source.write_text(json.dumps({"layers": [{"digest": f"sha256:{layer}"}]}))
    manifest = build(store, source)
    age(store.cache / "downloads" / manifest, 99)
    drop_downloads(store, 1)
    assert there(store) == {layer, manifest}, "and what a manifest names is kept with it"
    assert stray not in there(store)


def test_package_lists_go_as_a_whole(store: Store) -> None:
    lists = store.cache / "apt/state/lists"
    lists.mkdir(parents=True)
    for name, days in (("a_Packages", 50), ("b_Packages", 2)):
        (lists / name).write_bytes(b"x" * 10)
        age(lists / name, days)
    assert drop_downloads(store, 30) == 0
    assert drop_downloads(store, 1) == 20
    assert not (store.cache / "apt").exists()


def test_a_half_fetched_file_and_an_empty_cache(store: Store) -> None:
    assert (sizes(store.cache), drop_downloads(store, 0)) == ({"scratch": 0}, 0)
    part = store.cache / "downloads" / f"{'a' * 64}.part"
    part.parent.mkdir()
    part.write_bytes(b"half")
    age(part, 3)
    assert drop_downloads(store, 1) == 4
    assert not part.exists()


def test_the_commands(store: Store, tool: Path) -> None:
    digest = keep(store, b"x" * (3 << 20), days=5)
    env = {**os.environ, "KATA_TOOLKIT_CACHE": str(store.cache)}

    def run(*words: str) -> str:
        return subprocess.run([tool, "cache", *words], env=env, check=True, capture_output=True, text=True).stdout

    assert json.loads(run("ls", "--json"))["beside"]["downloads"] == 3 << 20
    assert "3.0 MiB" in run("ls")
    run("gc")
    assert there(store) == {digest}, "downloads stay unless they are asked for"
    assert run("gc", "--downloads", "3").startswith("3.0 MiB freed")
    assert there(store) == set()
