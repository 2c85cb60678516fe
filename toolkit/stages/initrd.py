"""initrd: the root file system as a compressed cpio archive, read back before it counts as made."""

from __future__ import annotations

import gzip
import json
import shutil
import zlib
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import ClassVar

from ..errors import Problem, ToolError, Where
from ..pipeline.stage import Command, Inputs, Recipe, Stage, Work
from ..rootfs.agent_file import AgentFile, agent_problem
from ..rootfs.minimal import AGENT, DEVICES
from ..rootfs.tree import CHUNK, Kind, Node, Tree, shown
from ..spec.model import Initrd
from .rootfs import INFO as ROOTFS_INFO
from .rootfs import TAR, agent_of

INITRD = "initrd"
INFO = "initrd.json"
_PLAIN = "initrd.cpio"
_BACK = "back.cpio"
# Level 19 needs a window of 8 MiB, well below the 128 MiB that the kernel's decompressor accepts. One thread: with
# more the bytes would depend on how the work was cut.
_COMPRESS = {
    "gzip": Command("gzip", "-9", "-n", "-k", "-S", ".packed", f"@scratch@/{_PLAIN}"),
    "zstd": Command("zstd", "-19", "--single-thread", "-q", "-o", f"@scratch@/{_PLAIN}.packed", f"@scratch@/{_PLAIN}"),
}
_UNPACK = Command("zstd", "-d", "-q", "-o", f"@scratch@/{_BACK}", f"@out@/{INITRD}")
_MAX_PROBLEMS = 20


@dataclass(frozen=True)
class InitrdStage(Stage):
    """Output: ``initrd``, and ``initrd.json`` with its sizes and how it is compressed."""

    initrd: Initrd

    name: ClassVar[str] = "initrd"
    title: ClassVar[str] = "guest initrd"
    modules: ClassVar[tuple[str, ...]] = (
        "image/cpio.py",
        "rootfs/agent_file.py",
        "rootfs/minimal.py",
        "rootfs/tar.py",
        "rootfs/tar_header.py",
        "rootfs/tar_pax.py",
        "rootfs/tar_sparse.py",
        "rootfs/tree.py",
        "stages/initrd.py",
    )

    def plan(self, inputs: Inputs) -> Recipe:
        tool = self.initrd.compression
        commands = [_COMPRESS[tool]] if tool in _COMPRESS else []
        if tool == "zstd":
            commands.append(_UNPACK)
        return Recipe(
            commands=commands,
            options={"compression": tool},
            inputs={f"rootfs/{name}": inputs.digest("rootfs", name) for name in (TAR, ROOTFS_INFO)},
            tools={tool: inputs.tool(tool)} if tool in _COMPRESS else {},
            modules=self.module_digests(),
        )

    def run(self, work: Work) -> None:
        from ..image.cpio import write_cpio
        from ..rootfs.tar import open_tar

        plain, path = work.scratch / _PLAIN, work.out / INITRD
        agent = agent_of(work.inputs.path("rootfs", ROOTFS_INFO))
        with open_tar(work.inputs.path("rootfs", TAR)) as tar:
            tree = tar.tree()
            bootable(tree)
            members = write_cpio(tree, plain)
            _check(plain, tree, agent)
        unpacked = plain.stat().st_size
        compress = _COMPRESS.get(self.initrd.compression)
        if compress:
            work.run(compress)
            _move(plain.with_name(f"{_PLAIN}.packed"), path)
            self._read_back(work, plain, path)
        else:
            _move(plain, path)
        info = {
            "version": 1,
            "format": "cpio",
            "compression": self.initrd.compression,
            "size": path.stat().st_size,
            "unpacked": unpacked,
            "members": members,
            "agent": {"path": shown(agent.path), "sha256": agent.sha256},
        }
        (work.out / INFO).write_text(json.dumps(info, indent=2) + "\n")

    def _read_back(self, work: Work, plain: Path, path: Path) -> None:
        """Unpack what was packed and compare. Raises ToolError."""
        if self.initrd.compression == "zstd":
            work.run(_UNPACK)
        else:
            _gunzip(path, work.scratch / _BACK)
        if not _same(plain, work.scratch / _BACK):
            raise ToolError(f"the initrd unpacked again is not what {self.initrd.compression} was given")


def bootable(tree: Tree) -> None:
    """Add what the kernel needs in an initrd and not in a root image: ``/init``, and a console before devtmpfs."""
    if b"init" not in tree:
        tree.add(b"init", Node(Kind.SYMLINK, 0o777, target=AGENT))
    console = b"dev/console"
    if console not in tree:
        mode, major, minor = DEVICES[console]
        tree.add(console, Node(Kind.CHARACTER, mode, rdev=(major, minor)))


def _check(path: Path, tree: Tree, agent: AgentFile) -> None:
    """Compare the archive with the tree, and the agent with what it should be. Raises ToolError."""
    from ..image.cpio import cpio_problems

    wrong = agent_problem(tree, agent)
    texts = chain([wrong] if wrong else [], cpio_problems(path, tree))
    problems = [Problem(text, Where(str(path))) for text in islice(texts, _MAX_PROBLEMS)]
    if problems:
        raise ToolError.many([Problem("the initrd read back is not what was written"), *problems])


def _move(source: Path, target: Path) -> None:
    try:
        shutil.move(source, target)
    except OSError as error:
        raise ToolError(f"cannot write {target}: {error.strerror}") from error


def _gunzip(source: Path, target: Path) -> None:
    """Unpack with another implementation than the one that packed. Raises ToolError."""
    try:
        with gzip.open(source) as packed, target.open("xb") as plain:
            shutil.copyfileobj(packed, plain, CHUNK)
    except (OSError, EOFError, zlib.error) as error:
        raise ToolError(f"{source} cannot be unpacked: {error}") from error


def _same(one: Path, other: Path) -> bool:
    try:
        with one.open("rb") as left, other.open("rb") as right:
            while True:
                data = left.read(CHUNK)
                if data != right.read(CHUNK):
                    return False
                if not data:
                    return True
    except OSError as error:
        raise ToolError(f"cannot read {other}: {error.strerror}") from error
