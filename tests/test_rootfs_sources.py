"""Root file systems made elsewhere: tars and folders, completed to what a guest needs, with the agent as their init."""

from __future__ import annotations

import io
import json
import os
import socket
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest
from image_parts import AGENT, AGENT_SHA256, Given, build, file, tar_tree, tree_of
from kata_toolkit.errors import InputError, ToolError
from kata_toolkit.rootfs.folder import folder_identity, folder_tree
from kata_toolkit.rootfs.minimal import FOLDERS, furnish
from kata_toolkit.rootfs.sources.folder import FolderSource
from kata_toolkit.rootfs.tree import Kind, Node, Tree
from kata_toolkit.spec.model import FolderRootfs, GivenFile, Rootfs, TarballRootfs
from kata_toolkit.stages.rootfs import RootfsStage

AGENT_STAGE = Given("agent", {"init": AGENT})
PACKERS = {"plain": (), "gz": ("gzip", "-n"), "bz2": ("bzip2",), "xz": ("xz", "-T1"), "zst": ("zstd", "-q")}


def made(source: Rootfs, folder: Path) -> tuple[Tree, dict[str, object]]:
    entry = build([AGENT_STAGE, RootfsStage(source)], "rootfs", folder)
    return tar_tree(entry.path("rootfs.tar")), json.loads(entry.path("rootfs.json").read_text())


def merged_usr(target: Path) -> Path:
    """A tar as a distribution makes one: /sbin leads to /usr/sbin, and init to another program."""
    members = [
        ("usr", None, 0o755), ("usr/sbin", None, 0o755), ("usr/bin", None, 0o755), ("usr/lib", None, 0o755),
        ("sbin", "usr/sbin", 0o777), ("bin", "/usr/bin", 0o777), ("lib", "usr/lib", 0o777),
        ("usr/sbin/init", "../lib/systemd/systemd", 0o777), ("etc", None, 0o755), ("var", None, 0o755),
        ("var/run", "/run", 0o777),
    ]  # fmt: skip
    with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as tar:
        for name, link, mode in members:
            info = tarfile.TarInfo(name)
            info.type = tarfile.SYMTYPE if link else tarfile.DIRTYPE
            info.linkname, info.mode = link or "", mode
            tar.addfile(info)
        info = tarfile.TarInfo("etc/hostname")
        info.size, info.uid, info.gid, info.mode = 5, 7, 8, 0o600
        tar.addfile(info, io.BytesIO(b"mine\n"))
    return target


@pytest.mark.tool
@pytest.mark.parametrize("packer", PACKERS)
def test_a_tar_however_it_is_packed(tmp_path: Path, packer: str) -> None:
    path = merged_usr(tmp_path / "root.tar")
    if PACKERS[packer]:
        packed = subprocess.run([*PACKERS[packer], "-c", path], check=True, capture_output=True).stdout
        path = tmp_path / f"root.tar.{packer}"
        path.write_bytes(packed)
    tree, info = made(TarballRootfs(GivenFile(path=path)), tmp_path)
    agent = tree.get(b"usr/sbin/init")
    assert agent is not None
    assert (agent.kind, agent.mode, agent.size) == (Kind.FILE, 0o755, len(AGENT))
    assert info["agent"] == {"path": "/usr/sbin/init", "sha256": AGENT_SHA256, "size": len(AGENT)}
    hostname = tree.get(b"etc/hostname")
    assert hostname is not None
    assert (hostname.uid, hostname.gid, hostname.mode) == (7, 8, 0o600)  # what is there stays
    sbin, run = tree.get(b"sbin"), tree.get(b"var/run")
    assert sbin is not None
    assert run is not None
    assert (sbin.kind, sbin.target, run.target) == (Kind.SYMLINK, b"usr/sbin", b"/run")
    assert all(tree.resolved(path) in tree for path in FOLDERS)


@pytest.mark.tool
def test_damaged_tars_and_wrong_digests(tmp_path: Path) -> None:
    path = merged_usr(tmp_path / "root.tar")
    with pytest.raises(InputError, match=r"as rootfs\.sha256 says"):
        made(TarballRootfs(GivenFile(path=path, sha256="0" * 64)), tmp_path / "a")
    cut = tmp_path / "cut.tar.gz"
    cut.write_bytes(subprocess.run(["gzip", "-nc", path], check=True, capture_output=True).stdout[:-9])
    with pytest.raises(InputError, match="damaged or truncated"):
        made(TarballRootfs(GivenFile(path=cut)), tmp_path / "b")
    (tmp_path / "text").write_text("no archive")
    with pytest.raises(InputError, match="is not a tar archive"):
        made(TarballRootfs(GivenFile(path=tmp_path / "text")), tmp_path / "c")


def test_a_root_with_a_file_where_a_folder_must_be() -> None:
    tree = tree_of({b"etc": file(b"")})
    with pytest.raises(InputError, match="lies below the file /etc"):
        furnish(tree)


@pytest.mark.parametrize(
    ("links", "path", "leads_to"),
    [
        ({b"sbin": b"usr/sbin"}, b"sbin/init", b"usr/sbin/init"),
        ({b"a": b"/b", b"b": b"c"}, b"a/x", b"c/x"),
        ({b"a": b"../../../etc"}, b"a/x", b"etc/x"),
        ({b"d/up": b".."}, b"d/up/x", b"x"),
        ({b"last": b"elsewhere"}, b"last", b"last"),
        ({b"a": b"./b/./c"}, b"a/x", b"b/c/x"),
        ({b"a": b"/"}, b"a/x", b"x"),
    ],
)
def test_links_are_followed_inside_the_root(links: dict[bytes, bytes], path: bytes, leads_to: bytes) -> None:
    tree = tree_of({name: Node(Kind.SYMLINK, 0o777, target=target) for name, target in links.items()})
    assert tree.resolved(path) == leads_to


@pytest.mark.parametrize("links", [{b"a": b"a"}, {b"a": b"b", b"b": b"a"}, {b"a": b"a/a/a"}])
def test_links_in_a_circle(links: dict[bytes, bytes]) -> None:
    tree = tree_of({name: Node(Kind.SYMLINK, 0o777, target=target) for name, target in links.items()})
    with pytest.raises(InputError, match="in a circle"):
        tree.resolved(b"a/x")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True, mode=0o700)
    (root / "etc/conf").write_text("x")
    (root / "etc/conf").chmod(0o640)
    (root / "etc/twin").hardlink_to(root / "etc/conf")
    (root / "bin").symlink_to("/usr/bin")
    os.mkfifo(root / "pipe", 0o600)
    with open(os.fsencode(root) + b"/\xff odd\n", "wb") as stream:  # noqa: PTH123 -- a path of bytes
        stream.write(b"odd")
    return root


def test_a_folder_belongs_to_root_and_has_no_times(folder: Path, tmp_path: Path) -> None:
    tree, info = made(FolderRootfs(folder), tmp_path)
    assert {(node.uid, node.gid, node.mtime) for _, node in tree.walk()} == {(0, 0, 0)}
    conf, fifo, bin_ = tree.get(b"etc/conf"), tree.get(b"pipe"), tree.get(b"bin")
    assert conf is tree.get(b"etc/twin")
    assert conf is not None
    assert fifo is not None
    assert bin_ is not None
    assert (conf.mode, fifo.kind, bin_.target) == (0o640, Kind.FIFO, b"/usr/bin")
    assert b"\xff odd\n" in tree
    assert info["kind"] == "directory"


def test_a_copy_of_a_folder_is_the_same_and_a_change_is_not(folder: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    before = folder_identity(folder, cache)
    subprocess.run(["cp", "-a", folder, tmp_path / "copy"], check=True)
    assert folder_identity(tmp_path / "copy", cache) == before
    (folder / "etc/conf").chmod(0o600)
    changed = folder_identity(folder, cache)
    (folder / "etc/twin").unlink()
    (folder / "etc/twin").write_text("x")
    (folder / "etc/twin").chmod(0o600)
    assert len({before, changed, folder_identity(folder, cache)}) == 3  # two files are not two names of one


def test_a_folder_that_changes_while_it_is_used(folder: Path, tmp_path: Path) -> None:
    """The id was made from what was there before: nothing else may be kept under it."""

    stage = RootfsStage(FolderRootfs(folder))
    original = FolderSource.base

    def changing(self: FolderSource, *rest: Any) -> Any:
        found = original(self, *rest)
        (folder / "etc/conf").write_text("y")
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FolderSource, "base", changing)
        with pytest.raises(ToolError, match="changed while it was used"):
            build([AGENT_STAGE, stage], "rootfs", tmp_path)


def test_attributes_that_travel_are_kept(folder: Path) -> None:
    try:
        os.setxattr(folder / "etc/conf", "user.note", b"kept")
    except OSError:
        pytest.skip("the temporary folder takes no attributes")
    conf = folder_tree(folder).get(b"etc/conf")
    assert conf is not None
    assert conf.xattrs == ((b"user.note", b"kept"),)


def test_what_cannot_be_in_an_image(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("here")
        with pytest.raises(InputError, match="/here is a socket"):
            folder_tree(folder)
    with pytest.raises(InputError, match=r"cannot read .*missing"):
        folder_tree(folder / "missing")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_what_cannot_be_read(folder: Path) -> None:
    (folder / "etc/conf").chmod(0)
    with pytest.raises(InputError, match="Permission denied"):
        folder_tree(folder)


@pytest.mark.vm
@pytest.mark.tool
def test_a_guest_with_a_root_made_elsewhere(built_set: Path, tool: Path, tmp_path: Path) -> None:
    """A distribution's layout with its shell: it boots to our agent, and a container in it runs."""
    path = merged_usr(tmp_path / "root.tar")
    busybox = Path("/bin/busybox").read_bytes()
    with tarfile.open(path, "a") as tar:
        info = tarfile.TarInfo("usr/bin/busybox")
        info.size, info.mode = len(busybox), 0o755
        tar.addfile(info, io.BytesIO(busybox))
        for name in ("sh", "cat", "sha256sum", "echo", "sleep"):
            info = tarfile.TarInfo(f"usr/bin/{name}")
            info.type, info.linkname = tarfile.LNKTYPE, "usr/bin/busybox"
            tar.addfile(info)
    share = built_set / "share/kata-containers"
    kernel = {part: {"path": str(next(share.glob(f"{part}-*")))} for part in ("vmlinux", "config")}
    spec = {
        "version": 1,
        "name": "elsewhere",
        "kernel": {"source": {"kind": "prebuilt", **kernel}},
        "rootfs": {"kind": "tarball", "path": "root.tar"},
        "runtime": {"hypervisors": {"qemu": {"settings": {"default_memory": 256}}}},
    }
    (tmp_path / "spec.yaml").write_text(json.dumps(spec))
    subprocess.run([tool, "build", "-q", tmp_path / "spec.yaml", "-o", tmp_path / "set"], check=True)
    done = subprocess.run(
        [tool, "verify", "--quick", "--json", tmp_path / "set"], capture_output=True, text=True, check=False
    )
    checks = {check["id"]: check["status"] for check in json.loads(done.stdout)["checks"]}
    assert done.returncode == 0, done.stdout
    assert checks["container-output"] == checks["agent-digest"] == checks["root-dax"] == "pass", done.stdout
