"""What a schema cannot say of a spec's ``extensions``: rules of `crosscheck`, with place and reason."""

from __future__ import annotations

from collections.abc import Iterator

from ..errors import Problem
from .model import BuiltinAgent, FolderRootfs, MinimalRootfs, TarballRootfs
from .paths import check_file, check_folder
from .read import MAX_CMDLINE, Read

EXTENSIONS = ("extensions",)


# kata.extension.NAME.verity_params= with a root hash, a salt and three numbers, on the kernel's command line.
WORD = 240


def extension_count(read: Read) -> Iterator[Problem]:
    """All of them must fit on the command line."""
    most = MAX_CMDLINE // WORD
    if len(read.spec.extensions) > most:
        message = f"{len(read.spec.extensions)} extensions do not fit on the kernel's command line: {most} do"
        yield Problem(message, read.tree.key_where(EXTENSIONS), "put several into one image")


def extension_names(read: Read) -> Iterator[Problem]:
    """Each name once: it is a disk's serial number and a mount point."""
    seen: dict[str, int] = {}
    for extension, step in zip(read.spec.extensions, read.steps(EXTENSIONS), strict=True):
        if extension.name in seen:
            where = read.tree.value_where((*step, "name"))
            yield Problem(f"two extensions are called {extension.name}", where, "give one of them another name")
        seen[extension.name] = 1


def extension_files(read: Read) -> Iterator[Problem]:
    """What an extension is made from is there."""
    for extension, step in zip(read.spec.extensions, read.steps(EXTENSIONS), strict=True):
        source = extension.source
        path = source.archive.path if isinstance(source, TarballRootfs) else source.path
        if path is None:
            continue
        folder = isinstance(source, FolderRootfs) or (not isinstance(source, TarballRootfs) and path.is_dir())
        check = check_folder if folder else check_file
        yield from check(path, read.tree.value_where((*step, "path")))


def extensions_are_mounted(read: Read) -> Iterator[Problem]:
    """Somebody mounts them: our agent, or a unit of systemd."""
    spec = read.spec
    systemd = not isinstance(spec.rootfs, MinimalRootfs) and spec.rootfs.init == "systemd"
    if not spec.extensions or isinstance(spec.agent, BuiltinAgent) or systemd:
        return
    yield Problem(
        "nothing in this guest would mount the extensions: Kata's agent leaves that to units of systemd",
        read.tree.key_where(EXTENSIONS),
        "take agent: {kind: builtin}, or a root file system with init: systemd",
    )


def extensions_are_attached(read: Read) -> Iterator[Problem]:
    """Every hypervisor of the set attaches them: a guest without one that the spec asks for is not built silently."""
    from ..kata.keys import tables

    if not read.spec.extensions:
        return
    setting = tables().find("guest_extension_images")
    for hypervisor in read.spec.hypervisors:
        for dialect in hypervisor.dialects:
            side = setting.side(dialect) if setting else None
            if side is None or not side.heeded_by(hypervisor.name):
                yield Problem(
                    f"{tables().title(dialect)} attaches no extension images to {hypervisor.name}",
                    read.tree.key_where(EXTENSIONS),
                    "leave that hypervisor to a spec of its own, or put the files into the root file system",
                )
