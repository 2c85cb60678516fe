"""systemd as the first process of a root file system from anywhere: units, masks, chrony; and what has no systemd."""

from __future__ import annotations

from pathlib import Path

import pytest
from image_parts import AGENT, Given, build, file, tar_tree, tree_of
from kata_toolkit.errors import InputError, Where
from kata_toolkit.rootfs.systemd import SERVICE_MARK
from kata_toolkit.rootfs.tar_write import write_tar
from kata_toolkit.rootfs.tree import Kind, Node, Tree
from kata_toolkit.spec.model import GivenFile, OverlayEntry, TarballRootfs
from kata_toolkit.stages.rootfs import RootfsStage

UNITS = b"usr/lib/systemd/system"
MERGED: dict[bytes, Node | bytes] = {
    b"lib": Node(Kind.SYMLINK, 0o777, target=b"usr/lib"),
    b"sbin": Node(Kind.SYMLINK, 0o777, target=b"usr/sbin"),
    b"usr/sbin/chronyd": file(b"\x7fELF", 0o755),
    b"usr/lib/systemd/systemd": file(b"\x7fELF", 0o755),
    UNITS + b"/systemd-random-seed.service": file(b"[Unit]\n"),
}
SPLIT: dict[bytes, Node | bytes] = {
    b"lib/systemd/systemd": file(b"\x7fELF", 0o755),
    b"lib/systemd/system/systemd-random-seed.service": file(b"[Unit]\n"),
    b"sbin/init": Node(Kind.SYMLINK, 0o777, target=b"/lib/systemd/systemd"),
}
WHERE = Where("guest.yaml", 3, 9)


def guest(folder: Path, nodes: dict[bytes, Node | bytes], *overlay: OverlayEntry) -> Tree:
    """The root file system that the stage makes of a tar with these nodes."""
    archive = folder / "root.tar"
    write_tar(tree_of(nodes), archive)
    source = TarballRootfs(GivenFile(archive), overlay, "systemd", WHERE)
    entry = build([Given("agent", {"init": AGENT}), RootfsStage(source)], "rootfs", folder)
    return tar_tree(entry.path("rootfs.tar"))


def text(tree: Tree, path: bytes) -> str:
    node = tree.get(tree.resolved(path))
    assert node is not None
    assert node.content is not None
    return node.content.read(0, node.size).decode()


@pytest.mark.parametrize("nodes", [MERGED, SPLIT], ids=["merged", "split"])
def test_the_agent_is_a_service(tmp_path: Path, nodes: dict[bytes, Node | bytes]) -> None:
    tree = guest(tmp_path, nodes)
    service = text(tree, UNITS + b"/kata-agent.service")
    for line in ("ExecStart=/usr/bin/kata-agent", f"Environment={SERVICE_MARK}", "Delegate=yes"):
        assert f"{line}\n" in service
    assert "Requires=basic.target kata-agent.service\n" in text(tree, UNITS + b"/kata-containers.target")
    agent = tree.get(b"usr/bin/kata-agent")
    assert agent is not None
    assert (agent.mode, agent.size) == (0o755, len(AGENT))
    init = tree.get(tree.resolved(b"sbin/init"))
    assert init is not None
    assert (init.kind, init.target.rpartition(b"/")[2]) == (Kind.SYMLINK, b"systemd")
    default = tree.get(b"etc/systemd/system/default.target")
    assert default is not None
    assert default.target == b"/" + UNITS + b"/kata-containers.target"


@pytest.mark.parametrize("nodes", [MERGED, SPLIT], ids=["merged", "split"])
def test_only_units_that_are_there_are_masked(tmp_path: Path, nodes: dict[bytes, Node | bytes]) -> None:
    tree = guest(tmp_path, nodes)
    masked = tree.get(b"etc/systemd/system/systemd-random-seed.service")
    assert masked is not None
    assert (masked.kind, masked.target) == (Kind.SYMLINK, b"/dev/null")
    assert tree.get(b"etc/systemd/system/systemd-udevd.service") is None


def test_chrony_follows_the_hosts_clock_where_it_is(tmp_path: Path) -> None:
    (tmp_path / "with").mkdir()
    (tmp_path / "without").mkdir()
    tree = guest(tmp_path / "with", MERGED)
    assert "refclock PHC /dev/ptp0" in text(tree, b"etc/chrony/kata.conf")
    assert "ConditionPathExists=/dev/ptp0" in text(tree, b"etc/systemd/system/chrony.service.d/kata.conf")
    assert b"etc/chrony/kata.conf" not in guest(tmp_path / "without", SPLIT)


def test_an_overlay_has_the_last_word(tmp_path: Path) -> None:
    unit = OverlayEntry("text", "/usr/lib/systemd/system/kata-agent.service", WHERE, text="[Service]\nExecStart=/x\n")
    unmask = OverlayEntry("remove", "/etc/systemd/system/systemd-random-seed.service", WHERE)
    tree = guest(tmp_path, MERGED, unit, unmask)
    assert text(tree, UNITS + b"/kata-agent.service") == "[Service]\nExecStart=/x\n"
    assert tree.get(b"etc/systemd/system/systemd-random-seed.service") is None


def test_without_systemd_the_wish_is_refused_at_its_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"guest\.yaml:3:9: the root file system has no systemd") as caught:
        guest(tmp_path, {b"bin/sh": file(b"\x7fELF", 0o755)})
    assert "init: agent" in (caught.value.problems[0].hint or "")
