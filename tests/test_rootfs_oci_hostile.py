"""Container images that play tricks: documents of odd shapes, blobs that are not there, layers that reach out."""

from __future__ import annotations

import copy
import gzip
import hashlib
import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hostile_tars import folder as folder_member
from hostile_tars import hard, head, link
from kata_toolkit.archive import plain_tar
from kata_toolkit.errors import InputError
from kata_toolkit.rootfs.oci_image import find_image, image_tree
from kata_toolkit.rootfs.tree import Kind, read_padded
from oci_parts import Layout, files_of, layer_tar

END = bytes(1024)
LONG = "x" * 5000
ODD: list[Any] = [
    None,
    True,
    -1,
    1.5,
    1 << 70,
    "",
    "x",
    "\0",
    LONG,
    "../../x",
    "sha256:" + "f" * 64,
    [],
    [[]],
    {},
    {"a": 1},
]


def layers(folder: Path, *tars: bytes, kinds: tuple[str | None, ...] = ()) -> Path:
    """A layout of these layers, as bytes of plain tars unless packed already."""
    layout = Layout(folder)
    plain = [gzip.decompress(t) if t[:2] == b"\x1f\x8b" else t for t in tars]
    config = {"rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(p).hexdigest()}" for p in plain]}}
    manifest = {
        "config": layout.blob(json.dumps(config).encode()),
        "layers": [layout.blob(t, kinds[i] or "" if i < len(kinds) else "") for i, t in enumerate(tars)],
    }
    layout.manifests = [layout.blob(json.dumps(manifest).encode())]
    return layout.done()


def refusal(folder: Path, scratch: Path) -> str:
    with pytest.raises(InputError) as caught:
        files_of(folder, scratch)
    return str(caught.value)


def places(document: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a document, itself included."""
    yield path
    items = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    for key, value in items:
        yield from places(value, (*path, key))


def replaced(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    changed = copy.deepcopy(document)
    inner = changed
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return changed


def test_any_value_in_any_place(tmp_path: Path) -> None:
    """Index, manifest and configuration, every value replaced by odd ones: an image, or words."""
    layout = Layout(tmp_path / "image")
    layout.image({"a": b"1"}, tag="t", platform={"os": "linux", "architecture": "amd64"})
    blobs = layout.folder / "blobs/sha256"
    index = {"schemaVersion": 2, "manifests": layout.manifests}
    manifest = json.loads((blobs / layout.manifests[0]["digest"][7:]).read_text())
    config = json.loads((blobs / manifest["config"]["digest"][7:]).read_text())
    tried, told = 0, []

    def attempt(index: Any, manifest: Any, config: Any) -> None:
        nonlocal tried
        tried += 1
        if config is not None:
            manifest = {**manifest, "config": layout.blob(json.dumps(config).encode())}
        if manifest is not None:
            index = {"manifests": [layout.blob(json.dumps(manifest).encode())]}
        (layout.folder / "index.json").write_text(json.dumps(index))
        for tag in (None, "t"):
            try:
                find_image(layout.folder, tag=tag, arch="amd64")
            except InputError as error:
                told.append(str(error))

    for value in ODD:
        for place in places(index):
            attempt(replaced(index, place, value), None, None)
        for place in places(manifest):
            attempt(None, replaced(manifest, place, value), None)
        for place in places(config):
            attempt(None, manifest, replaced(config, place, value))
    assert tried > 300
    assert not [text for text in told if LONG in text]  # a message is no place for whatever an image says


def test_any_value_in_any_place_of_docker_save(tmp_path: Path) -> None:
    tar = layer_tar({"a": b"1"})
    config = {"architecture": "amd64", "rootfs": {"diff_ids": [f"sha256:{hashlib.sha256(tar).hexdigest()}"]}}
    (tmp_path / "layer.tar").write_bytes(tar)
    (tmp_path / "config.json").write_text(json.dumps(config))
    manifest = [{"Config": "config.json", "RepoTags": ["x:1"], "Layers": ["layer.tar"]}]
    for value in [*ODD, "/etc/passwd", "../config.json", "."]:
        for place in places(manifest):
            (tmp_path / "manifest.json").write_text(json.dumps(replaced(manifest, place, value)))
            for tag in (None, "x:1"):
                try:
                    image = find_image(tmp_path, tag=tag, arch="amd64")
                except InputError:
                    continue
                assert all(layer.resolve().is_relative_to(tmp_path.resolve()) for layer in image.layers)


def test_an_index_larger_than_one_is(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "image")
    layout.image({"a": b"1"})
    folder = layout.done()
    (folder / "index.json").write_text(json.dumps({"manifests": layout.manifests * 30_000}))
    assert "it is too large to be one" in refusal(folder, tmp_path / "scratch")


def test_indexes_that_multiply(tmp_path: Path) -> None:
    """Five levels of a hundred times the same: ten thousand million ways to one image."""
    layout = Layout(tmp_path / "image")
    layout.image({"a": b"1"})
    for _ in range(4):
        layout.manifests = [layout.blob(json.dumps({"manifests": layout.manifests * 100}).encode())] * 100
    started = time.monotonic()
    assert files_of(layout.done(), tmp_path / "scratch") == {b"a": b"1"}
    assert time.monotonic() - started < 10


KNOWN = "application/vnd.oci.image.layer.v1.tar"
TYPES = {
    KNOWN: True,
    f"{KNOWN}+zstd": True,
    "application/vnd.docker.image.rootfs.diff.tar.gzip": True,
    "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip": True,
    f"{KNOWN}+gzip+encrypted": False,
    "application/vnd.cncf.helm.chart.content.v1.tar+gzip": False,
    "text/plain": False,
}


@pytest.mark.parametrize("kind", TYPES)
def test_types_of_layers(tmp_path: Path, kind: str) -> None:
    folder = layers(tmp_path / "image", head(b"a", b"1") + END, kinds=(kind,))
    if TYPES[kind]:
        assert files_of(folder, tmp_path / "scratch") == {b"a": b"1"}
    else:
        assert f"has a layer of the type '{kind}', which is not known" in refusal(folder, tmp_path / "scratch")


def test_a_foreign_layer_that_is_elsewhere(tmp_path: Path) -> None:
    kind = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
    folder = layers(tmp_path / "image", gzip.compress(head(b"a") + END), kinds=(kind,))
    for blob in (folder / "blobs/sha256").iterdir():
        if blob.read_bytes()[:2] == b"\x1f\x8b":
            blob.unlink()
    assert "is incomplete: the blob sha256:" in refusal(folder, tmp_path / "scratch")


@pytest.mark.tool
@pytest.mark.parametrize("tool", ["gzip", "zstd", "xz", "none"])
def test_however_a_layer_is_packed(tmp_path: Path, tool: str) -> None:
    plain = head(b"a", b"1" * 600) + END
    packed = plain if tool == "none" else subprocess.run([tool, "-c"], input=plain, stdout=-1, check=True).stdout
    layout = Layout(tmp_path / "image")
    config = {"rootfs": {"diff_ids": [f"sha256:{hashlib.sha256(plain).hexdigest()}"]}}
    manifest = {"config": layout.blob(json.dumps(config).encode()), "layers": [layout.blob(packed)]}
    layout.manifests = [layout.blob(json.dumps(manifest).encode())]
    assert files_of(layout.done(), tmp_path / "scratch") == {b"a": b"1" * 600}


REFUSED = {
    "a whiteout that climbs": (head(b"../.wh.etc"), "climbs out with '..'"),
    "a whiteout of nothing": (head(b"d/.wh."), "has a whiteout of no name: /d/.wh."),
    "a whiteout of the folder itself": (head(b"d/.wh.."), "has a whiteout of no name: /d/.wh.."),
    "a whiteout of the folder above": (head(b"d/.wh..."), "has a whiteout of no name: /d/.wh..."),
    "a hard link outside": (hard(b"a", b"../../etc/shadow"), "the member a climbs out with '..'"),
    "a root that is no folder": (head(b"./", type=b"2", link=b"/"), "the layer's root is not a folder"),
    "links in a circle": (link(b"c", b"c") + head(b"c/x"), "lies behind symbolic links that lead in a circle"),
    "links that grow": (
        link(b"c", b"c/" * 49 + b"c") + head(b"c/x"), "lies behind symbolic links that lead in a circle"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_layers_that_reach_out(tmp_path: Path, name: str) -> None:
    tar, said = REFUSED[name]
    folder = layers(tmp_path / "image", folder_member(b"d/") + head(b"d/f", b"1") + END, tar + END)
    message = refusal(folder, tmp_path / "scratch")
    assert message.startswith("the image's layer 2: "), message
    assert said in message


KEPT = {
    "a hard link in the place of a full folder": (
        head(b"f", b"1") + head(b"d/x", b"2"), hard(b"d", b"f"), {b"f": b"1", b"d": b"1"}
    ),
    "a folder in the place of a file": (
        head(b"d", b"1"), folder_member(b"d") + head(b"d/x", b"2"), {b"d": None, b"d/x": b"2"}
    ),
    "a link in the place of a folder": (
        head(b"d/x", b"1") + head(b"e/y", b"2"), link(b"d", b"e"), {b"d": b"e", b"e": None, b"e/y": b"2"}
    ),
    "a folder in the place of a link": (
        folder_member(b"e") + link(b"d", b"e"), folder_member(b"d") + head(b"d/x", b"2"),
        {b"d": None, b"d/x": b"2", b"e": None},
    ),
    "a hard link to what the same layer hides below": (
        head(b"a", b"1"), head(b"a", b"2") + hard(b"b", b"a") + head(b".wh.a"), {b"a": b"2", b"b": b"2"}
    ),
    "a hidden file whose other name stays": (
        head(b"a", b"1") + hard(b"b", b"a"), head(b".wh.a"), {b"b": b"1"}
    ),
    "an opaque folder behind a link": (
        head(b"r/a", b"1") + link(b"l", b"r"), head(b"l/.wh..wh..opq") + head(b"l/b", b"2"),
        {b"r": None, b"r/b": b"2", b"l": b"r"},
    ),
    "a whiteout of a link hides the link": (
        head(b"r/a", b"1") + link(b"l", b"r"), head(b".wh.l"), {b"r": None, b"r/a": b"1"}
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", KEPT)
def test_layers_in_each_others_way(tmp_path: Path, name: str) -> None:
    lower, upper, expected = KEPT[name]
    assert files_of(layers(tmp_path / "image", lower + END, upper + END), tmp_path / "scratch") == expected


def test_many_whiteouts_take_little_time(tmp_path: Path) -> None:
    """Each looked at the whole tree once: with as many as there may be, that took hours."""
    count = 5000
    lower = b"".join(head(b"d%05d/f" % i, b"1") for i in range(count))
    upper = b"".join(head(b"d%05d/.wh.f" % i) for i in range(count))
    over = b"".join(head(b"d%05d" % i, b"2") for i in range(count))
    folder = layers(tmp_path / "image", lower + END, upper + END, lower + END, over + END)
    started = time.process_time()
    (tmp_path / "scratch").mkdir()
    with image_tree(find_image(folder, tag=None, arch="amd64"), tmp_path / "scratch", plain_tar) as tree:
        walked = list(tree.walk())
        assert len(walked) == count + 1
        assert all(node.kind is Kind.FILE and node.content and read_padded(node.content, 0, 1) == b"2"
                   for path, node in walked if path)  # fmt: skip
    assert time.process_time() - started < 10
