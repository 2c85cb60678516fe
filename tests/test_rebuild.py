"""A set built again: the same bytes, or exactly where they differ. Differences are planted one at a time."""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest
from image_parts import file, tree_of
from kata_toolkit.differ.differences import differences
from kata_toolkit.image.cpio import write_cpio
from kata_toolkit.image.make import Wanted, write_image
from kata_toolkit.rootfs.tar_write import write_tar
from kata_toolkit.rootfs.tree import Kind, Node, Tree

FS = 3 << 20


def tree(**changes: Node) -> Tree:
    nodes: dict[bytes, Node | bytes] = {
        b"sbin/init": file(b"init" * 5000, 0o755),
        b"etc/conf": file(b"configuration\n" * 1000, 0o640, uid=5),
        b"etc/link": Node(Kind.SYMLINK, 0o777, target=b"conf"),
        b"dev/console": Node(Kind.CHARACTER, 0o600, rdev=(5, 1)),
        b"ping": file(b"p" * 9000, 0o755, xattrs=((b"security.capability", b"c" * 20),)),
    }
    return tree_of(nodes | {name.replace("_", "/").encode(): node for name, node in changes.items()})


def found(old: Path, new: Path, role: str = "") -> str:
    return "\n".join(differences(old, new, role))


@pytest.fixture(params=["ext4", "erofs"])
def images(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, Path, str]:
    """The image twice, and its file system's kind."""
    for name in ("old", "new"):
        write_image(tree(), tmp_path / name, Wanted(request.param), "ab" * 32)
    return tmp_path / "old", tmp_path / "new", request.param


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def test_the_same_image(images: tuple[Path, Path, str]) -> None:
    assert differences(images[0], images[1], "image") == []


PLANTED: dict[str, tuple[int, str]] = {
    "partition": (446 + 8, "partition table: partition 1 is "),
    "disk id": (440, "partition table: disk id is "),
    "guest's partition": ((2 << 20) + 446 + 12, "partition table that the guest sees: partition 1 is "),
    "dax": (4096 + 0x54, "DAX header: align is 2097153 (0x200001), rebuilt 2097152 (0x200000)"),
    "gap": (1 << 20, "unused space: 1 byte differs, from byte 1048576 on: 01000000, rebuilt 00000000"),
}


@pytest.mark.parametrize("where", PLANTED)
def test_a_byte_of_the_frame(images: tuple[Path, Path, str], where: str) -> None:
    flip(images[0], PLANTED[where][0])
    assert PLANTED[where][1] in found(images[0], images[1], "image")


def test_a_byte_of_a_file(images: tuple[Path, Path, str]) -> None:
    at = images[0].read_bytes().index(b"configuration\n" * 100)
    flip(images[0], at + 4100)
    assert differences(images[0], images[1], "image") == [
        "/etc/conf: 1 byte differs, from byte 4100 on: 6f0a636f, rebuilt 6e0a636f"
    ]


def test_the_uuid_of_the_file_system(images: tuple[Path, Path, str]) -> None:
    flip(images[0], FS + 1024 + (0x68 if images[2] == "ext4" else 48))
    assert f"superblock: {'s_uuid' if images[2] == 'ext4' else 'uuid'} is " in found(images[0], images[1], "image")


def test_a_byte_of_free_space(images: tuple[Path, Path, str]) -> None:
    flip(images[0], images[0].stat().st_size - 10)
    assert found(images[0], images[1], "image").startswith("free space: 1 byte differs, from byte ")


def test_no_file_system_at_all(images: tuple[Path, Path, str]) -> None:
    data = bytearray(images[0].read_bytes())
    data[FS : FS + 8192] = bytes(8192)
    images[0].write_bytes(data)
    assert "the file system in the set is damaged: there is no ext4" in found(images[0], images[1], "image")


@pytest.mark.parametrize("kind", ["ext4", "erofs"])
@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"etc_conf": file(b"configuration\n" * 1000, 0o600, uid=5)}, "/etc/conf: mode -rw-------, rebuilt -rw-r-----"),
        ({"etc_conf": file(b"configuration\n" * 1000, 0o640, uid=6)}, "/etc/conf: owner 6:0, rebuilt 5:0"),
        ({"etc_conf": file(b"configuration\n" * 1000, 0o640, uid=5, mtime=7)}, "/etc/conf: times 7, rebuilt 0"),
        ({"etc_link": Node(Kind.SYMLINK, 0o777, target=b"other")}, "/etc/link: target other, rebuilt conf"),
        ({"dev_console": Node(Kind.CHARACTER, 0o600, rdev=(5, 2))}, "/dev/console: device (5, 2), rebuilt (5, 1)"),
        ({"new\n": file(b"n")}, "/new\\n is only in the set"),
        ({"ping": file(b"p" * 9000, 0o755)}, "/ping: extended attributes , rebuilt security.capability=6363"),
    ],
)
def test_what_is_known_of_a_path(tmp_path: Path, kind: str, changes: dict[str, Node], text: str) -> None:
    write_image(tree(**changes), tmp_path / "old", Wanted(kind), "ab" * 32)
    write_image(tree(), tmp_path / "new", Wanted(kind), "ab" * 32)
    assert text in found(tmp_path / "old", tmp_path / "new", "image")


def test_the_digests_of_dm_verity(tmp_path: Path) -> None:
    for name in ("old", "new"):
        made = write_image(tree(), tmp_path / name, Wanted(dax=False, verity=True), "ab" * 32)
    flip(tmp_path / "old", made.layout.hash_start + 5)
    assert found(tmp_path / "old", tmp_path / "new", "image").startswith("dm-verity's digests: 1 byte differs")


@pytest.mark.parametrize("packed", [False, True])
def test_a_member_of_an_initrd(tmp_path: Path, packed: bool) -> None:
    plain = tree()
    nodes = {p: Node(n.kind, n.mode, n.uid, target=n.target, rdev=n.rdev, content=n.content) for p, n in plain.walk()}
    changed = nodes | {b"etc/conf": file(b"configuration\n" * 999 + b"Configuration\n", 0o640, uid=5, mtime=9)}
    for name, these in (("old", changed), ("new", nodes)):
        write_cpio(tree_of(dict(these)), tmp_path / name)
        if packed:
            (tmp_path / name).write_bytes(gzip.compress((tmp_path / name).read_bytes(), mtime=0))
    text = found(tmp_path / "old", tmp_path / "new", "initrd")
    assert "/etc/conf: mtime is 9, rebuilt 0" in text
    assert "/etc/conf: 1 byte differs, from byte 13986 on" in text


def test_other_compressed_bytes_of_the_same(tmp_path: Path) -> None:
    write_cpio(tree_of({b"init": file(b"i" * 9000)}), tmp_path / "plain")
    for name, level in (("old", 1), ("new", 9)):
        (tmp_path / name).write_bytes(gzip.compress((tmp_path / "plain").read_bytes(), level, mtime=0))
    assert found(tmp_path / "old", tmp_path / "new") == (
        "what gzip unpacks is the same; only the compressed bytes differ"
    )


def test_a_member_of_a_tar(tmp_path: Path) -> None:
    write_tar(tree(etc_conf=file(b"other", 0o640, uid=5)), tmp_path / "old")
    write_tar(tree(), tmp_path / "new")
    assert found(tmp_path / "old", tmp_path / "new") == "/etc/conf: size is 5, rebuilt 14000"


def test_a_section_of_a_program(tmp_path: Path) -> None:
    program = Path("/bin/true").read_bytes()
    (tmp_path / "new").write_bytes(program)
    sections = subprocess.run(["readelf", "-SW", "/bin/true"], capture_output=True, text=True, check=True).stdout
    words = next(line for line in sections.splitlines() if " .rodata " in line).split("]")[1].split()
    at = int(words[3], 16)
    (tmp_path / "old").write_bytes(program)
    flip(tmp_path / "old", at + 7)
    assert found(tmp_path / "old", tmp_path / "new").startswith("section .rodata: 1 byte differs, from byte 7 on")
    flip(tmp_path / "old", at + 7)
    flip(tmp_path / "old", 24)  # e_entry
    assert found(tmp_path / "old", tmp_path / "new").startswith("ELF header: e_entry is ")


def test_a_key_of_a_configuration(tmp_path: Path) -> None:
    (tmp_path / "old").write_text('[hypervisor.qemu]\npath = "/usr/bin/qemu"\ndefault_vcpus = 2\n')
    (tmp_path / "new").write_text('[hypervisor.qemu]\npath = "/usr/bin/qemu"\ndefault_vcpus = 1\n')
    assert differences(tmp_path / "old", tmp_path / "new") == [
        "line 3: -default_vcpus = 2", "line 3: +default_vcpus = 1"
    ]  # fmt: skip


@pytest.mark.parametrize("cut", [0, 1, 511, 4096, FS, FS + 5000, -1])
@pytest.mark.parametrize("role", ["image", "", "initrd"])
def test_whatever_is_there_ends_in_an_answer(tmp_path: Path, cut: int, role: str) -> None:
    write_image(tree(), tmp_path / "new", Wanted(), "ab" * 32)
    (tmp_path / "old").write_bytes((tmp_path / "new").read_bytes()[:cut])
    assert differences(tmp_path / "old", tmp_path / "new", role)
    assert differences(tmp_path / "new", tmp_path / "old", role)


@pytest.fixture
def rebuilt(tmp_path: Path, tool: Path, root: Path) -> Callable[..., tuple[int, dict[str, object]]]:
    """A small set in tmp_path/set; the function rebuilds it and gives the exit status and the report."""
    shutil.copy("/bin/busybox", tmp_path / "agent")  # any static program: compiling the agent is not what is tried
    spec = tmp_path / "set.yaml"
    spec.write_text(
        "version: 1\nname: set\nagent: {kind: binary, path: agent}\nrootfs: {kind: minimal, busybox: false}\n"
    )
    only = ("--only", "image")
    subprocess.run([tool, "build", "-q", spec, *only, "-o", tmp_path / "set"], check=True)

    def run(*more: str) -> tuple[int, dict[str, object]]:
        argv = [tool, "verify", tmp_path / "set", "--rebuild", "--spec", spec, *only, "--json", *more]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        report = json.loads(done.stdout)
        if done.returncode < 2:
            jsonschema.validate(report, json.loads((root / "schemas/rebuild.schema.json").read_text()))
        return done.returncode, report

    return run


@pytest.mark.tool
def test_from_the_command_line(tmp_path: Path, rebuilt: Callable[..., tuple[int, dict[str, object]]]) -> None:
    status, report = rebuilt()
    assert (status, report["ok"], report["notes"]) == (0, True, [])
    image = tmp_path / "set/share/kata-containers/set.img"
    at = image.read_bytes().index(b"/bin/sh")  # in /etc/passwd
    flip(image, at + 1)
    status, report = rebuilt()
    assert (status, report["ok"]) == (1, False)
    [file_] = [f for f in report["files"] if f["status"] == "differs"]
    assert file_["path"] == "share/kata-containers/set.img"
    assert file_["differences"][0].startswith("/")


@pytest.mark.tool
def test_a_recorded_digest_and_other_tools(
    tmp_path: Path, rebuilt: Callable[..., tuple[int, dict[str, object]]]
) -> None:
    manifest = tmp_path / "set/manifest.json"
    data = json.loads(manifest.read_text())
    image = next(a for a in data["artifacts"] if a["role"] == "image")
    image["sha256"] = hashlib.sha256(b"").hexdigest()
    data["stages"]["image"]["tools"]["e2fsck"] = "e2fsck 1.2.3"
    manifest.write_text(json.dumps(data))
    status, report = rebuilt()
    assert status == 1
    assert any("e2fsck was e2fsck 1.2.3, now e2fsck 1." in note for note in report["notes"])
    [text] = [t for f in report["files"] if f["path"] == image["path"] for t in f["differences"]]
    assert text == "the file is the same, but the manifest records another digest"


@pytest.mark.tool
def test_another_spec_is_refused(tmp_path: Path, rebuilt: Callable[..., tuple[int, dict[str, object]]]) -> None:
    with (tmp_path / "set.yaml").open("a") as stream:
        stream.write("# changed\n")
    status, report = rebuilt()
    assert status == 2
    assert "was not built from this spec" in json.dumps(report)


def test_struct_of_a_field_is_little_endian() -> None:
    from kata_toolkit.differ.fields import field_differences, table

    [text] = field_differences(struct.pack("<I", 258), struct.pack("<I", 2), table("0 4 number"))
    assert text == "number is 258 (0x102), rebuilt 2"
