"""Container images as root file systems: layers and whiteouts as engines apply them, digests, and images that lie."""

from __future__ import annotations

import gzip
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from image_parts import AGENT, Given, build, tar_tree
from kata_toolkit.errors import InputError
from kata_toolkit.rootfs.oci_image import find_image
from kata_toolkit.rootfs.tree import read_padded
from kata_toolkit.spec.model import OciRootfs
from kata_toolkit.stages.rootfs import RootfsStage
from oci_parts import Layer, Layout, files_of, layer_tar


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "image")


LAYERS: dict[str, tuple[list[Layer], dict[bytes, bytes | None]]] = {
    "a file replaced": ([{"a": b"1", "b": b"1"}, {"a": b"2"}], {b"a": b"2", b"b": b"1"}),
    "a whiteout": ([{"d": None, "d/a": b"1", "d/b": b"1"}, {"d/.wh.a": b""}], {b"d": None, b"d/b": b"1"}),
    "a whiteout of a folder": ([{"d/e/f": b"1"}, {"d/.wh.e": b""}], {b"d": None}),
    "an opaque folder": (
        [{"d": None, "d/a": b"1", "d/e/f": b"1"}, {"d/new": b"2", "d/.wh..wh..opq": b""}],
        {b"d": None, b"d/new": b"2"},
    ),
    "a whiteout acts below its layer only": ([{"a": b"1"}, {"a": b"2", ".wh.a": b""}], {b"a": b"2"}),
    "an opaque root": ([{"a": b"1", "d/b": b"1"}, {".wh..wh..opq": b"", "c": b"2"}], {b"c": b"2"}),
    "a whiteout of what is not there": ([{"a": b"1"}, {".wh.b": b"", "x/.wh.y": b""}], {b"a": b"1"}),
    "a folder becomes a file": ([{"d/a": b"1"}, {"d": b"2"}], {b"d": b"2"}),
    "a file becomes a folder": ([{"d": b"1"}, {"d": None, "d/a": b"2"}], {b"d": None, b"d/a": b"2"}),
    "a folder keeps what is in it": ([{"d": None, "d/a": b"1"}, {"d": None}], {b"d": None, b"d/a": b"1"}),
    "a link stays a link": (
        [{"usr/lib": None, "lib": "-> usr/lib"}, {"lib/x": b"2"}],
        {b"usr": None, b"usr/lib": None, b"lib": b"usr/lib", b"usr/lib/x": b"2"},
    ),
    "a link that leads out": (
        [{"etc": None, "out": "-> ../../../etc"}, {"out/x": b"2"}],
        {b"etc": None, b"out": b"../../../etc", b"etc/x": b"2"},
    ),
    "a hard link to a lower layer": ([{"a": b"1"}, {"b": "= a"}], {b"a": b"1", b"b": b"1"}),
    "a whiteout behind a link": ([{"r/a": b"1", "l": "-> r"}, {"l/.wh.a": b""}], {b"r": None, b"l": b"r"}),
    "notes of aufs": ([{"a": b"1"}, {".wh..wh.aufs": b"", ".wh..wh.plnk": None}], {b"a": b"1"}),
    "names that only resemble whiteouts": ([{".whale": b"1", "a.wh.b": b"1"}], {b".whale": b"1", b"a.wh.b": b"1"}),
}


@pytest.mark.tool
@pytest.mark.parametrize("case", LAYERS)
def test_layers(layout: Layout, tmp_path: Path, case: str) -> None:
    layers, expected = LAYERS[case]
    layout.image(*layers)
    assert files_of(layout.done(), tmp_path / "scratch") == expected


@pytest.mark.tool
@pytest.mark.parametrize("name", [".wh...", ".wh.", "d/.wh..", "../.wh.etc", "/.wh.etc", "d/../../.wh.x"])
def test_whiteouts_that_climb(layout: Layout, tmp_path: Path, name: str) -> None:
    layout.image({"d": None}, {name: b""})
    with pytest.raises(InputError, match=r"whiteout of no name|climbs out|absolute path"):
        files_of(layout.done(), tmp_path / "scratch")


def test_one_of_several(layout: Layout, tmp_path: Path) -> None:
    layout.image({"one": b""}, tag="first")
    layout.image({"two": b""}, tag="second")
    folder = layout.done()
    assert b"two" in files_of(folder, tmp_path / "scratch", tag="second")
    with pytest.raises(InputError, match="several images for amd64") as caught:
        find_image(folder, tag=None, arch="amd64")
    assert caught.value.problems[0].hint == "name one by its tag: first, second"
    with pytest.raises(InputError, match='no image with the tag "third"'):
        find_image(folder, tag="third", arch="amd64")


def test_a_layout_without_an_image(layout: Layout) -> None:
    with pytest.raises(InputError, match="holds no image"):
        find_image(layout.done(), tag=None, arch="amd64")


def test_an_index_for_several_machines(layout: Layout, tmp_path: Path) -> None:
    for arch in ("arm64", "amd64"):
        layout.image({arch: b""}, arch=arch, platform={"os": "linux", "architecture": arch})
    inner = layout.blob(
        json.dumps({"schemaVersion": 2, "manifests": layout.manifests}).encode(),
        "application/vnd.oci.image.index.v1+json",
    )
    layout.manifests = [inner]
    folder = layout.done()
    assert files_of(folder, tmp_path / "scratch") == {b"amd64": b""}
    assert find_image(folder, tag=None, arch="arm64").digest != find_image(folder, tag=None, arch="amd64").digest
    with pytest.raises(InputError, match="no image for riscv64"):
        find_image(folder, tag=None, arch="riscv64")


def break_blob(folder: Path) -> None:
    largest = max((folder / "blobs/sha256").iterdir(), key=lambda path: path.stat().st_size)
    data = bytearray(largest.read_bytes())
    data[-9] ^= 1
    largest.write_bytes(data)


def drop_blob(folder: Path) -> None:
    max((folder / "blobs/sha256").iterdir(), key=lambda path: path.stat().st_size).unlink()


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "no layout": (lambda folder: (folder / "index.json").unlink(), "neither index.json nor manifest.json"),
    "no JSON": (lambda folder: (folder / "index.json").write_text("{"), "is not JSON"),
    "a list": (lambda folder: (folder / "index.json").write_text("[]"), "not what a container image has there"),
    "deep": (lambda folder: (folder / "index.json").write_text("[" * 100000), "is not JSON"),
    "no manifests": (lambda folder: (folder / "index.json").write_text("{}"), "it has no manifests"),
    "odd manifests": (lambda folder: (folder / "index.json").write_text('{"manifests": [1]}'), "does not list objects"),
    "an odd digest": (
        lambda folder: (folder / "index.json").write_text('{"manifests": [{"digest": "sha256:../../x"}]}'),
        "which is no sha256",
    ),
    "a changed blob": (break_blob, "is damaged"),
    "a missing blob": (drop_blob, "is missing"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_damage(layout: Layout, tmp_path: Path, case: str) -> None:
    layout.image({"a": bytes(range(256)) * 20})
    folder = layout.done()
    damage, message = DAMAGE[case]
    damage(folder)
    with pytest.raises(InputError, match=message):
        files_of(folder, tmp_path / "scratch")


def test_a_configuration_of_other_layers(layout: Layout, tmp_path: Path) -> None:
    """Each blob is what its digest says, and still the layer is not the one that the configuration means."""
    layout.image({"a": b"1"})
    manifest = json.loads((layout.folder / "blobs/sha256" / layout.manifests[0]["digest"][7:]).read_text())
    manifest["layers"] = [layout.blob(gzip.compress(layer_tar({"a": b"2"}), mtime=0))]
    layout.manifests = [layout.blob(json.dumps(manifest).encode())]
    with pytest.raises(InputError, match="has the diff_id"):
        files_of(layout.done(), tmp_path / "scratch")
    manifest["layers"] *= 2
    layout.manifests = [layout.blob(json.dumps(manifest).encode())]
    with pytest.raises(InputError, match="has 2 layers, and its configuration names 1"):
        find_image(layout.done(), tag=None, arch="amd64")


def test_indexes_without_end(layout: Layout) -> None:
    layout.image({"a": b""})
    for _ in range(10):
        layout.manifests = [layout.blob(json.dumps({"manifests": layout.manifests}).encode())]
    with pytest.raises(InputError, match="without end"):
        find_image(layout.done(), tag=None, arch="amd64")


@pytest.mark.tool
@pytest.mark.parametrize("kind", ["oci", "oci-archive", "docker-archive"])
def test_what_skopeo_writes(layout: Layout, tmp_path: Path, kind: str) -> None:
    """The three forms, written by another program, become the same root file system."""
    if shutil.which("skopeo") is None:
        pytest.skip("skopeo is not installed")
    layout.image({"bin": None, "bin/sh": b"shell", "old": b""}, {".wh.old": b"", "etc/conf": b"x"}, tag="t")
    target = tmp_path / "copied"
    subprocess.run(
        ["skopeo", "--insecure-policy", "copy", "-q", f"oci:{layout.done()}:t", f"{kind}:{target}:name:t"],
        check=True, capture_output=True,
    )  # fmt: skip
    source = OciRootfs(target, "name:t" if kind != "docker-archive" else None)
    entry = build([Given("agent", {"init": AGENT}), RootfsStage(source)], "rootfs", tmp_path)
    tree = tar_tree(entry.path("rootfs.tar"))
    shell = tree.get(b"bin/sh")
    assert shell is not None
    assert shell.content is not None
    assert read_padded(shell.content, 0, 5) == b"shell"
    assert b"old" not in tree
    assert b"etc/conf" in tree
    assert b"sbin/init" in tree
    other = tmp_path / "other"
    other.mkdir()
    with pytest.raises(InputError, match="has the digest"):
        build([Given("agent", {"init": AGENT}), RootfsStage(OciRootfs(target, source.tag, "0" * 64))], "rootfs", other)
