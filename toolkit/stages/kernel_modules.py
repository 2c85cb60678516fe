"""The modules that a guest needs of a packaged kernel, and the small program that loads them before the agent."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from .. import resources
from ..arch import arch_of
from ..deb import members
from ..elf import read_program
from ..errors import InputError, ToolError
from ..modinfo import SUFFIXES
from ..pipeline.stage import Command, Inputs, Recipe, Stage, Work
from ..rootfs.minimal import MOVED_AGENT
from ..spec.model import PackagedKernel
from ..static_c import CFLAGS, LDFLAGS, StaticC
from .kernel_fit import WANTED
from .kernel_package import package_file, package_name
from .rootfs import LOADER, MODULES

if TYPE_CHECKING:
    from ..module_tree import ModuleFolder

INFO = "modules.json"
_FILE = re.compile(r"(?:usr/)?lib/modules/([^/]+)/(.+)")
_INDEXES = ("modules.builtin", "modules.builtin.modinfo")


@dataclass(frozen=True)
class KernelModulesStage(Stage):
    """``modprobe``: the guest has one, so that what is not needed at once can wait until it is asked for.

    Output: ``load``, the guest's first program; ``modules.tar``, its lib/modules; ``modules.json``, what is in it.
    """

    name: ClassVar[str] = "kernel_modules"
    title: ClassVar[str] = "kernel modules"
    modules: ClassVar[tuple[str, ...]] = (
        "deb.py",
        "dpkg.py",
        "elf.py",
        "kconfig/prebuilt_rules.py",
        "modinfo.py",
        "module_tree.py",
        "os_release.py",
        "rootfs/minimal.py",
        "rootfs/tar_header.py",
        "rootfs/tar_pax.py",
        "rootfs/tar_sparse.py",
        "rootfs/tar_write.py",
        "rootfs/tree.py",
        "stages/kernel_modules.py",
        "static_c.py",
    )

    source: PackagedKernel
    arch: str
    modprobe: bool

    def plan(self, inputs: Inputs) -> Recipe:
        """Raises NotBuiltYet before the kernel is here, ToolError without a C compiler."""
        compiler = StaticC.for_arch(arch_of(self.arch))
        program = resources.resource("loader", "load.c")
        compile_ = Command(
            compiler.command, *CFLAGS, "-std=c11", "-D_GNU_SOURCE", "-Os", "-fno-pie",
            "-ffile-prefix-map=@resources@=.", f'-DAGENT="/{MOVED_AGENT.decode()}"', "-o", f"@out@/{LOADER}",
            *LDFLAGS, "-no-pie", "@resources@/loader/load.c",
        )  # fmt: skip
        rules = resources.resource("kernel-configs", "prebuilt.yaml")
        return Recipe(
            commands=(compile_,),
            options={"arch": self.arch, "modprobe": self.modprobe},
            files={
                "package": package_file(self.source, inputs)[1],
                "loader/load.c": inputs.file_digest(program),
                "kernel-configs/prebuilt.yaml": inputs.file_digest(rules),
            },
            inputs={
                f"kernel_config/{WANTED}": inputs.digest("kernel_config", WANTED),
                "kernel/release": inputs.digest("kernel", "release"),
            },
            tools=compiler.tools(inputs),
            modules=self.module_digests(),
        )

    def known_tools(self, inputs: Inputs) -> Mapping[str, str]:
        return StaticC.for_arch(arch_of(self.arch)).tools(inputs)

    def run(self, work: Work) -> None:
        from ..module_tree import ModuleFolder, modules_tree
        from ..rootfs.tar_write import write_tar

        work.run(work.recipe.commands[0])
        program = read_program(work.out / LOADER)
        machine = arch_of(self.arch).machine
        if program.interpreter or program.machine != machine:
            raise ToolError(f"{work.recipe.commands[0].argv[0]} did not make a static program for {self.arch}")
        release = work.inputs.path("kernel", "release").read_text().strip()
        wanted = json.loads(work.inputs.path("kernel_config", WANTED).read_bytes())
        folder = ModuleFolder(self._take(work, release, wanted), release, machine, signed=wanted["signatures"])
        boot, later = _named(work, folder, wanted)
        tree, first, everything = modules_tree(folder, boot if self.modprobe else [*boot, *later], later)
        write_tar(tree, work.out / MODULES)
        info = {
            "version": 1,
            "release": release,
            "boot": first,
            "on_demand": sorted(set(everything) - set(first)),
            "size": sum(node.size for _, node in tree.walk()),
        }
        (work.out / INFO).write_text(json.dumps(info, indent=1) + "\n")
        how = "with" if wanted["signatures"] else "without"
        on_demand = len(everything) - len(first)
        work.note(f"modules: {len(first)} loaded at boot, {on_demand} when asked for, {how} their signatures")

    def _take(self, work: Work, release: str, wanted: Mapping[str, Any]) -> Path:
        """Copy the package's modules into scratch, and the lists of what is built in."""
        package, _ = package_file(self.source, work.inputs)
        name, root, count = package_name(self.source), work.scratch / "modules", 0
        root.mkdir()
        with members(package, name) as content:
            for path, _, source in content:
                match = _FILE.fullmatch(path)
                if not match or not source or match.group(1) != release:
                    continue
                file = match.group(2)
                if file in _INDEXES or file.endswith(SUFFIXES):
                    target = root / file
                    target.parent.mkdir(parents=True, exist_ok=True)
                    with target.open("wb") as out:
                        shutil.copyfileobj(source, out, 1 << 20)
                    count += file.endswith(SUFFIXES)
        if not count and (wanted["boot"] or wanted["on_demand"]):
            raise InputError(
                f"{name} has no modules in lib/modules/{release}, and its configuration has drivers as modules",
                where=self.source.where,
                hint="some distributions package them apart; one package with both is needed",
            )
        return root


def _named(work: Work, folder: ModuleFolder, wanted: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """The modules of the wanted symbols, at boot and later; a symbol without a module here is said."""
    from ..kconfig.prebuilt_rules import PrebuiltRules

    rules = PrebuiltRules()
    there = folder.files.keys() | folder.builtin
    found: list[list[str]] = []
    for symbols in (wanted["boot"], wanted["on_demand"]):
        names: list[str] = []
        for symbol in symbols:
            modules = rules.modules_of(symbol, there)
            if modules is None:
                work.note(f"no module is known for {symbol}: the guest does without it")
            names += modules or ()
        found.append(names)
    return found[0], found[1]
