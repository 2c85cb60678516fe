"""A distribution's kernel: taken out of its package, held to what a guest needs, its modules in order; and all that may
be wrong with such a package."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import json
import lzma
import subprocess
from pathlib import Path

import pytest
from image_parts import tar_tree
from kata_toolkit import bzimage as bz
from kata_toolkit import run
from kata_toolkit.errors import InputError, KataToolkitError, ToolError, Where
from kata_toolkit.events import Note
from kata_toolkit.kconfig.prebuilt_rules import Guest
from kata_toolkit.modinfo import without_signature
from kata_toolkit.pipeline.store import Entry
from kata_toolkit.spec.model import GivenFile, PackagedKernel
from kata_toolkit.stages.kernel_fit import KernelFitStage
from kata_toolkit.stages.kernel_modules import KernelModulesStage
from kata_toolkit.stages.kernel_package import PackagedKernelStage
from kernel_harness import Bench
from package_parts import FIELDS, RELEASE, boot_files, bzimage, config, deb_of, elf, module

pytestmark = pytest.mark.tool
PLACE, BOOT = Where("guest.yaml", 4, 3), Where("guest.yaml", 9, 5)
INITRD = Guest("qemu", "initrd", frozenset({"initrd", "initrd-zstd"}), BOOT)
IMAGE = Guest("qemu", "image", frozenset({"image", "image-ext4", "nvdimm"}), BOOT)
MODULES = f"lib/modules/{RELEASE}"


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "cache")


def kernel_of(bench: Bench, path: Path, arch: str = "x86_64", sha256: str | None = None) -> Entry:
    source = PackagedKernel(deb=GivenFile(path=path, sha256=sha256), where=PLACE)
    return bench.build([PackagedKernelStage(source, arch)])["kernel"]


def set_of(
    bench: Bench,
    path: Path,
    *guests: Guest,
    profile: str = "minimal",
    cmdline: tuple[str, ...] = (),
    modprobe: bool = True,
) -> dict[str, Entry]:
    source = PackagedKernel(deb=GivenFile(path=path), where=PLACE)
    fit = KernelFitStage(profile, "x86_64", guests or (INITRD,), PLACE, cmdline=cmdline)
    return bench.build([PackagedKernelStage(source, "x86_64"), fit, KernelModulesStage(source, "x86_64", modprobe)])


def notes(bench: Bench) -> str:
    return "\n".join(e.text for e in bench.events if isinstance(e, Note))


# -- the package ---------------------------------------------------------------------------------------------------


def test_both_forms_of_the_kernel_and_its_facts_come_out(bench: Bench, tmp_path: Path) -> None:
    path = deb_of(tmp_path / "k.deb", boot_files())
    entry = kernel_of(bench, path)
    assert sorted(entry.files) == ["config", "package.json", "release", "vmlinux", "vmlinuz"], "the stub map was kept"
    assert entry.path("vmlinuz").read_bytes() == bzimage()
    assert entry.path("vmlinux").read_bytes().startswith(b"\x7fELF")
    assert entry.path("release").read_text() == f"{RELEASE}\n"
    assert json.loads(entry.path("package.json").read_text()) == {
        "package": FIELDS["Package"],
        "version": "6.12.9-1",
        "architecture": "amd64",
        "source": {"name": "linux-signed-amd64", "version": "6.12.9+1"},
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "licence": "",
        "built_using": "",
    }


def test_the_packages_licence_comes_along(bench: Bench, tmp_path: Path) -> None:
    text = b"Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\nFiles: *\nLicense: GPL-2\n"
    files = {**boot_files(), "usr/share/doc/linux-image-x/copyright": text}
    entry = kernel_of(bench, deb_of(tmp_path / "k.deb", files))
    assert json.loads(entry.path("package.json").read_text())["licence"] == "GPL-2.0-only"
    assert entry.path("licences/linux-image-x/copyright").read_bytes() == text


def test_a_package_of_the_merged_usr_and_a_real_map_are_known(bench: Bench, tmp_path: Path) -> None:
    files = {f"usr/{name}": data for name, data in boot_files().items()}
    files[f"usr/boot/System.map-{RELEASE}"] = b"ffffffff81000000 T _text\n" * 4000
    assert "System.map" in kernel_of(bench, deb_of(tmp_path / "k.deb", files)).files


PACKINGS = {
    "plain": elf(),
    "gzip": gzip.compress(elf()),
    "xz": lzma.compress(elf(), lzma.FORMAT_XZ, check=lzma.CHECK_CRC32),
    "lzma": lzma.compress(elf(), lzma.FORMAT_ALONE),
    "bzip2": bz2.compress(elf()),
}
TOOLS = {"zstd": ["zstd", "-22", "--ultra", "-c"], "lz4": ["lz4", "-l", "-9", "-c"]}


def packed(kind: str) -> bytes:
    if kind in TOOLS:
        data = subprocess.run(TOOLS[kind], input=elf(), capture_output=True, check=True).stdout
    else:
        data = PACKINGS[kind]
    return data if kind in ("plain", "gzip") else data + len(elf()).to_bytes(4, "little")


@pytest.mark.parametrize("kind", [*PACKINGS, *TOOLS])
def test_every_way_to_pack_a_kernel_is_undone(kind: str, tmp_path: Path) -> None:
    assert bz.unpack(bzimage(packed(kind)), "it", tmp_path) == elf()


@pytest.mark.parametrize("kind", ["gzip", "xz", "lzma", "bzip2", "zstd", "lz4"])
@pytest.mark.parametrize("harm", ["cut", "flipped", "size"])
def test_a_damaged_kernel_is_refused(kind: str, harm: str, tmp_path: Path) -> None:
    data = bytearray(packed(kind))
    if harm == "cut":
        data = data[: len(data) // 2]
    elif harm == "flipped":
        data[len(data) // 2] ^= 0xFF
    elif kind == "gzip":
        pytest.skip("gzip has a size of its own, and a sum")
    else:
        data[-4:] = (7).to_bytes(4, "little")
    with pytest.raises(InputError, match="in it"):
        bz.unpack(bzimage(bytes(data)), "it", tmp_path)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (b"", "is not a bzImage: it has no setup header"),
        (b"MZ" + bytes(5000), "is not a bzImage: it has no setup header"),
        (bzimage(protocol=0x207), "has boot protocol 2.07"),
        (bzimage(length=0), "is damaged or cut off"),
        (bzimage(length=1 << 31), "is damaged or cut off: its header says that the kernel ends at byte"),
        (bzimage(offset=1 << 30), "is damaged or cut off"),
        (bzimage()[:2600], "is damaged or cut off"),
        (
            bzimage(b"\x01\x02\x03\x04\x05\x06" + bytes(200)),
            "is packed in a way that is not known (it starts with 01 02",
        ),
        (bzimage(gzip.compress(b"#!/bin/sh\n" * 50)), "(gzip) is no ELF file, so no kernel"),
        (bzimage(gzip.compress(b"\x7fELF" + bytes(90))), "is no kernel's ELF file"),
        (bzimage(gzip.compress(elf(183))), "is for another architecture than x86_64"),
        (bzimage(release="5.4.0"), "says that it is 5.4.0"),
    ],
)
def test_what_is_no_kernel_is_refused(bench: Bench, tmp_path: Path, image: bytes, message: str) -> None:
    with pytest.raises(InputError) as caught:
        kernel_of(bench, deb_of(tmp_path / "k.deb", boot_files(vmlinuz=image)))
    assert message in str(caught.value)
    assert "k.deb" in str(caught.value)


def test_a_missing_unpacker_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = bzimage(packed("lz4"))
    monkeypatch.setattr(run, "which", lambda tool: None)
    with pytest.raises(ToolError, match="lz4, which unpacks the kernel in it, is not installed") as caught:
        bz.unpack(image, "it", tmp_path)
    assert caught.value.problems[0].hint == "apt-get install lz4"


def without(files: dict[str, bytes], part: str) -> dict[str, bytes]:
    return {name: data for name, data in files.items() if part not in name}


@pytest.mark.parametrize(
    ("files", "fields", "message"),
    [
        (without(boot_files(), "vmlinuz"), {}, "has no boot/vmlinuz-*, so it holds no kernel"),
        (without(boot_files(), "config"), {}, "has no boot/config-*, so it holds no kernel"),
        ({"usr/share/doc/x": b""}, {}, "has no boot/vmlinuz-*, so it holds no kernel"),
        ({**boot_files(), "boot/vmlinuz-6.12.10": bzimage()}, {}, f"holds two kernels: {RELEASE} and 6.12.10"),
        (
            {**without(boot_files(), "config"), "boot/config-6.1.0": b"CONFIG_X=y\n"},
            {},
            f"holds files of several kernels: 6.1.0, {RELEASE}",
        ),
        (boot_files(), {"Architecture": "arm64"}, "is for arm64, the guest is x86_64 (amd64)"),
        ({**boot_files(), "../etc/passwd": b"x"}, {}, "has a member that would lie outside of it"),
    ],
)
def test_a_package_that_will_not_do_is_refused(
    bench: Bench, tmp_path: Path, files: dict[str, bytes], fields: dict[str, str], message: str
) -> None:
    with pytest.raises(InputError) as caught:
        kernel_of(bench, deb_of(tmp_path / "k.deb", files, **fields))
    assert message in str(caught.value)


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.98])
def test_a_truncated_package_is_refused(bench: Bench, tmp_path: Path, keep: float) -> None:
    path = deb_of(tmp_path / "k.deb", {**boot_files(), "boot/other": bytes(range(256)) * 400})
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])
    with pytest.raises(InputError, match=r"k\.deb is damaged or truncated"):
        kernel_of(bench, path)


@pytest.mark.parametrize("content", [b"", b"hello", b"\x7fELF" + bytes(900), b"PK\x03\x04"])
def test_what_is_no_package_is_refused(bench: Bench, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "k.deb").write_bytes(content)
    with pytest.raises(InputError, match=r"k\.deb is not a Debian package"):
        kernel_of(bench, tmp_path / "k.deb")


def test_a_wrong_digest_and_a_wrong_guest_are_refused_at_the_specs_line(bench: Bench, tmp_path: Path) -> None:
    path = deb_of(tmp_path / "k.deb", boot_files())
    with pytest.raises(InputError, match=f"not {'0' * 64} as kernel.source.deb.sha256 says") as caught:
        kernel_of(bench, path, sha256="0" * 64)
    assert caught.value.problems[0].where == PLACE
    with pytest.raises(InputError, match="x86_64 only") as caught:
        kernel_of(bench, path, arch="arm64")
    assert caught.value.problems[0].where == PLACE


# -- what a guest needs --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "guest", "message", "where"),
    [
        ({"PVH": "n"}, INITRD, "QEMU starts vmlinux by PVH (CONFIG_PVH=n)", PLACE),
        ({"PID_NS": "n", "IPC_NS": "n"}, INITRD, "containers' namespaces (CONFIG_IPC_NS=n, CONFIG_PID_NS=n)", PLACE),
        ({"MEMCG": "n"}, INITRD, "containers' cgroups (CONFIG_MEMCG=n)", PLACE),
        ({"VSOCKETS": "n"}, INITRD, "the agent's channel (CONFIG_VSOCKETS=n)", PLACE),
        ({"UNIX": "m"}, INITRD, "networking needs CONFIG_UNIX=m built in", PLACE),
        ({"RD_ZSTD": "n"}, INITRD, "an initrd packed with zstd (CONFIG_RD_ZSTD=n)", PLACE),
        ({"EXT4_FS": "n"}, IMAGE, "the root's file system (CONFIG_EXT4_FS=n)", PLACE),
        ({"EXT4_FS": "m"}, IMAGE, "cannot boot the image of qemu: the root's file system needs a module", BOOT),
        ({"ACPI_NFIT": "m", "BLK_DEV_PMEM": "m"}, IMAGE, "(CONFIG_ACPI_NFIT=m, CONFIG_BLK_DEV_PMEM=m)", BOOT),
    ],
)
def test_a_kernel_that_cannot_boot_this_set_is_refused(
    bench: Bench, tmp_path: Path, changes: dict[str, str], guest: Guest, message: str, where: Where
) -> None:
    path = deb_of(tmp_path / "k.deb", boot_files(config=config(**changes)))
    with pytest.raises(InputError) as caught:
        set_of(bench, path, guest)
    (problem,) = caught.value.problems
    assert message in problem.message
    assert problem.where == where
    assert ("boot: initrd" in (problem.hint or "")) == (where == BOOT)


def test_modules_that_would_lie_in_the_image_do_no_harm_in_an_initrd(bench: Bench, tmp_path: Path) -> None:
    files = boot_files(config=config(ACPI_NFIT="m", BLK_DEV_PMEM="m"))
    files |= {f"{MODULES}/kernel/{name}.ko": module(tmp_path, name) for name in ("nfit", "nd_pmem")}
    made = set_of(bench, deb_of(tmp_path / "k.deb", files), INITRD, profile="default")["kernel_modules"]
    assert json.loads(made.path("modules.json").read_text())["boot"] == ["nd_pmem", "nfit"]


def test_a_kernel_alone_must_have_everything_built_in(bench: Bench, tmp_path: Path) -> None:
    source = PackagedKernel(deb=GivenFile(path=deb_of(tmp_path / "k.deb", boot_files(config=config(VSOCKETS="m")))))
    fit = KernelFitStage("minimal", "x86_64", (INITRD,), PLACE, packaged=False)
    with pytest.raises(InputError, match="without its modules: the agent's channel needs CONFIG_VSOCKETS=m"):
        bench.build([PackagedKernelStage(source, "x86_64"), fit])


def test_each_feature_is_told(bench: Bench, tmp_path: Path) -> None:
    files = boot_files(config=config(XFS_FS="m", VIRTIO_BALLOON="n"))
    files[f"{MODULES}/kernel/fs/xfs/xfs.ko"] = module(tmp_path, "xfs")
    made = set_of(bench, deb_of(tmp_path / "k.deb", files), INITRD, profile="default")
    report = json.loads(made["kernel_config"].path("kernel-config.json").read_text())
    found = {f["feature"]: f for f in report["prebuilt"]}
    assert (report["profile"], report["kernel"]) == ("default", RELEASE)
    assert found["xfs"]["modules"] == ["CONFIG_XFS_FS"]
    assert (found["balloon"]["status"], found["balloon"]["missing"]) == ("missing", ["CONFIG_VIRTIO_BALLOON"])
    assert (found["vsock"]["status"], found["vsock"]["modules"]) == ("built in", [])
    assert "balloon" in notes(bench)
    results = {r["symbol"]: r["result"] for r in report["requests"]}
    assert results["CONFIG_XFS_FS"] == "m"


def test_an_empty_configuration_is_no_configuration(bench: Bench, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="sets no option"):
        set_of(bench, deb_of(tmp_path / "k.deb", boot_files(config=b"# nothing\n")))


# -- modules -------------------------------------------------------------------------------------------------------

MODULAR = {"VIRTIO": "m", "VIRTIO_PCI": "m", "VSOCKETS": "m", "VIRTIO_VSOCKETS": "m", "XFS_FS": "m", "OVERLAY_FS": "m"}
PCI, VSOCK, XFS = "drivers/virtio/virtio_pci", "net/vmw_vsock/vmw_vsock_virtio_transport", "fs/xfs/xfs"


def modular(folder: Path, **replaced: bytes) -> dict[str, bytes]:
    """A package with modules in every packing, of which one has a soft dependency by alias, another one a circle."""
    signature = b"s" * 30 + bytes(8) + (30).to_bytes(4, "big") + b"~Module signature appended~\n"
    modules = {
        f"{PCI}.ko.xz": lzma.compress(module(folder, "virtio_pci", "depends=virtio,virtio-ring", "alias=pci:v1AF4*")),
        "drivers/virtio/virtio.ko.gz": gzip.compress(module(folder, "virtio")),
        "drivers/virtio/virtio-ring.ko": module(folder, "virtio_ring", "depends=virtio") + signature,
        f"{VSOCK}.ko": module(folder, "vmw_vsock_virtio_transport", "depends=vsock,virtio_ring"),
        "net/vmw_vsock/vsock.ko": module(folder, "vsock", "alias=net-pf-40"),
        f"{XFS}.ko": module(folder, "xfs", "depends=libcrc", "alias=fs-xfs"),
        "lib/libcrc.ko": module(folder, "libcrc", "softdep=pre: crypto-crc post: builtin_thing"),
        "crypto/crc-fast.ko": module(folder, "crc_fast", "alias=crypto-crc", "softdep=pre: libcrc"),
        "fs/overlayfs/overlay.ko": module(folder, "overlay", "alias=fs-overlay"),
        "drivers/unwanted.ko": module(folder, "unwanted"),
    }
    files = {f"{MODULES}/kernel/{name}": data for name, data in modules.items()}
    files[f"{MODULES}/modules.builtin"] = b"kernel/lib/builtin_thing.ko\n"
    return {**boot_files(config=config(**MODULAR)), **files, **replaced}


def test_the_modules_that_are_needed_come_with_what_they_need(bench: Bench, tmp_path: Path) -> None:
    made = set_of(bench, deb_of(tmp_path / "k.deb", modular(tmp_path)), INITRD, profile="default")["kernel_modules"]
    info = json.loads(made.path("modules.json").read_text())
    assert info["boot"] == [
        "overlay", "virtio", "virtio_ring", "virtio_pci", "vsock", "vmw_vsock_virtio_transport",
    ]  # fmt: skip
    assert info["on_demand"] == ["crc_fast", "libcrc", "xfs"]
    tree = tar_tree(made.path("modules.tar"))
    text = {
        path.rpartition(b"/")[2].decode(): node.content.read(0, node.size).decode()
        for path, node in tree.walk()
        if path.startswith(f"{MODULES}/modules.".encode()) and node.content
    }
    assert text["modules.load"].splitlines() == [
        "kernel/fs/overlayfs/overlay.ko",
        "kernel/drivers/virtio/virtio.ko",
        "kernel/drivers/virtio/virtio-ring.ko",
        f"kernel/{PCI}.ko",
        "kernel/net/vmw_vsock/vsock.ko",
        f"kernel/{VSOCK}.ko",
    ]
    assert (
        f"kernel/{PCI}.ko: kernel/drivers/virtio/virtio-ring.ko kernel/drivers/virtio/virtio.ko" in text["modules.dep"]
    )
    assert "alias fs-xfs xfs\n" in text["modules.alias"]
    assert "softdep libcrc pre: crypto-crc post: builtin_thing\n" in text["modules.softdep"]
    assert "unwanted" not in "".join(text.values())
    plain = tree.get(f"{MODULES}/kernel/{PCI}.ko".encode())
    assert plain
    assert plain.content
    assert plain.content.read(0, 4) == b"\x7fELF"
    assert made.path("load").read_bytes().startswith(b"\x7fELF")


def test_without_modprobe_everything_is_loaded_at_boot(bench: Bench, tmp_path: Path) -> None:
    path = deb_of(tmp_path / "k.deb", modular(tmp_path))
    made = set_of(bench, path, INITRD, profile="default", modprobe=False)["kernel_modules"]
    info = json.loads(made.path("modules.json").read_text())
    assert info["on_demand"] == []
    assert info["boot"][-3:] == ["crc_fast", "libcrc", "xfs"]


@pytest.mark.parametrize(
    ("cmdline", "symbol", "kept"),
    [
        ((), None, False),
        (("module.sig_enforce=1",), None, True),
        (("module.sig_enforce=0",), None, False),
        (("lockdown=integrity",), None, True),
        ((), "MODULE_SIG_FORCE", True),
    ],
)
def test_signatures_stay_only_where_the_kernel_insists(
    bench: Bench, tmp_path: Path, cmdline: tuple[str, ...], symbol: str | None, kept: bool
) -> None:
    more = {symbol: "y"} if symbol else {}
    files = {**modular(tmp_path), f"boot/config-{RELEASE}": config(**MODULAR, **more)}
    made = set_of(bench, deb_of(tmp_path / "k.deb", files), INITRD, cmdline=cmdline)["kernel_modules"]
    node = tar_tree(made.path("modules.tar")).get(f"{MODULES}/kernel/drivers/virtio/virtio-ring.ko".encode())
    assert node
    assert node.content
    assert node.content.read(0, node.size).endswith(b"~Module signature appended~\n") == kept


def test_a_signature_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(InputError, match="its signature says that it has 4,294,967,295 bytes"):
        without_signature(b"x" * 50 + bytes(8) + b"\xff" * 4 + b"~Module signature appended~\n", "x.ko")


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        (f"{PCI}.ko.xz", b"\xfd7zXZ\x00" + b"x" * 90, "is damaged"),
        (f"{PCI}.ko.xz", b"not xz at all", "is not a 64-bit little-endian ELF file"),
        (f"{PCI}.ko.xz", lzma.compress(b"\x7fELF\x02\x01\x01" + bytes(20)), "is cut off"),
        (f"{PCI}.ko.xz", lzma.compress(elf()), "is an ELF file, but not a module"),
        ("drivers/virtio/virtio.ko.gz", b"\x1f\x8b\x08" + bytes(30), "is damaged"),
        ("drivers/virtio/virtio.ko.gz", b"", "is not a 64-bit little-endian ELF file"),
    ],
)
def test_a_damaged_module_is_refused(bench: Bench, tmp_path: Path, file: str, content: bytes, message: str) -> None:
    files = {**modular(tmp_path), f"{MODULES}/kernel/{file}": content}
    with pytest.raises(InputError) as caught:
        set_of(bench, deb_of(tmp_path / "k.deb", files))
    assert message in str(caught.value)
    assert file in str(caught.value)


@pytest.mark.parametrize(
    ("facts", "machine", "message"),
    [
        (("depends=gone",), None, "the module virtio needs the module gone, which the package has not"),
        (("depends=virtio_pci",), None, "depends on itself"),
        ((), 183, "is for another architecture (ELF machine 183)"),
    ],
)
def test_modules_that_do_not_fit_together_are_refused(
    bench: Bench, tmp_path: Path, facts: tuple[str, ...], machine: int | None, message: str
) -> None:
    wrong = gzip.compress(module(tmp_path, "virtio", *facts, machine=machine))
    files = {**modular(tmp_path), f"{MODULES}/kernel/drivers/virtio/virtio.ko.gz": wrong}
    with pytest.raises(InputError) as caught:
        set_of(bench, deb_of(tmp_path / "k.deb", files))
    assert message in str(caught.value)


def test_a_package_without_its_modules_is_refused(bench: Bench, tmp_path: Path) -> None:
    files = {name: data for name, data in modular(tmp_path).items() if ".ko" not in name}
    with pytest.raises(InputError, match=f"k.deb has no modules in lib/modules/{RELEASE}") as caught:
        set_of(bench, deb_of(tmp_path / "k.deb", files))
    assert caught.value.problems[0].where == PLACE


def test_a_module_that_nobody_knows_is_said(bench: Bench, tmp_path: Path) -> None:
    files = {name: data for name, data in modular(tmp_path).items() if "xfs.ko" not in name}
    set_of(bench, deb_of(tmp_path / "k.deb", files), INITRD, profile="default")
    assert "no module is known for CONFIG_XFS_FS: the guest does without it" in notes(bench)


def test_the_same_package_gives_the_same_bytes(tmp_path: Path) -> None:
    path = deb_of(tmp_path / "k.deb", modular(tmp_path))
    first, second = (set_of(Bench(tmp_path / name), path, INITRD) for name in ("one", "two"))
    for stage in first:
        digests = [{n: f.sha256 for n, f in made[stage].files.items()} for made in (first, second)]
        assert digests[0] == digests[1], stage


def test_the_loader_is_nobodys_program_but_the_guests(bench: Bench, tmp_path: Path) -> None:
    made = set_of(bench, deb_of(tmp_path / "k.deb", modular(tmp_path)))["kernel_modules"]
    done = subprocess.run([made.path("load")], capture_output=True, text=True, check=False)
    assert (done.returncode, "first process of a guest" in done.stderr) == (2, True)


def test_without_dpkg_it_says_what_to_install(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = deb_of(tmp_path / "k.deb", boot_files())
    monkeypatch.setattr(run, "which", lambda tool: None)
    with pytest.raises(KataToolkitError, match=r"dpkg-deb, which takes k\.deb apart, is not installed") as caught:
        kernel_of(bench, path)
    assert caught.value.problems[0].hint == "apt-get install dpkg"
