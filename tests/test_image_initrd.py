"""The initrd stage: a cpio that cpio, bsdtar and the kernel read, in every compression, and read back."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from image_parts import AGENT, AGENT_SHA256, ODD_NAMES, Given, Sparse, build, file, rich_tree, rootfs_of, tree_of
from kata_toolkit.errors import InputError, ToolError
from kata_toolkit.image import cpio
from kata_toolkit.image.cpio import cpio_problems, read_cpio, write_cpio
from kata_toolkit.pipeline.store import Entry
from kata_toolkit.rootfs.tree import Kind, Node, Tree
from kata_toolkit.run import environment
from kata_toolkit.spec.model import Initrd
from kata_toolkit.stages.initrd import InitrdStage, bootable

ENV = environment()
# By other programs than the stage itself unpacks with.
UNPACK = {
    "gzip": ["gzip", "-dc"],
    "bzip2": ["busybox", "bunzip2", "-c"],
    "lzma": ["busybox", "unlzma", "-c"],
    "xz": ["busybox", "unxz", "-c"],
    "lzo": ["busybox", "lzop", "-dc"],
    "lz4": ["lz4", "-dcq"],
    "zstd": ["zstd", "-dcq"],
    "none": ["cat"],
}


def initrd_of(tree: Tree, folder: Path, compression: str) -> Entry:
    return build([rootfs_of(tree, folder), InitrdStage(Initrd(True, compression))], "initrd", folder)


@pytest.mark.parametrize("data", [b"", b"not a tar at all" * 100, bytes(100)])
def test_a_damaged_tar_is_refused(tmp_path: Path, data: bytes) -> None:
    info = json.dumps({"agent": {"path": "/sbin/init", "sha256": AGENT_SHA256}}).encode()
    given = Given("rootfs", {"rootfs.tar": data, "rootfs.json": info})
    with pytest.raises(InputError, match=r"cut short|checksum does not hold"):
        build([given, InitrdStage(Initrd(True, "none"))], "initrd", tmp_path)


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        (Tree(), "there is no agent at /sbin/init"),
        (tree_of({b"sbin/init": file(AGENT)}), "the agent at /sbin/init is not executable"),
        (tree_of({b"sbin/init": file(b"other", 0o755)}), "the agent at /sbin/init has the digest"),
        (tree_of({b"sbin/init": Node(Kind.SYMLINK, 0o777, target=b"x")}), "there is no agent at /sbin/init"),
    ],
)
def test_an_initrd_without_its_agent_is_never_a_success(tmp_path: Path, tree: Tree, message: str) -> None:
    with pytest.raises(ToolError) as caught:
        initrd_of(tree, tmp_path, "none")
    assert any(message in p.message for p in caught.value.problems)
    assert not list((tmp_path / "cache" / "objects").glob("initrd/*"))


@pytest.mark.tool
@pytest.mark.parametrize("compression", UNPACK)
def test_cpio_lists_and_unpacks_the_initrd(tmp_path: Path, compression: str) -> None:
    tree = rich_tree(any_time=False)
    entry = initrd_of(tree, tmp_path, compression)
    packed, plain = entry.path("initrd"), tmp_path / "plain"
    with packed.open("rb") as source, plain.open("wb") as target:
        subprocess.run(UNPACK[compression], stdin=source, stdout=target, check=True)
    info = json.loads(entry.path("initrd.json").read_text())
    assert (info["compression"], info["size"], info["unpacked"]) == (
        compression, packed.stat().st_size, plain.stat().st_size
    )  # fmt: skip
    with plain.open("rb") as source:
        listed = subprocess.run(["cpio", "-t", "--quiet", "-0"], stdin=source, capture_output=True, check=True).stdout
    bootable(tree)
    assert info["members"] == len(tree)
    assert listed.rstrip(b"\0").split(b"\0") == [path or b"." for path, _ in tree.walk()]
    assert {b"init", b"dev/console", b"sbin/init"} <= {path for path, _ in tree.walk()}
    into = tmp_path / "into"
    into.mkdir()
    with plain.open("rb") as source:
        subprocess.run(
            ["cpio", "-idu", "--quiet", "--no-absolute-filenames", "--no-preserve-owner", "-f", "dev/*"],
            stdin=source, cwd=into, check=True,
        )  # fmt: skip
    assert (into / "sbin" / "init").read_bytes() == AGENT
    assert (into / "link/one").read_bytes() == b"linked" * 1000
    assert (into / "link/one").stat().st_ino == (into / "also-linked").stat().st_ino
    assert os.readlink(into / "init") == "sbin/init"  # noqa: PTH115 -- as it is written
    for name in ODD_NAMES:
        with open(os.path.join(os.fsencode(into), b"odd", name), "rb") as stream:  # noqa: PTH118, PTH123 -- bytes
            assert stream.read() == name


@pytest.mark.tool
def test_bsdtar_reads_the_initrd(tmp_path: Path) -> None:
    if not shutil.which("bsdtar"):
        pytest.skip("bsdtar is not installed")
    write_cpio(rich_tree(any_time=False), tmp_path / "c")
    listed = subprocess.run(["bsdtar", "-tvf", tmp_path / "c"], capture_output=True, check=True, env=ENV).stdout
    assert b"crw-------" in listed
    assert b"short -> ../../etc/passwd" in listed
    done = subprocess.run(["bsdtar", "-xOf", tmp_path / "c", "sparse"], capture_output=True, check=True, env=ENV)
    assert len(done.stdout) == 10_000_000


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ({b"f": file(b"", xattrs=((b"user.a", b"b"),))}, "/f has extended attributes (user.a), which an initrd cannot"),
        ({b"TRAILER!!!": file(b"")}, "/TRAILER!!! is the name that ends an initrd"),
        ({b"f": file(b"", mtime=-1)}, "/f has -1 as time, which an initrd cannot hold"),
        ({b"f": file(b"", mtime=1 << 32)}, "/f has 4294967296 as time, which an initrd cannot hold"),
    ],
)
def test_what_an_initrd_cannot_hold_is_refused(tmp_path: Path, nodes: dict[bytes, Node | bytes], message: str) -> None:
    with pytest.raises(InputError) as caught:
        initrd_of(tree_of(nodes), tmp_path, "none")
    assert caught.value.problems[0].message.startswith(message)


def test_a_file_of_4_gib_does_not_fit_an_initrd(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="/f has 4294967296 bytes, which an initrd cannot hold"):
        write_cpio(tree_of({b"f": file(Sparse(1 << 32, ()))}), tmp_path / "c")


def test_the_initrd_has_an_init_and_a_console_unless_they_are_there(tmp_path: Path) -> None:
    own = file(b"#!/bin/sh\n", 0o755)
    tree = tree_of({b"init": own})
    bootable(tree)
    assert tree.get(b"init") is own
    assert tree.get(b"dev/console").rdev == (5, 1)


CPIO_DAMAGE: dict[str, tuple[Callable[[bytearray], None], str]] = {
    "magic": (lambda d: d.__setitem__(0, 0x31), "there is no member at byte 0"),
    "cut short": (lambda d: d.__delitem__(slice(400, None)), "it is damaged"),
    "empty": (lambda d: d.clear(), "there is no member at byte 0"),
    "no trailer": (lambda d: d.__delitem__(slice(d.index(b"TRAILER") - 110, None)), "there is no member at byte"),
    "no digits": (lambda d: d.__setitem__(slice(6, 14), b"gggggggg"), "it is damaged"),
    "mode": (lambda d: d.__setitem__(slice(14, 22), b"00004FFF"), "/ is"),
    "name": (lambda d: d.__setitem__(d.index(b"etc/conf") + 1, 0x78), "/exc/conf is there and should not be"),
    "missing": (lambda d: d.__setitem__(d.index(b"etc/conf") + 1, 0x78), "/etc/conf is missing"),
    "bytes": (lambda d: d.__setitem__(d.index(b"configured") + 3, 0x78), "/etc/conf has other bytes"),
    "target": (lambda d: d.__setitem__(d.index(b"../there"), 0x78), "/link has other bytes"),
    "huge name": (lambda d: d.__setitem__(slice(94, 102), b"7FFFFFFF"), "has a damaged name"),
    "twice": (lambda d: d.__setitem__(slice(d.index(b"same"), d.index(b"same") + 4), b"conf"), "is there twice"),
}


@pytest.mark.parametrize("case", CPIO_DAMAGE)
def test_damage_to_an_initrd_is_found(tmp_path: Path, case: str) -> None:
    tree = tree_of({
        b"etc/conf": file(b"configured"), b"etc/same": file(b"configured"),
        b"link": Node(Kind.SYMLINK, 0o777, target=b"../there"),
    })  # fmt: skip
    write_cpio(tree, tmp_path / "c")
    assert list(cpio_problems(tmp_path / "c", tree)) == []
    data = bytearray((tmp_path / "c").read_bytes())
    damage, message = CPIO_DAMAGE[case]
    damage(data)
    (tmp_path / "c").write_bytes(data)
    assert any(message in p for p in cpio_problems(tmp_path / "c", tree)), list(cpio_problems(tmp_path / "c", tree))


def test_hard_links_bring_their_data_once_and_last(tmp_path: Path) -> None:
    """The kernel fills a linked file when it meets data for it: the first names must not empty it again."""
    write_cpio(tree_of({b"a": file(b"data"), b"b": b"a", b"c": b"a"}), tmp_path / "c")
    with (tmp_path / "c").open("rb") as stream:
        entries = [e for e in read_cpio(stream.fileno()) if e.name != b"."]
    assert [(e.name, e.size, e.links) for e in entries] == [(b"a", 0, 3), (b"b", 0, 3), (b"c", 4, 3)]
    assert len({e.number for e in entries}) == 1


@pytest.mark.tool
def test_a_tool_that_packs_wrongly_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A gzip on PATH that loses the end of what it packs."""
    fake = tmp_path / "bin" / "gzip"
    fake.parent.mkdir()
    real = shutil.which("gzip")
    fake.write_text(
        "#!/bin/sh\n"
        "for last; do :; done\n"
        f'[ -f "$last" ] || exec {real} --version\n'
        f'head -c 5000 "$last" | {real} -n > "$last.gz"\n'
    )
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}:{os.environ['PATH']}")
    with pytest.raises(ToolError, match="unpacked again is not what gzip was given"):
        initrd_of(rich_tree(any_time=False), tmp_path, "gzip")


def test_padding_is_what_cpio_writes(tmp_path: Path) -> None:
    write_cpio(Tree(), tmp_path / "c")
    assert (tmp_path / "c").stat().st_size % cpio._PADDING == 0


def test_holes_cost_nothing_and_no_initrd_is_endless(tmp_path: Path) -> None:
    """A hole of gigabytes was once written as zeros, out of as much memory."""
    tree = tree_of({b"init": file(b"x", 0o755), b"holes": file(Sparse(3 << 30, ((1 << 30, b"data"),)))})
    write_cpio(tree, tmp_path / "cpio")
    info = (tmp_path / "cpio").stat()
    assert info.st_size > 3 << 30
    assert info.st_blocks * 512 < 1 << 20
    tree.add(b"more", file(Sparse(3 << 30, ())))
    with pytest.raises(InputError, match="the initrd is larger than 4 GiB"):
        write_cpio(tree, tmp_path / "more")
