"""The minimal root file system: the stage, run by the real engine with the busybox that is installed."""

from __future__ import annotations

import hashlib
import json
import shutil
import stat
import subprocess
from pathlib import Path

import pytest
from image_parts import AGENT, AGENT_SHA256, Given, build, tar_tree
from kata_toolkit import run
from kata_toolkit.errors import InputError, ToolError
from kata_toolkit.pipeline.inputs import BuildInputs
from kata_toolkit.pipeline.store import Store
from kata_toolkit.rootfs.minimal import FOLDERS, applet_paths, place_agent
from kata_toolkit.rootfs.tree import Kind, Tree
from kata_toolkit.spec.model import MinimalRootfs
from kata_toolkit.stages.rootfs import RootfsStage

POLICY = b"package agent_policy\ndefault AllowRequestsFailingPolicy := true\n"


def made(folder: Path, *, busybox: bool = True, policy: bytes | None = None) -> tuple[Tree, dict[str, object]]:
    files = {"init": AGENT} | ({"default-policy.rego": policy} if policy else {})
    entry = build([Given("agent", files), RootfsStage(MinimalRootfs(busybox))], "rootfs", folder)
    return tar_tree(entry.path("rootfs.tar")), json.loads(entry.path("rootfs.json").read_text())


@pytest.mark.tool
def test_the_agent_boots_as_sbin_init(tmp_path: Path) -> None:
    tree, info = made(tmp_path)
    agent = tree.get(b"sbin/init")
    assert agent is not None
    assert agent.content is not None
    assert (agent.kind, agent.mode, agent.content.read(0, agent.size)) == (Kind.FILE, 0o755, AGENT)
    assert info["agent"] == {"path": "/sbin/init", "sha256": AGENT_SHA256, "size": len(AGENT)}


@pytest.mark.tool
def test_it_has_what_a_guest_and_a_container_mount_over(tmp_path: Path) -> None:
    """The root is read-only: a folder or file that is missing cannot be made when something wants to mount there."""
    tree, _ = made(tmp_path)
    for folder in ("proc", "sys", "dev", "run", "tmp", "var/tmp", "root", "mnt", "etc/kata-opa", "lib/modules", "opt"):
        assert tree.get(folder.encode()).kind is Kind.DIRECTORY, folder
    for file in ("etc/resolv.conf", "etc/hosts", "etc/hostname", "etc/passwd", "etc/group", "etc/nsswitch.conf"):
        assert tree.get(file.encode()).kind is Kind.FILE, file
    assert tree.get(b"tmp").mode == 0o1777
    assert tree.get(b"etc/resolv.conf").size == 0
    assert tree.get(b"dev/console").rdev == (5, 1)


@pytest.mark.tool
def test_everything_belongs_to_root_and_has_no_time(tmp_path: Path) -> None:
    tree, _ = made(tmp_path, policy=POLICY)
    assert {(n.uid, n.gid, n.mtime) for _, n in tree.walk()} == {(0, 0, 0)}
    assert [p for p, n in tree.walk() if n.mode & 0o6000] == []
    writable = [p for p, n in tree.walk() if n.mode & 0o022 and n.kind is not Kind.SYMLINK]
    assert writable == [b"dev/null", b"tmp", b"var/tmp"]


@pytest.mark.tool
def test_every_applet_is_a_name_of_busybox_and_none_is_the_agent(tmp_path: Path) -> None:
    tree, info = made(tmp_path)
    busybox = tree.get(b"bin/busybox")
    listed = subprocess.run(["busybox", "--list-full"], capture_output=True, check=True).stdout.split()
    for applet in listed:
        if applet not in (b"sbin/init", b"linuxrc"):
            assert tree.get(applet) is busybox, applet
    assert tree.get(b"sbin/init") is not busybox
    assert tree.get(b"linuxrc") is None
    path = run.which("busybox")
    assert path is not None
    [component] = info["components"]
    assert component["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    said = subprocess.run([path, "--help"], capture_output=True, text=True, check=True).stdout
    assert component["licence"] == "GPL-2.0-only"
    if component.get("kind") == "deb":  # a distribution's: it says its package's version of itself
        assert f"{component['namespace'].title()} {component['version']})" in said
        assert component["source_name"] == "busybox"
    else:
        assert f"BusyBox v{component['version']} " in said


@pytest.mark.tool
def test_the_licence_of_an_installed_busybox_comes_along(tmp_path: Path) -> None:
    text = Path("/usr/share/doc/busybox-static/copyright")
    if not text.is_file():
        pytest.skip("busybox is not Debian's busybox-static here")
    entry = build([Given("agent", {"init": AGENT}), RootfsStage(MinimalRootfs())], "rootfs", tmp_path)
    assert entry.path("licences/busybox-static/copyright").read_bytes() == text.read_bytes()


@pytest.mark.tool
def test_a_busybox_of_ones_own_is_not_taken_for_the_packages(tmp_path: Path, path_with: Path) -> None:
    busybox = shutil.which("busybox")
    assert busybox is not None
    (path_with / "busybox").write_bytes(Path(busybox).read_bytes() + b"\0")
    (path_with / "busybox").chmod(0o755)
    entry = build([Given("agent", {"init": AGENT}), RootfsStage(MinimalRootfs())], "rootfs", tmp_path)
    [component] = json.loads(entry.path("rootfs.json").read_text())["components"]
    assert (component["name"], component.get("kind")) == ("busybox", "generic")
    assert not [name for name in entry.files if name.startswith("licences/")]


@pytest.mark.tool
def test_busybox_can_be_left_out(tmp_path: Path) -> None:
    tree, info = made(tmp_path, busybox=False)
    assert tree.get(b"bin/busybox") is None
    assert info["components"] == []
    assert info["entries"] == len(tree) < 60
    assert all(path in tree for path in FOLDERS)


@pytest.mark.tool
def test_a_policy_goes_where_kata_agent_looks(tmp_path: Path) -> None:
    tree, info = made(tmp_path, policy=POLICY)
    node = tree.get(b"etc/kata-opa/default-policy.rego")
    assert node.content.read(0, node.size) == POLICY
    assert info["policy"] == "/etc/kata-opa/default-policy.rego"


@pytest.fixture
def path_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is all of PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setattr(run, "environment", lambda extra=None: {"PATH": str(folder), **(extra or {})})
    return folder


def refused(tmp_path: Path) -> ToolError:
    stages = [Given("agent", {"init": AGENT}), RootfsStage(MinimalRootfs())]
    with pytest.raises(ToolError) as caught:
        build(stages, "rootfs", tmp_path)
    return caught.value


def test_no_busybox(tmp_path: Path, path_with: Path) -> None:
    error = refused(tmp_path)
    assert error.problems[0].message == "busybox, which goes into the guest, is not installed"
    assert "apt-get install busybox-static" in (error.problems[0].hint or "")
    assert "busybox: false" in (error.problems[0].hint or "")


def test_a_busybox_that_needs_libraries(tmp_path: Path, path_with: Path) -> None:
    (path_with / "busybox").write_bytes(Path("/bin/sh").read_bytes())
    (path_with / "busybox").chmod(0o755)
    assert "is not a static program" in refused(tmp_path).problems[0].message


def test_a_busybox_that_is_a_script(tmp_path: Path, path_with: Path) -> None:
    (path_with / "busybox").write_text("#!/bin/sh\n")
    (path_with / "busybox").chmod(0o755)
    assert "is not a static program" in refused(tmp_path).problems[0].message


@pytest.mark.parametrize(
    ("listing", "message"),
    [
        ("bin/sh\n../etc/x\n", "climbs out"),
        ("bin/sh\n/bin/ls\n", "absolute"),
        ("bin/sh\nopt/x\n", "no place for a program"),
        ("bin/ls\n", "has no shell"),
        ("", "has no shell"),
    ],
)
def test_a_listing_that_cannot_be_right(listing: str, message: str) -> None:
    with pytest.raises(ToolError, match=message):
        applet_paths(listing)


def test_what_changes_the_stage_id(tmp_path: Path) -> None:
    """Another agent or another busybox setting is another root file system; a policy too."""

    def recipe_id(files: dict[str, bytes], busybox: bool) -> str:
        store = Store(tmp_path / "cache")
        given = Given("agent", files)
        build([given], "agent", tmp_path)
        inputs = BuildInputs(store)
        entry = store.get("agent", given.plan(inputs).id("agent"))
        assert entry is not None
        inputs.add(entry)
        return RootfsStage(MinimalRootfs(busybox)).plan(inputs).id("rootfs")

    ids = [
        recipe_id({"init": AGENT}, False),
        recipe_id({"init": AGENT + b"x"}, False),
        recipe_id({"init": AGENT, "default-policy.rego": POLICY}, False),
        recipe_id({"init": AGENT}, True),
    ]
    assert len(set(ids)) == 4
    assert ids[0] == recipe_id({"init": AGENT}, False)


def test_an_agent_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read"):
        place_agent(Tree(), tmp_path / "missing", None)


def test_modes_of_folders_are_modes() -> None:
    assert all(mode == stat.S_IMODE(mode) for mode in FOLDERS.values())
