"""rootfs: the root file system as one deterministic tar, whatever it is made from."""

from __future__ import annotations

import contextlib
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from .. import run
from ..elf import read_program
from ..errors import InputError, ToolError
from ..pipeline.packages import install_hint
from ..pipeline.stage import Command, Inputs, Recipe, Stage, Work
from ..rootfs.agent_file import AgentFile
from ..spec.model import MinimalRootfs

TAR = "rootfs.tar"
INFO = "rootfs.json"
LOADER, MODULES = "load", "modules.tar"  # of the kernel_modules stage
_AGENT_FILE = "init"
_POLICY_FILE = "default-policy.rego"
_LIST = Command("@busybox@", "--list-full")
_VERSION = Command("@busybox@", "--help")


@dataclass(frozen=True)
class RootfsStage(Stage):
    """``source`` says what the root file system is made from; ``modular``: the kernel's modules go into it, and the
    program that loads them starts before the agent.

    Output: ``rootfs.tar``, and ``rootfs.json`` with the agent's path and digest and the components in it.
    """

    source: MinimalRootfs
    modular: bool = False

    name: ClassVar[str] = "rootfs"
    title: ClassVar[str] = "root file system"
    modules: ClassVar[tuple[str, ...]] = (
        "elf.py",
        "rootfs/agent_file.py",
        "rootfs/minimal.py",
        "rootfs/modular.py",
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
        files = {"busybox": inputs.file_digest(_busybox())} if self.source.busybox else {}
        return Recipe(
            commands=(_LIST, _VERSION) if self.source.busybox else (),
            options={"kind": "minimal", "busybox": self.source.busybox},
            files=files,
            inputs=digests,
            modules=self.module_digests(),
        )

    def run(self, work: Work) -> None:
        from ..rootfs.minimal import AGENT, MOVED_AGENT, POLICY, applet_paths, minimal_tree
        from ..rootfs.modular import add_modules
        from ..rootfs.tar import open_tar
        from ..rootfs.tar_write import write_tar
        from ..rootfs.tree import shown

        agent = work.inputs.path("agent", _AGENT_FILE)
        policy = None
        if f"agent/{_POLICY_FILE}" in work.recipe.inputs:
            policy = work.inputs.path("agent", _POLICY_FILE)
        busybox: bytes | None = None
        applets: tuple[bytes, ...] = ()
        components = []
        if self.source.busybox:
            path, digest = _busybox(), work.recipe.files["busybox"]
            busybox = _read(path, digest)
            applets = applet_paths(work.run(_LIST, busybox=path).output)
            version = work.run(_VERSION, busybox=path).output.partition("\n")[0]
            components.append({"name": "busybox", "version": version, "sha256": digest})
        tree = minimal_tree(agent, policy, busybox, applets)
        with contextlib.ExitStack() as open_files:
            if self.modular:
                modules = open_files.enter_context(open_tar(work.inputs.path("kernel_modules", MODULES)))
                add_modules(tree, work.inputs.path("kernel_modules", LOADER), modules.tree())
            write_tar(tree, work.out / TAR)
        info = {
            "version": 1,
            "kind": "minimal",
            "agent": {
                "path": shown(MOVED_AGENT if self.modular else AGENT),
                "sha256": work.recipe.inputs[f"agent/{_AGENT_FILE}"],
                "size": agent.stat().st_size,
            },
            "policy": shown(POLICY) if policy else None,
            "components": components,
            "entries": len(tree),
        }
        (work.out / INFO).write_text(json.dumps(info, indent=2) + "\n")


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
