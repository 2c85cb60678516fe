"""A kernel from elsewhere: taken as it is, once it is what it says."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path

import pytest
from kata_toolkit.errors import InputError
from kata_toolkit.spec.model import GivenFile, PrebuiltKernel
from kata_toolkit.stages.kernel_prebuilt import PrebuiltKernelStage
from kata_toolkit.stages.sources import SourcesStage
from kernel_harness import Bench

BANNER = b"Linux version 6.12.5-cloud-amd64 (debian@example) #1 SMP\0"


def elf(machine: int = 62, bits: bytes = b"\x02\x01") -> bytes:
    return b"\x7fELF" + bits + bytes(10) + b"\x02\x00" + machine.to_bytes(2, "little") + bytes(44) + BANNER


def bzimage(magic: bytes = b"HdrS") -> bytes:
    return bytes(0x202) + magic + bytes(100)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "cache")


def write(path: Path, content: bytes) -> GivenFile:
    path.write_bytes(content)
    return GivenFile(path=path)


def test_all_three_files_are_taken_unchanged(bench: Bench, tmp_path: Path) -> None:
    kernel = PrebuiltKernel(
        write(tmp_path / "vmlinux", elf()),
        write(tmp_path / "config", b"CONFIG_NET=y\n"),
        write(tmp_path / "bzImage", bzimage()),
    )
    entry = bench.build([PrebuiltKernelStage(kernel, "x86_64")])["kernel"]
    assert entry.path("vmlinux").read_bytes() == elf()
    assert entry.path("config").read_bytes() == b"CONFIG_NET=y\n"
    assert entry.path("vmlinuz").read_bytes() == bzimage()
    assert entry.path("release").read_text() == "6.12.5-cloud-amd64\n"


def test_only_vmlinux_is_needed_and_may_come_by_url(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "vmlinux"
    path.write_bytes(elf())
    kernel = PrebuiltKernel(GivenFile(url=path.as_uri(), sha256=hashlib.sha256(elf()).hexdigest()))
    entry = bench.build([SourcesStage(kernel), PrebuiltKernelStage(kernel, "x86_64")])["kernel"]
    assert sorted(entry.files) == ["release", "vmlinux"]


@pytest.mark.parametrize(
    ("vmlinux", "message"),
    [
        (b"", "not a 64-bit ELF file"),
        (bzimage(), "not a 64-bit ELF file"),
        (elf(bits=b"\x01\x01"), "not a 64-bit ELF file"),
        (elf(machine=183), "is for another architecture than x86_64"),
        (elf().replace(BANNER, b""), 'has no "Linux version" banner'),
    ],
)
def test_what_is_no_kernel_is_refused(bench: Bench, tmp_path: Path, vmlinux: bytes, message: str) -> None:
    kernel = PrebuiltKernel(write(tmp_path / "mine", vmlinux))
    with pytest.raises(InputError) as caught:
        bench.build([PrebuiltKernelStage(kernel, "x86_64")])
    assert message in str(caught.value)
    assert "mine" in str(caught.value)


def test_a_bzimage_that_is_none_is_refused(bench: Bench, tmp_path: Path) -> None:
    kernel = PrebuiltKernel(write(tmp_path / "v", elf()), bzimage=write(tmp_path / "b", bzimage(b"xxxx")))
    with pytest.raises(InputError, match="b is not a bzImage"):
        bench.build([PrebuiltKernelStage(kernel, "x86_64")])


def test_a_wrong_digest_is_refused_before_anything_is_copied(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "v").write_bytes(elf())
    kernel = PrebuiltKernel(GivenFile(path=tmp_path / "v", sha256="0" * 64))
    with pytest.raises(InputError, match=r"not 0{64} as kernel.source.vmlinux.sha256 says"):
        bench.build([PrebuiltKernelStage(kernel, "x86_64")])


def image(magic: bytes = b"ARMd") -> bytes:
    return bytes(56) + magic + bytes(4) + BANNER


def test_where_qemu_boots_an_image_that_is_what_is_taken(bench: Bench, tmp_path: Path) -> None:
    packed = gzip.compress(image())
    kernel = PrebuiltKernel(write(tmp_path / "Image", image()), bzimage=write(tmp_path / "Image.gz", packed))
    entry = bench.build([PrebuiltKernelStage(kernel, "arm64")])["kernel"]
    assert entry.path("vmlinux").read_bytes() == image()
    assert entry.path("vmlinuz").read_bytes() == packed


@pytest.mark.parametrize("vmlinux", [elf(machine=183), image(b"RSC\x05"), image()[:50], gzip.compress(image())])
def test_what_is_no_image_is_refused_there(bench: Bench, tmp_path: Path, vmlinux: bytes) -> None:
    kernel = PrebuiltKernel(write(tmp_path / "mine", vmlinux))
    with pytest.raises(InputError) as caught:
        bench.build([PrebuiltKernelStage(kernel, "arm64")])
    assert "mine is not an Image for arm64" in str(caught.value)
