"""dm-verity: our digests against veritysetup's, and a guest that refuses a block that was changed."""

from __future__ import annotations

import json
import random
import re
import subprocess
from pathlib import Path

import pytest
from image_parts import AGENT_SHA256, build, rich_tree, rootfs_of
from kata_toolkit.image.layout import MIB, layout_for, layout_of
from kata_toolkit.image.mbr import mbr
from kata_toolkit.image.verity import BLOCK, Verity, _level_blocks, hash_tree, parse, tree_size
from kata_toolkit.run import environment
from kata_toolkit.spec.model import Image
from kata_toolkit.stages.image import ImageStage

ENV = environment()
SALT = bytes(range(32))
PARAMS = f"root_hash={'ab' * 32},salt={'cd' * 16},data_blocks=10,data_block_size=4096,hash_block_size=4096"


def formatted(path: Path, digests: Path) -> str:
    """The root hash that veritysetup finds; it writes its tree to ``digests``."""
    digests.touch()
    options = ["--no-superblock", f"--salt={SALT.hex()}", "--data-block-size=4096", "--hash-block-size=4096"]
    argv = ["veritysetup", "format", *options, path, digests]
    out = subprocess.run(argv, check=True, capture_output=True, text=True, env=ENV).stdout
    found = re.search(r"Root hash:\s+([0-9a-f]{64})", out)
    assert found
    return found[1]


@pytest.mark.tool
@pytest.mark.parametrize("blocks", [1, 2, 127, 128, 129, 128 * 128, 128 * 128 + 1])
def test_the_tree_is_that_of_veritysetup(tmp_path: Path, blocks: int) -> None:
    random_ = random.Random(blocks)
    data = tmp_path / "data"
    with data.open("wb") as stream:
        for _ in range(40):
            stream.seek(random_.randrange(blocks) * BLOCK)
            stream.write(random_.randbytes(BLOCK))
        stream.truncate(blocks * BLOCK)
    content = data.read_bytes()
    tree = bytearray(sum(_level_blocks(blocks)) * BLOCK)

    def put(at: int, block: bytes) -> None:
        tree[at : at + BLOCK] = block

    verity = hash_tree(lambda at, length: content[at : at + length], blocks, SALT, put)
    assert verity.root_hash == formatted(data, tmp_path / "digests")
    theirs = (tmp_path / "digests").read_bytes()
    assert tree == theirs[: len(tree)]
    assert not theirs[len(tree) :].strip(b"\0")
    assert len(tree) <= tree_size(blocks)


def test_the_description_is_read_back() -> None:
    verity = Verity("ab" * 32, "cd" * 16, 10)
    assert verity.params == PARAMS
    assert parse(PARAMS) == verity


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nonsense",
        PARAMS.replace("data_blocks=10", "data_blocks=0"),
        PARAMS.replace("data_blocks=10", "data_blocks=-1"),
        PARAMS.replace("data_blocks=10", "data_blocks=x"),
        PARAMS.replace("cd", "zz"),
        PARAMS.replace("4096", "512"),
        PARAMS.replace("root_hash=", "hash="),
        PARAMS + ",more=1",
    ],
)
def test_other_descriptions_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="does not describe"):
        parse(text)


def test_the_layout_has_a_second_partition() -> None:
    layout = layout_for(5 * MIB + 1, True, 128, with_verity=True)
    assert (layout.start, layout.filesystem_size, layout.hash_start, layout.hash_size) == (
        3 * MIB,
        6 * MIB,
        9 * MIB,
        MIB,
    )
    assert layout.size == 128 * MIB
    table = mbr(layout.tables[0][1], 1)
    assert layout_of(layout.size, True, table, layout.filesystem_size // BLOCK) == layout
    assert [[p.start for p in parts] for _, parts in layout.tables] == [[3 * MIB, 9 * MIB], [MIB, 7 * MIB]]


@pytest.mark.tool
@pytest.mark.parametrize("kind", ["ext4", "erofs"])
@pytest.mark.parametrize("dax", [True, False])
def test_the_stage_makes_a_checked_image(tmp_path: Path, kind: str, dax: bool) -> None:
    stages = [rootfs_of(rich_tree(), tmp_path, AGENT_SHA256), ImageStage(Image(format=kind, dax=dax, verity=True), 2)]
    entry = build(stages, "image", tmp_path)
    described = parse(entry.path("root_hash.txt").read_text().strip())
    info = json.loads(entry.path("image.json").read_text())
    assert info["verity"] == {
        "root_hash": described.root_hash,
        "salt": described.salt,
        "data_blocks": info["partition"]["size"] // BLOCK,
    }
    subprocess.run(["sfdisk", "--verify", "-q", entry.path("image")], check=True)


@pytest.fixture
def protected(built_set: Path, tool: Path, tmp_path: Path) -> Path:
    """A set with dm-verity, made from the quickstart's kernel."""
    share = built_set / "share/kata-containers"
    kernel = {
        part: {"path": str(next(share.glob(f"{name}-*")))}
        for part, name in (("vmlinux", "vmlinux"), ("config", "config"))
    }
    spec = {
        "version": 1,
        "name": "protected",
        "kernel": {"source": {"kind": "prebuilt", **kernel}},
        "image": {"verity": True},
        "runtime": {"hypervisors": {"qemu": {"settings": {"default_memory": 256}}}},
    }
    (tmp_path / "spec.yaml").write_text(json.dumps(spec))
    subprocess.run([tool, "build", "-q", tmp_path / "spec.yaml", "-o", tmp_path / "set"], check=True)
    return tmp_path / "set"


@pytest.mark.vm
@pytest.mark.tool
def test_a_guest_refuses_a_changed_block(protected: Path, tool: Path) -> None:
    """It boots and is proved as it is; with a bit of the agent changed the kernel starts nothing from it."""
    done = subprocess.run([tool, "verify", "--quick", "--json", protected], capture_output=True, text=True, check=False)
    checks = {check["id"]: check for check in json.loads(done.stdout)["checks"]}
    assert checks["root-verity"]["status"] == "pass", checks["root-verity"]
    assert done.returncode == 0, done.stderr
    image = next((protected / "share/kata-containers").glob("*.img"))
    with image.open("r+b") as stream:
        content = stream.read(16 * MIB)
        for found in re.finditer(rb"\x7fELF\x02", content):  # the agent is one of them; its first page is always read
            stream.seek(found.start() + 4000)
            stream.write(bytes([content[found.start() + 4000] ^ 1]))
    done = subprocess.run([tool, "verify", "--quick", "--json", protected], capture_output=True, text=True, check=False)
    checks = {check["id"]: check for check in json.loads(done.stdout)["checks"]}
    assert done.returncode == 1
    assert checks["digests"]["status"] == checks["root-verity"]["status"] == checks["boots"]["status"] == "fail", checks
