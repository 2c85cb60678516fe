"""rootfs: the root file system as one deterministic tar, whatever it is made from."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from ..errors import ToolError
from ..pipeline.stage import Inputs, Recipe, Stage, Work
from ..rootfs.agent_file import AgentFile
from ..rootfs.sources.choose import source_of
from ..rootfs.sources.source import Source
from ..spec.model import MinimalRootfs, OverlayEntry, Rootfs

TAR = "rootfs.tar"
INFO = "rootfs.json"
LOADER, MODULES = "load", "modules.tar"  # of the kernel_modules stage
_BUILT_MODULES = "kernel/modules.tar"
_AGENT_FILE = "init"
_MOUNTER = "extension_mount/init"
_POLICY_FILE = "default-policy.rego"


@dataclass(frozen=True)
class RootfsStage(Stage):
    """``source``: what the root file system is made from; ``arch``: for which guest; ``modular``: the kernel's modules
    go into it, and the program that loads them starts before the agent; ``facts``: what texts of the overlay may name;
    ``foreign``: the guest is of another architecture than this machine, so its busybox comes from the busybox stage;
    ``mounts``: systemd mounts the extension images, for an agent that does not.

    Output: ``rootfs.tar``; ``rootfs.json`` with the agent's path and digest and the components in it; their licences
    below ``licences/``.
    """

    source: Rootfs
    modular: bool = False
    arch: str = "x86_64"
    facts: Mapping[str, str] = field(default_factory=dict)
    foreign: bool = False
    mounts: bool = False

    name: ClassVar[str] = "rootfs"
    title: ClassVar[str] = "root file system"
    modules: ClassVar[tuple[str, ...]] = (
        "components.py",
        "elf.py",
        "rootfs/agent_file.py",
        "rootfs/agent_loader.py",
        "rootfs/extension_units.py",
        "rootfs/folder.py",
        "rootfs/minimal.py",
        "rootfs/modular.py",
        "rootfs/overlay.py",
        "rootfs/sources/choose.py",
        "rootfs/sources/source.py",
        "rootfs/systemd.py",
        "rootfs/tar.py",
        "rootfs/tar_content.py",
        "rootfs/tar_header.py",
        "rootfs/tar_pax.py",
        "rootfs/tar_sparse.py",
        "rootfs/tar_write.py",
        "rootfs/tree.py",
        "stages/rootfs.py",
    )

    def plan(self, inputs: Inputs) -> Recipe:
        source = self._source()
        identity = source.identity(inputs)
        digests = {**identity.inputs, f"agent/{_AGENT_FILE}": inputs.digest("agent", _AGENT_FILE)}
        with contextlib.suppress(KeyError):  # only an agent that asks for a policy has one
            digests[f"agent/{_POLICY_FILE}"] = inputs.digest("agent", _POLICY_FILE)
        if self.modular:
            digests |= {f"kernel_modules/{name}": inputs.digest("kernel_modules", name) for name in (LOADER, MODULES)}
        if self.mounts:
            digests[_MOUNTER] = inputs.digest(*_MOUNTER.split("/"))
        if any(entry.kind == "modules" for entry in self.source.overlay):
            with contextlib.suppress(KeyError):  # a kernel without: the overlay says so at its line
                digests[_BUILT_MODULES] = inputs.digest(*_BUILT_MODULES.split("/"))
        options = {**identity.options, "init": self._init}
        if self.source.overlay:
            options["overlay"] = [_described(entry, inputs) for entry in self.source.overlay]
            options["facts"] = dict(self.facts)
        return Recipe(
            commands=identity.commands,
            options=options,
            files=identity.files,
            inputs=digests,
            tools=identity.tools,
            modules=self.module_digests(*source.modules),
        )

    def run(self, work: Work) -> None:
        from ..rootfs.agent_loader import require_loader
        from ..rootfs.extension_units import add_mounter
        from ..rootfs.minimal import AGENT, MOVED_AGENT, POLICY, furnish, place_agent
        from ..rootfs.modular import add_modules
        from ..rootfs.overlay import apply_beside
        from ..rootfs.systemd import add_units, place_service
        from ..rootfs.tar import open_tar
        from ..rootfs.tar_write import write_tar
        from ..rootfs.tree import shown

        agent = work.inputs.path("agent", _AGENT_FILE)
        policy = None
        if f"agent/{_POLICY_FILE}" in work.recipe.inputs:
            policy = work.inputs.path("agent", _POLICY_FILE)
        with contextlib.ExitStack() as open_files:
            base = self._source().base(work, open_files)
            tree = base.tree
            furnish(tree)
            if not isinstance(self.source, MinimalRootfs) and self.source.init == "systemd":
                add_units(tree, self.source.init_where)
                if self.mounts:
                    add_mounter(tree, work.inputs.path(*_MOUNTER.split("/")))
            built = None
            if _BUILT_MODULES in work.recipe.inputs:
                built = open_files.enter_context(open_tar(work.inputs.path(*_BUILT_MODULES.split("/")))).tree()
            started = self._init == "agent"
            ours = {AGENT if started else MOVED_AGENT: "the agent"}
            ours |= {MOVED_AGENT: "the agent"} if self.modular else {}
            ours |= {POLICY: "its policy"} if policy else {}
            apply_beside(ours, tree, self.source.overlay, self.facts, built)
            place = (place_agent if started else place_service)(tree, agent, policy)
            if self.modular:
                modules = open_files.enter_context(open_tar(work.inputs.path("kernel_modules", MODULES)))
                add_modules(tree, work.inputs.path("kernel_modules", LOADER), modules.tree())
                place = tree.resolved(MOVED_AGENT)
            require_loader(tree, agent)
            write_tar(tree, work.out / TAR)
        self.require_unchanged(work)
        info = {
            "version": 1,
            "kind": work.recipe.options["kind"],
            "agent": {
                "path": shown(place),
                "sha256": work.recipe.inputs[f"agent/{_AGENT_FILE}"],
                "size": agent.stat().st_size,
            },
            "policy": shown(POLICY) if policy else None,
            "components": [component.as_json() for component in base.components],
            "entries": len(tree),
        }
        (work.out / INFO).write_text(json.dumps(info, indent=2) + "\n")
        base.write_licences(work.out)

    @property
    def _init(self) -> str:
        """What starts first: the agent or systemd."""
        return "agent" if isinstance(self.source, MinimalRootfs) else self.source.init

    def _source(self) -> Source:
        return source_of(self.source, self.arch, foreign=self.foreign)


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
