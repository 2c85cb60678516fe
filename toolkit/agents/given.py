"""binary and tarball: an agent that was built elsewhere, alone or in an archive."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from ..components import Component
from ..errors import InputError, ToolError
from ..pipeline.files import copy_checked
from ..pipeline.given import given_file
from ..pipeline.stage import Inputs, Recipe, Work
from ..spec.model import BinaryAgent, GivenFile, TarballAgent
from ..spec.suggest import did_you_mean
from .kind import PROGRAM, AgentKind, require_fit

if TYPE_CHECKING:
    from ..rootfs.tree import Node, Tree

_MAX_LINKS = 40  # as many as the kernel follows


def _taken(artifact: GivenFile, inputs: Inputs) -> tuple[Path, str]:
    return given_file(artifact, "agent", inputs, "agent")


@dataclass(frozen=True)
class BinaryKind(AgentKind):
    """The program as it is. ``libraries`` as `require_fit` takes it."""

    agent: BinaryAgent
    arch: str
    libraries: bool = False

    modules: ClassVar[tuple[str, ...]] = ("agents/given.py",)

    def recipe(self, inputs: Inputs) -> Recipe:
        _, digest = _taken(self.agent.binary, inputs)
        options = {"kind": "binary", "arch": self.arch, "libraries": self.libraries}
        return Recipe(options=options, files={"agent": digest})

    def make(self, work: Work) -> tuple[Component, ...]:
        binary, digest = self.agent.binary, work.recipe.files["agent"]
        source, _ = _taken(binary, work.inputs)
        require_fit(source, binary.name, self.arch, libraries=self.libraries)
        if not copy_checked(source, work.out / PROGRAM, digest, 0o755):
            raise ToolError(f"{source} changed while it was used", hint="build again")
        return (Component(binary.name, sha256=digest, arch=self.arch, origin=binary.url or ""),)


@dataclass(frozen=True)
class TarballKind(AgentKind):
    """One member of a tar. ``libraries`` as `require_fit` takes it."""

    agent: TarballAgent
    arch: str
    libraries: bool = False

    modules: ClassVar[tuple[str, ...]] = (
        "agents/given.py",
        "rootfs/tar.py",
        "rootfs/tar_content.py",
        "rootfs/tar_header.py",
        "rootfs/tar_pax.py",
        "rootfs/tar_sparse.py",
        "rootfs/tree.py",
    )

    def recipe(self, inputs: Inputs) -> Recipe:
        _, digest = _taken(self.agent.archive, inputs)
        options = {"kind": "tarball", "arch": self.arch, "libraries": self.libraries, "member": self.agent.member}
        return Recipe(options=options, files={"archive": digest})

    def make(self, work: Work) -> tuple[Component, ...]:
        from ..archive import plain_tar
        from ..rootfs.tar import open_tar
        from ..rootfs.tree import chunks

        archive, _ = _taken(self.agent.archive, work.inputs)
        name, member = self.agent.archive.name, self.agent.member
        plain, target = work.scratch / "agent.tar", work.out / PROGRAM
        plain_tar(archive, plain, name)
        if _taken(self.agent.archive, work.inputs)[1] != work.recipe.files["archive"]:
            raise ToolError(f"{archive} changed while it was used", hint="build again")
        with open_tar(plain, name) as tar:
            node = member_of(tar.tree(), member, name)
            assert node.content is not None  # noqa: S101 -- it is a regular file
            with target.open("xb") as out:
                for at, data in chunks(node.content):
                    out.seek(at)
                    out.write(data)
                out.truncate(node.content.size)
        target.chmod(0o755)
        require_fit(target, f"{member} in {name}", self.arch, libraries=self.libraries)
        origin = self.agent.archive.url or ""
        found = Component(Path(member).name, sha256=work.inputs.file_digest(target), arch=self.arch, origin=origin)
        return (found,)


def member_of(tree: Tree, member: str, archive: str) -> Node:
    """The program at that path in a tar's tree; links are followed inside it.

    Raises InputError when it is not there, is no file or may not be executed.
    """
    from ..rootfs.tree import Kind, normalised, shown

    try:
        path = normalised(member.removeprefix("/").encode(errors="surrogateescape"))
    except InputError as error:
        raise InputError(f"agent.member {member} {error}") from error
    node, leads = None, ""
    for _ in range(_MAX_LINKS):
        path = tree.resolved(path)
        node = tree.get(path)
        if node is None or node.kind is not Kind.SYMLINK:
            break
        leads = f", to which {member} leads"
        folder = b"" if node.target.startswith(b"/") else path.rpartition(b"/")[0]
        path = b"/".join(part for part in (folder + b"/" + node.target).split(b"/") if part not in (b"", b"."))
    if node is None:
        files = [(shown(p).lstrip("/"), n) for p, n in tree.walk() if n.kind is Kind.FILE]
        raise InputError(f"{archive} has no {shown(path).lstrip('/')}{leads}", hint=_nearest_member(member, files))
    if node.kind is not Kind.FILE:
        raise InputError(f"{member} in {archive} is no regular file", hint="agent.member names the program itself")
    if not node.mode & 0o111:
        raise InputError(f"{member} in {archive} may not be executed (mode {node.mode:04o})")
    return node


def _nearest_member(member: str, files: list[tuple[str, Node]]) -> str:
    """What was meant: a file of the same name elsewhere, one with a similar path, or some program."""
    name = Path(member).name
    same = [path for path, _ in files if Path(path).name == name]
    if same:
        return f'did you mean "{same[0]}"?'
    near = did_you_mean(member, [path for path, _ in files])
    programs = [path for path, node in files if node.mode & 0o111]
    return near or (f"programs in it: {', '.join(programs[:5])}" if programs else "there is no program in it")
