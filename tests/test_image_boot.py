"""A real kernel as the last reader: boots images and initrds made from an odd tree, and compares what it sees there."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from image_parts import build, file, rich_tree, rootfs_of, with_attributes
from kata_toolkit.pipeline.store import Entry
from kata_toolkit.rootfs.tree import Bytes, Content, Kind, Node, Tree, hard_links, read_padded
from kata_toolkit.spec.model import Image, Initrd
from kata_toolkit.stages.image import ImageStage
from kata_toolkit.stages.initrd import InitrdStage, bootable

pytestmark = [pytest.mark.vm, pytest.mark.tool]
QEMU = ["qemu-system-x86_64", "-nodefaults", "-nographic", "-no-reboot", "-serial", "stdio", "-cpu", "max"]
CMDLINE = "console=ttyS0 quiet panic=-1 init=/sbin/init"
DAX = "root=/dev/pmem0p1 rootflags=dax,data=ordered,errors=remount-ro ro rootfstype=ext4"
EROFS_DAX = "root=/dev/pmem0p1 rootflags=dax ro rootfstype=erofs"
BLOCK = "root=/dev/vda1 rootflags=data=ordered,errors=remount-ro ro rootfstype=ext4"
TIMEOUT = 120


@pytest.fixture(scope="module")
def kernel(request: pytest.FixtureRequest) -> Path:
    """A guest kernel: the one that $KATA_TOOLKIT_TEST_KERNEL names, or the built quickstart's."""
    given = os.environ.get("KATA_TOOLKIT_TEST_KERNEL")
    if given:
        return Path(given)
    return next((request.getfixturevalue("built_set") / "share/kata-containers").glob("vmlinux-*"))


@pytest.fixture(scope="module")
def init(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The walker, as a static program."""
    compiler = "musl-gcc" if shutil.which("musl-gcc") else "gcc"
    source, target = Path(__file__).parent / "data" / "walk_init.c", tmp_path_factory.mktemp("init") / "init"
    subprocess.run([compiler, "-static", "-Os", "-Wall", "-Wextra", "-Werror", "-o", target, source], check=True)
    return target.read_bytes()


@dataclass
class Seen:
    """What the guest printed: a file's fields by path, attributes by path and name, options of the root mount."""

    files: dict[bytes, list[str]] = field(default_factory=dict)
    attributes: dict[tuple[bytes, bytes], bytes] = field(default_factory=dict)
    mount: str = ""


def boot(kernel: Path, *arguments: str | Path, append: str) -> Seen:
    command = [*QEMU, "-kernel", kernel, "-append", f"{CMDLINE} {append}", *arguments]
    done = subprocess.run(command, capture_output=True, timeout=TIMEOUT, check=False)
    text = done.stdout.decode(errors="replace").replace("\r", "")
    assert "\nEND\n" in text, text[-3000:] + done.stderr.decode(errors="replace")
    seen = Seen()
    for line in text.splitlines():
        kind, *words = line.split() or [""]
        if kind == "F":
            seen.files[unhex(words[0]).lstrip(b"/")] = words[1:]
        elif kind == "X":
            seen.attributes[unhex(words[0]).lstrip(b"/"), unhex(words[1])] = unhex(words[2])
        elif kind == "M":
            seen.mount += line + "\n"
    return seen


def unhex(word: str) -> bytes:
    return b"" if word == "-" else bytes.fromhex(word)


def fnv(content: Content) -> str:
    hash_ = 0xCBF29CE484222325
    for byte in read_padded(content, 0, content.size):
        hash_ = (hash_ ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return f"{hash_:016x}"


def differences(tree: Tree, seen: Seen, *, times: bool, below: tuple[bytes, ...]) -> Iterator[str]:
    """What the guest saw otherwise than it is in the tree. ``below``: folders that something is mounted on."""
    linked = hard_links(tree.walk())
    meant = {path: node for path, node in tree.walk() if not path.startswith(below)}
    there = {path: fields for path, fields in seen.files.items() if not path.startswith(below)}
    yield from (f"{path!r} is missing" for path in meant.keys() - there.keys())
    yield from (f"{path!r} should not be" for path in there.keys() - meant.keys())
    for path in meant.keys() & there.keys():
        node = meant[path]
        mode, uid, gid, links, size, mtime, rdev, rest = there[path]
        if (int(mode, 8), int(uid), int(gid)) != (node.kind.value | node.mode, node.uid, node.gid):
            yield f"{path!r}: {mode} {uid}:{gid}"
        if times and int(mtime) != node.mtime:
            yield f"{path!r}: time {mtime}"
        if rdev != f"{node.rdev[0]}:{node.rdev[1]}":
            yield f"{path!r}: device {rdev}"
        if node.kind is Kind.DIRECTORY:
            continue
        if int(size) != node.size:
            yield f"{path!r}: {size} bytes"
        if node.kind is not Kind.SYMLINK and int(links) != len(linked.get(id(node), (path,))):
            yield f"{path!r}: {links} links"
        if node.kind is Kind.SYMLINK and unhex(rest) != node.target:
            yield f"{path!r}: leads to {rest}"
        if node.content and rest != fnv(node.content):
            yield f"{path!r}: other bytes"


def with_init(tree: Tree, init: bytes) -> Tree:
    tree.add(b"sbin/init", Node(Kind.FILE, 0o755, content=Bytes(init)))
    # The kernel brings /dev and /root into every initrd.
    for folder, mode in ((b"proc", 0o755), (b"dev", 0o755), (b"root", 0o700)):
        if folder not in tree:
            tree.add(folder, Node(Kind.DIRECTORY, mode))
    return tree


def image_of(
    tree: Tree, init: bytes, folder: Path, align: int = 2, *, dax: bool = True, kind: str = "ext4", layout: str = "auto"
) -> Path:
    given = rootfs_of(with_init(tree, init), folder, hashlib.sha256(init).hexdigest())
    return build([given, ImageStage(Image(format=kind, dax=dax, layout=layout), align)], "image", folder).path("image")


def nvdimm(image: Path) -> list[str | Path]:
    size = image.stat().st_size
    return [
        "-machine", "q35,accel=tcg,nvdimm=on", "-m", "256M,slots=10,maxmem=4G",
        "-object", f"memory-backend-file,id=mem0,mem-path={image},size={size},readonly=on",
        "-device", "nvdimm,id=nv0,memdev=mem0,unarmed=on",
    ]  # fmt: skip


@pytest.mark.parametrize("align", [2, 128])
def test_the_kernel_maps_the_image_and_sees_the_tree(tmp_path: Path, kernel: Path, init: bytes, align: int) -> None:
    """Kata's own command line: DAX, data=ordered without a journal, read-only; then every file of the odd tree."""
    tree = rich_tree()
    image = image_of(tree, init, tmp_path, align)
    seen = boot(kernel, *nvdimm(image), append=DAX)
    assert re.search(r"/ ext4 ro,.*dax(=always)?", seen.mount), seen.mount
    assert list(differences(tree, seen, times=True, below=(b"dev/", b"dev"))) == []


def test_the_kernel_maps_an_erofs_image(tmp_path: Path, kernel: Path, init: bytes) -> None:
    tree = rich_tree()
    seen = boot(kernel, *nvdimm(image_of(tree, init, tmp_path, kind="erofs")), append=EROFS_DAX)
    assert re.search(r"/ erofs ro,.*dax(=always)?", seen.mount), seen.mount
    assert list(differences(tree, seen, times=True, below=(b"dev/", b"dev"))) == []


@pytest.mark.parametrize(("kind", "append"), [("ext4", DAX), ("erofs", EROFS_DAX)])
def test_the_layout_huge_is_read_like_any_other(
    tmp_path: Path, kernel: Path, init: bytes, kind: str, append: str
) -> None:
    tree = rich_tree()
    tree.add(b"large", file(b"0123456789" * 300_000))
    seen = boot(kernel, *nvdimm(image_of(tree, init, tmp_path, kind=kind, layout="huge")), append=append)
    assert re.search(rf"/ {kind} ro,.*dax(=always)?", seen.mount), seen.mount
    assert list(differences(tree, seen, times=True, below=(b"dev/", b"dev"))) == []


@pytest.mark.parametrize(("kind", "append"), [("ext4", DAX), ("erofs", EROFS_DAX)])
def test_the_kernel_reads_the_attributes(tmp_path: Path, kernel: Path, init: bytes, kind: str, append: str) -> None:
    tree = with_attributes()
    image = image_of(tree, init, tmp_path, kind=kind)
    seen = boot(kernel, *nvdimm(image), append=append)
    meant = {(path, name): value for path, node in tree.walk() for name, value in node.xattrs}
    # trusted.* and security.* need a kernel that is built for them; user.* is always there.
    readable = {key: value for key, value in seen.attributes.items() if key in meant}
    assert readable == {key: meant[key] for key in readable}
    assert len(readable) >= 21


def test_an_image_without_dax_boots_from_a_disk(tmp_path: Path, kernel: Path, init: bytes) -> None:
    tree = rich_tree()
    image = image_of(tree, init, tmp_path, dax=False)
    drive = ["-drive", f"if=none,id=root,file={image},format=raw,readonly=on", "-device", "virtio-blk-pci,drive=root"]
    seen = boot(kernel, "-machine", "q35,accel=tcg", "-m", "256M", *drive, append=BLOCK)
    assert list(differences(tree, seen, times=True, below=(b"dev/", b"dev"))) == []


def test_a_dax_image_boots_from_a_disk_too(tmp_path: Path, kernel: Path, init: bytes) -> None:
    """The first partition table is for those who read the file from its start."""
    image = image_of(rich_tree(), init, tmp_path)
    drive = ["-drive", f"if=none,id=root,file={image},format=raw,readonly=on", "-device", "virtio-blk-pci,drive=root"]
    seen = boot(kernel, "-machine", "q35,accel=tcg", "-m", "256M", *drive, append=BLOCK)
    assert b"sbin/init" in seen.files


@pytest.mark.parametrize("compression", ["gzip", "zstd", "none"])
def test_the_kernel_unpacks_the_initrd(tmp_path: Path, kernel: Path, init: bytes, compression: str) -> None:
    tree = with_init(rich_tree(any_time=False), init)
    given = rootfs_of(tree, tmp_path, hashlib.sha256(init).hexdigest())
    entry: Entry = build([given, InitrdStage(Initrd(True, compression))], "initrd", tmp_path)
    bootable(tree)
    arguments = ["-machine", "q35,accel=tcg", "-m", "256M", "-initrd", entry.path("initrd")]
    seen = boot(kernel, *arguments, append="rdinit=/init")
    # The kernel keeps files' times and not folders'; a link to a link becomes a link of its own.
    assert list(differences(tree, seen, times=False, below=(b"dev",))) == []
