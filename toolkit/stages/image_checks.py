"""What other programs say of a finished image: the commands, for a stage's recipe, and running them."""

from __future__ import annotations

from pathlib import Path

from ..image.make import Made
from ..pipeline.stage import Command, Inputs, Work

# e2fsck takes the offset as an option of the file's name, which so must hold no "?": it is relative to the folder.
_EXT4 = Command("e2fsck", "-f", "-n", "@name@?offset=@start@")
_EROFS = Command("fsck.erofs", "@scratch@/filesystem")  # it knows no offset before erofs-utils 1.7
_VERITY = Command(
    "veritysetup", "verify", "--no-superblock", "--data-blocks=@blocks@", "--salt=@salt@",
    "@scratch@/filesystem", "@scratch@/digests", "@root_hash@",
)  # fmt: skip

CHECKERS = frozenset({"e2fsck", "fsck.erofs", "veritysetup"})
"""For `Stage.checkers`."""


def check_commands(kind: str, *, with_verity: bool) -> tuple[Command, ...]:
    """The commands that `check_with_tools` will run on an image of that format."""
    return (_EROFS if kind == "erofs" else _EXT4, *((_VERITY,) if with_verity else ()))


def check_tools(kind: str, inputs: Inputs, *, with_verity: bool) -> dict[str, str]:
    """The tools of these commands and their versions. Raises ToolError when one is missing."""
    checker = check_commands(kind, with_verity=False)[0].argv[0]
    verity = {"veritysetup": inputs.tool("veritysetup", "--version")} if with_verity else {}
    return {checker: inputs.tool(checker, "-V"), **verity}


def check_with_tools(work: Work, path: Path, kind: str, made: Made) -> None:
    """Have other programs look at the file system, and at the digests if there are any. Raises ToolError."""
    data, layout = work.scratch / "filesystem", made.layout
    if kind == "erofs" or made.verity:
        _copy(path, layout.start, layout.filesystem_size, data)
    commands = check_commands(kind, with_verity=made.verity is not None)
    work.run(commands[0], cwd=path.parent, name=path.name, start=str(layout.start))
    if made.verity:
        _copy(path, layout.hash_start, layout.hash_size, work.scratch / "digests")
        verity = made.verity
        work.run(commands[1], blocks=str(verity.data_blocks), salt=verity.salt, root_hash=verity.root_hash)


def _copy(path: Path, start: int, size: int, target: Path) -> None:
    from ..image.sparse_file import copy_data

    target.unlink(missing_ok=True)
    copy_data(path, start, size, target)
