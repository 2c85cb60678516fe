"""Every kind of damage to an image must be found by the read-back; none may end in a traceback or a success."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from image_parts import AGENT, AGENT_SHA256, file, rich_tree, tree_of, with_attributes
from kata_toolkit.errors import ToolError
from kata_toolkit.image import dax, mbr
from kata_toolkit.image.ext4 import Ext4
from kata_toolkit.image.layout import MIB, Layout, layout_for
from kata_toolkit.image.placement import Shape
from kata_toolkit.image.readback import check_image, image_problems
from kata_toolkit.image.sparse_file import SparseFile
from kata_toolkit.rootfs.agent_file import AgentFile
from kata_toolkit.rootfs.tree import Kind, Node, Tree

AGENT_FILE = AgentFile(b"sbin/init", AGENT_SHA256)
FS = 3 * MIB


def small_tree() -> Tree:
    return tree_of(
        {
            b"sbin/init": file(AGENT, 0o755),
            b"etc/conf": file(b"configuration\n" * 1000, 0o640, uid=5, gid=6),
            b"etc/twin": b"etc/conf",
            b"link": Node(Kind.SYMLINK, 0o777, target=b"etc/conf"),
            b"dev/console": Node(Kind.CHARACTER, 0o600, rdev=(5, 1)),
            b"ping": file(b"p", 0o755, xattrs=((b"security.capability", b"c" * 20),)),
        }
    )


def write(path: Path, tree: Tree, *, with_dax: bool = True) -> Layout:
    plan = Ext4(tree, bytes(16))
    layout = layout_for(plan.smallest(Shape()), with_dax, 2)
    with SparseFile(path, layout.size) as out:
        for offset, partitions in layout.tables:
            out.write(offset, mbr.mbr(partitions, 7))
        if with_dax:
            out.write(dax.OFFSET, dax.pfn_block())
        plan.write(out, layout.start, layout.filesystem_size, Shape(), bytes(16), lambda done, total: None)
    return layout


def found(path: Path, layout: Layout, tree: Tree | None = None) -> list[str]:
    return list(image_problems(path, layout, "ext4", tree or small_tree(), AGENT_FILE))


@pytest.mark.parametrize("with_dax", [True, False])
@pytest.mark.parametrize("make", [small_tree, rich_tree, with_attributes])
def test_a_sound_image_passes(tmp_path: Path, make: Callable[[], Tree], with_dax: bool) -> None:
    tree = make()
    layout = write(tmp_path / "image", tree, with_dax=with_dax)
    check_image(tmp_path / "image", layout, "ext4", tree, AGENT_FILE)
    assert list(image_problems(tmp_path / "image", layout, "ext4", None, AGENT_FILE)) == []


class Editor:
    """An image's bytes, with the places that damage is done to."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.data = bytearray(path.read_bytes())

    def u32(self, at: int) -> int:
        return struct.unpack_from("<I", self.data, at)[0]

    def put(self, at: int, form: str, *values: int) -> None:
        struct.pack_into("<" + form, self.data, at, *values)

    def inode(self, number: int) -> int:
        table = self.u32(FS + 4096 + 8)
        return FS + table * 4096 + (number - 1) * 256

    def first_block(self, number: int) -> int:
        return FS + self.u32(self.inode(number) + 0x28 + 12 + 8) * 4096

    def entry(self, name: bytes) -> int:
        """Where the directory entry of a name lies."""
        at = self.data.index(struct.pack("<B", len(name)), FS)
        while self.data[at + 2 : at + 2 + len(name)] != name:
            at = self.data.index(struct.pack("<B", len(name)), at + 1)
        return at - 6

    def number(self, name: bytes) -> int:
        return self.u32(self.entry(name))

    def save(self) -> None:
        self.path.write_bytes(self.data)


def zero(start: int, length: int) -> Callable[[Editor], None]:
    def damage(image: Editor) -> None:
        image.data[start : start + length] = bytes(length)

    return damage


def field(name: bytes, offset: int, form: str, value: int) -> Callable[[Editor], None]:
    def damage(image: Editor) -> None:
        image.put(image.inode(image.number(name)) + offset, form, value)

    return damage


def root_field(offset: int, form: str, value: int) -> Callable[[Editor], None]:
    def damage(image: Editor) -> None:
        image.put(image.inode(2) + offset, form, value)

    return damage


def content(name: bytes, offset: int = 0) -> Callable[[Editor], None]:
    def damage(image: Editor) -> None:
        image.data[image.first_block(image.number(name)) + offset] ^= 1

    return damage


def rename(image: Editor) -> None:
    at = image.entry(b"conf")
    image.data[at + 8 : at + 12] = b"cong"


def no_entry(image: Editor) -> None:
    """The name is gone: its entry says that it is unused."""
    image.put(image.entry(b"conf"), "I", 0)


def other_inode(image: Editor) -> None:
    """A hard link that leads to another file of the same type."""
    image.put(image.entry(b"twin"), "I", image.number(b"ping"))


def folder_loop(image: Editor) -> None:
    """A folder that holds itself: a walk that trusts it never ends."""
    at = image.entry(b"conf")
    image.put(at, "I", image.number(b"etc"))
    image.data[at + 7] = 2


def partition_moved(image: Editor) -> None:
    image.data[:512] = mbr.mbr((mbr.Partition(FS + 4096, len(image.data) - FS - 4096),), 7)


def partition_short(image: Editor) -> None:
    image.data[2 * MIB : 2 * MIB + 512] = mbr.mbr((mbr.Partition(MIB, MIB // 2),), 7)


def two_partitions(image: Editor) -> None:
    both = (mbr.Partition(FS, len(image.data) - FS), mbr.Partition(MIB, MIB))
    image.data[:512] = mbr.mbr(both, 7)


def other_type(image: Editor) -> None:
    image.data[446 + 4] = 0xEE


def longer(image: Editor) -> None:
    image.data += bytes(2 * MIB)


def shorter(image: Editor) -> None:
    del image.data[-2 * MIB :]


def headless(image: Editor) -> None:
    """A file system at the wrong place: all of it moved by a block."""
    image.data[FS:] = bytes(4096) + image.data[FS:-4096]


DAMAGE: dict[str, tuple[Callable[[Editor], None], str]] = {
    "all zeros": (zero(0, 6 * MIB), "has no partition table"),
    "empty file": (lambda image: image.data.clear(), "0 bytes long"),
    "first table": (zero(510, 2), "the partition table at 0 is wrong: it has no partition table"),
    "second table": (zero(2 * MIB, 512), "the partition table at 2097152 is wrong"),
    "partition moved": (partition_moved, "the partition table at 0 names"),
    "partition short": (partition_short, "the partition table at 2097152 names 524288 bytes at 1048576"),
    "two partitions": (two_partitions, "the partition table at 0 names"),
    "partition type": (other_type, "a partition of type 0xee"),
    "dax signature": (zero(4096, 4), "the DAX header is wrong: it has no NVDIMM_PFN_INFO"),
    "dax checksum": (zero(8184, 8), "the DAX header is wrong: its checksum"),
    "dax header gone": (zero(4096, 4096), "the DAX header is wrong"),
    "longer": (longer, "bytes long, not"),
    "shorter": (shorter, "bytes long, not"),
    "no file system": (zero(FS, 4096), "there is no ext4 file system"),
    "moved file system": (headless, "there is no ext4 file system"),
    "magic": (zero(FS + 1024 + 0x38, 2), "there is no ext4 file system"),
    "block size": (lambda i: i.put(FS + 1024 + 0x18, "I", 0), "damaged"),
    "absurd block size": (lambda i: i.put(FS + 1024 + 0x18, "I", 99), "superblock is damaged"),
    "too many blocks": (lambda i: i.put(FS + 1024 + 4, "I", 1 << 30), "more than its partition holds"),
    "no blocks": (lambda i: i.put(FS + 1024 + 4, "I", 0), "more than its partition holds"),
    "too few blocks": (lambda i: i.put(FS + 1024 + 4, "I", 100), "the file system has 409600 bytes, not"),
    "unknown feature": (lambda i: i.put(FS + 1024 + 0x60, "I", 0x8242), "incompatible features"),
    "no inodes a group": (lambda i: i.put(FS + 1024 + 0x28, "I", 0), "superblock is damaged"),
    "not clean": (lambda i: i.put(FS + 1024 + 0x3A, "H", 2), "is not marked clean"),
    "not ordered": (lambda i: i.put(FS + 1024 + 0x100, "I", 0xC), "Kata's mount options would fail"),
    "descriptor": (lambda i: i.put(FS + 4096 + 8, "I", 0x7FFFFFFF), "outside of itself"),
    "root no folder": (root_field(0, "H", 0o100755), "its root is not a folder"),
    "root mode": (root_field(0, "H", 0o040700), "/ has the mode 0700, not 0755"),
    "root huge": (root_field(4, "I", 1 << 31), "bytes large"),
    "root entries": (lambda i: i.put(i.first_block(2) + 4, "H", 3), "the folder with inode 2 is damaged"),
    "root entries end": (lambda i: i.put(i.first_block(2) + 4, "H", 0), "the folder with inode 2 is damaged"),
    "name with slash": (lambda i: i.put(i.entry(b"conf") + 9, "B", ord("/")), "holds the name b'c/nf'"),
    "renamed": (rename, "/etc/cong is there and should not be"),
    "entry gone": (no_entry, "/etc/conf is missing"),
    "entry of no inode": (lambda i: i.put(i.entry(b"conf"), "I", 60000), "names the inode 60000"),
    "hard link": (other_inode, "/etc/twin is not the hard link it should be"),
    "folder in itself": (folder_loop, "is in two places"),
    "entry type": (lambda i: i.put(i.entry(b"conf") + 7, "B", 7), "disagree about its type"),
    "mode": (field(b"conf", 0, "H", 0o100644), "/etc/conf has the mode 0644, not 0640"),
    "setuid": (field(b"conf", 0, "H", 0o104640), "/etc/conf has the mode 4640, not 0640"),
    "owner": (field(b"conf", 2, "H", 0), "/etc/conf belongs to 0:6, not 5:6"),
    "high group": (field(b"conf", 0x7A, "H", 1), "/etc/conf belongs to 5:65542, not 5:6"),
    "size": (field(b"conf", 4, "I", 13999), "/etc/conf has 13999 bytes, not 14000"),
    "time": (field(b"conf", 0x10, "I", 1), "/etc/conf has the times (0, 0, 1, 0), not 0"),
    "links": (field(b"conf", 0x1A, "H", 1), "/etc/conf has 1 links, not 2"),
    "no extents": (field(b"conf", 0x20, "I", 0), "has no extents"),
    "extent magic": (field(b"conf", 0x28, "H", 0), "damaged extent tree"),
    "extent count": (field(b"conf", 0x2A, "H", 60), "damaged extent tree"),
    "extent depth": (field(b"conf", 0x2E, "H", 9), "damaged extent tree"),
    "extents gone": (field(b"conf", 0x2A, "H", 0), "/etc/conf has a hole where its data should be"),
    "extent short": (field(b"conf", 0x38, "H", 1), "/etc/conf has a hole where its data should be"),
    "extent of nothing": (field(b"conf", 0x38, "H", 0), "has an extent of 0 blocks"),
    "extent shifted": (field(b"conf", 0x34, "I", 1), "/etc/conf has a hole where its data should be"),
    "extent outside": (field(b"conf", 0x3C, "I", 1 << 20), "blocks outside of the file system"),
    "type": (field(b"conf", 0, "H", 0o020640), "disagree about its type"),
    "first byte": (content(b"conf"), "/etc/conf differs in its bytes"),
    "last byte": (content(b"conf", 13999), "/etc/conf differs in its bytes"),
    "behind the end": (content(b"conf", 14001), "/etc/conf differs in its bytes"),
    "target": (field(b"link", 0x28, "B", ord("f")), "/link leads to ftc/conf, not etc/conf"),
    "target length": (field(b"link", 4, "I", 7), "/link leads to etc/con, not etc/conf"),
    "device": (field(b"console", 0x28, "I", 0x0502), "/dev/console is the device (5, 2), not (5, 1)"),
    "attribute": (field(b"ping", 160, "I", 0), "/ping has other extended attributes"),
    "attribute offset": (field(b"ping", 166, "H", 999), "extended attributes are damaged"),
    "agent bytes": (content(b"init", 5000), "the agent at /sbin/init has the digest"),
    "agent mode": (field(b"init", 0, "H", 0o100644), "the agent at /sbin/init is not executable"),
    "agent gone": (lambda i: i.put(i.entry(b"init"), "I", 0), "there is no agent at /sbin/init"),
    "agent folder gone": (lambda i: i.put(i.entry(b"sbin"), "I", 0), "there is no agent at /sbin/init"),
    "agent size": (field(b"init", 0x6C, "I", 1 << 20), "the agent at /sbin/init claims to have"),
}  # fmt: skip


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Layout]:
    path = tmp_path_factory.mktemp("readback") / "image"
    return path, write(path, small_tree())


@pytest.mark.parametrize("case", DAMAGE)
def test_damage_is_found(image: tuple[Path, Layout], tmp_path: Path, case: str) -> None:
    sound, layout = image
    (tmp_path / "image").write_bytes(sound.read_bytes())
    damage, message = DAMAGE[case]
    editor = Editor(tmp_path / "image")
    damage(editor)
    editor.save()
    problems = found(tmp_path / "image", layout)
    assert any(message in p for p in problems), problems
    with pytest.raises(ToolError) as caught:
        check_image(tmp_path / "image", layout, "ext4", small_tree(), AGENT_FILE)
    assert caught.value.problems[0].message == "the image read back is not what was written"


def test_random_damage_ends_in_an_answer(image: tuple[Path, Layout], tmp_path: Path) -> None:
    """A thousand images with a few bytes of their metadata changed: no traceback, no endless loop."""
    sound, layout = image
    original = sound.read_bytes()
    random_ = random.Random(4)
    end = FS + 40 * 4096
    silent = 0
    path = tmp_path / "image"
    path.write_bytes(original)
    with path.open("r+b", buffering=0) as stream:
        for _ in range(1000):
            places = [random_.randrange(FS, end) for _ in range(random_.randrange(1, 20))]
            for at in places:
                stream.seek(at)
                stream.write(random_.randbytes(1))
            silent += not found(path, layout)
            for at in places:
                stream.seek(at)
                stream.write(original[at : at + 1])
    # Bitmaps, counters and unused bytes are e2fsck's to find, not the walk's; most other damage shows.
    assert silent < 900
    assert found(path, layout) == []


def test_another_tree_is_told_apart(image: tuple[Path, Layout]) -> None:
    path, layout = image
    tree = small_tree()
    tree.add(b"etc/more", file(b""))
    tree.add(b"ping", file(b"q", 0o755, xattrs=((b"security.capability", b"c" * 20),)))
    assert found(path, layout, tree) == ["/ping differs in its bytes 0 to 4096", "/etc/more is missing"]


def test_files_that_share_an_inode_and_should_not(image: tuple[Path, Layout]) -> None:
    path, layout = image
    tree = small_tree()
    tree.add(b"etc/twin", file(b"configuration\n" * 1000, 0o640, uid=5, gid=6))
    assert "files that should be separate share an inode" in found(path, layout, tree)


def test_an_image_that_is_gone(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="cannot read"):
        check_image(tmp_path / "none", layout_for(1, True, 2), "ext4", small_tree(), AGENT_FILE)


def test_a_dax_header_where_none_should_be(tmp_path: Path) -> None:
    layout = write(tmp_path / "image", small_tree(), with_dax=False)
    with (tmp_path / "image").open("r+b") as stream:
        stream.seek(dax.OFFSET)
        stream.write(dax.pfn_block())
    assert found(tmp_path / "image", layout) == ["there is something where an image without DAX has nothing"]
