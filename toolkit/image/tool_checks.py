"""What other programs say of a finished image: the commands, for a stage's recipe, and running them."""

from __future__ import annotations

import json
from pathlib import Path

from ..errors import ToolError
from ..pipeline.stage import Command, Inputs, Work
from .make import Made
from .mbr import SECTOR, Partition

# e2fsck takes the offset as an option of the file's name, which so must hold no "?": it is relative to the folder.
_EXT4 = Command("e2fsck", "-f", "-n", "@name@?offset=@start@")
_EROFS = Command("fsck.erofs", "@scratch@/filesystem")  # it knows no offset before erofs-utils 1.7
# Up to util-linux 2.38 at least it exits 0 whatever it finds: what it says counts. It looks at the start of a file
# only, so each table is shown to it in a file of its own, of the size that the table's reader sees.
_VERIFY_TABLE, _SHOW_TABLE = (Command("sfdisk", *words, "@scratch@/table") for words in (("--verify",), ("--json",)))
_VERITY = Command(
    "veritysetup", "verify", "--no-superblock", "--data-blocks=@blocks@", "--salt=@salt@",
    "@scratch@/filesystem", "@scratch@/digests", "@root_hash@",
)  # fmt: skip

CHECKERS = frozenset({"e2fsck", "fsck.erofs", "sfdisk", "veritysetup"})
"""For `Stage.checkers`."""


def check_commands(kind: str, *, with_verity: bool) -> tuple[Command, ...]:
    """The commands that `check_with_tools` will run on an image of that format."""
    return (_EROFS if kind == "erofs" else _EXT4, _VERIFY_TABLE, _SHOW_TABLE, *((_VERITY,) if with_verity else ()))


def check_tools(kind: str, inputs: Inputs, *, with_verity: bool) -> dict[str, str]:
    """The tools of these commands and their versions. Raises ToolError when one is missing."""
    checker = check_commands(kind, with_verity=False)[0].argv[0]
    verity = {"veritysetup": inputs.tool("veritysetup", "--version")} if with_verity else {}
    return {checker: inputs.tool(checker, "-V"), "sfdisk": inputs.tool("sfdisk", "--version"), **verity}


def check_with_tools(work: Work, path: Path, kind: str, made: Made) -> None:
    """Have other programs look at the tables, the file system, and the digests if there are any. Raises ToolError."""
    data, layout = work.scratch / "filesystem", made.layout
    for offset, partitions in layout.tables:
        _check_table(work, path, offset, layout.size - offset, partitions)
    if kind == "erofs" or made.verity:
        _copy(path, layout.start, layout.filesystem_size, data)
    work.run(check_commands(kind, with_verity=False)[0], cwd=path.parent, name=path.name, start=str(layout.start))
    if made.verity:
        _copy(path, layout.hash_start, layout.hash_size, work.scratch / "digests")
        verity = made.verity
        work.run(_VERITY, blocks=str(verity.data_blocks), salt=verity.salt, root_hash=verity.root_hash)


def _check_table(work: Work, path: Path, offset: int, size: int, partitions: tuple[Partition, ...]) -> None:
    """One partition table, as sfdisk reads it. Raises ToolError."""
    table = work.scratch / "table"
    try:
        with path.open("rb") as image, table.open("wb") as out:
            image.seek(offset)
            out.write(image.read(SECTOR))
            out.truncate(size)
    except OSError as error:
        raise ToolError(f"cannot write {table}: {error.strerror}") from error
    said = work.run(_VERIFY_TABLE).output
    if "No errors detected" not in said or "greater than" in said:
        raise ToolError(f"sfdisk finds the partition table at {offset} wrong: {' '.join(said.split())}")
    found = json.loads(work.run(_SHOW_TABLE).output)["partitiontable"]["partitions"]
    if [(p["start"] * SECTOR, p["size"] * SECTOR) for p in found] != [(p.start, p.size) for p in partitions]:
        raise ToolError(f"sfdisk reads other partitions in the table at {offset} than were written: {found}")


def _copy(path: Path, start: int, size: int, target: Path) -> None:
    from .sparse_file import copy_data

    target.unlink(missing_ok=True)
    copy_data(path, start, size, target)
