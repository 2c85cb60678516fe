"""Fetches files by url into a pool by digest, whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from .errors import InputError, ToolError
from .locks import locked

if TYPE_CHECKING:
    from http.client import HTTPResponse

SCHEMES = ("https", "http", "file")
_CHUNK = 1 << 20
_TIMEOUT_SECONDS = 60.0

Progress = Callable[[int, int], None]
"""Called with bytes done and bytes in all (0: unknown)."""


class Pool:
    """Downloaded files by sha256, kept so that neither a changed spec nor an emptied store fetches them again."""

    def __init__(self, cache: Path) -> None:
        self.folder = cache / "downloads"

    def has(self, sha256: str) -> bool:
        """Whether there is a file by this digest; `find` also reads it."""
        return (self.folder / sha256).is_file()

    def find(self, sha256: str) -> Path | None:
        """The file with this digest, if it is here and whole; a damaged one is removed."""
        path = self.folder / sha256
        try:
            with path.open("rb") as stream:
                if hashlib.file_digest(stream, "sha256").hexdigest() == sha256:
                    return path
        except OSError:
            return None
        path.unlink(missing_ok=True)
        return None

    def bring(self, sha256: str, fetch: Callable[[Path], None], what: str) -> Path:
        """The file with this digest; ``fetch`` writes it to the path it is given when it is not here yet.

        Raises InputError when what came has another digest, ToolError when the disk does not play along, and
        whatever ``fetch`` raises.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with locked(self.folder / f"{sha256}.lock"):
                found = self.find(sha256)
                if found:
                    with contextlib.suppress(OSError):
                        os.utime(found)  # when it was used last: what is not used for long may be dropped
                    return found
                part = self.folder / f"{sha256}.part"  # one a digest, under its lock: a killed build's is overwritten
                try:
                    fetch(part)
                    _require(part, sha256, what)
                    return part.replace(self.folder / sha256)
                finally:
                    part.unlink(missing_ok=True)
        except OSError as error:
            raise ToolError(f"cannot keep {what}: {error.strerror or error}") from error


def _require(path: Path, sha256: str, what: str) -> None:
    with path.open("rb") as stream:
        got = hashlib.file_digest(stream, "sha256").hexdigest()
    if got != sha256:
        raise InputError(
            f"{what} has the sha256 {got}, not {sha256}", hint="check where it comes from before you change the digest"
        )


def download(url: str, target: Path, progress: Progress) -> None:
    """Fetch a url into a new file.

    Raises InputError for a url we cannot fetch at all, ToolError when the network fails or the transfer ends early.
    """
    if urlsplit(url).scheme not in SCHEMES:
        raise InputError(f"cannot fetch {url}", hint=f"a url starts with {', '.join(s + '://' for s in SCHEMES)}")
    import http.client  # 35 ms together, which a build with nothing to do can save
    import urllib.error
    import urllib.request

    request = urllib.request.Request(url, headers={"User-Agent": "kata-toolkit"})  # noqa: S310 -- checked above
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS) as response:  # noqa: S310 -- checked above
            total = int(response.headers.get("Content-Length") or 0)
            done = _copy(response, target, total, progress)
    except urllib.error.HTTPError as error:
        error.close()
        raise ToolError(f"cannot fetch {url}: {error.code} {error.reason}") from error
    except urllib.error.URLError as error:
        raise ToolError(f"cannot fetch {url}: {getattr(error.reason, 'strerror', None) or error.reason}") from error
    except http.client.HTTPException as error:
        raise ToolError(f"{url} ended early: {error}", hint="try again") from error
    except TimeoutError as error:
        raise ToolError(f"{url} sent nothing for {_TIMEOUT_SECONDS:g} s", hint="try again") from error
    if total and done != total:
        raise ToolError(f"{url} ended after {done:,} of {total:,} bytes", hint="try again")


def _copy(response: HTTPResponse, target: Path, total: int, progress: Progress) -> int:
    done = 0
    with target.open("wb") as stream:
        while block := response.read(_CHUNK):
            stream.write(block)
            done += len(block)
            progress(done, total)
    return done


def copy_file(source: Path, target: Path) -> None:
    """Copy a file's bytes. Raises ToolError when the disk does not play along."""
    try:
        shutil.copyfile(source, target)
    except OSError as error:
        raise ToolError(f"cannot write {target}: {error.strerror}") from error
