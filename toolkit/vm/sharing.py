"""Folders of the host in a guest, by virtio-fs and by 9p, as Kata's Go runtime attaches them.

virtio-fs needs a daemon, virtiofsd: the one that Debian 13 and Kata have, or QEMU's own old one. Started by an ordinary
user, either gets a user namespace in which it is root.
"""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from .. import run, warden
from ..checks import Skipped
from ..errors import ToolError
from .options import Options

VIRTIO_FS, NINE_P = "virtio-fs", "9p"
TAGS: Mapping[str, str] = {VIRTIO_FS: "proofFs", NINE_P: "proof9p"}
NEEDS: Mapping[str, str] = {VIRTIO_FS: "CONFIG_VIRTIO_FS", NINE_P: "CONFIG_NET_9P_VIRTIO"}
FROM_HOST, FROM_HOST_TEXT = "from-host", b"written by the host\n"

_FOLDERS = ("/usr/libexec", "/usr/lib/qemu", "/usr/lib", "/opt/kata/libexec")
_SOCKET_SECONDS = 5.0
_ROOM_BYTES = 4 << 20
_POLL_SECONDS = 0.01


FILE_SYSTEMS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    VIRTIO_FS: ("virtiofs", ("nodev",)),
    NINE_P: ("9p", ("nodev", "trans=virtio", "version=9p2000.L", "cache=mmap", "msize=524288")),
}
"""By the way: the file system in the guest, and the options that Kata mounts it with."""


@dataclass(frozen=True, slots=True)
class Shares:
    """What a guest is given: the host's folder by the way it is shared, and why a way is not there."""

    folders: Mapping[str, Path] = field(default_factory=dict)
    missing: Mapping[str, Skipped] = field(default_factory=dict)


def share(options: Options, config: Mapping[str, str], undo: ExitStack) -> tuple[Options, Shares]:
    """Start the daemon and describe the devices; ``undo`` ends it and removes the folders.

    ``config``: the guest's kernel configuration. Raises Skipped when no way is there.
    """
    base = undo.enter_context(warden.temporary_folder("share"))
    free = os.statvfs(base)
    if free.f_bavail * free.f_frsize < _ROOM_BYTES:
        raise ToolError(f"{base.parent} is full: a guest cannot write to what is shared from there")
    folders: dict[str, Path] = {}
    missing: dict[str, Skipped] = {}
    extra: list[str] = []
    for way, attach in ((VIRTIO_FS, _virtio_fs), (NINE_P, _nine_p)):
        if config.get(NEEDS[way]) != "y":
            missing[way] = Skipped(f"the set's kernel is built without {NEEDS[way]}: {way} is not promised")
            continue
        folder = base / way
        folder.mkdir()
        (folder / FROM_HOST).write_bytes(FROM_HOST_TEXT)
        try:
            extra += attach(folder, base, undo)
        except Skipped as reason:
            missing[way] = reason
        else:
            folders[way] = folder
    backend = options.memory_backend
    if VIRTIO_FS in folders:
        backend = "memory-backend-memfd,share=on"  # the daemon maps the guest's memory
    return replace(options, memory_backend=backend, extra=(*options.extra, *extra)), Shares(folders, missing)


def _nine_p(folder: Path, base: Path, undo: ExitStack) -> list[str]:
    del base, undo  # QEMU itself serves it
    path = str(folder).replace(",", ",,")
    return [
        "-fsdev", f"local,id=extra-9p-proof,path={path},security_model=none,multidevs=remap",
        "-device", f"virtio-9p-pci,disable-modern=false,fsdev=extra-9p-proof,mount_tag={TAGS[NINE_P]}",
    ]  # fmt: skip


def _virtio_fs(folder: Path, base: Path, undo: ExitStack) -> list[str]:
    socket = base / "virtiofsd.sock"
    argv = _daemon(folder, socket)
    log = undo.enter_context((base / "virtiofsd.log").open("w+b"))
    process = run.spawn(argv, stdout=log)
    undo.callback(run.stop, process)
    deadline = time.monotonic() + _SOCKET_SECONDS
    while not socket.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            log.seek(0)
            said = log.read(2000).decode(errors="replace").strip()
            if os.geteuid() != 0:
                raise Skipped(f"virtiofsd does not start here without root: {said[:200]}")
            raise ToolError(f"virtiofsd does not start: {said}", hint=run.as_shell(argv))
        time.sleep(_POLL_SECONDS)
    path = str(socket).replace(",", ",,")
    return [
        "-chardev", f"socket,id=char-proof-fs,path={path}",
        "-device", f"vhost-user-fs-pci,chardev=char-proof-fs,tag={TAGS[VIRTIO_FS]},queue-size=1024",
    ]  # fmt: skip


def _daemon(folder: Path, socket: Path) -> list[str]:
    """The command. Raises Skipped when there is no daemon."""
    program = run.which("virtiofsd") or next(
        (path for base in _FOLDERS if os.access(path := Path(base, "virtiofsd"), os.X_OK)), None
    )
    if program is None:
        raise Skipped("virtiofsd is not installed", "apt-get install virtiofsd (Debian 12: qemu-system-common)")
    old = "--shared-dir" not in run.run([str(program), "--help"], check=False, timeout=10).output
    words = [str(program), f"--socket-path={socket}"]
    words += ["-o", f"source={folder}"] if old else [f"--shared-dir={folder}"]
    if os.geteuid() == 0:
        return words
    if not old:
        words.append("--sandbox=none")
    # As root of a user namespace; the old daemon also wants to write below /run.
    script = f"mount -t tmpfs tmpfs /run && exec {shlex.join(words)}"
    if any(str(path).startswith("/run/") for path in (folder, socket)):
        script = f"exec {shlex.join(words)}"
    return ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script]
