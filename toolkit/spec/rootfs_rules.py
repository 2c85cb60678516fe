"""What a schema cannot say of a spec's ``agent`` and ``rootfs``: rules of `crosscheck`, with place and reason."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from ..errors import InputError, Problem
from .model import (
    BinaryAgent,
    CargoAgent,
    DebianRootfs,
    FolderRootfs,
    MinimalRootfs,
    OciRootfs,
    PackagedKernel,
    PrebuiltKernel,
    TarballAgent,
    TarballRootfs,
)
from .paths import check_cargo_folder, check_file, check_folder
from .read import Read, given_file
from .yamltree import Tree


def agent_files(read: Read) -> Iterator[Problem]:
    """What the agent is taken from is there."""
    spec, tree = read.spec, read.tree
    agent = spec.agent
    if isinstance(agent, BinaryAgent):
        yield from given_file(agent.binary, tree, ("agent",))
    elif isinstance(agent, TarballAgent):
        yield from given_file(agent.archive, tree, ("agent",))
    elif isinstance(agent, CargoAgent):
        yield from check_cargo_folder(agent.path, tree.value_where(("agent", "path")))
    if isinstance(agent, BinaryAgent | TarballAgent | CargoAgent) and isinstance(agent.policy, Path):
        yield from check_file(agent.policy, tree.value_where(("agent", "policy")))


def rootfs_files(read: Read) -> Iterator[Problem]:
    """What the root file system and its overlay are taken from is there, and fits."""
    spec, tree = read.spec, read.tree
    if isinstance(spec.rootfs, TarballRootfs):
        yield from given_file(spec.rootfs.archive, tree, ("rootfs",))
    elif isinstance(spec.rootfs, FolderRootfs):
        yield from check_folder(spec.rootfs.path, tree.value_where(("rootfs", "path")))
    elif isinstance(spec.rootfs, OciRootfs) and spec.rootfs.path:
        check = check_folder if spec.rootfs.path.is_dir() else check_file
        yield from check(spec.rootfs.path, tree.value_where(("rootfs", "path")))
    elif isinstance(spec.rootfs, DebianRootfs):
        yield from _debian_rootfs(spec.rootfs, tree)
    steps = read.steps(("rootfs", "overlay"))
    for entry, step in zip(spec.rootfs.overlay, steps, strict=True):
        if entry.source:
            check = check_folder if entry.kind == "directory" else check_file
            yield from check(entry.source, tree.value_where((*step, "from")))
        elif entry.kind == "modules" and isinstance(spec.kernel.source, PackagedKernel | PrebuiltKernel):
            packaged = isinstance(spec.kernel.source, PackagedKernel)
            why = "are in the guest without it" if packaged else "are not known"
            yield Problem(f"the modules of a kernel that is not compiled here {why}", entry.where, "remove it")


def systemd_starts(read: Read) -> Iterator[Problem]:
    """systemd can be what starts first."""
    spec, tree = read.spec, read.tree
    init = "agent" if isinstance(spec.rootfs, MinimalRootfs) else spec.rootfs.init
    if init == "systemd" and isinstance(spec.kernel.source, PackagedKernel):
        yield Problem(
            "systemd cannot start first with the kernel of a package: the program that loads its modules comes first, "
            "and starts the agent",
            tree.value_where(("rootfs", "init")),
            "init: agent, or a kernel that is built here",
        )


def _debian_rootfs(rootfs: DebianRootfs, tree: Tree) -> Iterator[Problem]:
    from ..rootfs.debian_sources import named_source

    if rootfs.keyring:
        yield from check_file(rootfs.keyring, tree.value_where(("rootfs", "keyring")))
    for mirror in rootfs.mirrors:
        try:
            named_source(mirror.text, rootfs.suite or "suite", rootfs.components, rootfs.keyring)
        except InputError as error:
            yield from (replace(problem, where=mirror.where) for problem in error.problems)
    seen: dict[str, str] = {}
    for package in rootfs.packages:
        name = package.text.partition("=")[0]
        if name in seen:
            yield Problem(f"{name} is in the list twice", package.where, "remove one of the two")
        seen[name] = package.text
