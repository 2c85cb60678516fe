"""rootfs: the root file system as one deterministic tar, whatever it is made from."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from .. import run
from ..arch import arch_of
from ..elf import read_program
from ..errors import InputError, ToolError
from ..pipeline.packages import install_hint
from ..pipeline.stage import Command, Inputs, Recipe, Stage, Work
from ..rootfs.agent_file import AgentFile
from ..spec.model import FolderRootfs, MinimalRootfs, OciRootfs, OverlayEntry, Rootfs, TarballRootfs
from .busybox import APPLETS, PROGRAM, VERSION

if TYPE_CHECKING:
    from ..rootfs.tree import Tree

TAR = "rootfs.tar"
INFO = "rootfs.json"
LOADER, MODULES = "load", "modules.tar"  # of the kernel_modules stage
_AGENT_FILE = "init"
_POLICY_FILE = "default-policy.rego"
_LIST = Command("@busybox@", "--list-full")
_VERSION = Command("@busybox@", "--help")


@dataclass(frozen=True)
class RootfsStage(Stage):
    """``source``: what the root file system is made from; ``arch``: for which guest; ``modular``: the kernel's modules
    go into it, and the program that loads them starts before the agent; ``facts``: what texts of the overlay may name;
    ``foreign``: the guest is of another architecture than this machine, so its busybox comes from the busybox stage.

    Output: ``rootfs.tar``, and ``rootfs.json`` with the agent's path and digest and the components in it.
    """

    source: Rootfs
    modular: bool = False
    arch: str = "x86_64"
    facts: Mapping[str, str] = field(default_factory=dict)
    foreign: bool = False

    name: ClassVar[str] = "rootfs"
    title: ClassVar[str] = "root file system"
    modules: ClassVar[tuple[str, ...]] = (
        "elf.py",
        "rootfs/agent_file.py",
        "rootfs/folder.py",
        "rootfs/layers.py",
        "rootfs/minimal.py",
        "rootfs/modular.py",
        "rootfs/oci_image.py",
        "rootfs/overlay.py",
        "rootfs/tar.py",
        "rootfs/tar_header.py",
        "rootfs/tar_pax.py",
        "rootfs/tar_sparse.py",
        "rootfs/tar_write.py",
        "rootfs/tree.py",
        "stages/rootfs.py",
    )

    def plan(self, inputs: Inputs) -> Recipe:
        digests = {f"agent/{_AGENT_FILE}": inputs.digest("agent", _AGENT_FILE)}
        with contextlib.suppress(KeyError):  # only an agent that asks for a policy has one
            digests[f"agent/{_POLICY_FILE}"] = inputs.digest("agent", _POLICY_FILE)
        if self.modular:
            digests |= {f"kernel_modules/{name}": inputs.digest("kernel_modules", name) for name in (LOADER, MODULES)}
        commands: tuple[Command, ...] = ()
        files = {}
        if isinstance(self.source, FolderRootfs):
            options: dict[str, Any] = {"kind": "directory", "content": self._folder_identity(inputs)}
        elif isinstance(self.source, OciRootfs):
            options = {"kind": "oci", **self._oci_identity(self.source, inputs)}
        elif isinstance(self.source, TarballRootfs):
            options = {"kind": "tarball", "sha256": self._archive(self.source, inputs)[1]}
        else:
            options = {"kind": "minimal", "busybox": self.source.busybox}
            if self.source.busybox and self.foreign:
                digests |= {f"busybox/{name}": inputs.digest("busybox", name) for name in (PROGRAM, APPLETS, VERSION)}
            elif self.source.busybox:
                commands, files = (_LIST, _VERSION), {"busybox": inputs.file_digest(_busybox())}
        if self.source.overlay:
            options["overlay"] = [_described(entry, inputs) for entry in self.source.overlay]
            options["facts"] = dict(self.facts)
        return Recipe(
            commands=commands,
            options=options,
            files=files,
            inputs=digests,
            modules=self.module_digests(),
        )

    def run(self, work: Work) -> None:
        from ..rootfs.minimal import MOVED_AGENT, POLICY, furnish, place_agent
        from ..rootfs.modular import add_modules
        from ..rootfs.overlay import apply
        from ..rootfs.tar import open_tar
        from ..rootfs.tar_write import write_tar
        from ..rootfs.tree import shown

        agent = work.inputs.path("agent", _AGENT_FILE)
        policy = None
        if f"agent/{_POLICY_FILE}" in work.recipe.inputs:
            policy = work.inputs.path("agent", _POLICY_FILE)
        with contextlib.ExitStack() as open_files:
            tree, components = self._base(work, open_files)
            furnish(tree)
            apply(tree, self.source.overlay, self.facts)
            place = place_agent(tree, agent, policy)
            if self.modular:
                modules = open_files.enter_context(open_tar(work.inputs.path("kernel_modules", MODULES)))
                add_modules(tree, work.inputs.path("kernel_modules", LOADER), modules.tree())
                place = tree.resolved(MOVED_AGENT)
            write_tar(tree, work.out / TAR)
        if self.plan(work.inputs).id(self.name) != work.recipe.id(self.name):  # contents were read only now
            raise ToolError("what the root file system is made from changed while it was used", hint="build again")
        info = {
            "version": 1,
            "kind": work.recipe.options["kind"],
            "agent": {
                "path": shown(place),
                "sha256": work.recipe.inputs[f"agent/{_AGENT_FILE}"],
                "size": agent.stat().st_size,
            },
            "policy": shown(POLICY) if policy else None,
            "components": components,
            "entries": len(tree),
        }
        (work.out / INFO).write_text(json.dumps(info, indent=2) + "\n")

    def _base(self, work: Work, open_files: contextlib.ExitStack) -> tuple[Tree, list[dict[str, str]]]:
        """What the root file system is made from, and the components that we know of in it."""
        if isinstance(self.source, FolderRootfs):
            from ..rootfs.folder import folder_tree

            return folder_tree(self.source.path), []
        if isinstance(self.source, OciRootfs):
            return self._image(self.source, work, open_files), []
        if isinstance(self.source, TarballRootfs):
            from ..archive import plain_tar
            from ..rootfs.tar import open_tar

            archive, _ = self._archive(self.source, work.inputs)
            plain = work.scratch / "source.tar"
            plain_tar(archive, plain, self.source.archive.name)
            return open_files.enter_context(open_tar(plain)).tree(), []
        return self._minimal(self.source, work)

    def _minimal(self, source: MinimalRootfs, work: Work) -> tuple[Tree, list[dict[str, str]]]:
        from ..rootfs.minimal import add_busybox, applet_paths
        from ..rootfs.tree import Tree

        tree = Tree()
        if not source.busybox:
            return tree, []
        if self.foreign:
            path, applets, version = (work.inputs.path("busybox", name) for name in (PROGRAM, APPLETS, VERSION))
            digest = work.recipe.inputs[f"busybox/{PROGRAM}"]
            add_busybox(tree, _read(path, digest), applet_paths(applets.read_text()))
            return tree, [{"name": "busybox", "version": version.read_text().strip(), "sha256": digest}]
        path, digest = _busybox(), work.recipe.files["busybox"]
        add_busybox(tree, _read(path, digest), applet_paths(work.run(_LIST, busybox=path).output))
        told = work.run(_VERSION, busybox=path).output.partition("\n")[0]
        return tree, [{"name": "busybox", "version": told, "sha256": digest}]

    def _image(self, source: OciRootfs, work: Work, open_files: contextlib.ExitStack) -> Tree:
        from ..archive import plain_tar, unpack
        from ..rootfs.oci_image import find_image, image_tree

        folder = source.path
        if not folder.is_dir():
            folder = work.scratch / "image"
            unpack(source.path, folder, source.path.name, lambda done: work.progress(done, 0, "files"))
        image = find_image(folder, tag=source.tag, arch=arch_of(self.arch).debian)
        if source.sha256 not in (None, image.digest):
            raise InputError(f"the image in {source.path} has the digest {image.digest}, not {source.sha256}")
        return open_files.enter_context(image_tree(image, work.scratch, plain_tar))

    def _oci_identity(self, source: OciRootfs, inputs: Inputs) -> dict[str, Any]:
        """What decides which image it is, and what is in it: blobs are named by their digests, and held to them."""
        file = source.path / "index.json" if source.path.is_dir() else source.path
        if not file.is_file():
            raise InputError(
                f"{source.path} is no OCI image layout: it has no index.json",
                hint="of `docker save`, give the tar itself",
            )
        return {"index": inputs.file_digest(file), "tag": source.tag, "sha256": source.sha256, "arch": self.arch}

    @staticmethod
    def _archive(source: TarballRootfs, inputs: Inputs) -> tuple[Path, str]:
        """The tar and its sha256. Raises NotBuiltYet, and InputError when it is not the one that the spec names."""
        if source.archive.path is None:
            return inputs.path("sources", "rootfs"), inputs.digest("sources", "rootfs")
        digest = inputs.file_digest(source.archive.path)
        if source.archive.sha256 not in (None, digest):
            raise InputError(
                f"{source.archive.path} has the sha256 {digest}, not {source.archive.sha256} as rootfs.sha256 says"
            )
        return source.archive.path, digest

    def _folder_identity(self, inputs: Inputs) -> str:
        from ..rootfs.folder import folder_identity

        assert isinstance(self.source, FolderRootfs)  # noqa: S101 -- the caller asked
        return folder_identity(self.source.path, inputs.cache)


def _described(entry: OverlayEntry, inputs: Inputs) -> dict[str, Any]:
    """All of a change that has a say in the tree. Raises InputError when what it takes is not there."""
    from ..rootfs.folder import folder_identity

    facts = {key: value for key, value in asdict(entry).items() if key not in ("where", "source")}
    if entry.source:
        folder = entry.source.is_dir()
        facts["content"] = folder_identity(entry.source, inputs.cache) if folder else inputs.file_digest(entry.source)
        facts["executable"] = not folder and bool(entry.source.stat().st_mode & 0o100)
    return facts


def agent_of(info: Path) -> AgentFile:
    """The agent as this stage's ``rootfs.json`` describes it. Raises ToolError."""
    try:
        agent = json.loads(info.read_bytes())["agent"]
        return AgentFile(agent["path"].removeprefix("/").encode(), agent["sha256"])
    except (OSError, ValueError, KeyError) as error:
        raise ToolError(f"cannot read {info}: {error}") from error


def _read(path: Path, digest: str) -> bytes:
    """A file's bytes, if they still are what was planned with. Raises ToolError."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ToolError(f"cannot read {path}: {error.strerror}") from error
    if hashlib.sha256(data).hexdigest() != digest:
        raise ToolError(f"{path} changed while it was used", hint="build again")
    return data


def _busybox() -> Path:
    """The host's static busybox. Raises ToolError when there is none, or it is not static."""
    hint = f"{install_hint('busybox')} (or leave it out with rootfs: {{kind: minimal, busybox: false}})"
    path = run.which("busybox")
    if path is None:
        raise ToolError("busybox, which goes into the guest, is not installed", hint=hint)
    try:
        static = read_program(path).interpreter is None
    except InputError:  # no program at all but a script, say
        static = False
    if not static:
        raise ToolError(f"{path} is not a static program, and the guest has no libraries for it", hint=hint)
    return path
