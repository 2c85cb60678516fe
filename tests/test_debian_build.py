"""Real Debian root file systems, made by mmdebstrap: the same bytes for all, slimmed as asked, booted by systemd."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from image_parts import tar_tree
from kata_toolkit.arch import native
from kata_toolkit.errors import ToolError
from kata_toolkit.pipeline.store import cache_folder
from kata_toolkit.rootfs.debian_preflight import require_able
from kata_toolkit.rootfs.debian_slim import clean, licence_texts, slim
from kata_toolkit.rootfs.tar import open_tar
from kata_toolkit.rootfs.tree import Kind, Tree, read_padded
from kata_toolkit.spec.model import Slim

pytestmark = pytest.mark.tool
NOBODY = 65534

# The kernel is at hand already: what is tested here is the root file system.
SPEC = """
version: 1
name: debian-test
kernel: {{source: {{kind: prebuilt, vmlinux: {{path: {vmlinux}}}, config: {{path: {config}}}}}}}
rootfs: {{kind: debian, suite: bookworm, init: systemd{more}}}
image: {{format: erofs}}
"""


@dataclass(frozen=True)
class Made:
    """A built set and what made it."""

    spec: Path
    folder: Path

    def manifest(self) -> Any:
        return json.loads((self.folder / "manifest.json").read_bytes())

    def output(self, stage: str, cache: Path) -> Path:
        """A stage's output in a store."""
        return cache / "objects" / stage / self.manifest()["stages"][stage]["id"] / "tree"


def write_spec(folder: Path, built_set: Path, more: str = "") -> Path:
    kata = built_set / "share" / "kata-containers"
    (vmlinux,), (config,) = kata.glob("vmlinux-*"), kata.glob("config-*")
    spec = folder / "debian.yaml"
    spec.write_text(SPEC.format(vmlinux=vmlinux, config=config, more=more))
    return spec


@pytest.fixture(scope="module")
def made(tool: Path, built_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A Debian with systemd, locked and built (from the store, where an earlier run has left it)."""
    try:
        require_able(native())
    except ToolError as error:
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("debian")
    for path in (folder, *folder.parents[:2]):
        path.chmod(0o755)
    spec = write_spec(folder, built_set)
    subprocess.run([tool, "lock", spec], check=True, capture_output=True)
    subprocess.run([tool, "build", "-q", "--locked", spec, "-o", folder / "set"], check=True)
    return Made(spec, folder / "set")


@pytest.fixture(scope="module")
def tree(made: Made) -> Iterator[Tree]:
    """What mmdebstrap made, before anything is taken out."""
    with open_tar(made.output("debian", cache_folder()) / "debian.tar") as opened:
        yield opened.tree()


def fresh(made: Made) -> tuple[ExitStack, Tree]:
    stack = ExitStack()
    return stack, stack.enter_context(open_tar(made.output("debian", cache_folder()) / "debian.tar")).tree()


# -- what is in it -----------------------------------------------------------------------------------------


def test_every_package_is_told(made: Made) -> None:
    root = made.output("rootfs", cache_folder())
    info = json.loads((root / "rootfs.json").read_bytes())
    found = {component["name"]: component for component in info["components"]}
    assert info["kind"] == "debian"
    for name in ("libc6", "coreutils", "systemd", "systemd-sysv", "usr-is-merged"):
        assert found[name]["kind"] == "deb"
        assert found[name]["namespace"] == "debian"
        assert len(found[name]["sha256"]) == 64
    assert found["libc6"]["source_name"] == "glibc"
    assert found["libc6"]["arch"] == "amd64"
    assert found["libc6"]["origin"].endswith(".deb")
    assert found["systemd"]["licence"]
    assert not {"dpkg", "usrmerge", "perl", "apt"} & found.keys()  # slimmed, or never there
    for name in found:
        assert (root / "licences" / name / "copyright").stat().st_size > 100, name
    assert (root / "licences" / "common-licenses" / "GPL-2").stat().st_size > 10_000


def test_nothing_of_this_machine_is_in_it(made: Made, tree: Tree) -> None:
    """Neither its names, nor places of the build, nor times."""
    assert {node.mtime for _, node in tree.walk()} == {0}
    for path in (b"etc/resolv.conf", b"etc/hostname", b"etc/apt/sources.list", b"etc/dpkg/dpkg.cfg.d/99mmdebstrap"):
        assert tree.get(path) is None
    texts = (b"/tmp/", os.fsencode(cache_folder()), os.fsencode(os.uname().nodename))
    for path, node in tree.walk():
        if path.startswith((b"etc/", b"var/")) and node.content and b"/info/" not in path:
            text = read_padded(node.content, 0, node.size)
            assert texts[1] not in text, path
            assert b"kata-toolkit-debian" not in text, path
    shadow = tree.get(b"etc/shadow")
    assert shadow is not None
    assert shadow.content is not None
    days = {line.split(b":")[2] for line in read_padded(shadow.content, 0, shadow.size).splitlines()}
    assert days <= {b"0", b""}  # not the day it was made on


def test_folders_are_merged_into_usr(tree: Tree) -> None:
    for name in (b"bin", b"sbin", b"lib", b"lib64"):
        node = tree.get(name)
        assert node is not None
        assert (node.kind, node.target) == (Kind.SYMLINK, b"usr/" + name)


def test_the_guest_is_set_up_for_systemd(made: Made) -> None:
    guest = tar_tree(made.output("rootfs", cache_folder()) / "rootfs.tar")
    service = guest.get(b"usr/lib/systemd/system/kata-agent.service")
    assert service is not None
    assert service.content is not None
    assert b"ExecStart=/usr/bin/kata-agent\n" in service.content.read(0, service.size)
    init = guest.get(guest.resolved(b"sbin/init"))
    assert init is not None
    assert init.target.endswith(b"lib/systemd/systemd")
    masked = guest.get(b"etc/systemd/system/systemd-random-seed.service")
    assert masked is not None
    assert masked.target == b"/dev/null"
    assert guest.get(b"usr/bin/kata-agent") is not None
    machine = guest.get(b"etc/machine-id")
    assert machine is not None
    assert machine.size == 0


SLIMMED = {
    "docs": (b"usr/share/doc/libc6/copyright", b"usr/share/common-licenses/GPL-2"),
    "locales": (b"usr/share/locale/de",),
    "apt": (b"etc/apt", b"var/lib/apt"),
    "dpkg": (b"usr/bin/dpkg", b"var/lib/dpkg/status"),
}


@pytest.mark.parametrize("part", SLIMMED)
def test_each_part_is_taken_out_by_itself(made: Made, part: str) -> None:
    stack, tree = fresh(made)
    with stack:
        wanted = {key: key == part for key in SLIMMED}
        gone = slim(tree, Slim(**wanted), ())
        for key, paths in SLIMMED.items():
            for path in paths:
                assert (path in tree) == (key != part), path
        assert gone == (("dpkg",) if part == "dpkg" else ())
        assert tree.get(b"sbin") is not None  # a folder that is a link, and that dpkg lists among its own
        assert tree.get(tree.resolved(b"bin/sh")) is not None


def test_a_package_that_is_asked_for_stays(made: Made) -> None:
    stack, tree = fresh(made)
    with stack:
        assert slim(tree, Slim(), ("dpkg",)) == ()
        assert b"usr/bin/dpkg" in tree


def test_what_belongs_to_one_machine_goes(made: Made) -> None:
    stack, tree = fresh(made)
    with stack:
        assert b"etc/passwd-" in tree  # else this tests nothing
        clean(tree)
        left = [path for path, node in tree.walk() if node.kind is not Kind.DIRECTORY]
        assert not [path for path in left if path.startswith((b"var/log/", b"run/", b"tmp/"))]
        for path in (b"etc/passwd-", b"etc/shadow-", b"var/lib/dpkg/status-old", b"var/cache/ldconfig/aux-cache"):
            assert path not in tree
        assert b"etc/passwd" in tree


def test_licences_are_those_of_the_packages(tree: Tree) -> None:
    texts = licence_texts(tree, ["libc6", "libc-bin", "no-such-package"])
    assert {"libc6/copyright", "libc-bin/copyright", "common-licenses/GPL-3"} <= texts.keys()
    assert "no-such-package/copyright" not in texts
    assert b"GNU C Library" in texts["libc6/copyright"] or b"libc" in texts["libc6/copyright"]


# -- the same bytes ----------------------------------------------------------------------------------------


def other_cache(folder: Path, made: Made, owner: int | None) -> Path:
    """A cache where only the packages are."""
    cache = folder / "cache"
    (cache / "downloads").mkdir(parents=True)
    info = json.loads((made.output("debian", cache_folder()) / "debian.json").read_bytes())
    for package in info["packages"]:
        shutil.copy(cache_folder() / "downloads" / package["sha256"], cache / "downloads")
    if owner is not None:
        for path in (cache, *cache.rglob("*")):
            os.chown(path, owner, owner)
    cache.chmod(0o700)
    return cache


def as_user(folder: Path, command: list[str | Path], ranges: str) -> list[str]:
    """A command as `nobody`, who is given ranges of users; the machine's own /etc/subuid stays as it is."""
    table = folder / "ranges"
    table.write_text(ranges)
    script = (
        f"mount --bind {table} /etc/subuid && mount --bind {table} /etc/subgid && "
        f'exec setpriv --reuid={NOBODY} --regid={NOBODY} --clear-groups "$@"'
    )
    return ["unshare", "--mount", "sh", "-c", script, "sh", *map(str, command)]


def test_another_user_makes_the_same_bytes_offline(made: Made, tool: Path, tmp_path: Path) -> None:
    """As an ordinary user without a network, under another umask, time zone, locale and number of jobs."""
    if os.geteuid() == 0 and subprocess.run(["unshare", "--mount", "--net", "true"], check=False).returncode:
        pytest.skip("this container lets nobody unshare")
    root = os.geteuid() == 0
    for path in (tmp_path, *tmp_path.parents[:2]):
        path.chmod(0o755)
    cache = other_cache(tmp_path, made, NOBODY if root else None)
    out = tmp_path / "out"
    out.mkdir()
    if root:
        os.chown(out, NOBODY, NOBODY)
    build = [tool, "build", "-q", "--locked", "--offline", "-j", "3", made.spec, "--only", "debian", "-o", out / "set"]
    command = as_user(tmp_path, build, f"nobody:200000:{1 << 16}\n") if root else [str(word) for word in build]
    environment = {
        **os.environ, "KATA_TOOLKIT_CACHE": str(cache), "TZ": "Asia/Kathmandu", "LC_ALL": "C", "HOME": "/nonexistent"
    }  # fmt: skip
    network = ["unshare", "--net"] if root else []
    done = subprocess.run(
        [*network, "sh", "-c", 'umask 077; exec "$@"', "sh", *command],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    ours, theirs = (made.output("debian", place) for place in (cache_folder(), cache))
    for name in ("debian.tar", "debian.json"):
        assert (theirs / name).read_bytes() == (ours / name).read_bytes(), name
    assert not list(Path("/tmp").glob("kata-toolkit-debian-*"))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can take the ranges away")
def test_a_user_without_ranges_is_told_before_anything_is_fetched(
    made: Made, tool: Path, tmp_path: Path, built_set: Path
) -> None:
    if subprocess.run(["unshare", "--mount", "true"], check=False).returncode:
        pytest.skip("this container lets nobody unshare")
    for path in (tmp_path, *tmp_path.parents[:2]):
        path.chmod(0o755)
    spec = write_spec(tmp_path, built_set)
    cache = tmp_path / "cache"
    cache.mkdir()
    os.chown(cache, NOBODY, NOBODY)
    build: list[str | Path] = [tool, "build", "-q", spec, "--only", "debian", "-o", cache / "set"]
    done = subprocess.run(
        as_user(tmp_path, build, "somebody-else:100000:65536\nnobody:100000:1000\n"),
        env={**os.environ, "KATA_TOOLKIT_CACHE": str(cache)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 3
    assert "/etc/subuid gives the user nobody no range of 65,536" in done.stderr
    assert "usermod --add-subuids" in done.stderr
    assert not (cache / "apt").exists()
    assert not (cache / "downloads").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give up what root may")
def test_a_container_where_root_is_little_is_told_of(tool: Path, root: Path, tmp_path: Path) -> None:
    """Without mounts, or without other users, packages' scripts would quietly do less."""
    cases = (
        (["setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin"], "root can mount nothing in this container"),
        (["unshare", "--user", "--map-root-user"], "root is alone in this user namespace"),
    )
    for number, (wrapper, words) in enumerate(cases):
        cache = tmp_path / str(number)
        build = [*wrapper, tool, "build", "-q", root / "examples/debian.yaml", "--only", "debian", "-o", cache / "set"]
        done = subprocess.run(
            build, env={**os.environ, "KATA_TOOLKIT_CACHE": str(cache)}, capture_output=True, text=True, check=False
        )
        assert (done.returncode, words in done.stderr) == (3, True), done.stderr
        assert not (cache / "apt").exists()


def test_an_overlay_does_not_install_again(made: Made, tool: Path, tmp_path: Path, built_set: Path) -> None:
    never_before = secrets.token_hex(8)  # the store may hold what an earlier run of this test made
    overlay = f', overlay: [{{kind: text, path: /etc/motd, text: "{never_before}"}}]'
    spec = write_spec(tmp_path, built_set, overlay)
    (tmp_path / "debian.lock.json").write_bytes(made.spec.with_suffix(".lock.json").read_bytes())
    subprocess.run([tool, "build", "-q", spec, "--only", "rootfs", "-o", tmp_path / "set"], check=True)
    timings = json.loads((tmp_path / "set.report" / "timings.json").read_bytes())
    assert "rootfs" in timings["seconds"]
    assert "debian" not in timings["seconds"]


@pytest.mark.vm
def test_systemd_boots_to_the_agent_and_a_container_runs(made: Made, tool: Path) -> None:
    done = subprocess.run(
        [tool, "verify", "--quick", "--timeout", "240", made.folder], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for check in ("boots", "root-dax", "agent-digest", "container-output", "container-stdin", "power-off"):
        assert f"pass  {check} " in done.stdout
    assert "/usr/bin/kata-agent" in done.stdout
