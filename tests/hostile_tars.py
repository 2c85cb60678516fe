"""Tars that play tricks, as bytes: each with a name, and what must come of it. Made block by block, since no program
would write most of them."""

from __future__ import annotations

from dataclasses import dataclass, field

from kata_toolkit.rootfs.tar_header import BLOCK
from kata_toolkit.rootfs.tar_pax import format_records

_FIELDS = {
    "mode": (100, 8), "uid": (108, 8), "gid": (116, 8), "size": (124, 12), "mtime": (136, 12), "type": (156, 1),
    "link": (157, 100), "magic": (257, 8), "major": (329, 8), "minor": (337, 8), "prefix": (345, 155),
}  # fmt: skip
_DEFAULTS = {
    "mode": b"0000644\0", "uid": b"0000000\0", "gid": b"0000000\0", "mtime": b"00000000000\0", "type": b"0",
    "magic": b"ustar\00000",
}  # fmt: skip
Records = list[tuple[bytes, bytes]]


def head(name: bytes, data: bytes = b"", **fields: bytes) -> bytes:
    """A member: its header with any field as raw bytes, and its data in whole blocks."""
    block = bytearray(BLOCK)
    block[: len(name[:100])] = name[:100]
    for key, value in {**_DEFAULTS, "size": b"%011o\0" % len(data), **fields}.items():
        at, length = _FIELDS[key]
        block[at : at + length] = value[:length].ljust(length, b"\0")
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block) + data + bytes(-len(data) % BLOCK)


def link(name: bytes, target: bytes, **fields: bytes) -> bytes:
    return head(name, type=b"2", link=target, **fields)


def hard(name: bytes, target: bytes, **fields: bytes) -> bytes:
    return head(name, type=b"1", link=target, **fields)


def folder(name: bytes) -> bytes:
    return head(name, type=b"5", mode=b"0000755\0")


def pax(records: Records | bytes, kind: bytes = b"x") -> bytes:
    return head(b"pax", records if isinstance(records, bytes) else format_records(records), type=kind)


def base256(value: int, length: int) -> bytes:
    """GNU's form of large and negative numbers: two's complement behind a bit that says so."""
    return (value % (1 << 8 * length) | 1 << 8 * length - 1).to_bytes(length, "big")


def sparse_1_0(size: int, map_: bytes, data: bytes) -> bytes:
    records = [(b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.name", b"holes"),
               (b"GNU.sparse.realsize", b"%d" % size)]  # fmt: skip
    return pax(records) + head(b"GNUSparseFile.0/holes", map_ + bytes(-len(map_) % BLOCK) + data)


def old_sparse(size: bytes, *pairs: tuple[bytes, bytes], stored: int = 0) -> bytes:
    """GNU's old form: raw numbers of up to four pieces."""
    block = bytearray(head(b"holes", type=b"S", size=b"%011o\0" % stored, magic=b"ustar  \0"))
    for number, (offset, length) in enumerate(pairs):
        at = 386 + 24 * number
        block[at : at + 24] = offset.ljust(12, b"\0") + length.ljust(12, b"\0")
    block[483:495] = size.ljust(12, b"\0")
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block[:BLOCK])
    return bytes(block) + bytes(stored + -stored % BLOCK)


@dataclass(frozen=True)
class Case:
    """A tar, and what must come of it: refused with a message, or kept with these paths.

    Path → a file's bytes, a symbolic link's target as a string, None for anything else. ``end``: what comes last.
    """

    data: bytes
    refused: str | None = None
    kept: dict[bytes, bytes | str | None] = field(default_factory=dict)
    end: bytes = bytes(2 * BLOCK)

    @property
    def tar(self) -> bytes:
        return self.data + self.end


def _xattr(key: bytes, value: bytes = b"x") -> bytes:
    return pax([(key, value)]) + head(b"f")


CASES: dict[str, Case] = {
    # --- names that lead elsewhere ---
    "dot-dot": Case(head(b"../x"), "the member ../x climbs out with '..'"),
    "dot-dot by PAX": Case(pax([(b"path", b"a/../../x")]) + head(b"a"), "the member a/../../x climbs out with '..'"),
    "dot-dot by a GNU long name": Case(
        head(b"././@LongLink", b"../x\0", type=b"L") + head(b"a"), "the member ../x climbs out with '..'"
    ),
    "dot-dot in the prefix": Case(head(b"x", prefix=b"a/.."), "the member a/../x climbs out with '..'"),
    "dot-dot by a sparse name": Case(
        pax([(b"GNU.sparse.name", b"../x")]) + head(b"a"), "the member ../x climbs out with '..'"
    ),
    "absolute": Case(head(b"/etc/passwd"), "the member /etc/passwd is an absolute path"),
    "absolute by PAX": Case(pax([(b"path", b"//x")]) + head(b"a"), "the member //x is an absolute path"),
    "absolute by the prefix": Case(head(b"x", prefix=b"/a"), "the member /a/x is an absolute path"),
    "NUL by PAX": Case(pax([(b"path", b"a\0b")]) + head(b"a"), r"the member a\x00b holds a NUL byte"),
    "no name at all": Case(head(b""), "the member  has no name"),
    "only dots and slashes": Case(head(b"./././/"), kept={}),
    "a name of 256 bytes": Case(
        pax([(b"path", b"n" * 256)]) + head(b"a"), f"the member {'n' * 256} has a name longer than 255 bytes"
    ),
    "a path of 4096 bytes": Case(
        pax([(b"path", b"d/" * 2047 + b"ab")]) + head(b"a"),
        f"the member {'d/' * 2047}ab is longer than 4095 bytes",
    ),
    "control characters": Case(head(b"\x1b[2J\nx\t'\"", b"1"), kept={b"\x1b[2J\nx\t'\"": b"1"}),
    "no UTF-8": Case(head(b"\xff\xfe\x80", b"1"), kept={b"\xff\xfe\x80": b"1"}),
    "no UTF-8, and BINARY says so": Case(
        pax([(b"hdrcharset", b"BINARY"), (b"path", b"\xff")]) + head(b"a", b"1"), kept={b"\xff": b"1"}
    ),
    "a charset that nobody knows": Case(
        pax([(b"hdrcharset", b"ISO-IR 6429"), (b"path", b"\xe9")]) + head(b"a", b"1"), kept={b"\xe9": b"1"}
    ),
    # --- through links ---
    "a path through a symbolic link": Case(
        link(b"a", b"/etc") + head(b"a/passwd"), "/a/passwd lies below the symbolic link /a"
    ),
    "through two of them": Case(
        link(b"a", b"b") + link(b"b", b"/etc") + head(b"a/x"), "/a/x lies below the symbolic link /a"
    ),
    "through a hard link to one": Case(
        link(b"a", b"/etc") + hard(b"b", b"a") + head(b"b/x"), "/b/x lies below the symbolic link /b"
    ),
    "through one that came later": Case(
        head(b"a/x", b"1") + link(b"a", b"/etc"), "/a replaces a folder that is not empty"
    ),
    "through one that took a folder's place": Case(
        folder(b"a") + link(b"a", b"/etc") + head(b"a/x"), "/a/x lies below the symbolic link /a"
    ),
    "a link that leads out": Case(link(b"a", b"../../../etc"), kept={b"a": "../../../etc"}),
    "a link to nowhere": Case(link(b"a", b""), "the member a is a symbolic link to nowhere"),
    "a link with a NUL": Case(
        pax([(b"linkpath", b"a\0b")]) + link(b"a", b"x"), "the member a is a symbolic link to nowhere"
    ),
    "a link in the root's place": Case(link(b"./", b"/"), "the root is not a folder"),
    # --- hard links ---
    "a hard link that climbs": Case(hard(b"a", b"../../etc/shadow"), "the member a climbs out with '..'"),
    "an absolute hard link": Case(hard(b"a", b"/etc/shadow"), "the member a is an absolute path"),
    "a hard link to itself": Case(hard(b"a", b"a"), "/a is a hard link to /a, which is not there"),
    "a hard link to what comes later": Case(
        hard(b"a", b"b") + head(b"b", b"1"), "/a is a hard link to /b, which is not there"
    ),
    "a hard link to a folder": Case(folder(b"d") + hard(b"a", b"d"), "/a is a hard link to the folder /d"),
    "a hard link to the root": Case(hard(b"a", b"."), "/a is a hard link to the folder /"),
    "a hard link through a symbolic one": Case(
        folder(b"d") + head(b"d/f", b"1") + link(b"l", b"d") + hard(b"a", b"l/f"),
        "/a is a hard link to /l/f, which is not there",
    ),
    "a hard link with a size": Case(
        head(b"f", b"1") + hard(b"a", b"f", size=b"00000000001\0"), "the member a is a hard link that has a size"
    ),
    "a hard link to a symbolic one": Case(link(b"a", b"x") + hard(b"b", b"a"), kept={b"a": "x", b"b": "x"}),
    # --- what follows what ---
    "the same name twice": Case(head(b"a", b"1") + head(b"a", b"22"), kept={b"a": b"22"}),
    "a folder twice": Case(folder(b"d") + head(b"d/a", b"1") + folder(b"d"), kept={b"d": None, b"d/a": b"1"}),
    "a file in the place of a full folder": Case(
        folder(b"d") + head(b"d/a") + head(b"d", b"1"), "/d replaces a folder that is not empty"
    ),
    "a file in the place of an empty folder": Case(folder(b"d") + head(b"d", b"1"), kept={b"d": b"1"}),
    "a folder in the place of a file": Case(
        head(b"d", b"1") + folder(b"d") + head(b"d/a", b"2"), kept={b"d": None, b"d/a": b"2"}
    ),
    "below a file": Case(head(b"a", b"1") + head(b"a/b"), "/a/b lies below the file /a"),
    "below a device": Case(head(b"a", type=b"3") + head(b"a/b"), "/a/b lies below the file /a"),
    # --- devices, modes, owners, times ---
    "a device": Case(head(b"sda", type=b"4", major=b"0000010\0", minor=b"0000020\0"), kept={b"sda": None}),
    "a device beyond Linux": Case(
        head(b"d", type=b"3", major=base256(1 << 20, 8)),
        "the member d is the device 1048576:0, beyond what Linux can name",
    ),
    "setuid, setgid and sticky": Case(head(b"a", b"1", mode=b"0007777\0"), kept={b"a": b"1"}),
    "more mode than there is": Case(head(b"a", b"1", mode=b"7777777\0"), kept={b"a": b"1"}),
    "an owner beyond Linux": Case(
        head(b"a", uid=base256(1 << 40, 8)), "the member a belongs to 1099511627776:0, beyond what Linux can name"
    ),
    "an owner beyond Linux by PAX": Case(
        pax([(b"gid", b"4294967295")]) + head(b"a"), "the member a belongs to 0:4294967295, beyond what Linux can name"
    ),
    "a negative owner": Case(head(b"a", uid=base256(-2, 8)), "a header holds a negative number, at byte 0"),
    "a negative owner by PAX": Case(
        pax([(b"uid", b"-2")]) + head(b"a"), "the member a holds b'-2' where a number should be"
    ),
    "a time before 1970": Case(head(b"a", b"1", mtime=base256(-1, 12)), kept={b"a": b"1"}),
    "a time that is none": Case(
        pax([(b"mtime", b"nan")]) + head(b"a"), "the member a holds b'nan' where a number should be"
    ),
    # --- sizes ---
    "a size beyond all": Case(head(b"a", size=base256(1 << 80, 12)), "the archive is cut short, at byte 0"),
    "a negative size": Case(head(b"a", size=base256(-1, 12)), "a header holds a negative number, at byte 0"),
    "a size that is none": Case(
        head(b"a", size=b"0x0000000000"), "a header holds b'0x0000000000' where a number should be, at byte 0"
    ),
    "a size with a sign": Case(
        head(b"a", size=b"-0000000001\0"), r"a header holds b'-0000000001\x00' where a number should be, at byte 0"
    ),
    "a size by PAX that is larger": Case(
        pax([(b"size", b"999999")]) + head(b"a", b"1"), "the archive is cut short, at byte 1,024"
    ),
    "a size by PAX that is smaller": Case(
        pax([(b"size", b"0")]) + head(b"a", b"x" * 600),
        "a header is damaged (its checksum does not hold), at byte 1,536, behind the member a",
    ),
    "a size by PAX that counts": Case(
        pax([(b"size", b"3")]) + head(b"a", b"123", size=b"00000000000\0"), kept={b"a": b"123"}
    ),
    "a negative size by PAX": Case(
        pax([(b"size", b"-1")]) + head(b"a"), "the member a holds b'-1' where a number should be"
    ),
    "a size by PAX of many digits": Case(
        pax([(b"size", b"9" * 5000)]) + head(b"a"), f"the member a holds {b'9' * 30!r} where a number should be"
    ),
    "a folder with a size": Case(
        head(b"d", type=b"5", size=b"77777777777\0") + head(b"d/a", b"1"), kept={b"d": None, b"d/a": b"1"}
    ),
    # --- extended headers ---
    "a record that ends too late": Case(pax(b"99 path=x\n") + head(b"a"), "an extended header is damaged, at byte 0"),
    "a record that ends too early": Case(pax(b"5 path=x\n") + head(b"a"), "an extended header is damaged, at byte 0"),
    "a record of no length": Case(pax(b"path=x\n") + head(b"a"), "an extended header is damaged, at byte 0"),
    "a record of length 0": Case(pax(b"0 path=x\n") + head(b"a"), "an extended header is damaged, at byte 0"),
    "a record without a key": Case(pax(b"5 =x\n") + head(b"a", b"1"), kept={b"a": b"1"}),
    "a record without a value": Case(pax(b"8 path=\n") + head(b"a", b"1"), kept={b"a": b"1"}),
    "a record without an end": Case(pax(b"9 path=xx") + head(b"a"), "an extended header is damaged, at byte 0"),
    "an extended header of nothing": Case(pax(b"") + head(b"a", b"1"), kept={b"a": b"1"}),
    "an extended header that belongs to nothing": Case(
        head(b"a", b"1") + pax([(b"path", b"x")]),
        "an extended header belongs to no member, at byte 2,048, behind the member a",
    ),
    "an extended header of gigabytes": Case(
        head(b"pax", type=b"x", size=b"77777777777\0") + head(b"a"),
        "an extended header of 8589934591 bytes is too large to be one, at byte 0",
    ),
    "extended headers without end": Case(
        pax([(b"comment", b"x" * 300_000)]) * 4 + head(b"a"),
        "an extended header of 300016 bytes is too large to be one, at byte 901,632",
    ),
    "a header for all that names them": Case(
        pax([(b"path", b"x")], b"g") + head(b"a"), "a header for all members sets their path, at byte 0"
    ),
    "a header for all that sizes them": Case(
        pax([(b"size", b"7")], b"g") + head(b"a"), "a header for all members sets their size, at byte 0"
    ),
    "a header for all of many records": Case(
        pax([(b"k%d" % i, b"x" * 50) for i in range(2000)], b"g") + head(b"a"),
        "headers for all members hold more than 64 KiB, at byte 0",
    ),
    "a header for all, again and again": Case(
        b"".join(pax([(b"comment", b"x" * 1000)], b"g") + head(b"f%d" % i, b"1") for i in range(300)),
        kept={b"f%d" % i: b"1" for i in range(300)},
    ),
    "a GNU long name without its NUL": Case(
        head(b"././@LongLink", b"n" * 512, type=b"L") + head(b"a"),
        f"the member {'n' * 512} has a name longer than 255 bytes",
    ),
    "a GNU long name without its NUL that fits": Case(
        head(b"././@LongLink", b"d/" * 256, type=b"L") + folder(b"a"),
        kept={b"/".join([b"d"] * n): None for n in range(1, 257)},
    ),
    "a GNU long link of nothing": Case(
        head(b"././@LongLink", b"\0", type=b"K") + link(b"a", b"x"), kept={b"a": "x"}
    ),
    "a GNU long name of gigabytes": Case(
        head(b"././@LongLink", type=b"L", size=b"77777777777\0") + head(b"a"),
        "an extended header of 8589934591 bytes is too large to be one, at byte 0",
    ),
    # --- attributes ---
    "an attribute without a name": Case(
        _xattr(b"SCHILY.xattr."), "the member f has an extended attribute of the name b''"
    ),
    "an attribute with a NUL in its name": Case(
        _xattr(b"SCHILY.xattr.user.\0"), r"the member f has an extended attribute of the name b'user.\x00'"
    ),
    "an attribute of a long name": Case(
        _xattr(b"SCHILY.xattr.user." + b"n" * 300),
        f"the member f has an extended attribute of the name {b'user.' + b'n' * 295!r}",
    ),
    "an attribute of 100,000 bytes": Case(
        _xattr(b"SCHILY.xattr.user.a", b"x" * 100_000), "the member f has an extended attribute of 100000 bytes"
    ),
    "an attribute that is not base64": Case(
        _xattr(b"LIBARCHIVE.xattr.user.a", b"*"), "the member f has an extended attribute that is not base64"
    ),
    "an access list in star's form": Case(
        _xattr(b"SCHILY.acl.access"), "the member f has SCHILY.acl.access, which cannot be carried over"
    ),
    "a label of SELinux": Case(
        _xattr(b"RHT.security.selinux"), "the member f has RHT.security.selinux, which cannot be carried over"
    ),
    # --- holes ---
    "holes: pieces that overlap": Case(
        sparse_1_0(2048, b"2\n0\n1024\n512\n512\n", bytes(1536)),
        "the member holes has a map of holes that does not fit its size",
    ),
    "holes: pieces that go backwards": Case(
        sparse_1_0(2048, b"2\n1024\n512\n0\n512\n", bytes(1024)),
        "the member holes has a map of holes that does not fit its size",
    ),
    "holes: a piece beyond the size": Case(
        sparse_1_0(600, b"1\n512\n512\n", bytes(512)), "the member holes has a map of holes that does not fit its size"
    ),
    "holes: a negative offset": Case(
        sparse_1_0(2048, b"1\n-512\n512\n", bytes(512)), "the member holes holds b'-512' where a number should be"
    ),
    "holes: more pieces than lines": Case(
        sparse_1_0(2048, b"9\n0\n512\n", bytes(512)), "the member holes has a damaged map of holes"
    ),
    "holes: pieces without end": Case(
        sparse_1_0(2048, b"99999999\n", b""), "the member holes has more than 65,536 holes"
    ),
    "holes: a map without lines": Case(
        sparse_1_0(2048, b"1" * 3000, b""), "the member holes has a damaged map of holes"
    ),
    "holes: an exabyte of them": Case(
        sparse_1_0(1 << 60, b"0\n", b""), f"the member holes is {1 << 60} bytes long, more than a file system can hold"
    ),
    "holes: data that nobody asks for": Case(
        sparse_1_0(2048, b"1\n0\n512\n", bytes(1024)), "the member holes has a map of holes that does not fit its data"
    ),
    "holes: a terabyte more than there may be": Case(
        sparse_1_0(1 << 40, b"0\n", b"") + head(b"a", b"1"), "files add up to more than 1 TiB"
    ),
    "holes: nothing else": Case(sparse_1_0(64 << 20, b"0\n", b""), kept={b"holes": None}),
    "holes, old: a negative length": Case(
        old_sparse(b"00000010000", (b"00000000000", base256(-512, 12))),
        "the member holes has a map of holes that does not fit its size",
    ),
    "holes, old: a negative offset": Case(
        old_sparse(b"00000010000", (base256(-512, 12), b"00000001000"), stored=512),
        "the member holes has a map of holes that does not fit its size",
    ),
    "holes, old: a negative size": Case(
        old_sparse(base256(-4096, 12), (b"00000000000", b"00000000000")),
        "the member holes has a map of holes that does not fit its size",
    ),
    "holes, old: a negative size and no pieces": Case(
        old_sparse(base256(-4096, 12)), "the member holes has a map of holes that does not fit its size"
    ),
    "holes, 0.1: half a pair": Case(
        pax([(b"GNU.sparse.size", b"9"), (b"GNU.sparse.map", b"0,1,2")]) + head(b"a", b"1"),
        "the member a has a damaged map of holes",
    ),
    "holes, 0.0: half a pair": Case(
        pax([(b"GNU.sparse.size", b"9"), (b"GNU.sparse.offset", b"0")]) + head(b"a", b"1"),
        "the member a has a damaged map of holes",
    ),
    "holes of a version to come": Case(
        pax([(b"GNU.sparse.major", b"2"), (b"GNU.sparse.minor", b"0")]) + head(b"a", b"1"),
        "the member a is sparse in a way that is not known",
    ),
    # --- the archive itself ---
    "nothing": Case(b"", "the archive is cut short, at byte 0", end=b""),
    "no end": Case(head(b"a", b"1"), "the archive is cut short, at byte 1,024, behind the member a", end=b""),
    "an end of one block": Case(head(b"a", b"1"), kept={b"a": b"1"}, end=bytes(BLOCK)),
    "half a member": Case(
        head(b"a", b"1") + head(b"b", b"x" * 5000)[:2000],
        "the archive is cut short, at byte 1,024, behind the member a",
        end=b"",
    ),
    "half a header": Case(
        head(b"a", b"1") + head(b"b")[:100], "the archive is cut short, at byte 1,024, behind the member a", end=b""
    ),
    "a damaged header": Case(
        head(b"a", b"1") + b"x" + head(b"b")[1:],
        "a header is damaged (its checksum does not hold), at byte 1,024, behind the member a",
    ),
    "rubbish behind the end": Case(
        head(b"a", b"1"),
        "something follows the end of the archive, at byte 1,024, behind the member a",
        end=bytes(1024) + b"rubbish",
    ),
    "a second archive behind the first": Case(
        head(b"a", b"1"),
        "something follows the end of the archive, at byte 1,024, behind the member a",
        end=bytes(1024) + head(b"b", b"2") + bytes(1024),
    ),
    "megabytes of zeros behind the end": Case(head(b"a", b"1"), kept={b"a": b"1"}, end=bytes(8 << 20)),
    "a type that nobody knows": Case(head(b"a", type=b"Z"), "the member a is of type b'Z', which is not supported"),
    "a part of several volumes": Case(head(b"a", type=b"M"), "the member a is of type b'M', which is not supported"),
    "a folder of GNU's incremental dumps": Case(
        head(b"a", type=b"D"), "the member a is of type b'D', which is not supported"
    ),
    "a label of a volume": Case(head(b"a", type=b"V"), "the member a is of type b'V', which is not supported"),
    # --- as many as can be ---
    "names of megabytes": Case(
        b"".join(pax([(b"path", b"%05d/%s/" % (i, b"n" * 200) + b"d/" * 1900)]) + folder(b"a") for i in range(30)),
        "names, links, attributes and maps of holes take more than 48 MiB",
    ),
    "attributes of megabytes": Case(
        b"".join(pax([(b"SCHILY.xattr.user.a", b"x" * 65_000)]) + head(b"f%d" % i) for i in range(800)),
        "names, links, attributes and maps of holes take more than 48 MiB",
    ),
}  # fmt: skip
