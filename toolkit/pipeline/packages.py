"""Which Debian package brings which tool: for messages that say what to install."""

from __future__ import annotations

DEBIAN_PACKAGES = {
    "apt-get": "apt",
    "bc": "bc",
    "bison": "bison",
    "busybox": "busybox-static",
    "ccache": "ccache",
    "cpio": "cpio",
    "debugfs": "e2fsprogs",
    "dpkg-deb": "dpkg",
    "dumpe2fs": "e2fsprogs",
    "e2fsck": "e2fsprogs",
    "fsck.erofs": "erofs-utils",
    "flex": "flex",
    "gcc": "gcc",
    "gzip": "gzip",
    "make": "make",
    "ld": "binutils",
    "mke2fs": "e2fsprogs",
    "musl-gcc": "musl-tools",
    "patch": "patch",
    "protoc": "protobuf-compiler",
    "protoc-c": "protobuf-c-compiler",
    "qemu-system-x86_64": "qemu-system-x86",
    "strip": "binutils",
    "tar": "tar",
    "tune2fs": "e2fsprogs",
    "virtiofsd": "qemu-system-common",
    "xz": "xz-utils",
    "zstd": "zstd",
}


def install_hint(tool: str) -> str | None:
    """The line that installs a tool on Debian, or None when we do not know its package."""
    package = DEBIAN_PACKAGES.get(tool)
    return f"apt-get install {package}" if package else None
