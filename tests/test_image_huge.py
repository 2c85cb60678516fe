"""The layout `huge`, and sizes: where files lie by the independent readers, what it costs, and room that is real."""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_parts import AGENT, AGENT_SHA256, Sparse, build, file, rich_tree, rootfs_of, tree_of
from kata_toolkit.errors import InputError, Where
from kata_toolkit.image.erofs_read import ErofsReader
from kata_toolkit.image.ext4_read import Ext4Reader
from kata_toolkit.image.filesystem import walk
from kata_toolkit.image.make import Made, Wanted, write_image
from kata_toolkit.image.placement import Piece, Pieces, merged
from kata_toolkit.image.readback import image_problems
from kata_toolkit.pipeline.store import Entry
from kata_toolkit.rootfs.agent_file import AgentFile
from kata_toolkit.rootfs.tree import Tree
from kata_toolkit.run import environment
from kata_toolkit.spec.model import Image
from kata_toolkit.stages.image import ImageStage

MIB = 1 << 20
PAGE = 2 * MIB
PMEM = 2 * MIB  # where /dev/pmem0 starts in the file
AGENT_FILE = AgentFile(b"sbin/init", AGENT_SHA256)
ENV = environment()


def big_tree(files: int = 6, small: int = 300) -> Tree:
    """Large files of odd sizes with small ones between them; one with holes, one just too small."""
    nodes = {b"sbin/init": file(AGENT, 0o755)}
    for number in range(files):
        nodes[b"lib/large-%d" % number] = file(bytes([number + 1]) * (PAGE * (number % 3 + 1) + number * 70_001))
    for number in range(small):
        nodes[b"share/small-%03d" % number] = file(b"%d" % number * (number * 97 % 9000))
    holes = ((0, b"head"), (3 * PAGE - 5000, b"x" * (PAGE + 9000)), (9 * PAGE, b"y" * PAGE))
    nodes[b"lib/sparse"] = file(Sparse(10 * PAGE, holes))
    nodes[b"lib/too-small"] = file(b"t" * (PAGE - 4096))
    return tree_of(nodes)


def with_large(size: int) -> Tree:
    return tree_of({b"sbin/init": file(AGENT, 0o755), b"large": file(b"x" * size)})


def written(folder: Path, tree: Tree, wanted: Wanted) -> Made:
    made = write_image(tree, folder / "image", wanted, "ab" * 32)
    assert list(image_problems(folder / "image", made.layout, wanted.format, tree, AGENT_FILE)) == []
    return made


def whole_pages(path: Path, made: Made, kind: str) -> dict[bytes, int]:
    """By path: how many 2 MiB pages of the file lie whole and on a boundary of what the guest sees as /dev/pmem0."""
    found = {}
    fd = os.open(path, os.O_RDONLY)
    reader = (ErofsReader if kind == "erofs" else Ext4Reader)(fd, made.layout.start, made.layout.filesystem_size)
    for name, inode in walk(reader):
        placed = {}
        for run in inode.runs:
            placed |= {run.logical + i: made.layout.start - PMEM + (run.physical + i) * 4096 for i in range(run.length)}
        last = -(-inode.size // 4096)
        count = 0
        for first in range(0, last // 512 * 512, 512):
            at = placed.get(first, 1)
            count += at % PAGE == 0 and all(placed.get(first + i) == at + i * 4096 for i in range(512))
        found[name] = count
    os.close(fd)
    return found


@pytest.mark.parametrize("kind", ["ext4", "erofs"])
def test_every_large_file_can_be_mapped_in_huge_pages(tmp_path: Path, kind: str) -> None:
    made = written(tmp_path, big_tree(), Wanted(format=kind, layout="huge"))
    pages = whole_pages(tmp_path / "image", made, kind)
    for number in range(6):
        assert pages[b"lib/large-%d" % number] == number % 3 + 1
    # Holes of a file take no room in ext4, where each piece lies for itself; in EROFS the file is one piece.
    assert pages[b"lib/sparse"] == (2 if kind == "ext4" else 10)
    assert pages[b"lib/too-small"] == 0
    assert sum(pages.values()) == made.arrangement.huge_pages


@pytest.mark.parametrize("kind", ["ext4", "erofs"])
def test_without_it_none_can(tmp_path: Path, kind: str) -> None:
    """Otherwise the test above would hold by chance."""
    made = written(tmp_path, big_tree(), Wanted(format=kind, layout="packed"))
    assert sum(whole_pages(tmp_path / "image", made, kind).values()) == 0
    assert made.arrangement.huge_pages == 0


@pytest.mark.tool
@pytest.mark.parametrize("kind", ["ext4", "erofs"])
@pytest.mark.parametrize("layout", ["huge", "packed"])
def test_other_programs_find_nothing_wrong(tmp_path: Path, kind: str, layout: str) -> None:
    entry = stage(tmp_path, big_tree(), Image(format=kind, layout=layout))
    info = json.loads(entry.path("image.json").read_text())
    assert info["layout"]["kind"] == ("packed" if layout == "packed" else "huge")
    assert info["partition"]["start"] == (3 if layout == "packed" else 4) * MIB


def stage(folder: Path, tree: Tree, image: Image) -> Entry:
    return build([rootfs_of(tree, folder), ImageStage(image, image.align_mib or 2)], "image", folder)


@pytest.mark.parametrize("kind", ["ext4", "erofs"])
def test_gaps_are_filled_with_small_files(tmp_path: Path, kind: str) -> None:
    """And no byte more is on disk."""
    (tmp_path / "packed").mkdir()
    tree = big_tree(8, 3000)
    huge = written(tmp_path, tree, Wanted(format=kind, layout="huge"))
    packed = written(tmp_path / "packed", tree, Wanted(format=kind, layout="packed"))
    assert huge.allocated <= packed.allocated + 4096 * 2
    assert huge.arrangement.cost == huge.layout.size - packed.layout.size
    # Ten pieces lie on boundaries, of less than 3 MiB on average; what the small files fill is not lost.
    assert huge.layout.size - packed.layout.size <= 6 * MIB
    used = huge.facts["used_blocks"] * 4096
    assert used <= packed.facts["used_blocks"] * 4096 + 8192


@pytest.mark.parametrize(
    ("tree", "wanted", "kind"),
    [
        (big_tree(0, 10), Wanted(dax=False), "packed"),
        (big_tree(), Wanted(verity=True), "packed"),
        (rich_tree(), Wanted(), "packed"),  # no file is large enough
        (with_large(31 * PAGE), Wanted(), "huge"),
        (with_large(PAGE), Wanted(), "packed"),  # 6 MiB, or 8
        (with_large(PAGE), Wanted(align_mib=128), "huge"),
        (with_large(PAGE), Wanted(size_mib=6), "packed"),
        (with_large(PAGE), Wanted(size_mib=8), "huge"),
    ],
)
def test_auto_is_huge_where_it_costs_little(tmp_path: Path, tree: Tree, wanted: Wanted, kind: str) -> None:
    made = written(tmp_path, tree, wanted)
    assert ("huge" if made.arrangement.shape.huge else "packed") == kind
    assert made.arrangement.cost <= made.layout.size * 0.05
    assert (made.arrangement.note() is None) is (kind == "packed")


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 1500), st.integers(1, 1800)), max_size=40),
    st.integers(0, 2000),
)
def test_pieces_never_overlap_and_whole_pages_lie_on_boundaries(found: list[tuple[int, int]], first: int) -> None:
    pieces = [Piece(logical, length) for logical, length in found]
    for huge in (False, True):
        starts, end = Pieces(pieces).place(first, huge=huge)
        ranges = sorted((start, start + piece.length) for start, piece in zip(starts, pieces, strict=True))
        assert all(a[1] <= b[0] for a, b in itertools.pairwise(ranges))
        assert all(first <= start and stop <= end for start, stop in ranges)
        assert end == max([first, *(stop for _, stop in ranges)])
        assert sum(stop - start for start, stop in merged(ranges)) == sum(piece.length for piece in pieces)
        if huge:
            aligned = [(s - p.logical) % 512 == 0 for s, p in zip(starts, pieces, strict=True) if p.huge_pages]
            assert all(aligned)


# --- sizes


@pytest.mark.tool
@pytest.mark.parametrize("layout", ["packed", "huge"])
@pytest.mark.parametrize("room", [{"free_mib": 40}, {"size_mib": 256}])
def test_free_room_can_be_written_to(tmp_path: Path, room: dict[str, int], layout: str) -> None:
    """By another program, in blocks and in inodes; e2fsck finds nothing wrong afterwards."""
    entry = stage(tmp_path, big_tree(3, 50), Image(layout=layout, **room))
    info = json.loads(entry.path("image.json").read_text())
    path = tmp_path / "image"
    data = entry.path("image").read_bytes()
    path.write_bytes(data[info["partition"]["start"] :][: info["partition"]["size"]])
    if "size_mib" in room:
        assert len(data) == 256 * MIB
    (tmp_path / "content").write_bytes(os.urandom(35 * MIB))
    (tmp_path / "little").write_bytes(b"little")
    lines = ["mkdir /new", f"write {tmp_path}/content /new/content"]
    lines += [f"write {tmp_path}/little /new/{number}" for number in range(1000)]
    (tmp_path / "script").write_text("\n".join(lines))
    subprocess.run(["debugfs", "-w", "-f", tmp_path / "script", path], check=True, env=ENV, capture_output=True)
    subprocess.run(["e2fsck", "-fn", path], check=True, env=ENV, capture_output=True)
    listed = subprocess.run(["debugfs", "-R", "ls /new", path], capture_output=True, text=True, env=ENV, check=True)
    assert re.search(r"\b999\b", listed.stdout)
    subprocess.run(
        ["debugfs", "-R", f"dump /new/content {tmp_path}/back", path], check=True, env=ENV, capture_output=True
    )
    assert (tmp_path / "back").read_bytes() == (tmp_path / "content").read_bytes()


@pytest.mark.parametrize("kind", ["ext4", "erofs"])
@pytest.mark.parametrize("verity", [False, True])
@pytest.mark.parametrize("dax", [False, True])
def test_a_size_that_is_too_small_is_told_with_the_one_that_would_do(
    tmp_path: Path, kind: str, verity: bool, dax: bool
) -> None:
    where = Where("spec.yaml", 7, 3)
    with pytest.raises(InputError) as caught:
        written(tmp_path, big_tree(), Wanted(kind, dax, verity, size_mib=4, size_where=where))
    [problem] = caught.value.problems
    assert problem.where == where
    assert not (tmp_path / "image").exists()
    found = re.search(r"the smallest size that would do: (\d+) MiB", problem.hint or "")
    assert found
    smallest = int(found[1])
    made = written(tmp_path, big_tree(), Wanted(kind, dax, verity, size_mib=smallest))
    assert made.layout.size == smallest * MIB
    (tmp_path / "image").unlink()
    with pytest.raises(InputError):
        written(tmp_path, big_tree(), Wanted(kind, dax, verity, size_mib=smallest - 2))


@pytest.mark.parametrize("kind", ["ext4", "erofs"])
@pytest.mark.parametrize("verity", [False, True])
def test_a_fixed_size_is_that_size(tmp_path: Path, kind: str, verity: bool) -> None:
    made = written(tmp_path, rich_tree(), Wanted(kind, verity=verity, size_mib=64))
    assert made.layout.size == 64 * MIB == (tmp_path / "image").stat().st_size
    assert (tmp_path / "image").stat().st_blocks * 512 < 4 * MIB, "room that is left takes no disk space"


@pytest.mark.parametrize("free", [1, 7, 129])
def test_at_least_so_much_is_free(tmp_path: Path, free: int) -> None:
    made = written(tmp_path, rich_tree(), Wanted(free_mib=free))
    blocks = made.facts["blocks"] - made.facts["used_blocks"]
    assert free * MIB <= blocks * 4096 < (free + 3) * MIB
    assert made.facts["inodes"] - made.facts["used_inodes"] >= free * MIB // 16384
