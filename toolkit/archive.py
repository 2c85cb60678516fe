"""Unpacks source archives safely: every member is looked at before anything is written."""

from __future__ import annotations

import errno
import os
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, cast

from . import run
from .errors import InputError, ToolError

DEB_MAGIC = b"!<arch>\n"
# The first bytes of a compressed tar, and what unpacks it to stdout.
_COMPRESSIONS: dict[bytes, tuple[str, ...]] = {
    b"\xfd7zXZ\x00": ("xz", "-dc", "-T0"),
    b"\x1f\x8b": ("gzip", "-dc"),
    b"BZh": ("bzip2", "-dc"),
    b"\x28\xb5\x2f\xfd": ("zstd", "-dc"),
}
# What Python's tarfile raises for headers that make no sense to it, besides its own errors.
_TARFILES_OWN = (ArithmeticError, LookupError, ValueError, TypeError, AttributeError)
_TAR_MAGIC_AT, _TAR_MAGIC = 257, b"ustar"
_CHUNK = 1 << 20
_ZEROS = bytes(_CHUNK)
# What unpacks to more is no root file system and no source, but made to fill a disk. Real archives are packed to a
# twentieth at most.
_MAX_UNPACKED = 64 << 30
_MAX_RATIO, _ANY_RATIO = 200, 1 << 30  # bytes out for one in, once there are more than so many
# What the disk says of a member that cannot be: below a file, in place of a folder, linked to what is not there. None:
# shutil's own, for a file that would be copied to itself.
_SENSELESS = (
    errno.ENOENT,
    errno.EEXIST,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.ENAMETOOLONG,
    errno.ELOOP,
    errno.EINVAL,
    None,
)


def magic_of(path: Path) -> bytes:
    """The first 512 bytes of a file. Raises InputError when it cannot be read."""
    try:
        with path.open("rb") as stream:
            return stream.read(512)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error


def unpack(archive: Path, target: Path, name: str, on_file: Callable[[int], None]) -> None:
    """Unpack a tar (plain, gzip, bzip2, xz, zstd) into the new folder ``target``.

    ``name`` is what messages call the archive, ``on_file`` gets the number of files so far. Only files, folders and
    links are made; modes become 0644 or 0755. Raises InputError for an archive that is damaged, truncated, or has
    a member that would lie outside; ToolError when the disk does not play along.
    """
    with _tar_stream(archive, name) as stream:
        unpack_stream(stream, target, name, on_file)


def unpack_stream(stream: IO[bytes], target: Path, name: str, on_file: Callable[[int], None]) -> None:
    """As `unpack`, from the bytes of a plain tar."""
    try:
        target.mkdir(parents=True)
        with opened_tar(stream) as tar:
            _Unpacker(target, name).all(tar, on_file)
            while stream.read(_CHUNK):
                pass  # padding: the unpacker must be able to end well, and report damage at the very end
    except (tarfile.TarError, EOFError) as error:
        raise InputError(f"{name} is damaged or truncated: {error}", hint="fetch it again") from error
    except OSError as error:
        raise ToolError(f"cannot unpack {name} into {target}: {error.strerror}") from error


def opened_tar(stream: IO[bytes]) -> tarfile.TarFile:
    """A tar that is read as it comes. Raises TarError for whatever is wrong with it, which tarfile itself does not."""
    try:
        return tarfile.open(fileobj=stream, mode="r|", bufsize=_CHUNK)
    except _TARFILES_OWN as error:
        raise tarfile.ReadError(str(error)) from error


def members_of(tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """Its members in their order. Raises TarError, as `opened_tar` does."""
    members = iter(tar)
    while True:
        try:
            member = next(members)
        except StopIteration:
            return
        except _TARFILES_OWN as error:
            raise tarfile.ReadError(str(error)) from error
        yield member


def plain_tar(archive: Path, target: Path, name: str) -> None:
    """Write a tar's bytes, unpacked from whatever compresses it, to the new file ``target``.

    Zeros become holes. Raises InputError for an archive that is damaged or none, or unpacks to far more than it has;
    ToolError when the disk does not play along.
    """
    with _tar_stream(archive, name) as stream:
        try:
            with target.open("xb") as out:
                while data := stream.read(_CHUNK):
                    if data == _ZEROS[: len(data)]:
                        out.seek(len(data), os.SEEK_CUR)
                    else:
                        out.write(data)
                out.truncate()
        except OSError as error:
            raise ToolError(f"cannot unpack {name} to {target}: {error.strerror}") from error


def as_plain_tar(archive: Path, target: Path, name: str) -> Path:
    """A plain tar to read at any place: the archive itself when nothing compresses it, else ``target``, written anew.

    Raises as `plain_tar` does.
    """
    if magic_of(archive)[_TAR_MAGIC_AT:].startswith(_TAR_MAGIC):
        return archive
    plain_tar(archive, target, name)
    return target


@contextmanager
def _tar_stream(archive: Path, name: str) -> Iterator[IO[bytes]]:
    """The archive's tar bytes, unpacked by the tool for its compression."""
    start = magic_of(archive)
    argv = next((argv for magic, argv in _COMPRESSIONS.items() if start.startswith(magic)), None)
    if argv is None:
        if start[_TAR_MAGIC_AT:].startswith(_TAR_MAGIC):
            with archive.open("rb") as stream:
                yield stream
            return
        raise InputError(f"{name} is not a tar archive", hint="known: .tar, .tar.gz, .tar.bz2, .tar.xz, .tar.zst")
    with command_output((*argv, str(archive)), name) as stream:
        yield cast("IO[bytes]", _Bounded(stream, archive.stat().st_size, name))


class _Bounded:
    """A stream of what an archive unpacks to, for as long as that is in proportion."""

    def __init__(self, stream: IO[bytes], packed: int, name: str) -> None:
        self._stream, self._packed, self._name = stream, packed, name
        self._done = 0

    def read(self, size: int) -> bytes:
        """The next bytes. Raises InputError when there are too many."""
        data = self._stream.read(size)
        self._done += len(data)
        if self._done > _ANY_RATIO and self._done > _MAX_RATIO * self._packed:
            raise InputError(
                f"{self._name} unpacks to more than {_MAX_RATIO} times its size",
                hint="give it unpacked if that is meant",
            )
        if self._done > _MAX_UNPACKED:
            raise InputError(f"{self._name} unpacks to more than {_MAX_UNPACKED >> 30} GiB")
        return data


@contextmanager
def command_output(argv: tuple[str, ...], name: str, *, env: Mapping[str, str] | None = None) -> Iterator[IO[bytes]]:
    """What a tool that reads the archive ``name`` writes to stdout.

    Raises InputError at the end when it failed: these tools fail for damaged input.
    """
    with tempfile.TemporaryFile() as complaints:
        process = run.spawn(argv, env=env, stderr=complaints)
        assert process.stdout is not None  # noqa: S101 -- run.spawn pipes it by default
        try:
            yield process.stdout
            status = process.wait()
        except (tarfile.TarError, EOFError) as error:
            process.wait()
            raise InputError(_damage(name, complaints) or f"{name} is damaged or truncated: {error}") from error
        finally:
            run.stop(process)
            process.stdout.close()
        if status:
            raise InputError(_damage(name, complaints) or f"{name} is damaged or truncated", hint="fetch it again")


def _damage(name: str, complaints: IO[bytes]) -> str | None:
    complaints.seek(0)
    lines = complaints.read().decode(errors="replace").strip().splitlines()
    return f"{name} is damaged or truncated: {lines[-1]}" if lines else None


class _Unpacker:
    """Writes a tar's members below one folder."""

    def __init__(self, root: Path, name: str) -> None:
        self._root, self._name = root, name
        self._links: set[PurePosixPath] = set()

    def all(self, tar: tarfile.TarFile, on_file: Callable[[int], None]) -> None:
        """Unpack every member. Raises InputError for one that does not belong."""
        for number, member in enumerate(members_of(tar), 1):
            try:
                self._member(tar, member)
            except (OSError, ValueError, OverflowError) as error:
                if isinstance(error, OSError) and error.errno not in _SENSELESS:
                    raise
                reason = (error.strerror or "it leads to itself") if isinstance(error, OSError) else error
                raise InputError(f"{self._name} has a member that makes no sense: {member.name!r}: {reason}") from error
            if not number % 500:
                on_file(number)

    def _member(self, tar: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        path = self._checked(member.name)
        target = self._root / path
        if member.isdir():
            target.mkdir(parents=True, exist_ok=True)
        elif member.issparse():  # a header of a few bytes may stand for terabytes of zeros
            raise InputError(
                f"{self._name} has a file with holes: {member.name}", hint="pack it without tar's --sparse"
            )
        elif member.isreg():
            self._file(tar, member, target)
        elif member.issym():
            self._symlink(member, path)
        elif member.islnk():
            source = self._root / self._checked(member.linkname)
            shutil.copyfile(source, _free(target), follow_symlinks=False)
        elif member.type != tarfile.XGLTYPE:  # devices, pipes: nothing a source tree has
            raise InputError(f"{self._name} has a member that is no file, folder or link: {member.name}")

    def _checked(self, text: str) -> PurePosixPath:
        path = PurePosixPath(text)
        if path.is_absolute() or ".." in path.parts:
            raise InputError(
                f"{self._name} has a member that would lie outside of it: {text}",
                hint="nothing of it was used; do not trust this archive",
            )
        if self._links and not self._links.isdisjoint(path.parents):
            raise InputError(
                f"{self._name} has a member below a symbolic link: {text}", hint="do not trust this archive"
            )
        return path

    def _file(self, tar: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        source = tar.extractfile(member)
        assert source is not None  # noqa: S101 -- isreg() was asked
        with _free(target).open("wb") as stream:
            shutil.copyfileobj(source, stream, _CHUNK)
        target.chmod(0o755 if member.mode & 0o111 else 0o644)
        os.utime(target, (member.mtime, member.mtime))

    def _symlink(self, member: tarfile.TarInfo, path: PurePosixPath) -> None:
        depth = 0
        for part in (path.parent / member.linkname).parts:
            depth += -1 if part == ".." else 0 if part == "." else 1
            if depth < 0 or part == "/":
                raise InputError(
                    f"{self._name} has a symbolic link that leads outside of it: {member.name} -> {member.linkname}",
                    hint="nothing of it was used; do not trust this archive",
                )
        target = self._root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        _free(target).symlink_to(member.linkname)
        self._links.add(path)


def _free(target: Path) -> Path:
    """The place for a file: what an earlier member of the same name put there is gone."""
    if target.is_symlink() or target.is_file():
        target.unlink()
    return target
