"""image: the root file system as the image a VMM boots from, read back in full before it counts as made."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import ClassVar

from ..image.layout import layout_for
from ..image.make import Wanted
from ..image.produce import MODULES, Production
from ..image.tool_checks import CHECKERS
from ..pipeline.stage import Inputs, Recipe, Stage, Work
from ..spec.model import Image
from .rootfs import INFO as ROOTFS_INFO
from .rootfs import TAR, agent_of

IMAGE = "image"
INFO = "image.json"
VERITY = "root_hash.txt"  # what the guest must know of dm-verity, as Kata's configuration takes it


@dataclass(frozen=True)
class ImageStage(Stage):
    """``align_mib``: what the size is a multiple of (see `image.layout.default_align_mib`).

    Output: ``image``, ``image.json`` with its layout, the file system's figures and the agent in it, and with
    dm-verity ``root_hash.txt``.
    """

    image: Image
    align_mib: int

    name: ClassVar[str] = "image"
    title: ClassVar[str] = "guest image"
    checkers: ClassVar[frozenset[str]] = CHECKERS
    modules: ClassVar[tuple[str, ...]] = (*MODULES, "stages/image.py")

    @property
    def _production(self) -> Production:
        image = self.image
        wanted = Wanted(
            format=image.format,
            dax=image.dax,
            verity=image.verity,
            align_mib=self.align_mib,
            layout=image.layout,
            size_mib=image.size_mib,
            free_mib=image.free_mib,
            size_where=image.size_where,
        )
        return Production(wanted, image.compression)

    def plan(self, inputs: Inputs) -> Recipe:
        layout_for(0, self.image.dax, self.align_mib)  # an alignment that cannot work is told before anything is built
        production = self._production
        return Recipe(
            commands=production.commands(inputs),
            options={**production.wanted.options, "compression": self.image.compression},
            inputs={f"rootfs/{name}": inputs.digest("rootfs", name) for name in (TAR, ROOTFS_INFO)},
            tools=production.tools(inputs),
            modules=self.module_digests(),
        )

    def run(self, work: Work) -> None:
        production = self._production
        agent = agent_of(work.inputs.path("rootfs", ROOTFS_INFO))
        digest = work.recipe.inputs[f"rootfs/{TAR}"]
        made = production.make(work, work.inputs.path("rootfs", TAR), digest, work.out / IMAGE, agent)
        if made.verity:
            (work.out / VERITY).write_text(made.verity.params + "\n")
        arrangement = made.arrangement
        info = {
            "version": 1,
            **production.described(made),
            "dax": made.layout.dax,
            "layout": {
                "kind": "huge" if arrangement.shape.huge else "packed",
                "huge_pages": arrangement.huge_pages,
                "cost": arrangement.cost,
            },
            "agent": {"path": "/" + agent.path.decode(), "sha256": agent.sha256},
        }
        (work.out / INFO).write_text(json.dumps(info, indent=2) + "\n")
