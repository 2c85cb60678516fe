"""initrd: the root file system as a compressed cpio archive, read back before it counts as made."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import ClassVar

from ..errors import Problem, ToolError, Where
from ..image.initrd_compress import PACKINGS, PLAIN, Packing
from ..pipeline.stage import Inputs, Recipe, Stage, Work
from ..rootfs.agent_file import AgentFile, agent_problem
from ..rootfs.minimal import AGENT, DEVICES
from ..rootfs.tree import Kind, Node, Tree, shown
from ..spec.model import Initrd
from .rootfs import INFO as ROOTFS_INFO
from .rootfs import TAR, agent_of

INITRD = "initrd"
INFO = "initrd.json"
_MAX_PROBLEMS = 20


@dataclass(frozen=True)
class InitrdStage(Stage):
    """Output: ``initrd``, and ``initrd.json`` with its sizes and how it is compressed."""

    initrd: Initrd

    name: ClassVar[str] = "initrd"
    title: ClassVar[str] = "guest initrd"
    modules: ClassVar[tuple[str, ...]] = (
        "image/cpio.py",
        "image/decompress.py",
        "image/initrd_compress.py",
        "rootfs/agent_file.py",
        "rootfs/minimal.py",
        "rootfs/tar.py",
        "rootfs/tar_content.py",
        "rootfs/tar_header.py",
        "rootfs/tar_pax.py",
        "rootfs/tar_sparse.py",
        "rootfs/tree.py",
        "stages/initrd.py",
    )

    def plan(self, inputs: Inputs) -> Recipe:
        packing = self._packing
        tools = sorted({command.argv[0] for command in packing.commands}) if packing else []
        return Recipe(
            commands=packing.commands if packing else (),
            options={"compression": self.initrd.compression},
            inputs={f"rootfs/{name}": inputs.digest("rootfs", name) for name in (TAR, ROOTFS_INFO)},
            tools={tool: inputs.tool(tool) for tool in tools},
            modules=self.module_digests(),
        )

    @property
    def _packing(self) -> Packing | None:
        return PACKINGS.get(self.initrd.compression)  # none: none

    def run(self, work: Work) -> None:
        from ..image.cpio import write_cpio
        from ..rootfs.tar import open_tar

        plain, path = work.scratch / PLAIN, work.out / INITRD
        agent = agent_of(work.inputs.path("rootfs", ROOTFS_INFO))
        with open_tar(work.inputs.path("rootfs", TAR)) as tar:
            tree = tar.tree()
            bootable(tree)
            members = write_cpio(tree, plain)
            _check(plain, tree, agent)
        unpacked = plain.stat().st_size
        packing = self._packing
        if packing:
            plain.chmod(0o644)
            os.utime(plain, (0, 0))
            work.run(packing.pack)
            _move(plain.with_name(plain.name + packing.suffix), path)
            self._read_back(work, packing, plain, path)
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

    def _read_back(self, work: Work, packing: Packing, plain: Path, path: Path) -> None:
        """Unpack what was packed and compare. Raises ToolError."""
        if packing.unpack:
            work.run(packing.unpack, packed=path)
        with packing.unpacked(path, work.scratch) as pieces:
            if not _same(plain, pieces):
                raise ToolError(f"the initrd unpacked again is not what {packing.pack.argv[0]} was given")


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


def _same(plain: Path, pieces: Iterator[bytes]) -> bool:
    try:
        with plain.open("rb") as stream:
            return all(stream.read(len(piece)) == piece for piece in pieces) and not stream.read(1)
    except OSError as error:
        raise ToolError(f"cannot read {plain}: {error.strerror}") from error
