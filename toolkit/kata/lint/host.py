"""What a configuration needs of this host: files that are there, programs that run, kernels that are kernels."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...spec.source import kind_of
from .findings import Finding, Level, Place
from .merged import Merged
from .structure import Item
from .together import usable

_PROGRAMS = ("path", "virtio_fs_daemon", "jailer_path", "ctlpath")


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A path that the configuration speaks of. ``setting``: its name in the tables; ``sealed``: no ordinary kernel."""

    setting: str
    key: str
    path: str
    where: Place
    assumed: bool = False  # the runtime's default: the file does not mention it


def host_findings(merged: Merged, unusable: Iterable[Item]) -> Iterator[Finding]:
    """Everything that is missing here or of the wrong kind, for the hypervisor in use."""
    hypervisor = merged.in_use()
    if hypervisor is None or hypervisor not in merged.known.hypervisors:
        return
    values = usable(merged, hypervisor, unusable)
    for wanted in _paths(merged, hypervisor, values):
        yield from _path(wanted, merged)
    if merged.known.dialect == "go" and hypervisor in ("qemu", "stratovirt"):
        device = Path("/dev/vhost-vsock")
        if not device.exists():
            where = merged.owners("hypervisor")[hypervisor].where
            yield _found(merged, "missing-path", f"{device} does not exist", where, "load it: modprobe vhost_vsock")


def _paths(merged: Merged, hypervisor: str, values: dict[str, Item]) -> Iterator[_Wanted]:
    shared = values["shared_fs"].value if "shared_fs" in values else _default(merged, "shared_fs", hypervisor)
    header = merged.owners("hypervisor")[hypervisor].where
    # Without a root, the kernel is one file that holds everything, encrypted for the machine it is for.
    rooted = any(name in values and values[name].value for name in ("image", "initrd"))
    for match in merged.known.by_table["hypervisor"].values():
        side, name = match.side, match.setting.name
        daemon = name == "virtio_fs_daemon"
        if match.shadow or not (side.must_exist or daemon) or not side.heeded_by(hypervisor):
            continue
        if daemon and shared not in ("virtio-fs", "virtio-fs-nydus"):
            continue
        item = values.get(name)
        if item is None:
            default = side.default_of(hypervisor)
            if isinstance(default, str) and default.startswith("/") and not _covered(name, values):
                yield _Wanted(name, side.key, default, header, assumed=True)
            continue
        paths: list[Any] = item.value if isinstance(item.value, list) else [item.value]
        for index, path in enumerate(paths):
            inner = (*item.path, index) if isinstance(item.value, list) else item.path
            if isinstance(path, str) and path and "@" not in path:
                setting = "sealed" if name == "kernel" and not rooted else name
                yield _Wanted(setting, item.key, path, item.document.value_place(inner))
    mounts = values.get("runtime.sandbox_bind_mounts")
    if mounts and isinstance(mounts.value, list):
        for index, path in enumerate(mounts.value):
            plain = path.removesuffix(":ro").removesuffix(":rw") if merged.known.dialect == "rs" else path
            yield _Wanted("sandbox_bind_mounts", mounts.key, plain, mounts.document.value_place((*mounts.path, index)))


def _covered(name: str, values: dict[str, Item]) -> bool:
    """image and initrd stand for each other."""
    return name in ("image", "initrd") and any(other in values for other in ("image", "initrd"))


def _default(merged: Merged, name: str, hypervisor: str) -> Any:
    match = merged.known.by_table["hypervisor"].get(name)
    return match.side.default_of(hypervisor) if match else None


def _found(
    merged: Merged, rule: str, message: str, where: Place, hint: str | None = None, level: Level = "error"
) -> Finding:
    does = f"the {merged.known.title} refuses to load the file"
    if rule != "missing-path":
        does = f"the {merged.known.title} loads the file, and the VM does not start"
    return Finding(rule, level, message, where, hint, does, merged.known.dialect)


def _path(wanted: _Wanted, merged: Merged) -> Iterator[Finding]:
    key, path = wanted.key, Path(wanted.path)
    named = f"{key}, by default {path}," if wanted.assumed else f"{key}: {path}"
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        hint = f"it is a link to {path.readlink()}" if path.is_symlink() else None
        yield _found(merged, "missing-path", f"{named} does not exist", wanted.where, hint)
        return
    except (OSError, ValueError) as error:  # ValueError: a path with a null byte
        reason = f"cannot be read: {error.strerror if isinstance(error, OSError) else error}"
        yield _found(merged, "missing-path", f"{named} {reason}", wanted.where)
        return
    if wanted.setting in _PROGRAMS:
        if not stat.S_ISREG(status.st_mode):
            yield _found(merged, "wrong-kind", f"{named} is not a program", wanted.where)
        elif not status.st_mode & 0o111:
            yield _found(merged, "not-executable", f"{named} is not executable", wanted.where, f"chmod +x {path}")
    elif wanted.setting in ("kernel", "image", "initrd"):
        yield from _guest_file(wanted, named, path, status, merged)


def _guest_file(wanted: _Wanted, named: str, path: Path, status: os.stat_result, merged: Merged) -> Iterator[Finding]:
    """What is to be seen from the file alone; sizes against memory are rules."""
    kind = kind_of(status.st_mode)
    if kind and not (wanted.setting == "image" and stat.S_ISBLK(status.st_mode)):
        yield _found(merged, "wrong-kind", f"{named} is {kind}, not a file", wanted.where)
    elif wanted.setting == "kernel" and not _is_kernel(path):
        told = f"{named} is no kernel: neither an ELF file nor a bootable image"
        yield _found(merged, "wrong-kind", told, wanted.where)


def _is_kernel(path: Path) -> bool:
    """ELF (vmlinux), x86's bzImage ("HdrS" at 0x202), arm64's Image ("ARM\\x64" at 56), gzip, or a PE of EFI."""
    try:
        with path.open("rb") as stream:
            head = stream.read(0x206)
    except OSError:
        return True  # who may not read it cannot tell
    if head[:4] == b"\x7fELF" or head[:2] in (b"\x1f\x8b", b"MZ"):
        return True
    # s390x's bzImage has the word "S390EP" at 0x10008.
    return head[0x202:0x206] == b"HdrS" or head[56:60] == b"ARM\x64" or _at(path, 0x10008, b"S390EP")


def _at(path: Path, offset: int, magic: bytes) -> bool:
    with path.open("rb") as stream:
        stream.seek(offset)
        return stream.read(len(magic)) == magic
