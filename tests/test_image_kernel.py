"""What only a kernel with more than the default can show: 2 MiB pages, compressed EROFS, each way to pack an initrd."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from image_parts import PackedWithZstd, build, file, rich_tree, rootfs_of, tree_of
from kata_toolkit.image.make import Wanted, write_image
from kata_toolkit.rootfs.tree import Node
from kata_toolkit.spec.model import Image, Initrd
from kata_toolkit.stages.image import ImageStage
from kata_toolkit.stages.initrd import InitrdStage, bootable
from test_image_boot import CMDLINE, DAX, EROFS_DAX, QEMU, TIMEOUT, boot, differences, init, nvdimm, with_init

__all__ = ["init"]  # a fixture
pytestmark = [pytest.mark.vm, pytest.mark.tool, pytest.mark.kernel, pytest.mark.full]
SPEC = """
version: 1
name: images
arch: x86_64
kernel:
  source: {kind: debian, package: linux-source-6.12}
  features: {add: [thp, erofs-compressed]}
  options:
    {CONFIG_RD_XZ: y, CONFIG_RD_LZ4: y, CONFIG_RD_LZO: y, CONFIG_RD_LZMA: y, CONFIG_RD_BZIP2: y,
     CONFIG_EROFS_FS_ZIP_ZSTD: y}
"""
MIB = 1 << 20
BLOCK_EROFS = "root=/dev/vda1 ro rootfstype=erofs"


@pytest.fixture(scope="module")
def large_kernel(tool: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A vmlinux with all of it: the one that $KATA_TOOLKIT_TEST_IMAGE_KERNEL names, or one that is built."""
    given = os.environ.get("KATA_TOOLKIT_TEST_IMAGE_KERNEL")
    if given:
        return Path(given)
    folder = tmp_path_factory.mktemp("kernel")
    (folder / "images.yaml").write_text(SPEC)
    argv = [tool, "build", "-q", "--only", "kernel", folder / "images.yaml", "-o", folder / "set"]
    subprocess.run(argv, check=True)
    return next((folder / "set/share/kata-containers").glob("vmlinux-*"))


@pytest.fixture(scope="module")
def toucher(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The program that touches each page of a large file and of itself, its segments on 2 MiB boundaries."""
    compiler = "musl-gcc" if shutil.which("musl-gcc") else "gcc"
    source, target = Path(__file__).parent / "data" / "huge_init.c", tmp_path_factory.mktemp("touch") / "init"
    options = ["-static", "-no-pie", "-Os", "-Wall", "-Wextra", "-Werror", "-Wl,-z,max-page-size=2097152"]
    subprocess.run([compiler, *options, "-o", target, source], check=True)
    return target.read_bytes()


def virtio_blk(image: Path) -> list[str]:
    drive = ["-drive", f"if=none,id=root,file={image},format=raw,readonly=on", "-device", "virtio-blk-pci,drive=root"]
    return ["-machine", "q35,accel=tcg", "-m", "256M", *drive]


def touched(kernel: Path, image: Path, append: str) -> dict[str, dict[str, int]]:
    """What the program printed, by what it touched. With -icount its time stamps count instructions."""
    argv = [*QEMU, "-icount", "shift=0", "-kernel", kernel, "-append", f"{CMDLINE} {append}", *nvdimm(image)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=TIMEOUT * 4, check=False)
    assert "END" in done.stdout, done.stdout[-2000:] + done.stderr
    found = re.findall(r"^(file|program) (bytes=.*?)\r?$", done.stdout, re.MULTILINE)
    return {what: {k: int(v) for k, v in (word.split("=") for word in words.split())} for what, words in found}


@pytest.mark.parametrize(("kind", "append"), [("ext4", DAX), ("erofs", EROFS_DAX)])
def test_the_guest_maps_2_mib_at_a_time(
    tmp_path: Path, large_kernel: Path, toucher: bytes, kind: str, append: str
) -> None:
    """Of the same tree, once packed and once huge: the kernel's own counts of faults and page tables."""
    tree = tree_of({b"sbin/init": file(toucher, 0o755), b"large": file(b"large file " * 1_600_000)})
    for folder in (b"proc", b"dev"):
        tree.add(folder, Node(tree.get(b"").kind, 0o755))
    found = {}
    for layout in ("packed", "huge"):
        (tmp_path / layout).mkdir()
        given = rootfs_of(tree, tmp_path / layout, hashlib.sha256(toucher).hexdigest())
        stage = ImageStage(Image(format=kind, layout=layout), 2)
        image = build([given, stage], "image", tmp_path / layout).path("image")
        found[layout] = touched(large_kernel, image, append)
        print(kind, layout, found[layout])
    for what in ("file", "program"):
        packed, huge = found["packed"][what], found["huge"][what]
        assert packed["faults"] >= packed["bytes"] // 4096
        # One for each 2 MiB, and 4 KiB at a time only where the file ends amid such a page.
        assert huge["faults"] <= huge["bytes"] // (2 * MIB) + huge["bytes"] % (2 * MIB) // 4096 + 20
        assert huge["page_tables_kib"] < packed["page_tables_kib"]
        assert huge["instructions"] * 10 < packed["instructions"]
        assert huge["sum"] == packed["sum"]


@pytest.mark.parametrize("compression", ["lz4", "lz4hc"])
def test_the_kernel_unpacks_compressed_files(tmp_path: Path, large_kernel: Path, init: bytes, compression: str) -> None:
    tree = with_init(rich_tree(), init)
    for number in range(20):
        tree.add(b"text/%d" % number, file(b"%d times the same, but for the number; " % number * (number * 3000 + 1)))
    given = rootfs_of(tree, tmp_path, hashlib.sha256(init).hexdigest())
    stage = ImageStage(Image(format="erofs", dax=False, compression=compression), 2)
    image = build([given, stage], "image", tmp_path).path("image")
    seen = boot(large_kernel, *virtio_blk(image), append=BLOCK_EROFS)
    assert list(differences(tree, seen, times=True, below=(b"dev/", b"dev"))) == []


def test_the_kernel_unpacks_files_packed_with_zstd(tmp_path: Path, large_kernel: Path, init: bytes) -> None:
    tree = with_init(rich_tree(), init)
    tree.add(b"text", file(b"".join(b"line %d of many\n" % number for number in range(50_000))))
    files = PackedWithZstd(tree)
    write_image(tree, tmp_path / "image", Wanted("erofs", dax=False), "ab" * 32, compressed=(files, files.packed))
    assert len(files.packed) > 2
    seen = boot(large_kernel, *virtio_blk(tmp_path / "image"), append=BLOCK_EROFS)
    assert list(differences(tree, seen, times=True, below=(b"dev/", b"dev"))) == []


@pytest.mark.parametrize("compression", ["gzip", "bzip2", "lzma", "xz", "lzo", "lz4", "zstd", "none"])
def test_the_kernel_unpacks_the_initrd(tmp_path: Path, large_kernel: Path, init: bytes, compression: str) -> None:
    tree = with_init(rich_tree(any_time=False), init)
    given = rootfs_of(tree, tmp_path, hashlib.sha256(init).hexdigest())
    packed = build([given, InitrdStage(Initrd(True, compression))], "initrd", tmp_path).path("initrd")
    bootable(tree)
    seen = boot(
        large_kernel, "-machine", "q35,accel=tcg", "-m", "256M", "-initrd", packed, append="rdinit=/init"
    )  # fmt: skip
    assert list(differences(tree, seen, times=False, below=(b"dev",))) == []
