"""Which Debian package brings which tool: for messages that say what to install."""

from __future__ import annotations

from ..arch import arches

DEBIAN_PACKAGES = {
    "apt-get": "apt",
    "bc": "bc",
    "bison": "bison",
    "cargo": "cargo rustc",
    "clang": "clang",
    "bzip2": "bzip2",
    "busybox": "busybox-static",
    "ccache": "ccache",
    "cpio": "cpio",
    "debugfs": "e2fsprogs",
    "dpkg-deb": "dpkg",
    "dumpe2fs": "e2fsprogs",
    "e2fsck": "e2fsprogs",
    "fsck.erofs": "erofs-utils",
    "mkfs.erofs": "erofs-utils",
    "flex": "flex",
    "g++": "g++",
    "gcc": "gcc",
    "git": "git",
    "gzip": "gzip",
    "lz4": "lz4",
    "lzop": "lzop",
    "make": "make",
    "ld": "binutils",
    "ld.lld": "lld",
    "llvm-ar": "llvm",
    "llvm-nm": "llvm",
    "llvm-objcopy": "llvm",
    "llvm-readelf": "llvm",
    "llvm-strip": "llvm",
    "meson": "meson",
    "mke2fs": "e2fsprogs",
    "mmdebstrap": "mmdebstrap",
    "musl-gcc": "musl-tools",
    "ninja": "ninja-build",
    "patch": "patch",
    "pkg-config": "pkg-config",
    "rustc": "cargo rustc",
    "protoc": "protobuf-compiler",
    "protoc-c": "protobuf-c-compiler",
    "skopeo": "skopeo",
    "sfdisk": "fdisk",
    "strip": "binutils",
    "tar": "tar",
    "tune2fs": "e2fsprogs",
    "veritysetup": "cryptsetup-bin",
    "virtiofsd": "qemu-system-common",
    "xz": "xz-utils",
    "zstd": "zstd",
}


def install_hint(tool: str) -> str | None:
    """The line that installs a tool on Debian, or None when we do not know its package."""
    package = DEBIAN_PACKAGES.get(tool) or _of_an_architecture(tool)
    return f"apt-get install {package}" if package else None


def _of_an_architecture(tool: str) -> str | None:
    """Emulators, cross compilers (with the C library for static programs) and their linkers."""
    for arch in arches().values():
        if tool == arch.qemu:
            return arch.qemu_package
        if tool.startswith(arch.cross_prefix):
            return f"{arch.cross_package} {arch.libc_package}"
    return None
