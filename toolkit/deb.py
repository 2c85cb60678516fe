"""Reads a Debian package without installing it, and without any privilege: its control fields, and its files.

The format: deb(5). dpkg-deb takes it apart; nothing of it is run, and nothing is written but what is asked for.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from . import run
from .archive import DEB_MAGIC, command_output, magic_of, members_of, opened_tar
from .dpkg import control_values
from .errors import InputError, ToolError
from .pipeline.packages import install_hint

_CHUNK = 1 << 20


def control_fields(package: Path, name: str) -> dict[str, str]:
    """The fields of a package's control file, such as Package, Version, Source, Architecture.

    ``name``: what messages call the package. Raises InputError for what is no package, ToolError without dpkg-deb.
    """
    _require(package, name)
    result = run.run(["dpkg-deb", "--field", str(package)], check=False)
    if result.status:
        reason = (result.output.splitlines() or ["dpkg-deb cannot read it"])[-1]
        raise InputError(f"{name} is damaged or truncated: {reason}", hint="fetch it again")
    return control_values(result.output)


@contextmanager
def members(package: Path, name: str) -> Iterator[Iterator[tuple[str, tarfile.TarInfo, IO[bytes] | None]]]:
    """The package's members in their order: path (without ./), header, and, of a file, its bytes while it is at hand.

    All of them must be taken, or what is wrong with the rest is not seen. Raises as `control_fields` does.
    """
    _require(package, name)
    with command_output(("dpkg-deb", "--fsys-tarfile", str(package)), name) as stream:
        with opened_tar(stream) as tar:
            yield _members(tar, name)
        while stream.read(_CHUNK):
            pass  # dpkg-deb must be able to end well, and tell of damage at the very end


def _members(tar: tarfile.TarFile, name: str) -> Iterator[tuple[str, tarfile.TarInfo, IO[bytes] | None]]:
    for member in members_of(tar):
        path = member.name.removeprefix("./").strip("/")
        if member.name.startswith("/") or ".." in path.split("/"):
            raise InputError(
                f"{name} has a member that would lie outside of it: {member.name}", hint="do not trust this package"
            )
        if member.issparse():  # a header of a few bytes may stand for terabytes of zeros
            raise InputError(f"{name} has a file with holes: {member.name}", hint="do not trust this package")
        yield path, member, tar.extractfile(member) if member.isreg() else None


def _require(package: Path, name: str) -> None:
    if run.which("dpkg-deb") is None:
        raise ToolError(f"dpkg-deb, which takes {name} apart, is not installed", hint=install_hint("dpkg-deb"))
    if not magic_of(package).startswith(DEB_MAGIC):
        raise InputError(f"{name} is not a Debian package")
