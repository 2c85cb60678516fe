"""The same specs built under different circumstances by the real program: what tests of reproducible and of rootless
building share. Each source of a root file system is built into each format."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from image_parts import ODD_NAMES, rich_tree, with_attributes
from kata_toolkit.rootfs.tar_write import write_tar
from kata_toolkit.rootfs.tree import Bytes, Kind, Node, Tree
from oci_parts import Layout

TOOL = Path(sys.executable).with_name("kata-toolkit")
TESTS = Path(__file__).parent
PACKERS = {"gzip": "gzip", "bzip2": "bzip2", "lzma": "xz", "xz": "xz", "lzo": "lzop", "lz4": "lz4", "zstd": "zstd"}

# The agent is any static program but in one spec: compiling it once a world is enough.
_AGENT = "agent: {kind: binary, path: agent}\n"
_TARBALL = _AGENT + "rootfs: {kind: tarball, path: rich.tar}\n"
_SIMPLE = _AGENT + "rootfs: {kind: tarball, path: simple.tar}\n"
_FOLDER = _AGENT + "rootfs: {kind: directory, path: folder}\n"
_OCI = _AGENT + "rootfs: {kind: oci, path: layout}\n"
IMAGES = {
    "minimal-ext4": "rootfs: {kind: minimal}\n",
    "minimal-erofs-verity": _AGENT + "image: {format: erofs, dax: false, verity: true}\n",
    "tarball-ext4-packed": _TARBALL + "image: {layout: packed}\n",
    "tarball-ext4-huge": _TARBALL + "image: {layout: huge, free_mib: 3}\n",
    "tarball-ext4-verity": _TARBALL + "image: {dax: false, verity: true}\n",
    "tarball-erofs-huge": _TARBALL + "image: {format: erofs, layout: huge, size: 128}\n",
    "tarball-erofs-lz4hc": _TARBALL
    + "image: {format: erofs, dax: false, compression: lz4hc}\nkernel: {features: {add: [erofs-compressed]}}\n",
    "folder-ext4": _FOLDER + "image: {dax: false}\n",
    "folder-erofs": _FOLDER + "image: {format: erofs}\n",
    "oci-ext4": _OCI,
    "oci-erofs": _OCI + "image: {format: erofs, dax: false}\n",
}
INITRDS = {
    "folder-initrd": _FOLDER + "initrd: {enabled: true, compression: gzip}\n",
    "oci-initrd": _OCI + "initrd: {enabled: true, compression: none}\n",
    "minimal-initrd": _AGENT + "initrd: {enabled: true, compression: xz}\n",
    **{
        f"tarball-initrd-{packing}": _SIMPLE + f"initrd: {{enabled: true, compression: {packing}}}\n"
        for packing, tool in PACKERS.items()
        if shutil.which(tool)
    },
}


@dataclass(frozen=True)
class World:
    """Circumstances of a build. ``before``: what the command is run by. ``backwards``: inputs are made in reverse."""

    before: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    arguments: Sequence[str] = ()
    umask: int = 0o022
    elsewhere: bool = False
    backwards: bool = False
    owner: int | None = None


def built(folder: Path, world: World, images: Sequence[str] = (), initrds: Sequence[str] = ()) -> dict[str, str]:
    """Build the named specs below a new folder; the sha256 of every file of every set, by path."""
    folder.mkdir(parents=True)
    folder.chmod(0o755)
    where = folder / "some where else" if world.elsewhere else folder / "here"
    where.mkdir()
    _inputs(where, backwards=world.backwards)
    texts = {name: {**IMAGES, **INITRDS}[name] for name in (*images, *initrds)}
    for name, text in texts.items():
        (where / f"{name}.yaml").write_text(f"version: 1\nname: {name}\n{text}")
    for path in (folder, *folder.rglob("*")) if world.owner is not None else ():
        os.chown(path, world.owner, world.owner, follow_symlinks=False)
    for names, stage in ((images, "image"), (initrds, "initrd")):
        if not names:
            continue
        specs = [str(where / f"{name}.yaml") for name in names] if world.elsewhere else [f"{n}.yaml" for n in names]
        argv = [*world.before, str(TOOL), "build", "-q", "--only", stage, *world.arguments, *specs]
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "KATA_TOOLKIT_CACHE": str(folder / "cache"),
            "PYTHONDONTWRITEBYTECODE": "1",
            **world.environment,
        }
        cwd = folder if world.elsewhere else where
        done = subprocess.run(
            argv, env=environment, cwd=cwd, umask=world.umask, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    out = (folder if world.elsewhere else where) / "out"
    files = [path for path in sorted(out.rglob("*")) if path.is_file() and ".report/" not in f"{path}/"]
    found = {str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    assert {name.split("/")[0] for name in found} >= set(texts), "a set is missing"
    return found


@cache
def _agent() -> bytes:
    """The smallest program that may be an agent: static, and nothing else."""
    with tempfile.TemporaryDirectory() as folder:
        source, program = Path(folder) / "agent.c", Path(folder) / "agent"
        source.write_text("int main(void) { return 0; }\n")
        subprocess.run(["gcc", "-static", "-s", "-Os", "-o", program, source], check=True)
        return program.read_bytes()


def rich() -> Tree:
    """Device nodes, foreign owners, capabilities, access lists, odd names, holes, a file of several huge pages."""
    tree = rich_tree()
    for path, node in with_attributes().walk():
        if path:
            tree.add(b"more/" + path, node)
    tree.add(b"usr/lib/large.so", Node(Kind.FILE, 0o755, content=Bytes(bytes(range(256)) * 20_000)))
    return tree


def _inputs(where: Path, *, backwards: bool) -> None:
    """What the specs name, below ``where``; the order in which it is made is another one backwards."""
    (where / "agent").write_bytes(_agent())
    (where / "agent").chmod(0o755)
    write_tar(rich(), where / "rich.tar")
    simple = rich_tree(any_time=False)
    for path in (b"sparse", b"all-hole"):  # an initrd stores their zeros, and packing them takes its time
        simple.remove(path)
    write_tar(simple, where / "simple.tar")
    _folder(where / "folder", backwards=backwards)
    layout = Layout(where / "layout")
    layout.image({"etc": None, "etc/a": b"a" * 5000, "etc/b": b"b"}, {"etc/.wh.b": b"", "etc/c": "-> a"}, tag="latest")
    layout.done()
    for path in where.rglob("*"):
        if not path.is_symlink() and path.is_relative_to(where / "layout"):
            path.chmod(0o755 if path.is_dir() else 0o644)


def _folder(root: Path, *, backwards: bool) -> None:
    files = {f"etc/{number:02}": b"%d" % number * 999 for number in range(30)} | {"usr/lib/x.so": bytes(50_000)}
    root.mkdir()
    for name in ("usr", "usr/lib", "etc"):
        (root / name).mkdir()
    for name in reversed(list(files)) if backwards else files:
        (root / name).write_bytes(files[name])
        (root / name).chmod(0o600 if name.endswith("7") else 0o644)
    for name in ODD_NAMES:
        with io.open(os.fsencode(root / "etc") + b"/" + name, "wb") as stream:  # noqa: UP020 -- a path of bytes
            stream.write(name)
            os.fchmod(stream.fileno(), 0o644)
    (root / "etc/link").symlink_to("../usr")
    (root / "etc/twin").hardlink_to(root / "etc/05")
    os.mkfifo(root / "pipe", 0o600)
    for name in ("usr", "usr/lib", "etc", "pipe", ""):
        (root / name).chmod(0o755)
        os.utime(root / name, (10**9 + backwards, 10**9 + backwards))
