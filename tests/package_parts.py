"""Debian packages with a small kernel: a bzImage around an ELF file, a configuration, and modules."""

from __future__ import annotations

import gzip
import struct
import subprocess
import tarfile
from collections.abc import Mapping
from pathlib import Path

from kernel_harness import member, packed, tarball

RELEASE = "6.12.9-cloud-amd64"
BANNER = f"Linux version {RELEASE} (someone@example) #1 SMP\0".encode()
FIELDS = {
    "Package": f"linux-image-{RELEASE}",
    "Source": "linux-signed-amd64 (6.12.9+1)",
    "Version": "6.12.9-1",
    "Architecture": "amd64",
    "Maintainer": "x <x@y>",
    "Description": "x",
}
# What no guest starts without, all built in.
_ESSENTIAL = """\
PVH BINFMT_ELF MULTIUSER FUTEX EPOLL SIGNALFD TIMERFD EVENTFD PROC_FS SYSFS TMPFS DEVTMPFS NAMESPACES UTS_NS IPC_NS
PID_NS NET_NS CGROUPS MEMCG CPUSETS CGROUP_PIDS CGROUP_SCHED CGROUP_CPUACCT NET INET UNIX PCI VIRTIO VIRTIO_PCI
VSOCKETS VIRTIO_VSOCKETS VIRTIO_CONSOLE OVERLAY_FS BLOCK MSDOS_PARTITION EXT4_FS EROFS_FS XFS_FS ACPI_NFIT LIBNVDIMM
BLK_DEV_PMEM VIRTIO_BLK BLK_DEV_INITRD RD_GZIP RD_ZSTD
"""


def config(**other: str) -> bytes:
    """A configuration with all that a guest needs, and these values (n: off)."""
    values = {**dict.fromkeys(_ESSENTIAL.split(), "y"), **other}
    return "".join(f"CONFIG_{name}={value}\n" for name, value in values.items() if value != "n").encode()


def elf(machine: int = 62) -> bytes:
    """A kernel proper: one segment that holds its banner."""
    header = struct.pack(
        "<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01\x01", 2, machine, 1, 1 << 24, 64, 0, 0, 64, 56, 1, 0, 0, 0
    )
    segment = struct.pack("<IIQQQQQQ", 1, 5, 120, 1 << 24, 1 << 24, len(BANNER), len(BANNER), 4096)
    return header + segment + BANNER


def bzimage(packed: bytes | None = None, *, release: str = RELEASE, protocol: int = 0x20F, **header: int) -> bytes:
    """A bzImage with this payload. ``header``: ``offset`` and ``length`` of the payload, where they are to be wrong."""
    packed = gzip.compress(elf(), mtime=0) if packed is None else packed
    setup = bytearray(5 * 512)
    setup[0x1F1] = 4
    setup[0x202:0x206] = b"HdrS"
    struct.pack_into("<HI", setup, 0x206, protocol, 0)
    struct.pack_into("<H", setup, 0x20E, 0x400)
    setup[0x600 : 0x600 + len(release) + 4] = release.encode() + b" #1\0"
    struct.pack_into("<II", setup, 0x248, header.get("offset", 64), header.get("length", len(packed)))
    return bytes(setup) + bytes(64) + packed + bytes(100)


def module(folder: Path, name: str, *facts: str, machine: int | None = None) -> bytes:
    """A module that says this of itself, such as ``depends=a,b``."""
    texts = "".join(f'.asciz "{fact}"\n' for fact in (f"name={name}", *facts))
    source, target = folder / "module.s", folder / "module.o"
    source.write_text(f'.section .modinfo,"a"\n{texts}')
    subprocess.run(["gcc", "-c", "-o", target, source], check=True)
    data = bytearray(target.read_bytes())
    if machine:
        struct.pack_into("<H", data, 18, machine)
    return bytes(data)


def deb_of(path: Path, files: Mapping[str, bytes], **fields: str) -> Path:
    """Write a package with these files."""
    control, data = path.with_suffix(".control.tar.gz"), path.with_suffix(".data.tar.xz")
    text = "".join(f"{key}: {value}\n" for key, value in {**FIELDS, **fields}.items()).encode()
    tarball(control, [member("./control", text)], "w:gz")
    tarball(data, [member(f"./{name}", content) for name, content in files.items()])
    return packed(path, control, data)


def boot_files(**replaced: bytes) -> dict[str, bytes]:
    """What lies in /boot of a package. ``replaced``: ``vmlinuz`` or ``config``."""
    return {
        f"boot/vmlinuz-{RELEASE}": replaced.get("vmlinuz", bzimage()),
        f"boot/config-{RELEASE}": replaced.get("config", config()),
        f"boot/System.map-{RELEASE}": b"ffffffffffffffff B The real one is elsewhere\n",
    }


def tar_names(path: Path) -> list[str]:
    """The members of a tar."""
    with tarfile.open(path) as tar:
        return tar.getnames()
