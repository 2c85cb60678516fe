"""The image stage: from a root file system's tar to an image that real tools read, and refusals."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from image_parts import AGENT, AGENT_SHA256, Given, build, file, rich_tree, rootfs_of, tree_of, with_attributes
from kata_toolkit.errors import InputError, ToolError
from kata_toolkit.pipeline.store import Entry
from kata_toolkit.rootfs.tree import Kind, Node, Tree
from kata_toolkit.run import environment
from kata_toolkit.spec.model import Image, MinimalRootfs
from kata_toolkit.stages.image import ImageStage
from kata_toolkit.stages.rootfs import RootfsStage

ENV = environment()


def output(*argv: str | Path) -> str:
    return subprocess.run(argv, capture_output=True, text=True, env=ENV, check=True).stdout


def image_of(tree: Tree, folder: Path, *, dax: bool = True, align: int = 2, digest: str = AGENT_SHA256) -> Entry:
    stages = [rootfs_of(tree, folder, digest), ImageStage(Image(dax=dax, align_mib=align), align)]
    return build(stages, "image", folder)


@pytest.mark.tool
@pytest.mark.parametrize("dax", [True, False])
@pytest.mark.parametrize("align", [2, 128])
def test_the_image_of_the_minimal_root(tmp_path: Path, dax: bool, align: int) -> None:
    stages = [
        Given("agent", {"init": AGENT}), RootfsStage(MinimalRootfs()), ImageStage(Image(dax=dax), align)
    ]  # fmt: skip
    entry = build(stages, "image", tmp_path)
    path, info = entry.path("image"), json.loads(entry.path("image.json").read_text())
    start = (3 if dax else 1) << 20
    assert path.stat().st_size == info["size"]
    assert info["size"] % (align << 20) == 0
    assert info["partition"] == {"number": 1, "start": start, "size": info["size"] - start}
    assert info["agent"] == {"path": "/sbin/init", "sha256": AGENT_SHA256}
    # The quickstart's budget: at most 4 MiB on disk, whatever the size says.
    assert path.stat().st_blocks * 512 <= 4 << 20
    assert info["allocated"] <= 4 << 20
    data = path.read_bytes()
    (tmp_path / "fs").write_bytes(data[start:])
    subprocess.run(["e2fsck", "-fn", tmp_path / "fs"], check=True, env=ENV, capture_output=True)
    assert f"Size: {len(AGENT)}" in output("debugfs", "-R", "stat /sbin/init", tmp_path / "fs")
    subprocess.run(["sfdisk", "--verify", "-q", path], check=True)
    assert info["filesystem"]["uuid"] in output("dumpe2fs", "-h", tmp_path / "fs")


@pytest.mark.tool
@pytest.mark.parametrize("make", [rich_tree, with_attributes])
def test_odd_trees_become_images(tmp_path: Path, make: Callable[[], Tree]) -> None:
    assert image_of(make(), tmp_path).files.keys() == {"image", "image.json"}


@pytest.mark.tool
@pytest.mark.parametrize(
    ("tree", "digest", "message"),
    [
        (Tree(), AGENT_SHA256, "there is no agent at /sbin/init"),
        (tree_of({b"sbin/init": file(b"")}), AGENT_SHA256, "is not executable"),
        (tree_of({b"sbin/init": file(AGENT, 0o755)}), "0" * 64, "has the digest"),
        (tree_of({b"sbin/init": Node(Kind.SYMLINK, 0o777, target=b"busybox")}), AGENT_SHA256, "there is no agent"),
    ],
)
def test_an_image_without_its_agent_is_never_a_success(tmp_path: Path, tree: Tree, digest: str, message: str) -> None:
    with pytest.raises(ToolError) as caught:
        image_of(tree, tmp_path, digest=digest)
    assert any(message in p.message for p in caught.value.problems)
    assert not list((tmp_path / "cache" / "objects").glob("image/*")), "a refused image must not be in the store"


@pytest.mark.parametrize("data", [b"", b"not a tar at all" * 100, bytes(100)])
def test_a_damaged_tar_is_refused(tmp_path: Path, data: bytes) -> None:
    info = json.dumps({"agent": {"path": "/sbin/init", "sha256": AGENT_SHA256}}).encode()
    given = Given("rootfs", {"rootfs.tar": data, "rootfs.json": info})
    with pytest.raises(InputError, match=r"cut short|checksum does not hold"):
        build([given, ImageStage(Image(), 2)], "image", tmp_path)


@pytest.mark.tool
def test_alignments_that_cannot_work_are_refused_while_planning(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="multiple of 2"):
        image_of(rich_tree(), tmp_path, align=3)
