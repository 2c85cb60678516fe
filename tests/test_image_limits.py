"""What an image costs to make: memory that does not grow with it, and hardly more room than its files' blocks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from image_parts import AGENT, build, file, rootfs_of, tree_of
from kata_toolkit.errors import ToolError
from kata_toolkit.image.make import Wanted, write_image
from kata_toolkit.rootfs.tree import Tree
from kata_toolkit.spec.model import Image
from kata_toolkit.stages.image import ImageStage

SCRIPT = """
import resource, sys
from dataclasses import dataclass
from pathlib import Path
from kata_toolkit.image.make import Wanted, write_image
from kata_toolkit.image.readback import check_image
from kata_toolkit.rootfs.tree import Kind, Node, Tree

@dataclass(frozen=True)
class Zeros:
    size: int
    @property
    def ranges(self):
        return ((0, self.size),)
    def read(self, offset, length):
        return bytes(length)

tree = Tree()
for number in range(4):
    tree.add(b"large/%d" % number, Node(Kind.FILE, 0o644, content=Zeros(64 << 20)))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
wanted = Wanted(sys.argv[2], dax=sys.argv[3] == "dax", verity=sys.argv[3] == "verity")
made = write_image(tree, Path(sys.argv[1]), wanted, "ab" * 32)
check_image(Path(sys.argv[1]), made.layout, wanted.format, tree, None)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.parametrize("kind", ["ext4", "erofs"])
@pytest.mark.parametrize("more", ["dax", "verity"])
def test_a_large_image_is_written_and_read_back_in_little_memory(tmp_path: Path, kind: str, more: str) -> None:
    argv = [sys.executable, "-c", SCRIPT, tmp_path / "image", kind, more]
    grown = int(subprocess.run(argv, check=True, capture_output=True, text=True).stdout)
    assert grown < 48, f"{grown} MiB more than before"
    assert (tmp_path / "image").stat().st_size >= 256 << 20


def many_files() -> Tree:
    tree = tree_of({b"sbin/init": file(AGENT, 0o755)})
    for number in range(4000):
        tree.add(b"usr/%d/%d" % (number % 40, number), file(bytes([1 + number % 255]) * (number * 37 % 20_000)))
    return tree


@pytest.mark.parametrize("kind", ["ext4", "erofs"])
@pytest.mark.parametrize("layout", ["packed", "huge"])
def test_an_image_is_hardly_larger_than_its_files(tmp_path: Path, kind: str, layout: str) -> None:
    tree = many_files()
    tree.add(b"large", file(b"x" * (20 << 20)))
    files = sum(-(-node.size // 4096) * 4096 for _, node in tree.walk() if node.content)
    made = write_image(tree, tmp_path / "image", Wanted(kind, layout=layout), "ab" * 32)
    assert made.allocated <= files * 1.06
    assert made.layout.size - made.layout.start <= files * 1.06 + (2 << 20)
    assert abs((tmp_path / "image").stat().st_blocks * 512 - made.allocated) <= 1 << 20


@pytest.mark.tool
@pytest.mark.parametrize(
    ("verifies", "shows", "message"),
    [
        ("Partition 1: overlaps partition 2.", "", "sfdisk finds the partition table at 0 wrong"),
        (
            "No errors detected.\nTotal allocated sectors 9 greater than the maximum 8.",
            "",
            "at 0 wrong: .* greater than",
        ),
        ("No errors detected.", '{"partitiontable": {"partitions": []}}', "other partitions in the table at 0"),
    ],
)
def test_what_sfdisk_says_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verifies: str, shows: str, message: str
) -> None:
    """It exits 0 whatever it finds; and its answer is compared with what was meant."""
    fake = tmp_path / "bin" / "sfdisk"
    fake.parent.mkdir()
    fake.write_text(
        f"#!/bin/sh\ncase $1 in --version) echo sfdisk 0;; --json) echo '{shows}';; *) echo '{verifies}';; esac\n"
    )
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}:/usr/sbin:/usr/bin:/sbin:/bin")
    with pytest.raises(ToolError, match=message):
        build([rootfs_of(many_files(), tmp_path), ImageStage(Image(), 2)], "image", tmp_path)
