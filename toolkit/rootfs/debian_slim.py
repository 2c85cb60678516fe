"""What a Debian root file system can do without in a guest, and what may not be in an image at all."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from ..os_release import os_release
from ..spec.model import Slim
from .tree import Bytes, Kind, Node, Tree, read_padded

INFO = b"var/lib/dpkg/info"
STATUS = b"var/lib/dpkg/status"

DOCS = (
    b"usr/share/doc", b"usr/share/doc-base", b"usr/share/man", b"usr/share/info", b"usr/share/groff",
    b"usr/share/gtk-doc", b"usr/share/help", b"usr/share/lintian", b"usr/share/linda", b"usr/share/bug",
    b"usr/share/common-licenses",
)  # fmt: skip
LOCALES = (b"usr/share/locale", b"usr/share/i18n")
_COMMON = b"usr/share/common-licenses"
_LOCALE_FOLDER = b"usr/lib/locale/"
_KEPT_LOCALE = b"usr/lib/locale/C.utf8"

APT = (
    b"etc/apt",
    b"var/lib/apt",
    b"var/cache/apt",
    b"var/log/apt",
    b"etc/logrotate.d/apt",
    b"etc/cron.daily/apt-compat",
)
APT_PACKAGES = ("apt", "apt-utils", "debian-archive-keyring")
DPKG = (
    b"var/lib/dpkg",
    b"var/cache/debconf",
    b"var/lib/ucf",
    b"etc/dpkg",
    b"etc/logrotate.d/dpkg",
    b"etc/cron.daily/dpkg",
)
DPKG_PACKAGES = ("dpkg",)

# What differs from one installation to the next, or belongs to one machine: it comes into being again where it is used.
_VOLATILE = tuple(
    re.compile(pattern)
    for pattern in (
        rb"etc/(passwd|group|shadow|gshadow|subuid|subgid)-",
        rb"etc/ssh/ssh_host_.*",
        rb"etc/\.pwd\.lock",
        rb"var/cache/ldconfig/aux-cache",
        rb"var/cache/debconf/.*-old",
        rb"var/lib/dpkg/(.*-old|lock|lock-frontend|triggers/Lock)",
        rb"var/lib/dbus/machine-id",
        rb"var/lib/systemd/random-seed",
        rb"var/log/.*",
        rb"run/.+",
        rb"tmp/.+",
        rb"var/tmp/.+",
    )
)
_MACHINE_ID = b"etc/machine-id"
_JOURNAL = (
    b"var/log/journal"  # where it is, logs are kept: on a disk that no guest has. And an initrd cannot hold its ACLs
)


def clean(tree: Tree) -> None:
    """Take out what belongs to one machine or one installation. /etc/machine-id stays as an empty file, in whose place
    an id for the time being can be mounted (machine-id(5))."""
    _remove_files(tree, lambda path: any(pattern.fullmatch(path) for pattern in _VOLATILE))
    tree.drop([_JOURNAL])
    tree.add(_MACHINE_ID, Node(Kind.FILE, 0o444, content=Bytes(b"")))


def slim(tree: Tree, wanted: Slim, asked: Iterable[str]) -> tuple[str, ...]:
    """Take out what is asked for; returns the packages of which nothing is left.

    ``asked``: packages that the spec names, which are never taken out whole.
    """
    gone: list[str] = []
    keep = frozenset(asked)
    if wanted.docs:
        tree.drop(DOCS)
    if wanted.locales:
        tree.drop(LOCALES)
        _remove_files(tree, lambda path: path.startswith(_LOCALE_FOLDER) and not path.startswith(_KEPT_LOCALE))
    if wanted.apt:
        gone += [name for name in APT_PACKAGES if name not in keep and _remove_package(tree, name)]
        tree.drop(APT if "apt" not in keep else APT[1:])
    if wanted.dpkg:
        gone += [name for name in DPKG_PACKAGES if name not in keep and _remove_package(tree, name)]
        tree.drop(DPKG)
    return tuple(gone)


def licence_texts(tree: Tree, packages: Iterable[str]) -> dict[str, bytes]:
    """PACKAGE/copyright → text, of each package that has one; and the licences that those only name, in full."""
    found = {}
    for name in packages:
        text = _text(tree, b"usr/share/doc/" + name.encode() + b"/copyright")
        if text is not None:
            found[f"{name}/copyright"] = text
    for path, node in tree.walk():
        if path.startswith(_COMMON + b"/") and node.content:
            found[f"common-licenses/{path.rpartition(b'/')[2].decode()}"] = read_padded(node.content, 0, node.size)
    return found


def vendor(tree: Tree) -> str:
    """Whose packages these are: Debian's, or a distribution's that is made from it."""
    text = _text(tree, b"etc/os-release") or b""
    return os_release(text.decode(errors="replace")).get("ID") or "debian"


def _text(tree: Tree, path: bytes) -> bytes | None:
    place = tree.resolved(path)
    node = tree.get(place)
    if node and node.kind is Kind.SYMLINK:  # to the file of a sister package
        node = tree.get(tree.resolved(place.rpartition(b"/")[0] + b"/" + node.target))
    return read_padded(node.content, 0, node.size) if node and node.content else None


def _remove_files(tree: Tree, doomed: Callable[[bytes], bool]) -> None:
    tree.drop([path for path, node in tree.walk() if doomed(path) and node.kind is not Kind.DIRECTORY])


def _remove_package(tree: Tree, name: str) -> bool:
    """A package's files, and the folders that nothing else is in. Returns whether it was there."""
    listing = tree.get(INFO + b"/" + name.encode() + b".list")
    if listing is None or listing.content is None:
        return False
    listed = {line.strip(b"/") for line in read_padded(listing.content, 0, listing.size).splitlines()} - {b"", b"."}
    above = {path.rpartition(b"/")[0] for path in listed}  # folders, be they links in a root with all in /usr
    paths = sorted((tree.resolved(path) for path in listed), reverse=True)
    nodes = [
        (path, node)
        for path in paths
        if (node := tree.get(path)) and (node.kind is Kind.DIRECTORY or path not in above)
    ]
    tree.drop(path for path, node in nodes if node.kind is not Kind.DIRECTORY)
    for path, node in nodes:
        if node.kind is Kind.DIRECTORY and tree.is_empty(path):
            tree.drop([path])
    return True


def add_sources(tree: Tree, lines: Iterable[str]) -> None:
    """The guest's own apt sources."""
    text = "".join(f"{line}\n" for line in lines)
    if text and b"etc/apt" in tree:
        tree.add(b"etc/apt/sources.list", Node(Kind.FILE, 0o644, content=Bytes(text.encode())))
