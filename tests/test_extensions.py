"""Extension images: the stage with the real tools, how they are wired, and guests that mount them or refuse to."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import tarfile
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from image_parts import Given, build, tar_tree
from kata_toolkit.arch import native
from kata_toolkit.errors import InputError, KataToolkitError, Where
from kata_toolkit.image.verity import parse
from kata_toolkit.kata.render import render
from kata_toolkit.kata.request import Built, Request
from kata_toolkit.kata.tree import config_tree
from kata_toolkit.kata.values import config_values
from kata_toolkit.pipeline.store import Entry
from kata_toolkit.spec.load import load_spec
from kata_toolkit.spec.model import Extension, FolderRootfs, GivenFile, Hypervisor, TarballRootfs
from kata_toolkit.stages.extension import ExtensionStage
from kata_toolkit.stages.extension_mount import ExtensionMountStage
from kata_toolkit.stages.rootfs import RootfsStage

ROOT = Path(__file__).parents[1]
PARTS = {"bin/tool": "#!/bin/sh\necho tool\n", "etc/greeting": "hello\n", "etc/empty": ""}


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    """A folder as guest components come in."""
    folder = tmp_path / "parts"
    for name, text in PARTS.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (folder / "bin/tool").chmod(0o755)
    (folder / "etc/link").symlink_to("greeting")
    return folder


# ---- the stage ----


def made(extension: Extension, cache: Path, fetched: dict[str, bytes] | None = None) -> Entry:
    stages = [Given("sources", fetched or {}), ExtensionStage(extension)]
    return build(stages, f"extension-{extension.name}", cache)


@pytest.mark.tool
def test_a_folder_becomes_an_image_with_digests(parts: Path, tmp_path: Path) -> None:
    entry = made(Extension("coco", FolderRootfs(parts)), tmp_path / "cache")
    assert set(entry.files) == {"image", "root_hash.txt", "extension-coco.json"}
    info = json.loads(entry.path("extension-coco.json").read_text())
    described = parse(entry.path("root_hash.txt").read_text().strip())
    assert (info["name"], info["format"], info["verity"]["root_hash"]) == ("coco", "erofs", described.root_hash)
    image = entry.path("image")
    table = subprocess.run(["/sbin/sfdisk", "-J", image], check=True, capture_output=True, text=True).stdout
    first, second = json.loads(table)["partitiontable"]["partitions"]
    assert first["start"] * 512 == info["partition"]["start"]
    data = image.read_bytes()
    for name, partition in (("data", first), ("digests", second)):
        start = partition["start"] * 512
        (tmp_path / name).write_bytes(data[start : start + partition["size"] * 512])
    subprocess.run(
        ["/sbin/veritysetup", "verify", "--no-superblock", f"--data-blocks={described.data_blocks}",
         f"--salt={described.salt}", tmp_path / "data", tmp_path / "digests", described.root_hash], check=True,
    )  # fmt: skip


@pytest.mark.tool
def test_the_bytes_depend_on_the_content_alone(parts: Path, tmp_path: Path) -> None:
    first = made(Extension("coco", FolderRootfs(parts)), tmp_path / "cache")
    other = shutil.copytree(parts, tmp_path / "else" / "where", symlinks=True)
    for path in other.rglob("*"):
        os.utime(path, (1, 1), follow_symlinks=False)
    second = made(Extension("coco", FolderRootfs(other)), tmp_path / "another")
    assert first.path("image").read_bytes() == second.path("image").read_bytes()
    (other / "etc/greeting").write_text("hallo\n")
    third = made(Extension("coco", FolderRootfs(other)), tmp_path / "another")
    assert third.path("root_hash.txt").read_bytes() != first.path("root_hash.txt").read_bytes()


@pytest.mark.tool
def test_a_fetched_tar(tmp_path: Path) -> None:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        info = tarfile.TarInfo("etc/greeting")
        info.size = 6
        tar.addfile(info, io.BytesIO(b"hello\n"))
    source = TarballRootfs(GivenFile(url="https://example.org/x.tar", sha256="0" * 64))
    entry = made(Extension("gpu", source), tmp_path, {"extension-gpu": stream.getvalue()})
    assert json.loads(entry.path("extension-gpu.json").read_text())["entries"] == 3
    wrong = TarballRootfs(GivenFile(tmp_path / "x.tar", sha256="0" * 64))
    (tmp_path / "x.tar").write_bytes(stream.getvalue())
    there = Where("spec.yaml", 9, 5)
    with pytest.raises(InputError, match=r"as extension-gpu\.sha256 says") as caught:
        made(Extension("gpu", wrong, where=there), tmp_path / "cache")
    assert [problem.where for problem in caught.value.problems] == [there]


@pytest.mark.tool
def test_compressed_files(parts: Path, tmp_path: Path) -> None:
    (parts / "etc/long").write_text("the same line again\n" * 20_000)
    plain = made(Extension("coco", FolderRootfs(parts)), tmp_path / "cache")
    packed = made(Extension("coco", FolderRootfs(parts), "lz4hc"), tmp_path / "cache")
    sizes = [json.loads(e.path("extension-coco.json").read_text())["allocated"] for e in (packed, plain)]
    assert sizes[0] < sizes[1] - 300_000


# ---- the configuration ----


@pytest.mark.parametrize("dialect", ["go", "rs"])
def test_each_is_a_table_in_the_runtimes_configuration(dialect: Any) -> None:
    request = Request("set", "/opt/set", "x86_64", "4.1", Hypervisor("qemu"), extensions=("gpu", "coco"))
    rest = "salt=00,data_blocks=8,data_block_size=4096,hash_block_size=4096"
    params = {name: f"root_hash={digit * 64},{rest}" for name, digit in (("gpu", "a"), ("coco", "b"))}
    values = config_values(request, Built("6.12", extensions=params))
    tree = config_tree(dialect, "qemu", values[dialect])
    read = tomllib.loads(render(dialect, "qemu", "4.1", "x86_64", tree, []))
    share = "/opt/set/share/kata-containers"
    assert read["hypervisor"]["qemu"]["guest_extension_images"] == [
        {"name": "gpu", "path": f"{share}/set-gpu-extension.img", "verity_params": params["gpu"]},
        {"name": "coco", "path": f"{share}/set-coco-extension.img", "verity_params": params["coco"]},
    ]
    assert "kernel" in read["hypervisor"]["qemu"]


def problems(folder: Path, text: str) -> list[str]:
    (folder / "spec.yaml").write_text(f"version: 1\nname: guest\n{text}\n")
    with pytest.raises(InputError) as caught:
        load_spec(folder / "spec.yaml")
    return [str(p).removeprefix(f"{folder}/") for p in caught.value.problems]


def test_extensions_that_cannot_be(parts: Path, tmp_path: Path) -> None:
    def one(rest: str, more: str = "") -> str:
        (said,) = problems(tmp_path, f"extensions: [{rest}]\n{more}")
        return said

    coco = "{name: coco, kind: directory, path: parts}"
    assert "two extensions are called coco" in one(f"{coco}, {coco}")
    assert "does not exist" in one("{name: coco, kind: directory, path: prats}")
    assert "expected 1 to 10 letters" in one("{name: nvidia-gpu-x, kind: directory, path: parts}")
    said = one(coco, "kernel: {features: {drop: [dm-verity]}}")
    assert "the kernel would lack what this needs: the digests of extension images" in said
    assert "spec.yaml:3:" in said
    assert "remove dm-verity from kernel.features.drop" in said
    assert "nothing in this guest would mount" in one(coco, "agent: {kind: binary, path: spec.yaml}")
    many = ", ".join(f"{{name: n{number}, kind: directory, path: parts}}" for number in range(5))
    assert "5 extensions do not fit on the kernel's command line: 4 do" in one(many)
    said = one("{name: coco, kind: directory, path: parts, compression: lz4hc}")
    assert "features: {add: [erofs-compressed]}" in said


# ---- another agent's guest ----


def systemd_root(folder: Path, *names: str) -> dict[bytes, Any]:
    """The root file system of a guest with systemd, an agent that is not ours, and an extension."""
    for name in ("usr/lib/systemd/systemd", *names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x")
    given = [Given("agent", {"init": b"agent"}), Given("extension_mount", {"init": b"mounter"})]
    stage = RootfsStage(FolderRootfs(folder, init="systemd"), mounts=True)
    return dict(tar_tree(build([*given, stage], "rootfs", folder.parent / "cache").path("rootfs.tar")).walk())


def test_systemd_mounts_them_for_an_agent_that_does_not(tmp_path: Path) -> None:
    tree = systemd_root(tmp_path / "root")
    assert tree[b"usr/libexec/kata-extensions"].mode == 0o755
    units = b"usr/lib/systemd/system/"
    texts = {name: tree[units + name].content.read(0, tree[units + name].size).decode() for name in (
        b"kata-extensions.service", b"kata-agent.service.d/extensions.conf")}  # fmt: skip
    assert "ExecStart=/usr/libexec/kata-extensions\n" in texts[b"kata-extensions.service"]
    assert "FailureAction=poweroff-force" in texts[b"kata-extensions.service"]
    assert "Requires=kata-extensions.service" in texts[b"kata-agent.service.d/extensions.conf"]


def test_katas_own_units_are_left_alone(tmp_path: Path) -> None:
    tree = systemd_root(tmp_path / "root", "usr/lib/systemd/system/kata-extension-mount@.service")
    assert b"usr/libexec/kata-extensions" not in tree


@pytest.mark.tool
def test_the_agent_called_by_that_name_mounts_and_ends(tmp_path: Path) -> None:
    """On a machine without extensions it has nothing to do, and says so by ending well; it is no agent then."""
    entry = build([ExtensionMountStage(native().name)], "extension_mount", tmp_path)
    shutil.copy(entry.path("init"), tmp_path / "kata-extensions")
    done = subprocess.run([tmp_path / "kata-extensions"], check=False, capture_output=True, text=True, timeout=20)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


# ---- what the agent reads ----

HARNESS = r"""
#include <stdio.h>
#include "extension.h"
#include "verity.h"
int main(int count, char **words)
{
    struct verity verity;
    if (count == 2)
        return extensions_named(words[1]);
    const char *wrong = verity_parse(&verity, words[2]);
    printf("%s|%s|%llu|%llu\\n", wrong ? wrong : "", verity.root_hash, (unsigned long long)verity.data_blocks,
           (unsigned long long)verity.data_block_size);
}
"""


@pytest.fixture(scope="module")
def agent_reads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The agent's own code for command lines and verity_params, with sanitizers."""
    folder = tmp_path_factory.mktemp("reads")
    (folder / "main.c").write_text(HARNESS)
    sources = [ROOT / "agent" / name for name in ("extension.c", "verity.c", "util.c", "log.c")]
    flags = ["-D_GNU_SOURCE", "-Wall", "-Werror", "-fsanitize=address,undefined", "-fno-sanitize-recover", "-iquote"]
    subprocess.run(
        ["gcc", *flags, ROOT / "agent", "-o", folder / "reads", folder / "main.c", *sources], check=True
    )  # fmt: skip
    return folder / "reads"


@pytest.mark.tool
@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("root_hash=aB,salt=cd,data_blocks=7,data_block_size=512,hash_block_size=4096,x=y,z", "|aB|7|512"),
        ("data_blocks=1,root_hash=aa", "|aa|1|4096"),
        ("", "it has no root_hash"),
        ("root_hash=aa", "it has no data_blocks"),
        ("root_hash=xy,data_blocks=1", "a field is malformed"),
        ("root_hash=aa,data_blocks=0", "a field is malformed"),
        ("root_hash=aa,data_blocks=99999999999999999999", "a field is malformed"),
        ("root_hash=aa,data_blocks=18446744073709551615", "a field is malformed"),
        ("root_hash=aa,data_blocks=1,data_block_size=4095", "a field is malformed"),
        ("root_hash=aa,data_blocks=1,salt=aa bb", "a field is malformed"),
        (f"root_hash={'a' * 129},data_blocks=1", "a field is malformed"),
        (f"root_hash={'a' * 600},data_blocks=1", "a field is too long"),
    ],
)
def test_the_agent_reads_verity_params(agent_reads: Path, text: str, found: str) -> None:
    done = subprocess.run([agent_reads, "-", text], check=True, capture_output=True, text=True)
    assert done.stdout.startswith(found)


@pytest.mark.tool
def test_the_agent_finds_extensions_on_the_command_line(agent_reads: Path) -> None:
    for line, named in {
        "": 0,
        "root=/dev/pmem0p1 kata.extension": 0,
        "ro kata.extension.a.verity_params": 1,
        'dm-mod.create="a b" kata.extension.a.verity_params=root_hash=aa': 1,
        "akata.extension.a.verity_params": 0,
        "kata.extension." + "a" * 5000 + ".verity_params": 1,
    }.items():
        assert subprocess.run([agent_reads, line], check=False).returncode == named, line


# ---- guests ----


@pytest.fixture(scope="module")
def guest_set(built_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set with two extension images and the kernel of the set that every test shares."""
    folder = tmp_path_factory.mktemp("extensions")
    for name, text in PARTS.items():
        (folder / "parts" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "parts" / name).write_text(text)
    (folder / "parts/etc/large").write_bytes(bytes(range(256)) * 1024)
    root = json.loads((built_set / "manifest.json").read_text())["root"]
    kernel = {"kind": "prebuilt", "vmlinux": {"path": str(built_set / root["kernel"])},
              "config": {"path": str(built_set / root["kernel_config"])}}  # fmt: skip
    extensions = [
        {"name": "coco", "kind": "directory", "path": "parts"},
        {"name": "gpu_0-9", "kind": "directory", "path": "parts/etc"},
    ]
    spec = {"version": 1, "name": "extended", "kernel": {"source": kernel}, "extensions": extensions}
    (folder / "spec.yaml").write_text(yaml.safe_dump(spec))
    tool = ROOT / ".venv/bin/kata-toolkit"
    subprocess.run([tool, "build", "-q", folder / "spec.yaml", "-o", folder / "out"], check=True)
    return folder / "out"


def verdict(folder: Path) -> tuple[str, str]:
    """The verdict on a set's extension images."""
    from kata_toolkit.vm.built_set import BuiltSet
    from kata_toolkit.vm.evidence import Evidence
    from kata_toolkit.vm.options import Options
    from kata_toolkit.vm.proof import CHECKS

    check = next(check for check in CHECKS if check.id == "extensions")
    with Evidence(BuiltSet.load(folder), Options(accel="tcg"), note=lambda text: None) as evidence:
        found = check.verdict(evidence)
        return found.status, found.detail


def boot(folder: Path, change: Any = None) -> str:
    """Boot the set and run a shell in it; or what came of booting it. ``change`` gets the guest."""
    from kata_toolkit.vm.built_set import BuiltSet
    from kata_toolkit.vm.oci import Mount, Process
    from kata_toolkit.vm.options import Options
    from kata_toolkit.vm.session import Session

    guest = BuiltSet.load(folder).bootable()
    try:
        with Session.boot(change(guest) if change else guest, Options(accel="tcg"), note=lambda text: None) as session:
            mount = Mount("/run/extension", "/run/kata-extensions/coco", "bind", ("bind", "ro"))
            done = session.container(
                Process(["sh", "-c", "cd /run/extension; cat etc/greeting; sha256sum etc/large >/dev/null; echo $?"]),
                mounts=(mount,), timeout_seconds=60,
            )  # fmt: skip
            return (done.stdout + done.stderr).decode()
    except KataToolkitError as error:
        return str(error)


def tampered(source: Path, target: Path, where: bytes) -> Path:
    """A copy of the set, one byte changed in the block of the extension that holds the text."""
    shutil.copytree(source, target)
    image = target / "share/kata-containers/extended-coco-extension.img"
    data = bytearray(image.read_bytes())
    data[data.index(where)] ^= 1
    image.write_bytes(data)
    return target


@pytest.mark.vm
def test_extensions_are_proved_mounted(guest_set: Path) -> None:
    status, detail = verdict(guest_set)
    assert (status, detail) == (
        "pass", "coco (4 files read), gpu_0-9 (3 files read) below /run/kata-extensions, each on its dm-verity device"
    )  # fmt: skip
    assert boot(guest_set) == "hello\n0\n"


@pytest.mark.vm
def test_a_changed_file_is_not_read(guest_set: Path, tmp_path: Path) -> None:
    changed = tampered(guest_set, tmp_path / "out", bytes(range(256)) * 16)
    said = boot(changed)
    assert said.startswith("hello\n")
    assert "I/O error" in said or "Input/output error" in said
    status, detail = verdict(changed)
    assert (status, "its digests are not those of its file system" in detail) == ("fail", True)


@pytest.mark.vm
def test_a_guest_with_a_changed_file_system_ends(guest_set: Path, tmp_path: Path) -> None:
    changed = tampered(guest_set, tmp_path / "out", bytes.fromhex("e2e1f5e0"))  # EROFS_SUPER_MAGIC_V1
    said = boot(changed)
    assert "extension coco: cannot" in said
    assert "hello" not in said


@pytest.mark.vm
def test_a_guest_without_what_was_promised_ends(guest_set: Path) -> None:
    from dataclasses import replace

    def without_root_hash(guest: Any) -> Any:
        return replace(guest, extensions=tuple(replace(e, verity="") for e in guest.extensions))

    def with_another_root_hash(guest: Any) -> Any:
        first, second = guest.extensions
        return replace(guest, extensions=(replace(first, verity=second.verity), second))

    def without_disk(guest: Any) -> Any:
        params = (*guest.kernel_params, "kata.extension.other.verity_params=root_hash=aa,data_blocks=1")
        return replace(guest, kernel_params=params)

    assert "its image has digests, but the command line has no root hash" in boot(guest_set, without_root_hash)
    assert "extension coco: cannot" in boot(guest_set, with_another_root_hash)
    assert "no disk with the serial number extension-other appeared" in boot(guest_set, without_disk)
