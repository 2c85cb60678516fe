"""The files that a spec gives by path or by url, as stages take them."""

from __future__ import annotations

from pathlib import Path

from ..errors import InputError, Where
from ..spec.model import GivenFile
from .stage import Inputs


def given_file(
    given: GivenFile, fetched: str, inputs: Inputs, key: str, where: Where | None = None
) -> tuple[Path, str]:
    """The file and its sha256: on this machine, or as the sources stage has fetched it under that name.

    ``key``: the place in the spec that may hold it to a digest. Raises NotBuiltYet before it is here, InputError when
    it cannot be read or has another digest.
    """
    if given.path is None:
        return inputs.path("sources", fetched), inputs.digest("sources", fetched)
    digest = inputs.file_digest(given.path)
    if given.sha256 not in (None, digest):
        raise InputError(
            f"{given.path} has the sha256 {digest}, not {given.sha256} as {key}.sha256 says",
            where=where,
            hint="look at the file before you change its digest",
        )
    return given.path, digest
