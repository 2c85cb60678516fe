"""Compressing the files of an EROFS with mkfs.erofs: contents only, as files with numbers for names."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ToolError
from ..pipeline.stage import Command, Inputs, Work

if TYPE_CHECKING:
    from ..rootfs.tree import Node, Tree
    from .erofs_packed import Packed, PackedFiles

TOOL = "mkfs.erofs"
_ZSTD_SINCE = (1, 8)  # erofs-utils
_THREADS_SINCE = (1, 8)  # and where a file is cut depends on them
_BLOCK_SIZE_SINCE = (1, 6)
# Bytes of a compressed cluster. Larger ones pack better and are slower to read a little of: of 20 MB of programs,
# lz4hc makes 5.5 MB with 4 KiB, 5.0 with 16, 4.7 with 64.
_METHODS = {
    "lz4": ("-zlz4", "-C16384"),
    "lz4hc": ("-zlz4hc,12", "-C16384"),
    "zstd": ("-zzstd,15", "-C65536"),
}
_FOLDER, _IMAGE = "packing", "packed"


def tool_version(inputs: Inputs) -> str:
    """The version of erofs-utils, as fsck.erofs of the same package tells it: mkfs.erofs 1.5 does not. ToolError."""
    if not inputs.tool(TOOL, "--help"):
        raise ToolError(f"{TOOL} does not start")
    return inputs.tool("fsck.erofs", "-V")


def pack_command(compression: str, version: str) -> Command:
    """The command that compresses. Raises ToolError when the installed erofs-utils cannot."""
    found = re.search(r"(\d+)\.(\d+)", version)
    number = (int(found[1]), int(found[2])) if found else (0, 0)
    if compression == "zstd" and number < _ZSTD_SINCE:
        raise ToolError(
            f"compression: zstd needs erofs-utils 1.8 or newer, and {version or 'another'} is installed",
            hint="lz4hc works with any",
        )
    words = [*_METHODS[compression], "-T0", "-U00000000-0000-0000-0000-000000000000", "-x-1", "-Enoinline_data"]
    if number >= _BLOCK_SIZE_SINCE:
        words.append("-b4096")  # else it is this machine's page size
    if number >= _THREADS_SINCE:
        words.append("--workers=1")
    return Command(TOOL, "--quiet", *words, f"@scratch@/{_IMAGE}", f"@scratch@/{_FOLDER}")


@contextlib.contextmanager
def packed(work: Work, tree: Tree, command: Command) -> Iterator[tuple[PackedFiles, dict[int, Packed]]]:
    """What the tool made of the tree's files, and which of it is each node's. Raises ToolError, InputError."""
    from .erofs_packed import BLOCK, PackedFiles

    folder = work.scratch / _FOLDER
    folder.mkdir()
    nodes = {id(node): node for _, node in tree.walk() if node.content and node.size > BLOCK}
    for number, node in enumerate(nodes.values()):
        if number % 256 == 0:
            work.progress(number, len(nodes), "files", "preparing")
        _copy(node, folder / str(number))
    work.progress(0, 0, "", "compressing")
    work.run(command)
    files = PackedFiles(work.scratch / _IMAGE)
    try:
        found = {key: files.get(str(number)) for number, key in enumerate(nodes)}
        yield files, {key: value for key, value in found.items() if value}
    finally:
        files.close()


def _copy(node: Node, path: Path) -> None:
    from ..rootfs.tree import chunks

    assert node.content is not None  # noqa: S101 -- the caller chose files
    try:
        with path.open("xb") as out:
            out.truncate(node.size)
            for offset, data in chunks(node.content):
                out.seek(offset)
                out.write(data)
    except OSError as error:
        raise ToolError(f"cannot write {path}: {error.strerror}") from error
