"""Boots a kernel under instruction counting until its figures repeat, and keeps them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, ClassVar

from ..arch import arch_of
from ..kata.guest import GuestSettings
from ..pipeline.stage import Inputs, Recipe, Stage, Work

if TYPE_CHECKING:
    from ..vm.built_set import Guest
    from ..vm.measure import Figures

FIGURES = "figures.json"
ROOTS = ("nvdimm", "virtio-blk", "initrd")
"""How the root file system can come in, in the order of preference."""

# A guest that waits for a busy host spends a timer's period or a tick more, never less: the least count is the guest's
# own, and is taken when it came twice.
_MOST_BOOTS = 8
_SAME = 0.0003  # of the count


@dataclass(frozen=True)
class KernelBootStage(Stage):
    """Output: ``figures.json``, the figures of ``vm/measure.py``. ``root``: one of ROOTS.

    A boot that fails leaves nothing behind: what failed may have been the host.
    """

    name: ClassVar[str] = "kernel_boot"
    title: ClassVar[str] = "instructions of a boot"
    modules: ClassVar[tuple[str, ...]] = (
        "kata/cmdline.py",
        "stages/kernel_boot.py",
        "vm/measure.py",
        "vm/options.py",
        "vm/qemu.py",
    )

    arch: str
    settings: GuestSettings
    rootfs_type: str
    dax: bool
    root: str

    @property
    def _file(self) -> str:
        return "initrd" if self.root == "initrd" else "image"

    def plan(self, inputs: Inputs) -> Recipe:
        """Raises NotBuiltYet before kernel and root file system are there, ToolError without QEMU."""
        tool = arch_of(self.arch).qemu
        settings = json.loads(json.dumps(asdict(self.settings)))
        return Recipe(
            options={
                "arch": self.arch,
                "guest": settings,
                "rootfs_type": self.rootfs_type,
                "dax": self.dax,
                "root": self.root,
            },
            inputs={
                "kernel/config": inputs.digest("kernel", "config"),  # which tells what it cannot boot on
                "kernel/vmlinux": inputs.digest("kernel", "vmlinux"),
                f"{self._file}/{self._file}": inputs.digest(self._file, self._file),
            },
            tools={tool: inputs.tool(tool, "--version")},
            modules=self.module_digests(),
        )

    def run(self, work: Work) -> None:
        """Raises InputError for a kernel that cannot use such a root, CheckError when the guest does not reach its
        agent, ToolError when QEMU does not start it."""
        from ..vm.built_set import Guest, GuestAgent

        root = work.inputs.path(self._file, self._file)
        guest = Guest(
            kernel=work.inputs.path("kernel", "vmlinux"),
            boot=self._file,
            kernel_config=work.inputs.path("kernel", "config"),
            arch=arch_of(self.arch).uname,
            rootfs_type=self.rootfs_type,
            dax=self.dax,
            agent=GuestAgent("builtin", "/sbin/init", None),
            image=root if self._file == "image" else None,
            initrd=root if self._file == "initrd" else None,
            **{**asdict(self.settings), "rootfs_driver": self.root},
        )
        (work.out / FIGURES).write_text(json.dumps(self._repeated(guest, work).as_json(), indent=1) + "\n")

    def _repeated(self, guest: Guest, work: Work) -> Figures:
        """The figures of the boot with the fewest instructions, once another boot had as few."""
        from ..vm.measure import measure

        found: list[Figures] = []
        for boots in range(_MOST_BOOTS):
            work.progress(boots, 0, "boots", f"counting instructions, root on {self.root}")
            found = sorted([*found, measure(guest, container=False)], key=_count)
            if len(found) > 1 and _count(found[1]) <= _count(found[0]) * (1 + _SAME):
                break
        return found[0]


def _count(figures: Figures) -> float:
    return figures.boot_minstr or figures.kernel_minstr or 0.0
