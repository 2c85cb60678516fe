"""What every root file system of a guest has: the agent as /sbin/init, and the folders and files a guest needs.

With busybox, unless left out, that is the minimal one. It is also good as the read-only root of a container: it has
the places where a runtime mounts things.
"""

from __future__ import annotations

from pathlib import Path

from ..errors import InputError, ToolError
from .tree import Bytes, Kind, Node, OnDisk, Tree, normalised

AGENT = b"sbin/init"  # what `init: agent` boots: the kernel's first choice in a root file system
MOVED_AGENT = b"usr/bin/kata-agent"  # where the agent lies when something else starts first
POLICY = b"etc/kata-opa/default-policy.rego"  # where release builds of kata-agent look for it
BUSYBOX = b"bin/busybox"

# Path → mode. Mount points of the guest (agent) and of containers (runtime) are here too, since the root is
# read-only: what is missing cannot be made later.
FOLDERS = {
    b"bin": 0o755, b"dev": 0o755, b"etc": 0o755, b"etc/kata-opa": 0o755, b"home": 0o755, b"lib": 0o755,
    b"lib/modules": 0o755, b"lib64": 0o755, b"mnt": 0o755, b"opt": 0o755, b"proc": 0o555, b"root": 0o700,
    b"run": 0o755, b"sbin": 0o755, b"srv": 0o755, b"sys": 0o555, b"tmp": 0o1777, b"usr": 0o755,
    b"usr/bin": 0o755, b"usr/lib": 0o755, b"usr/local": 0o755, b"usr/local/bin": 0o755, b"usr/sbin": 0o755,
    b"usr/share": 0o755, b"var": 0o755, b"var/cache": 0o755, b"var/lib": 0o755, b"var/log": 0o755,
    b"var/tmp": 0o1777,
}  # fmt: skip

LINKS = {b"var/run": b"../run", b"var/lock": b"../run/lock"}

# Files the agent or a container runtime binds something over must exist, be it empty.
FILES = {
    b"etc/passwd": b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n",
    b"etc/group": b"root:x:0:\ntty:x:5:\ndisk:x:6:\nkvm:x:78:\nnogroup:x:65534:\n",
    b"etc/hosts": b"127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n",
    b"etc/hostname": b"localhost\n",
    b"etc/nsswitch.conf": b"passwd: files\ngroup: files\nhosts: files dns\n",
    b"etc/resolv.conf": b"",
}

# Path → (mode, major, minor): Documentation/admin-guide/devices.txt. The kernel opens /dev/console for the first
# process before anything can have mounted devtmpfs (it does so itself only with CONFIG_DEVTMPFS_MOUNT).
DEVICES = {b"dev/console": (0o600, 5, 1), b"dev/null": (0o666, 1, 3)}


def add_busybox(tree: Tree, busybox: bytes, applets: tuple[bytes, ...]) -> None:
    """Add busybox and its names (``applets``, such as ``bin/ls``): hard links, which cost neither inodes nor a second
    lookup. The agent's place stays free."""
    tree.add(BUSYBOX, Node(Kind.FILE, 0o755, content=Bytes(busybox)))
    for applet in applets:
        if applet not in tree and applet != AGENT:
            tree.link(applet, BUSYBOX)


def furnish(tree: Tree) -> None:
    """Add the folders and files that a guest needs and a tree lacks.

    Raises InputError when something else stands where a folder must be.
    """
    needed: dict[bytes, Node] = {path: Node(Kind.DIRECTORY, mode) for path, mode in FOLDERS.items()}
    needed |= {path: Node(Kind.SYMLINK, 0o777, target=target) for path, target in LINKS.items()}
    needed |= {path: Node(Kind.FILE, 0o644, content=Bytes(data)) for path, data in FILES.items()}
    needed |= {path: Node(Kind.CHARACTER, mode, rdev=(major, minor)) for path, (mode, major, minor) in DEVICES.items()}
    for path, node in needed.items():
        place = tree.resolved(path)
        if place not in tree:
            tree.add(place, node)


def place_agent(tree: Tree, agent: Path, policy: Path | None) -> bytes:
    """Put the agent in the place of whatever was the tree's init; returns its path.

    Raises InputError when a source cannot be read.
    """
    place = tree.resolved(AGENT)
    tree.add(place, Node(Kind.FILE, 0o755, content=OnDisk.of(agent)))
    place_policy(tree, policy)
    return place


def place_policy(tree: Tree, policy: Path | None) -> None:
    """Put the agent's policy where it looks for it. Raises InputError when it cannot be read."""
    if policy:
        tree.add(tree.resolved(POLICY), Node(Kind.FILE, 0o644, content=OnDisk.of(policy)))


def applet_paths(listing: str) -> tuple[bytes, ...]:
    """The output of ``busybox --list-full`` as paths, sorted.

    Raises ToolError when it holds anything that is not a path in bin, sbin, usr/bin or usr/sbin.
    """
    found = set()
    for line in listing.splitlines():
        try:
            path = normalised(line.strip().encode())
        except InputError as error:
            raise ToolError(f"busybox lists {line!r}, which {error}") from error
        folder = path.rpartition(b"/")[0]
        if folder in (b"bin", b"sbin", b"usr/bin", b"usr/sbin"):
            found.add(path)
        elif path != b"linuxrc":  # an init for old-style initrds, in the root
            raise ToolError(f"busybox lists {line!r}, which is no place for a program")
    if b"bin/sh" not in found:
        raise ToolError("this busybox has no shell", hint="install Debian's busybox-static")
    return tuple(sorted(found))
