"""Reading tars: every dialect that real programs write, and every trick that a hostile one plays."""

from __future__ import annotations

import io
import os
import random
import subprocess
import tarfile
from pathlib import Path

import pytest
from image_parts import ODD_NAMES, rich_tree, same_tree, tar_tree
from kata_toolkit.errors import InputError
from kata_toolkit.rootfs.tar import open_tar
from kata_toolkit.rootfs.tar_write import write_tar
from kata_toolkit.rootfs.tree import Kind, Tree

FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}


def member(name: str, data: bytes = b"", **fields: object) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for key, value in fields.items():
        setattr(info, key, value)
    return info, data


def make(path: Path, *members: tuple[tarfile.TarInfo, bytes], format_: int = tarfile.PAX_FORMAT) -> Path:
    with tarfile.open(path, "w", format=format_) as tar:
        for info, data in members:
            tar.addfile(info, io.BytesIO(data))
    return path


def read(path: Path) -> Tree:
    return tar_tree(path)


def refusal(path: Path) -> str:
    """The message, without the place in the archive that those about damage end in."""
    with pytest.raises(InputError) as caught:
        tar_tree(path)
    assert caught.value.problems[0].where, "an error must say which archive"
    assert caught.value.problems[0].where.file == str(path)
    return caught.value.problems[0].message.partition(", at byte ")[0]


@pytest.mark.parametrize("format_", FORMATS)
def test_reads_what_python_writes(tmp_path: Path, format_: str) -> None:
    path = make(
        tmp_path / "t.tar",
        member("etc", type=tarfile.DIRTYPE, mode=0o750),
        member("./etc//conf", b"data", mode=0o640, uid=12, gid=13, mtime=77),
        member("etc/twin", type=tarfile.LNKTYPE, linkname="./etc/conf"),
        member("etc/link", type=tarfile.SYMTYPE, linkname="../outside"),
        member("dev/tty", type=tarfile.CHRTYPE, devmajor=5, devminor=0, mode=0o666),
        member("dev/sda", type=tarfile.BLKTYPE, devmajor=8, devminor=16),
        member("fifo", type=tarfile.FIFOTYPE),
        format_=FORMATS[format_],
    )
    tree = read(path)
    conf = tree.get(b"etc/conf")
    assert conf is not None
    assert conf.content is not None
    assert (conf.mode, conf.uid, conf.gid, conf.mtime, conf.content.read(0, 4)) == (0o640, 12, 13, 77, b"data")
    assert tree.get(b"etc/twin") is conf
    assert tree.get(b"etc").mode == 0o750
    kinds = {p: (n.kind, n.target, n.rdev) for p, n in tree.walk()}
    assert kinds[b"etc/link"] == (Kind.SYMLINK, b"../outside", (0, 0))
    assert kinds[b"dev/tty"] == (Kind.CHARACTER, b"", (5, 0))
    assert kinds[b"dev/sda"] == (Kind.BLOCK, b"", (8, 16))
    assert kinds[b"fifo"][0] is Kind.FIFO


@pytest.mark.parametrize("format_", ["gnu", "pax"])
def test_reads_long_names_large_numbers_and_odd_names(tmp_path: Path, format_: str) -> None:
    long = "/".join(["directory-with-a-name"] * 20)
    path = make(
        tmp_path / "t.tar",
        member(long, b"1", uid=3_000_000, gid=4_294_967_294, mtime=9_000_000_000),
        member("link", type=tarfile.SYMTYPE, linkname="t" * 500),
        *(member("odd/" + os.fsdecode(name), name) for name in ODD_NAMES),
        format_=FORMATS[format_],
    )
    tree = read(path)
    node = tree.get(long.encode())
    assert node is not None
    assert (node.uid, node.gid, node.mtime) == (3_000_000, 4_294_967_294, 9_000_000_000)
    assert tree.get(b"link").target == b"t" * 500
    for name in ODD_NAMES:
        found = tree.get(b"odd/" + name)
        assert found is not None, name
        assert found.content is not None
        assert found.content.read(0, len(name)) == name


def test_the_ustar_prefix_and_times_before_1970(tmp_path: Path) -> None:
    name = "p" * 90 + "/" + "n" * 90
    tree = read(make(tmp_path / "u.tar", member(name, b"1"), format_=tarfile.USTAR_FORMAT))
    assert name.encode() in tree
    tree = read(make(tmp_path / "p.tar", member("a", mtime=-1.5), member("b", mtime=2.75)))
    assert [tree.get(n).mtime for n in (b"a", b"b")] == [-2, 2]
    tree = read(make(tmp_path / "g.tar", member("a", mtime=-5), format_=tarfile.GNU_FORMAT))
    assert tree.get(b"a").mtime == -5


@pytest.mark.tool
@pytest.mark.parametrize(
    "options",
    [["--format=gnu"], *(["--format=posix", f"--sparse-version={v}"] for v in ("0.0", "0.1", "1.0"))],
    ids=["old-gnu", "pax-0.0", "pax-0.1", "pax-1.0"],
)
def test_holes_of_all_four_forms(tmp_path: Path, options: list[str]) -> None:
    """Sparse maps with more pieces than one header holds, a hole at the end, and nothing but a hole."""
    source = tmp_path / "source"
    source.mkdir()
    with (source / "holes").open("wb") as stream:
        for i in range(40):
            stream.seek(i * 131072)
            stream.write(b"%04d" % i * 1024)
        stream.truncate(40 * 131072)
    with (source / "empty").open("wb") as stream:
        stream.truncate(1 << 20)
    subprocess.run(["tar", "--sparse", *options, "-cf", tmp_path / "t.tar", "-C", source, "."], check=True)
    assert (tmp_path / "t.tar").stat().st_size < 400_000, "tar did not see the holes: this test would prove nothing"
    tree = read(tmp_path / "t.tar")
    holes, empty = tree.get(b"holes"), tree.get(b"empty")
    assert holes is not None
    assert empty is not None
    assert holes.content is not None
    assert holes.size == 40 * 131072
    assert len(holes.content.ranges) == 40
    assert all(holes.content.read(i * 131072, 4096) == b"%04d" % i * 1024 for i in range(40))
    assert (empty.size, empty.content.ranges) == (1 << 20, ())


@pytest.mark.tool
def test_every_dialect_gives_the_same_tree(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "folder").mkdir(parents=True)
    for name in ODD_NAMES[:-4]:
        (source / "folder" / os.fsdecode(name)).write_bytes(name * 100)
    (source / "link").symlink_to("folder")
    (source / "hard").hardlink_to(source / "folder" / "a b")
    trees = []
    for i, command in enumerate(
        (["tar", "--format=gnu"], ["tar", "--format=posix"], ["tar", "--format=oldgnu"], ["bsdtar", "--format=pax"])
    ):
        path = tmp_path / f"{i}.tar"
        if subprocess.run(["which", command[0]], capture_output=True, check=False).returncode:
            continue
        subprocess.run([*command, "-cf", path, "-C", source, "."], check=True, env={**os.environ, "LC_ALL": "C.UTF-8"})
        trees.append(read(path))
    for other in trees[1:]:
        assert same_tree(trees[0], other) == []


def test_attributes_of_star_and_libarchive(tmp_path: Path) -> None:
    info, data = member("ping", b"p")
    info.pax_headers = {
        "SCHILY.xattr.user.empty": "",
        "SCHILY.xattr.user.both": "plain",
        "LIBARCHIVE.xattr.user.both": "cGxhaW4",
        "LIBARCHIVE.xattr.user.with%20blank": "AAE",
    }
    tree = read(make(tmp_path / "t.tar", (info, data)))
    assert tree.get(b"ping").xattrs == (
        (b"user.both", b"plain"), (b"user.empty", b""), (b"user.with blank", b"\0\1"),
    )  # fmt: skip


@pytest.mark.parametrize("key", ["SCHILY.acl.access", "RHT.security.selinux", "SCHILY.acl.default"])
def test_what_cannot_be_carried_is_refused_not_dropped(tmp_path: Path, key: str) -> None:
    info, data = member("file", b"p")
    info.pax_headers = {key: "user::rw-"}
    assert refusal(make(tmp_path / "t.tar", (info, data))) == f"the member file has {key}, which cannot be carried over"


def test_a_global_header_holds_for_all_that_follow(tmp_path: Path) -> None:
    path = tmp_path / "t.tar"
    with tarfile.open(path, "w", pax_headers={"uid": "42", "comment": "made by git"}) as tar:
        tar.addfile(member("a")[0])
        tar.addfile(member("b", uid=7)[0])
    tree = read(path)
    assert [tree.get(n).uid for n in (b"a", b"b")] == [42, 42]


def test_a_later_member_replaces_an_earlier_one(tmp_path: Path) -> None:
    path = make(tmp_path / "t.tar", member("a", b"1"), member("a", b"22", mode=0o600))
    node = read(path).get(b"a")
    assert node is not None
    assert (node.size, node.mode) == (2, 0o600)


HOSTILE = {
    "climbs": ([member("../etc/passwd", b"x")], "the member ../etc/passwd climbs out with '..'"),
    "climbs-inside": ([member("a/../../b", b"x")], "the member a/../../b climbs out with '..'"),
    "climbs-and-returns": ([member("a/../b", b"x")], "the member a/../b climbs out with '..'"),
    "absolute": ([member("/etc/passwd", b"x")], "the member /etc/passwd is an absolute path"),
    "absolute-twice": ([member("//etc", b"x")], "the member //etc is an absolute path"),
    "through-a-link": (
        [member("a", type=tarfile.SYMTYPE, linkname="/etc"), member("a/passwd", b"x")],
        "/a/passwd lies below the symbolic link /a",
    ),
    "through-a-link-deeper": (
        [member("a", type=tarfile.SYMTYPE, linkname="."), member("a/b/c", b"x")],
        "/a/b/c lies below the symbolic link /a",
    ),
    "folder-through-a-link": (
        [member("a", type=tarfile.SYMTYPE, linkname="/tmp"), member("a/b", type=tarfile.DIRTYPE)],
        "/a/b lies below the symbolic link /a",
    ),
    "below-a-file": ([member("a", b"x"), member("a/b", b"x")], "/a/b lies below the file /a"),
    "below-a-device": ([member("a", type=tarfile.CHRTYPE), member("a/b", b"x")], "/a/b lies below the file /a"),
    "hard-link-outside": (
        [member("a", type=tarfile.LNKTYPE, linkname="../../etc/shadow")],
        "the member a climbs out with '..'",
    ),
    "hard-link-absolute": (
        [member("a", type=tarfile.LNKTYPE, linkname="/etc/shadow")],
        "the member a is an absolute path",
    ),
    "hard-link-to-nothing": (
        [member("a", type=tarfile.LNKTYPE, linkname="b")],
        "/a is a hard link to /b, which is not there",
    ),
    "hard-link-to-itself": ([member("a", type=tarfile.LNKTYPE, linkname="a")],
                            "/a is a hard link to /a, which is not there"),
    "hard-link-to-a-folder": (
        [member("d", type=tarfile.DIRTYPE), member("a", type=tarfile.LNKTYPE, linkname="d")],
        "/a is a hard link to the folder /d",
    ),
    "hard-link-below-a-link": (
        [member("f", b"x"), member("a", type=tarfile.SYMTYPE, linkname="/"),
         member("a/b", type=tarfile.LNKTYPE, linkname="f")],
        "/a/b lies below the symbolic link /a",
    ),
    "folder-gives-way": (
        [member("d/x", b""), member("d", type=tarfile.SYMTYPE, linkname="/etc")],
        "/d replaces a folder that is not empty",
    ),
    "root-is-a-link": ([member("./", type=tarfile.SYMTYPE, linkname="/")], "the root is not a folder"),
    "root-is-a-file": ([member(".", b"x")], "the root is not a folder"),
    "no-name": ([member("", b"x")], "the member  has no name"),
    "link-to-nowhere": ([member("a", type=tarfile.SYMTYPE)], "the member a is a symbolic link to nowhere"),
    "name-of-256": ([member("n" * 256)], f"the member {'n' * 256} has a name longer than 255 bytes"),
    "multi-volume": ([member("a", type=b"M")], "the member a is of type b'M', which is not supported"),
    "unknown-type": ([member("a", type=b"Z")], "the member a is of type b'Z', which is not supported"),
    "escape-codes": (
        [member("\x1b[2J\n/../x", b"")],
        "the member \\x1b[2J\\n/../x climbs out with '..'",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_archives_are_refused(tmp_path: Path, case: str) -> None:
    members, message = HOSTILE[case]
    assert refusal(make(tmp_path / "t.tar", *members)) == message


def test_a_path_longer_than_a_path_can_be(tmp_path: Path) -> None:
    assert "is longer than 4095 bytes" in refusal(make(tmp_path / "t.tar", member("d/" * 2100 + "x")))


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    return make(tmp_path / "t.tar", member("a", b"A" * 700), member("b", b"B" * 5000), format_=tarfile.USTAR_FORMAT)


@pytest.mark.parametrize("length", [0, 1, 511, 512, 600, 1024, 1536, 2000, 2048, 7000, 7168])
def test_a_truncated_archive_is_refused_wherever_it_ends(plain: Path, length: int) -> None:
    """tarfile takes several of these for whole: the image would silently lack files."""
    os.truncate(plain, length)
    assert refusal(plain) == "the archive is cut short"


def test_a_damaged_header_in_the_middle_is_not_the_end(plain: Path) -> None:
    data = bytearray(plain.read_bytes())
    data[1536 + 3] ^= 1  # in the second member's name
    plain.write_bytes(data)
    assert refusal(plain) == "a header is damaged (its checksum does not hold)"


def test_what_follows_the_end_is_not_lost_silently(plain: Path) -> None:
    plain.write_bytes(plain.read_bytes() + plain.read_bytes())
    assert refusal(plain) == "something follows the end of the archive"


def header_with(path: Path, offset: int, field: bytes) -> Path:
    """An archive of one empty file with a field of its header replaced, its checksum made right again."""
    data = bytearray(make(path, member("a"), format_=tarfile.GNU_FORMAT).read_bytes())
    data[offset : offset + len(field)] = field
    data[148:156] = b" " * 8
    data[148:156] = b"%06o\0 " % sum(data[:512])
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("offset", "field", "message"),
    [
        (124, b"\x80" + b"\xff" * 11, "the archive is cut short"),  # a size of 2^88
        (124, b"77777777777\0", "the archive is cut short"),
        (124, b"\xff" * 12, "a header holds a negative number"),
        (124, b"12three4567\0", "a header holds b'12three4567\\x00' where a number should be"),
        (100, b"-000644\0", "a header holds b'-000644\\x00' where a number should be"),
        (108, b"\xff" * 8, "a header holds a negative number"),
    ],
)  # fmt: skip
def test_numbers_that_lie(tmp_path: Path, offset: int, field: bytes, message: str) -> None:
    assert refusal(header_with(tmp_path / "t.tar", offset, field)) == message


def sparse_member(records: dict[str, str], data: bytes) -> tuple[tarfile.TarInfo, bytes]:
    info, data = member("holes", data)
    info.pax_headers = records
    return info, data


V1 = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "real", "GNU.sparse.realsize": "100"}
BAD_MAPS = {
    "beyond-its-size": (V1, b"1\n99\n5\n".ljust(512, b"\0") + b"12345", "does not fit its size"),
    "overlapping": (V1, b"2\n0\n50\n40\n0\n".ljust(512, b"\0") + b"x" * 50, "does not fit its size"),
    "backwards": (V1, b"2\n50\n5\n0\n0\n".ljust(512, b"\0") + b"x" * 5, "does not fit its size"),
    "too-little-data": (V1, b"1\n0\n50\n".ljust(512, b"\0") + b"x" * 10, "does not fit its data"),
    "broken-blocks": (V1, b"2\n0\n5\n9\n5\n".ljust(512, b"\0") + b"x" * 10, "programs read in different ways"),
    "no-numbers": (V1, b"one\n".ljust(512, b"\0"), "where a number should be"),
    "no-lines": (V1, b"1" * 2048, "a damaged map of holes"),
    "endless": (V1, b"99999999999\n".ljust(512, b"\0"), "more than 65,536 holes"),
    "odd-pairs": ({"GNU.sparse.size": "9", "GNU.sparse.map": "0,1,2"}, b"x", "a damaged map of holes"),
    "unknown-version": ({**V1, "GNU.sparse.minor": "7"}, b"", "sparse in a way that is not known"),
    "bomb": ({**V1, "GNU.sparse.realsize": str(1 << 60)}, b"0\n".ljust(512, b"\0"), "more than a file system can hold"),
}


@pytest.mark.parametrize("case", BAD_MAPS)
def test_maps_of_holes_that_lie(tmp_path: Path, case: str) -> None:
    records, data, message = BAD_MAPS[case]
    assert message in refusal(make(tmp_path / "t.tar", sparse_member(records, data)))


@pytest.mark.parametrize("data", [b"no length", b"99 path=x\n", b"5 a\n", b"0 a=b\n", b"-5 a=b\n", b"13 path=abc\n"])
def test_damaged_extended_headers(tmp_path: Path, data: bytes) -> None:
    path = make(tmp_path / "t.tar", member("x", data, type=b"x"), member("a", b"1"), format_=tarfile.USTAR_FORMAT)
    assert refusal(path) in ("an extended header is damaged", "the archive is cut short")


def test_a_huge_extended_header_is_not_read(tmp_path: Path) -> None:
    path = header_with(tmp_path / "t.tar", 124, b"77777777777\0")
    data = bytearray(path.read_bytes())
    data[156:157] = b"L"
    data[148:156] = b" " * 8
    data[148:156] = b"%06o\0 " % sum(data[:512])
    path.write_bytes(data)
    assert "is too large to be one" in refusal(path)


def test_random_damage_ends_in_an_answer(tmp_path: Path) -> None:
    """A thousand archives with a few bytes changed: read whole, or refused; never a traceback or an endless loop."""
    write_tar(rich_tree(), tmp_path / "t.tar")
    original = (tmp_path / "t.tar").read_bytes()
    random_ = random.Random(5)
    read_whole = 0
    for _ in range(1000):
        data = bytearray(original)
        for _ in range(random_.randrange(1, 8)):
            # Mostly headers: they begin every 512 bytes.
            at = random_.randrange(len(data) // 512) * 512 + random_.randrange(random_.choice((160, 512)))
            data[at] = random_.choice((0, 0x20, 0x30, 0x37, 0x2F, 0x2E, 0x80, 0xFF, random_.randrange(256)))
            if random_.random() < 0.7:
                head = at // 512 * 512
                data[head + 148 : head + 156] = b" " * 8
                data[head + 148 : head + 156] = b"%06o\0 " % sum(data[head : head + 512])
        (tmp_path / "t.tar").write_bytes(data)
        try:
            tar_tree(tmp_path / "t.tar")
            read_whole += 1
        except InputError:
            pass
    assert 0 < read_whole < 1000


def test_what_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        open_tar(tmp_path / "missing")
    with pytest.raises(InputError, match="is not a file"):
        open_tar(tmp_path)
