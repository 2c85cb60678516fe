"""A corpus of hostile tars: each is refused with the words that say why, or kept inside, in every format of image."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest
from hostile_tars import CASES, Case, head
from image_parts import file, same_tree, tar_tree
from kata_toolkit.archive import plain_tar, unpack
from kata_toolkit.errors import InputError
from kata_toolkit.image.make import Wanted, write_image
from kata_toolkit.image.readback import check_image
from kata_toolkit.rootfs.agent_file import AgentFile
from kata_toolkit.rootfs.tar import open_tar
from kata_toolkit.rootfs.tar_write import write_tar
from kata_toolkit.rootfs.tree import MAX_ENTRIES, Kind, Tree, read_padded

EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"  # of no bytes


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.refused])
def test_refused(tmp_path: Path, name: str) -> None:
    """With the archive's name, and, where a member is the matter, the member's."""
    path = tmp_path / "hostile.tar"
    path.write_bytes(CASES[name].tar)
    with pytest.raises(InputError) as caught, open_tar(path, "the archive") as tar:
        tar.tree()
    (problem,) = caught.value.problems
    assert problem.message == CASES[name].refused
    assert problem.where is not None
    assert problem.where.file == "the archive"
    assert problem.message.isprintable()


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if not case.refused])
def test_kept(tmp_path: Path, name: str) -> None:
    """What is in it is what comes out, also of a tar and of images that are made from it."""
    case = CASES[name]
    path = tmp_path / "hostile.tar"
    path.write_bytes(case.tar)
    with open_tar(path) as tar:
        tree = tar.tree()
        assert described(tree, case) == case.kept
        write_tar(tree, tmp_path / "again.tar")
        assert same_tree(tree, tar_tree(tmp_path / "again.tar")) == []
        tree.add(b"agent", file(b"", 0o755))
        for kind in ("ext4", "erofs"):
            made = write_image(tree, tmp_path / kind, Wanted(format=kind), "ab" * 32)
            check_image(tmp_path / kind, made.layout, kind, tree, AgentFile(b"agent", EMPTY))


def described(tree: Tree, case: Case) -> dict[bytes, bytes | str | None]:
    found: dict[bytes, bytes | str | None] = {}
    for path, node in tree.walk():
        if node.kind is Kind.SYMLINK:
            found[path] = node.target.decode()
        elif node.content and case.kept.get(path) is not None:
            found[path] = read_padded(node.content, 0, node.size)
        elif path:
            found[path] = None
    return found


def test_modes_that_matter_are_kept(tmp_path: Path) -> None:
    for name, mode in (("setuid, setgid and sticky", 0o7777), ("more mode than there is", 0o7777)):
        path = tmp_path / f"{mode}.tar"
        path.write_bytes(CASES[name].tar)
        node = tar_tree(path).get(b"a")
        assert node is not None
        assert node.mode == mode


def test_there_are_enough_of_them() -> None:
    assert len(CASES) > 100


def test_a_million_entries(tmp_path: Path) -> None:
    """Refused as soon as there are too many, with little memory and in little time; just as many as allowed are not."""
    header = bytearray(head(b"d/0000000"))
    header[148:156] = b" " * 8
    rest = sum(header) - sum(b"0000000")
    with (tmp_path / "million.tar").open("wb") as out:
        for number in range(MAX_ENTRIES + 10):  # what is behind the limit is not looked at
            digits = b"%07d" % number
            out.write(header[:2] + digits + header[9:148] + b"%06o\0 " % (rest + sum(digits)) + header[156:])
        out.truncate(1_000_000 * 512)
    code = (
        "import sys; from pathlib import Path; from kata_toolkit.rootfs.tar import open_tar\n"
        "from kata_toolkit.errors import InputError\n"
        "try:\n  with open_tar(Path(sys.argv[1])) as tar: tar.tree()\n"
        "except InputError as error: print(error.problems[0].message)\n"
        "print(next(l for l in open('/proc/self/status') if l.startswith('VmHWM')).split()[1])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "million.tar"], capture_output=True, text=True, check=True
    )
    message, peak = done.stdout.splitlines()
    assert message == "there are more than 200,000 files and folders"
    assert int(peak) < 150_000, "KiB"


def bomb(path: Path, tool: str, mebibytes: int) -> Path:
    """A tar with one file of zeros, packed: packed pieces one behind the other are one packed archive."""
    size = mebibytes << 20
    pieces = (head(b"zeros", size=b"\x80" + size.to_bytes(11, "big")), bytes(16 << 20), bytes(1024))
    first, zeros, end = (subprocess.run([tool, "-c"], input=p, stdout=-1, check=True).stdout for p in pieces)
    path.write_bytes(first + zeros * (mebibytes // 16) + end)
    return path


@pytest.mark.tool
@pytest.mark.parametrize("tool", [pytest.param("gzip", marks=pytest.mark.full), "zstd"])  # gzip takes its time
def test_a_bomb(tmp_path: Path, tool: str) -> None:
    """Gigabytes from one or two megabytes: refused on the way, and what was written until then takes no room."""
    path = bomb(tmp_path / "bomb", tool, 2 << 10)
    assert path.stat().st_size < 3 << 20
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError, match=r"^the bomb unpacks to more than 200 times its size"):
        plain_tar(path, tmp_path / "plain.tar", "the bomb")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000
    assert (tmp_path / "plain.tar").stat().st_blocks * 512 < 2 << 20


@pytest.mark.tool
@pytest.mark.full
def test_a_bomb_of_sources(tmp_path: Path) -> None:
    path = bomb(tmp_path / "bomb", "zstd", 2 << 10)
    with pytest.raises(InputError, match=r"^the bomb unpacks to more than 200 times its size"):
        unpack(path, tmp_path / "folder", "the bomb", lambda done: None)


@pytest.mark.tool
def test_what_is_packed_well_is_no_bomb(tmp_path: Path) -> None:
    """A few hundred megabytes of zeros are what a swap file or an empty database may have; they become holes."""
    path = bomb(tmp_path / "zeros", "zstd", 256)
    plain_tar(path, tmp_path / "plain.tar", "zeros")
    info = (tmp_path / "plain.tar").stat()
    assert info.st_size == 512 + (256 << 20) + 1024
    assert info.st_blocks * 512 < 4 << 20
    node = tar_tree(tmp_path / "plain.tar").get(b"zeros")
    assert node is not None
    assert node.size == 256 << 20
