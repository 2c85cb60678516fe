"""Compressed EROFS: packed by mkfs.erofs, laid out here; read back in full by our reader and by fsck.erofs."""

from __future__ import annotations

import json
import os
import random
import subprocess
import tempfile
from pathlib import Path

import pytest
from image_parts import (
    AGENT,
    AGENT_SHA256,
    PackedWithZstd,
    Sparse,
    build,
    file,
    rich_tree,
    rootfs_of,
    tree_of,
    with_attributes,
)
from kata_toolkit.errors import ToolError
from kata_toolkit.image.decompress import lz4, zstd
from kata_toolkit.image.erofs_compress import pack_command
from kata_toolkit.image.erofs_packed import Cluster, Packed
from kata_toolkit.image.erofs_read import ErofsReader
from kata_toolkit.image.filesystem import lookup
from kata_toolkit.image.layout import layout_for
from kata_toolkit.image.make import Wanted, write_image
from kata_toolkit.image.readback import image_problems
from kata_toolkit.pipeline.store import Entry
from kata_toolkit.rootfs.agent_file import AgentFile
from kata_toolkit.rootfs.tree import Tree
from kata_toolkit.run import environment
from kata_toolkit.spec.model import Image
from kata_toolkit.stages.image import ImageStage

pytestmark = pytest.mark.tool
ENV = environment()
MIB = 1 << 20


def words(size: int, seed: int = 1) -> bytes:
    """Text that compresses, but is nowhere the same."""
    source = random.Random(seed)
    vocabulary = [source.randbytes(source.randrange(2, 12)) for _ in range(500)]
    out = bytearray()
    while len(out) < size:
        out += b"".join(source.choices(vocabulary, k=200))
    return bytes(out[:size])


def packed_tree() -> Tree:
    """What is easy, hard and odd to compress, with sizes around a block's and a cluster's."""
    tree = rich_tree()
    for size in (1, 4095, 4096, 4097, 8191, 8192, 16384, 16385, 65536, 70_000, 1_000_000):
        tree.add(b"sizes/%d" % size, file(words(size), uid=size))
        tree.add(b"nothing/%d" % size, file(bytes(size)))
        tree.add(b"random/%d" % size, file(random.Random(size).randbytes(size), mtime=size))
    mixed = words(100_000) + os.urandom(100_000) + bytes(200_000) + words(50_001, 2)
    tree.add(b"mixed", file(mixed, 0o755, uid=1 << 20))
    tree.add(b"holes", file(Sparse(30 * MIB, ((5000, words(300_000)), (29 * MIB, b"end" * 100)))))
    tree.add(b"twin", file(words(200_000, 3), xattrs=((b"security.capability", b"c" * 20), (b"user.note", b"n" * 77))))
    tree.link(b"other/twin", b"twin")
    return tree


def stage(folder: Path, tree: Tree, compression: str = "lz4hc", **more: object) -> Entry:
    image = Image(format="erofs", dax=False, compression=compression, **more)
    return build([rootfs_of(tree, folder), ImageStage(image, 2)], "image", folder)


@pytest.mark.parametrize("compression", ["lz4", "lz4hc"])
@pytest.mark.parametrize("verity", [False, True])
def test_odd_files_come_back(tmp_path: Path, compression: str, verity: bool) -> None:
    """The stage compares every byte itself; fsck.erofs decompresses all of it once more."""
    entry = stage(tmp_path, packed_tree(), compression, verity=verity)
    info = json.loads(entry.path("image.json").read_text())
    data = entry.path("image").read_bytes()
    (tmp_path / "fs").write_bytes(data[info["partition"]["start"] :][: info["partition"]["size"]])
    subprocess.run(["fsck.erofs", "--extract", tmp_path / "fs"], check=True, env=ENV, capture_output=True)
    shown = subprocess.run(["dump.erofs", "-s", tmp_path / "fs"], check=True, env=ENV, capture_output=True, text=True)
    assert "0padding" in shown.stdout
    assert info["compression"] == compression


def test_attributes_of_compressed_files(tmp_path: Path) -> None:
    tree = with_attributes()
    tree.add(b"large", file(words(99_999), xattrs=((b"user.odd", b"12345"), (b"security.capability", b"c" * 20))))
    stage(tmp_path, tree)


def test_it_is_smaller(tmp_path: Path) -> None:
    tree = tree_of({b"sbin/init": file(AGENT, 0o755), b"text": file(words(3 * MIB))})
    for number in range(200):
        tree.add(b"small/%d" % number, file(words(1500, number)))
    (tmp_path / "plain").mkdir()
    packed = json.loads(stage(tmp_path, tree).path("image.json").read_text())
    plain = json.loads(stage(tmp_path / "plain", tree, "none").path("image.json").read_text())
    # The text to two thirds or less; and of the small ones three share a block with their inodes.
    assert packed["allocated"] < plain["allocated"] * 0.65


def test_other_programs_extract_the_same(tmp_path: Path) -> None:
    """All that an ordinary user can extract: contents, by another decompressor than ours."""
    contents = {b"sbin/init": AGENT, b"a/text": words(500_000), b"a/zeros": bytes(70_000), b"b": words(5000)}
    tree = tree_of({name: file(data, 0o755, uid=os.getuid(), gid=os.getgid()) for name, data in contents.items()})
    entry = stage(tmp_path, tree)
    (tmp_path / "fs").write_bytes(entry.path("image").read_bytes()[MIB:])
    target = tmp_path / "extracted"
    argv = ["fsck.erofs", f"--extract={target}", "--no-preserve", tmp_path / "fs"]
    subprocess.run(argv, check=True, env=ENV, capture_output=True)
    for name, data in contents.items():
        assert (target / name.decode()).read_bytes() == data


def test_zstd_with_an_old_tool_is_refused() -> None:
    with pytest.raises(ToolError, match=r"needs erofs-utils 1.8 or newer, and fsck.erofs 1.5 is installed"):
        pack_command("zstd", "fsck.erofs 1.5")
    newer = pack_command("zstd", "fsck.erofs (erofs-utils) 1.8.2").argv
    assert "--workers=1" in newer
    assert "-b4096" in newer
    assert pack_command("lz4", "fsck.erofs 1.5").argv[:2] == ("mkfs.erofs", "--quiet")


@pytest.mark.parametrize("compression", ["lz4", "lz4hc"])
def test_damage_is_seen(tmp_path: Path, compression: str) -> None:
    """A byte of a compressed file changed anywhere, data or index, is told: by a sentence, not by a traceback."""
    tree = tree_of({b"sbin/init": file(AGENT, 0o755), b"text": file(words(60_000))})
    entry = stage(tmp_path, tree, compression)
    path = tmp_path / "damaged"
    original = entry.path("image").read_bytes()
    path.write_bytes(original)
    fd = os.open(path, os.O_RDWR)
    reader = ErofsReader(fd, MIB, len(original) - MIB)
    inode = lookup(reader, b"text")
    assert inode
    assert inode.clusters
    index_at = MIB + reader._metadata + inode.number * 32 + 32 + 16
    places = [
        index_at + i
        for i in range(15 * 8)
        if i % 8 in (0, 2, 3) or (i % 8 >= 4 and original[index_at + i // 8 * 8] != 2)
    ]
    for cluster in inode.clusters:
        start = MIB + cluster.physical * 4096
        places += [start + at for at in range(0, cluster.blocks * 4096, 97)]
    layout = layout_for(len(original) - MIB, False, 2)
    missed = []
    for place in places:
        os.pwrite(fd, bytes([original[place] ^ 0x41]), place)
        if not list(image_problems(path, layout, "erofs", tree, AgentFile(b"sbin/init", AGENT_SHA256))):
            missed.append(place)
        os.pwrite(fd, original[place : place + 1], place)
    os.close(fd)
    assert [place for place in missed if place >= index_at + 15 * 8] == []
    assert len(missed) <= 15, "a bit of the index that no reader looks at"


def test_big_clusters_and_long_ways_back() -> None:
    """What mkfs.erofs seldom writes: a cluster of hundreds of blocks; a hole so long that its way back is capped."""
    packed = Packed(
        10_000 * 4096 + 5, (Cluster(0, 1, False), Cluster(4096 * 2 + 7, 300, True), Cluster(4096 * 310, 4, False)), 0, 9
    )
    index = packed.index(77)
    assert len(index) == packed.index_size == 16 + 10_001 * 8
    entries = [index[16 + i * 8 :][:8] for i in range(10_001)]
    assert entries[0] == b"\1\0\0\0" + (77).to_bytes(4, "little")
    assert entries[1][4:6] == (1 | 0x800).to_bytes(2, "little")
    assert entries[2] == b"\0\0\7\0" + (78).to_bytes(4, "little")
    assert entries[3][4:6] == (300 | 0x800).to_bytes(2, "little")
    assert entries[5000][4:6] == (2047).to_bytes(2, "little")
    assert entries[-1] == b"\0\0\5\0\0\0\0\0"


def test_what_does_not_decompress() -> None:
    for decompress in (lz4, zstd):
        for block in (b"", b"nonsense", b"\xff" * 100):
            with pytest.raises(ValueError, match="decompress"):
                decompress(block, 4096)
    plain = words(50_000)
    frame = subprocess.run(["zstd", "-c"], input=plain, capture_output=True, check=True, env=ENV).stdout
    assert zstd(frame, len(plain)) == plain
    with pytest.raises(ValueError, match="decompress"):
        zstd(frame, len(plain) - 1)


def test_zstd_is_read_back(tmp_path: Path) -> None:
    """With what a newer mkfs.erofs would give: the tool at hand may not know zstd."""
    tree = tree_of({b"sbin/init": file(AGENT, 0o755), b"text": file(words(1_234_567)), b"zeros": file(bytes(200_000))})
    files = PackedWithZstd(tree)
    assert len(files.packed) == 3
    made = write_image(
        tree, tmp_path / "image", Wanted("erofs", dax=False), "ab" * 32, compressed=(files, files.packed)
    )
    agent = AgentFile(b"sbin/init", AGENT_SHA256)
    assert list(image_problems(tmp_path / "image", made.layout, "erofs", tree, agent)) == []
    data = bytearray((tmp_path / "image").read_bytes())
    at = data.index(b"\x28\xb5\x2f\xfd", len(data) // 4)  # the beginning of a frame
    data[at + 500] ^= 1
    (tmp_path / "image").write_bytes(data)
    assert list(image_problems(tmp_path / "image", made.layout, "erofs", tree, agent)) != []


def test_the_same_bytes_on_another_file_system(tmp_path: Path) -> None:
    """Whose folders list their files in another order."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        one = stage(tmp_path, packed_small()).files["image"].sha256
        assert stage(Path(folder), packed_small()).files["image"].sha256 == one


def packed_small() -> Tree:
    tree = tree_of({b"sbin/init": file(AGENT, 0o755)})
    for number in range(50):
        tree.add(b"f%d" % number, file(words(9000 + number, number)))
    return tree
