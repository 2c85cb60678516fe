"""A stage whose bytes our own code lays out names every module that has a say in them: else a fix would stay cached."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest
from kata_toolkit import resources
from kata_toolkit.agents import builtin, cargo, given
from kata_toolkit.agents.kind import AgentKind
from kata_toolkit.pipeline.stage import Stage
from kata_toolkit.rootfs.sources import debian as debian_source
from kata_toolkit.rootfs.sources import folder, minimal, oci, tarball
from kata_toolkit.rootfs.sources.source import Source
from kata_toolkit.stages import (
    agent,
    busybox,
    debian,
    extension,
    extension_mount,
    image,
    initrd,
    kernel,
    kernel_boot,
    kernel_config,
    kernel_fit,
    kernel_modules,
    kernel_package,
    kernel_prebuilt,
    kernel_resolved,
    kernel_source,
    licences,
    qemu,
    qemu_source,
    rootfs,
    runtime_config,
    sources,
    wiring,
    wrapper,
)

PACKAGE = Path(resources.__file__).parent
# What carries, names, reports and remembers, but lays out no byte of an output.
NO_SAY = {
    "apt.py",
    "arch.py",  # what it and toolchain.py say stands in the commands and options of the recipe
    "archive.py",
    "download.py",
    "errors.py",
    "events.py",
    "git_source.py",  # what it fetches has the id that was asked for
    "kernel_tree.py",
    "locks.py",
    "patches.py",
    "resources.py",
    "run.py",
    "toolchain.py",
}
NO_SAY_FOLDERS = ("pipeline/", "spec/")
# Tools make the bytes of these; the recipe holds their commands, and the digest of every text we generate for them.
BY_TOOLS = (
    agent.AgentStage,
    extension_mount.ExtensionMountStage,
    debian.DebianStage,
    kernel.KernelStage,
    kernel_boot.KernelBootStage,  # QEMU counts
    kernel_resolved.KernelResolvedStage,
    kernel_resolved.KernelTriedStage,
    kernel_source.KernelSourceStage,
    qemu.QemuStage,
    qemu_source.QemuSourceStage,
    sources.SourcesStage,
    wrapper.WrapperStage,
)
BY_US = (
    busybox.BusyboxStage,
    extension.ExtensionStage,
    image.ImageStage,
    initrd.InitrdStage,
    kernel_config.KernelConfigStage,
    kernel_fit.KernelFitStage,
    kernel_modules.KernelModulesStage,
    kernel_package.PackagedKernelStage,
    kernel_prebuilt.PrebuiltKernelStage,
    licences.LicencesStage,
    rootfs.RootfsStage,
    runtime_config.RuntimeConfigStage,
    wiring.WiringStage,
)


SOURCES = (debian_source.DebianSource, folder.FolderSource, minimal.MinimalSource, oci.OciSource, tarball.TarballSource)
AGENT_KINDS = (builtin.BuiltinKind, cargo.CargoKind, given.BinaryKind, given.TarballKind)
ROOTFS_SOURCES: dict[Path, type[Source]] = {Path(sys.modules[s.__module__].__file__ or ""): s for s in SOURCES}


def imported(module: Path) -> set[Path]:
    """The package's modules that one imports, at its top or inside functions; not those for type checkers only."""
    found = set()
    tree = ast.parse(module.read_text())
    typing_only = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if not isinstance(node, ast.ImportFrom) or not node.level or node in typing_only:
            continue
        folder = module.parents[node.level - 1].joinpath(*(node.module or "").split("."))
        names = [folder.with_suffix(".py"), *(folder / f"{alias.name}.py" for alias in node.names)]
        found |= {path for path in names if path.is_file()}
    return found


def closure(module: Path) -> set[str]:
    """The modules that have a say in what ``module`` does, itself included."""
    seen: set[Path] = set()
    todo = [module]
    while todo:
        path = todo.pop()
        name = str(path.relative_to(PACKAGE))
        other_stage = path.parent.name == "stages" and path != module  # its output is an input, with a digest
        a_source = path in ROOTFS_SOURCES and path != module  # each names what has a say in it, besides the stage
        if path in seen or name in NO_SAY or name.startswith(NO_SAY_FOLDERS) or other_stage or a_source:
            continue
        seen.add(path)
        todo.extend(imported(path))
    return {str(path.relative_to(PACKAGE)) for path in seen}


@pytest.mark.parametrize("stage", BY_US, ids=lambda stage: stage.__name__)
def test_every_module_with_a_say_is_named(stage: type[Stage]) -> None:
    module = PACKAGE / "stages" / f"{stage.__module__.rpartition('.')[2]}.py"
    assert set(stage.modules) == closure(module)


@pytest.mark.parametrize("path", ROOTFS_SOURCES, ids=lambda path: path.stem)
def test_every_module_with_a_say_in_a_source_is_named(path: Path) -> None:
    named = ROOTFS_SOURCES[path].modules
    assert set(named) == closure(path) - set(rootfs.RootfsStage.modules)
    assert len(named) == len(set(named))


@pytest.mark.parametrize("kind", AGENT_KINDS, ids=lambda kind: kind.__name__)
def test_every_module_with_a_say_in_an_agent_is_named(kind: type[AgentKind]) -> None:
    """One file may hold several kinds, of which one needs less: it names nothing that its file does not load."""
    stage = {*agent.AgentStage.modules, "static_c.py"}  # what that says stands in the commands and tools of the recipe
    loaded = closure(Path(sys.modules[kind.__module__].__file__ or "")) - stage
    assert set(kind.modules) <= loaded
    assert {m for other in AGENT_KINDS if other.__module__ == kind.__module__ for m in other.modules} == loaded


def test_every_source_is_looked_at() -> None:
    files = {path.stem for path in (PACKAGE / "rootfs/sources").glob("*.py")} - {"__init__", "choose", "source"}
    assert {path.stem for path in ROOTFS_SOURCES} == files


def test_every_stage_is_of_one_kind_or_the_other() -> None:
    files = {path.stem for path in (PACKAGE / "stages").glob("*.py")} - {"__init__"}
    assert {stage.__module__.rpartition(".")[2] for stage in (*BY_US, *BY_TOOLS)} == files
