"""Changes on top of a root file system: what each does, that none leaves the root, and how mistakes are told."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from image_parts import AGENT, Given, build, file, tar_tree, tree_of
from kata_toolkit.errors import InputError, Where
from kata_toolkit.rootfs.overlay import apply
from kata_toolkit.rootfs.tree import Kind, Node, Tree, read_padded
from kata_toolkit.spec.load import load_spec
from kata_toolkit.spec.model import MinimalRootfs, OverlayEntry
from kata_toolkit.stages.rootfs import RootfsStage

HERE = Where("spec.yaml", 7, 5)
FACTS = {"name": "guest", "arch": "x86_64", "kata": "4.1"}


def entry(kind: str, path: str = "", **more: Any) -> OverlayEntry:
    return OverlayEntry(kind, path, HERE, **more)


def changed(nodes: dict[bytes, Node | bytes], *entries: OverlayEntry) -> Tree:
    tree = tree_of(nodes)
    apply(tree, entries, FACTS)
    return tree


def content(tree: Tree, path: bytes) -> bytes:
    node = tree.get(path)
    assert node is not None, path
    assert node.content is not None
    return read_padded(node.content, 0, node.size)


@pytest.fixture
def host(tmp_path: Path) -> Path:
    (tmp_path / "app/sub").mkdir(parents=True)
    (tmp_path / "app/run").write_text("#!/bin/sh\n")
    (tmp_path / "app/run").chmod(0o700)
    (tmp_path / "app/sub/data").write_text("data")
    (tmp_path / "app/sub/data").chmod(0o600)
    (tmp_path / "app/sub/twin").hardlink_to(tmp_path / "app/sub/data")
    (tmp_path / "app/link").symlink_to("sub/data")
    return tmp_path


def test_files_take_a_mode_that_no_umask_decides(host: Path) -> None:
    tree = changed(
        {},
        entry("file", "/usr/bin/run", source=host / "app/run"),
        entry("file", "/etc/data", source=host / "app/sub/data"),
        entry("file", "/etc/secret", source=host / "app/sub/data", mode=0o400, uid=5, gid=6),
    )
    found = {path: (n.mode, n.uid, n.gid) for path, n in tree.walk() if n.kind is Kind.FILE}
    assert found == {b"usr/bin/run": (0o755, 0, 0), b"etc/data": (0o644, 0, 0), b"etc/secret": (0o400, 5, 6)}
    assert content(tree, b"etc/data") == b"data"


def test_a_folder_goes_beside_what_is_there(host: Path) -> None:
    tree = changed(
        {b"opt/app/old": file(b"old"), b"opt/app/sub": Node(Kind.DIRECTORY, 0o711)},
        entry("directory", "/opt/app", source=host / "app", uid=9, gid=9),
        entry("directory", "/data", mode=0o1777),
    )
    assert content(tree, b"opt/app/old") == b"old"
    assert content(tree, b"opt/app/sub/data") == b"data"
    assert tree.get(b"opt/app/sub/data") is tree.get(b"opt/app/sub/twin")
    sub, data, run, link = (tree.get(p) for p in (b"opt/app/sub", b"data", b"opt/app/run", b"opt/app/link"))
    assert sub is not None
    assert data is not None
    assert run is not None
    assert link is not None
    assert (sub.mode, data.mode, run.uid, link.target) == (0o711, 0o1777, 9, b"sub/data")


def test_links_in_a_path_are_followed_inside_the_root(host: Path) -> None:
    """`/lib` of a merged /usr, and one that tries to lead outside."""
    tree = changed(
        {
            b"lib": Node(Kind.SYMLINK, 0o777, target=b"usr/lib"),
            b"out": Node(Kind.SYMLINK, 0o777, target=b"../../../etc"),
        },
        entry("file", "/lib/data", source=host / "app/sub/data"),
        entry("text", "/out/passwd", text="x"),
        entry("directory", "/lib/app", source=host / "app"),
    )
    assert {p for p, n in tree.walk() if n.kind is Kind.FILE} == {
        b"usr/lib/data", b"etc/passwd", b"usr/lib/app/run", b"usr/lib/app/sub/data", b"usr/lib/app/sub/twin",
    }  # fmt: skip


def test_texts_links_and_what_is_left_out() -> None:
    tree = changed(
        {b"usr/share/doc/a/b": file(b""), b"usr/share/docs": file(b""), b"etc/localtime": file(b"")},
        entry("text", "/etc/motd", text="{{ name }} on {{ arch }}, Kata {{ kata }}\n"),
        entry("symlink", "/etc/localtime", text="../usr/share/zoneinfo/UTC"),
        entry("remove", "/usr/share/doc"),
    )
    assert content(tree, b"etc/motd") == b"guest on x86_64, Kata 4.1\n"
    link = tree.get(b"etc/localtime")
    assert link is not None
    assert link.target == b"../usr/share/zoneinfo/UTC"
    assert b"usr/share/docs" in tree
    assert not [path for path, _ in tree.walk() if path.startswith(b"usr/share/doc/")]


def test_users_are_added_once() -> None:
    app = entry("user", "/home/app", name="app", uid=1000, gid=1000, text="/bin/sh")
    daemon = entry("user", name="daemon", uid=2, gid=2)
    tree = changed({b"etc/passwd": file(b"root:x:0:0:root:/root:/bin/sh")}, app, daemon, app)
    assert content(tree, b"etc/passwd") == (
        b"root:x:0:0:root:/root:/bin/sh\n"
        b"app:x:1000:1000:app:/home/app:/bin/sh\ndaemon:x:2:2:daemon:/nonexistent:/bin/false\n"
    )
    assert content(tree, b"etc/group") == b"app:x:1000:\ndaemon:x:2:\n"
    home = tree.get(b"home/app")
    assert home is not None
    assert (home.kind, home.mode, home.uid) == (Kind.DIRECTORY, 0o700, 1000)


BAD: dict[str, tuple[OverlayEntry, str]] = {
    "climbs": (entry("text", "/../etc/x", text=""), r"climbs out with '\.\.'"),
    "climbs inside": (entry("text", "/etc/../../x", text=""), r"climbs out"),
    "the root": (entry("remove", "/./"), "is the root itself"),
    "a long name": (entry("text", "/" + "n" * 256, text=""), "longer than 255 bytes"),
    "below a file": (entry("text", "/etc/file/x", text=""), "lies below the file /etc/file"),
    "a circle": (entry("text", "/circle/x", text=""), "in a circle"),
    "over a folder": (entry("text", "/etc", text=""), "replaces a folder that is not empty"),
    "not there": (entry("remove", "/no/such"), "/no/such is not there"),
    "an unknown fact": (entry("text", "/x", text="{{ version }}"), "'version' is undefined"),
    "no template": (entry("text", "/x", text="{{ name"), "cannot be filled in"),
    "out of the sandbox": (entry("text", "/x", text="{{ name.__class__.__mro__ }}"), "cannot be filled in"),
    "an endless text": (entry("text", "/x", text="{% for i in range(10 ** 10) %}x{% endfor %}"), "Range too big"),
    "no number": (entry("text", "/x", text="{{ 1 // 0 }}"), "cannot be filled in"),
    "a text and a number": (entry("text", "/x", text="{{ name + 1 }}"), "cannot be filled in"),
    "a taken number": (entry("user", name="other", uid=7, gid=7), "has lp with the number 7 already"),
    "a taken name": (entry("user", name="lp", uid=8, gid=8), "has lp with the number 7 already"),
}


@pytest.mark.parametrize("case", BAD)
def test_mistakes_are_told_at_their_place(case: str) -> None:
    wrong, message = BAD[case]
    tree = tree_of(
        {
            b"etc/file": file(b""),
            b"etc/passwd": file(b"lp:x:7:7::/:/bin/false\n"),
            b"circle": Node(Kind.SYMLINK, 0o777, target=b"circle"),
        }
    )
    with pytest.raises(InputError, match=message) as caught:
        apply(tree, (wrong,), FACTS)
    assert caught.value.problems[0].where == HERE


def test_every_mistake_is_told(host: Path) -> None:
    with pytest.raises(InputError) as caught:
        changed({}, BAD["climbs"][0], entry("text", "/fine", text=""), BAD["not there"][0])
    assert len(caught.value.problems) == 2


@pytest.mark.parametrize("kind", ["text", "symlink", "directory"])
def test_the_agents_place_is_not_for_others(kind: str, host: Path, tmp_path: Path) -> None:
    """It would be replaced without a word."""
    (host / "app/init").write_text("#!/bin/sh\n")
    wrong = {
        "text": entry("text", "/sbin/init", text="#!/bin/sh\n"),
        "symlink": entry("symlink", "/sbin/init", text="../bin/sh"),
        "directory": entry("directory", "/sbin", source=host / "app"),
    }[kind]
    source = MinimalRootfs(busybox=False, overlay=(wrong,))
    stages = [Given("agent", {"init": AGENT}), RootfsStage(source, facts=FACTS)]
    with pytest.raises(InputError, match="/sbin/init, where the agent goes") as caught:
        build(stages, "rootfs", tmp_path / "cache")
    assert caught.value.problems[0].where == HERE


def test_what_gives_way_to_the_agent_may_be_left_out(tmp_path: Path) -> None:
    source = MinimalRootfs(busybox=False, overlay=(entry("remove", "/sbin"),))
    built = build([Given("agent", {"init": AGENT}), RootfsStage(source, facts=FACTS)], "rootfs", tmp_path)
    assert content(tar_tree(built.path("rootfs.tar")), b"sbin/init") == AGENT


def test_from_the_spec_to_the_tar(host: Path, tool: Path) -> None:
    (host / "spec.yaml").write_text(
        """
version: 1
name: guest
rootfs:
  kind: minimal
  busybox: false
  overlay:
    - {kind: directory, path: /opt/app, from: app}
    - {kind: file, path: /etc/data, from: app/sub/data, mode: "0640", owner: "5:6"}
    - {kind: text, path: /etc/motd, text: "{{ name }}"}
    - {kind: user, name: app, uid: 1000, home: /home/app, shell: /bin/sh}
    - {kind: symlink, path: /etc/localtime, to: ../usr/share/zoneinfo/UTC}
    - {kind: remove, path: /srv}
"""
    )
    spec = load_spec(host / "spec.yaml")
    assert [e.kind for e in spec.rootfs.overlay] == ["directory", "file", "text", "user", "symlink", "remove"]
    data = spec.rootfs.overlay[1]
    assert (data.mode, data.uid, data.gid, data.source) == (0o640, 5, 6, host / "app/sub/data")
    subprocess.run([tool, "build", "-q", host / "spec.yaml", "--only", "rootfs", "-o", host / "out"], check=True)
    plan = subprocess.run([tool, "plan", "--json", host / "spec.yaml"], capture_output=True, text=True, check=True)
    before = next(s["id"] for s in json.loads(plan.stdout)["stages"] if s["stage"] == "rootfs")
    (host / "app/run").write_text("#!/bin/sh\ntrue\n")
    plan = subprocess.run([tool, "plan", "--json", host / "spec.yaml"], capture_output=True, text=True, check=True)
    assert next(s["id"] for s in json.loads(plan.stdout)["stages"] if s["stage"] == "rootfs") != before
