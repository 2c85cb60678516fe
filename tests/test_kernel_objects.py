"""Which objects a kernel was linked from: archives as binutils writes them, and damaged ones."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from kata_toolkit.errors import ToolError
from kata_toolkit.kernel_objects import linked_objects


def archive(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["gcc", "-x", "c", "-c", "-o", path, "-"], input=b"int x;", check=True)
    subprocess.run(["ar", "cDPrST", "vmlinux.a", *names], cwd=folder, check=True)
    return folder / "vmlinux.a"


@pytest.mark.tool
@pytest.mark.parametrize(
    "names",
    [
        ("init/main.o",),
        ("b.o", "a.o", "net/ipv4/netfilter/a_name_longer_than_the_sixteen_bytes_of_a_header.o"),
        tuple(f"drivers/d{number}/driver.o" for number in range(40)),
    ],
)
def test_the_names_are_those_that_ar_lists(tmp_path: Path, names: tuple[str, ...]) -> None:
    file = archive(tmp_path, *names)
    assert linked_objects(tmp_path) == tuple(sorted(names))
    listed = subprocess.run(["ar", "t", file], cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    assert set(listed.split()) == {str(tmp_path / name) for name in names} or set(listed.split()) == set(names)


@pytest.mark.tool
def test_archives_of_archives_are_one(tmp_path: Path) -> None:
    """As the kernel's build does it: built-in.a of each folder, then vmlinux.a of these."""
    archive(tmp_path, "fs/ext4/inode.o", "fs/open.o").rename(tmp_path / "built-in.a")
    archive(tmp_path, "init/main.o")
    subprocess.run(["ar", "cDPrST", "vmlinux.a", "built-in.a"], cwd=tmp_path, check=True)
    assert linked_objects(tmp_path) == ("fs/ext4/inode.o", "fs/open.o", "init/main.o")


def test_a_kernel_that_was_linked_otherwise_has_none(tmp_path: Path) -> None:
    assert linked_objects(tmp_path) == ()


@pytest.mark.tool
@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda data: b"", "its first bytes are others"),
        (lambda data: data.replace(b"!<thin>", b"!<arch>"), "its first bytes are others"),
        (lambda data: data[:-30], "no header at byte"),
        (lambda data: data.replace(b"`\n", b"!\n"), "no header at byte"),
        (lambda data: data.replace(b"/\n", b"..", 1), "has no end"),
    ],
)
def test_a_damaged_archive_is_told(tmp_path: Path, damage: object, said: str) -> None:
    file = archive(tmp_path, "net/ipv4/netfilter/a_name_longer_than_a_header_has_room_for.o")
    assert callable(damage)
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(ToolError, match=said):
        linked_objects(tmp_path)
