"""Small sound inputs for everything that reads bytes of others: what the fuzzer and the quick mutations start from."""

from __future__ import annotations

import gzip
import io
import json
import lzma
import os
import struct
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from image_parts import file, tree_of
from kata_toolkit.bzimage import SETUP_MAGIC, SETUP_MAGIC_AT
from kata_toolkit.image.cpio import write_cpio
from kata_toolkit.image.erofs import Erofs
from kata_toolkit.image.ext4 import Ext4
from kata_toolkit.image.placement import Shape
from kata_toolkit.image.sparse_file import SparseFile
from kata_toolkit.rootfs.tar_header import BLOCK
from kata_toolkit.rootfs.tar_pax import format_records
from kata_toolkit.rootfs.tar_write import write_tar
from kata_toolkit.rootfs.tree import Kind, Node, Tree

CUT = b"\n---\n"  # between the documents of a container image
V1 = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "real", "GNU.sparse.realsize": "5000"}


# Owner, the user 7, group, mask, others: tag, permissions, id; see linux/posix_acl_xattr.h.
ACCESS_LIST = struct.pack("<I", 2) + b"".join(
    struct.pack("<HHI", tag, 7, 7 if tag == 2 else 0xFFFFFFFF) for tag in (1, 2, 4, 16, 32)
)


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder in memory, where there is one."""
    shared = "/dev/shm"
    with tempfile.TemporaryDirectory(dir=shared if os.access(shared, os.W_OK) else None) as folder:
        yield Path(folder)


def made(write: Callable[[Path], object]) -> bytes:
    with scratch_folder() as folder:
        write(folder / "made")
        return (folder / "made").read_bytes()


def small_tree() -> Tree:
    """Few bytes with one of nearly everything: a fuzzer gets nowhere with large inputs."""
    return tree_of(
        {
            b"bin/init": file(b"\x7fELF" * 300, 0o6755, xattrs=((b"security.capability", b"\1" * 20),)),
            b"bin/twin": b"bin/init",
            b"etc/\xff\n": file(b"x", uid=70000, gid=4294967294, mtime=5_000_000_000),
            b"link": Node(Kind.SYMLINK, 0o777, target=b"etc"),
            b"long": Node(Kind.SYMLINK, 0o777, target=b"d/" * 90),
            b"dev/console": Node(Kind.CHARACTER, 0o600, rdev=(5, 1)),
            b"fifo": Node(Kind.FIFO, 0o622),
            b"acl": Node(Kind.DIRECTORY, 0o755, xattrs=((b"system.posix_acl_access", ACCESS_LIST),)),
        }
    )


def tars() -> list[bytes]:
    sparse = b"2\n0\n512\n4096\n904\n".ljust(BLOCK, b"\0") + b"x" * 1416
    return [
        _trimmed(made(lambda path: write_tar(small_tree(), path))),
        *plain_tars(),
        sparse_tar(V1, sparse),
        sparse_tar({"GNU.sparse.size": "5000", "GNU.sparse.map": "0,512,4096,904"}, b"x" * 1416),
        old_sparse_tar(),
    ]


def plain_tars(*, devices: bool = True) -> list[bytes]:
    """In the three formats that programs write."""
    return [_python_tar(f, devices) for f in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)]


def _python_tar(format_: int, devices: bool) -> bytes:
    long = "long" * 20 if format_ == tarfile.USTAR_FORMAT else "long" * 40
    uid, mtime = (7, 77) if format_ == tarfile.USTAR_FORMAT else (3_000_000, 9_000_000_000)
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=format_) as tar:
        for name, type_, link, size in (
            ("d", tarfile.DIRTYPE, "", 0),
            (f"d/{long}", tarfile.REGTYPE, "", 700),
            ("d/hard", tarfile.LNKTYPE, f"d/{long}", 0),
            ("soft", tarfile.SYMTYPE, "d", 0),
            *([("tty", tarfile.CHRTYPE, "", 0)] if devices else ()),
        ):
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.size, info.uid, info.mtime = type_, link, size, uid, mtime
            if format_ == tarfile.PAX_FORMAT:
                info.pax_headers = {"SCHILY.xattr.user.note": "kept", "LIBARCHIVE.xattr.user.x": "AAE", "mtime": "-1.5"}
            tar.addfile(info, io.BytesIO(bytes(size)))
    return _trimmed(out.getvalue())


def _trimmed(tar: bytes) -> bytes:
    """A tar without most of its padding at the end."""
    length = len(tar.rstrip(b"\0"))
    return tar[:length] + bytes(-length % BLOCK + 2 * BLOCK)


def sparse_tar(records: dict[str, str], body: bytes) -> bytes:
    """One sparse file, by PAX records."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        info = tarfile.TarInfo("holes")
        info.pax_headers, info.size = records, len(body)
        tar.addfile(info, io.BytesIO(body))
    return _trimmed(out.getvalue())


def old_sparse_tar() -> bytes:
    """GNU's own form, with an extension block."""
    info = tarfile.TarInfo("holes")
    head = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    pairs = b"".join(b"%011o\0%011o\0" % (i * 2048, 512) for i in range(6))
    head[156:157], head[124:136] = b"S", b"%011o\0" % (6 * 512)
    head[386 : 386 + 96], head[482], head[483:495] = pairs[:96], 1, b"%011o\0" % (6 * 2048)
    return mended_tar(bytes(head) + pairs[96:].ljust(BLOCK, b"\0") + bytes(6 * 512) + bytes(2 * BLOCK))


def mended_tar(data: bytes) -> bytes:
    """The same with the checksum of every block that looks like a header made right."""
    out = bytearray(data)
    for at in range(0, len(out) - BLOCK + 1, BLOCK):
        if out[at + 257 : at + 262] == b"ustar":
            out[at + 148 : at + 156] = b" " * 8
            out[at + 148 : at + 156] = b"%06o\0 " % sum(out[at : at + BLOCK])
    return bytes(out)


def paxes() -> list[bytes]:
    records = [
        (b"path", b"x"), (b"mtime", b"-1.5"), (b"size", b"77"), (b"uid", b""), (b"SCHILY.xattr.user.a", b"\0"),
        (b"LIBARCHIVE.xattr.user.b%20c", b"AAE"), (b"hdrcharset", b"BINARY"), (b"GNU.sparse.major", b"1"),
    ]  # fmt: skip
    return [format_records(records), format_records(records[:1] * 3)]


def sparse_maps() -> list[bytes]:
    """The first byte says in which form the rest is."""
    repeated = [(b"GNU.sparse.offset", b"0"), (b"GNU.sparse.numbytes", b"512"), (b"GNU.sparse.offset", b"4096"),
                (b"GNU.sparse.numbytes", b"1")]  # fmt: skip
    return [
        b"0" + format_records(repeated),
        b"10,512,1024,512",
        b"2" + b"2\n0\n512\n1024\n512\n".ljust(BLOCK, b"\0"),
        b"3" + old_sparse_tar(),
    ]


def container_images() -> list[bytes]:
    """Documents as `reader_targets` takes them: ``@2`` is the digest of the third one, ``#2`` its size."""
    descriptor = '{"mediaType": "application/vnd.oci.image.%s", "digest": "sha256:@%d", "size": ~%d}'

    def described(media: str, number: int) -> str:
        return descriptor % (media, number, number)

    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name in ("d/a", "d/.wh.b", ".wh..wh..opq"):
            tar.addfile(tarfile.TarInfo(name))
    layer = _trimmed(out.getvalue())
    config = '{"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": ["sha256:@3"]}}'
    manifest = f'{{"config": {described("config", 2)}, "layers": [{described("layer.v1.tar", 3)}]}}'
    index = '{"manifests": [%s]}'
    platform = described("manifest", 2)[:-1] + ', "platform": {"os": "linux", "architecture": "amd64"}}'
    shifted = [text.replace("@3", "@4").replace("~3", "~4").replace("@2", "@3").replace("~2", "~3")
               for text in (manifest, config)]  # fmt: skip
    images = [
        (index % described("manifest.v1+json", 1), manifest, config),
        (index % described("index.v1+json", 1), index % platform, *shifted),
    ]
    docker = '[{"Config": "blobs/sha256/@1", "RepoTags": ["x:1"], "Layers": ["blobs/sha256/@2"]}]'
    images.append((docker, config.replace("@3", "@2")))
    return [CUT.join([*(text.encode() for text in texts), layer]) for texts in images]


def copyrights() -> list[bytes]:
    """Debian's machine-readable form, and free words."""
    head = "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\n"
    files = "Files: *\nCopyright: a\nLicense: GPL-2+ and (Expat or BSD-3-clause), and other\n text\n\n"
    return [(head + files + "License: Expat\n words\n").encode(), b"This is free.\n"]


def bills() -> list[bytes]:
    component = {
        "type": "library", "name": "a", "version": "1", "purl": "pkg:deb/debian/a@1",
        "licenses": [{"expression": "MIT OR (GPL-2.0-only)"}],
        "hashes": [{"alg": "SHA-256", "content": "f" * 64}], "properties": [{"name": "x", "value": "y"}],
    }  # fmt: skip
    package = {
        "name": "a", "SPDXID": "SPDXRef-a", "versionInfo": "1", "licenseDeclared": "MIT", "sourceInfo": "s 1",
        "checksums": [{"algorithm": "SHA256", "checksumValue": "f" * 64}],
        "externalRefs": [{"referenceType": "purl", "referenceLocator": "pkg:deb/debian/a@1"}],
    }  # fmt: skip
    documents = [
        {"bomFormat": "CycloneDX", "metadata": {"component": {"name": "set"}}, "components": [component]},
        {
            "spdxVersion": "SPDX-2.3",
            "name": "set",
            "packages": [package],
            "files": [{"fileName": "./x", "checksums": []}],
        },
    ]
    return [json.dumps(document).encode() for document in documents]


def debs() -> list[bytes]:
    """The bytes of a package's data.tar."""
    return plain_tars()


def cpios() -> list[bytes]:
    tree = small_tree()
    for path in (b"etc", b"bin", b"acl"):  # what a cpio cannot hold
        tree.remove(path)
    tree.add(b"file", file(b"x" * 700))
    tree.link(b"twin", b"file")
    return [made(lambda path: write_cpio(tree, path))]


def _image(plan: Erofs | Ext4) -> bytes:
    def write(path: Path) -> None:
        with SparseFile(path, plan.smallest(Shape())) as out:
            plan.write(out, 0, plan.smallest(Shape()), Shape(), b"\1" * 16, lambda done, total: None)

    return made(write)


def erofs_images() -> list[bytes]:
    return [_image(Erofs(small_tree()))]


def mended_erofs(data: bytes) -> bytes:
    """The same without the claim that the superblock has a checksum."""
    return data if len(data) < 1152 else data[:1032] + bytes([data[1032] & ~1]) + data[1033:]


def ext4_images() -> list[bytes]:
    return [_image(Ext4(small_tree(), b"\2" * 16))]


def _elf(kind: int = 2) -> bytes:
    """A program with a dynamic linker, or (kind 1) a module with a .modinfo section."""
    names = b"\0.modinfo\0.shstrtab\0"
    info = b"name=virtio\0depends=a,b\0softdep=pre: c post: d\0alias=virtio:d*\0vermagic=6.1\0"
    head, segment = 64, 56
    interpreter = b"/lib64/ld-linux-x86-64.so.2\0"
    body_at = head + segment
    body = interpreter + names + info
    sections_at = body_at + len(body)
    ident = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    header = struct.pack(
        "<16sHHIQQQIHHHHHH", ident, kind, 62, 1, body_at * (kind == 2), head, sections_at, 0, 64, segment, 1, 64, 3, 1
    )  # fmt: skip
    interp = struct.pack("<IIQQQQQQ", 3, 4, body_at, 0, 0, len(interpreter), len(interpreter), 1)
    names_at, info_at = body_at + len(interpreter), body_at + len(interpreter) + len(names)
    sections = b"".join(
        struct.pack("<IIQQQQIIQQ", name, 1, 0, 0, at, size, 0, 0, 1, 0)
        for name, at, size in ((0, 0, 0), (10, names_at, len(names)), (1, info_at, len(info)))
    )
    return header + interp + body + sections


def programs() -> list[bytes]:
    return [_elf()]


def modules() -> list[bytes]:
    signed = _elf(1) + b"s" * 30 + struct.pack(">8BI", 0, 0, 0, 0, 0, 0, 0, 0, 30) + b"~Module signature appended~\n"
    return [_elf(1), signed]


def bzimages() -> list[bytes]:
    kernel = _elf()
    packed = [
        kernel,
        gzip.compress(kernel, mtime=0),
        lzma.compress(kernel) + struct.pack("<I", len(kernel)),
        lzma.compress(kernel, lzma.FORMAT_ALONE) + struct.pack("<I", len(kernel)),
    ]
    return [_bzimage(payload) for payload in packed]


def _bzimage(payload: bytes) -> bytes:
    setup = bytearray(1024)
    setup[0x1F1] = 1
    setup[SETUP_MAGIC_AT : SETUP_MAGIC_AT + 4] = SETUP_MAGIC
    struct.pack_into("<H", setup, 0x206, 0x20F)
    struct.pack_into("<H", setup, 0x20E, 0x300 - 512)
    struct.pack_into("<II", setup, 0x248, 0, len(payload))
    setup[0x300:0x310] = b"6.12.0 (x@y) #1\0"
    return bytes(setup) + payload


def specs() -> list[bytes]:
    document = {
        "version": 1,
        "name": "guest",
        "kernel": {"source": {"kind": "debian", "package": "linux-source-6.12"}, "options": {"CONFIG_A": 1}},
        "rootfs": {"kind": "oci", "path": "x", "overlay": [{"kind": "file", "path": "/x", "source": "y"}]},
        "runtime": {"kata": "4.1", "hypervisors": {"qemu": {"settings": {"default_memory": 256}}}},
    }
    text = '# guest\nversion: 1\nname: &n guest\nkernel:\n  patches: [a, *n]\n  cmdline: ["\\u00e9"]\nimage: |\n x\n'
    return [text.encode(), json.dumps(document).encode(), b"version: 1\nname: guest\n"]
