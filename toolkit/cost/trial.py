"""Asks the kernel's ``conf`` which of the features that stay cannot do without one that goes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import ClassVar

from ..kconfig.config import read_config
from ..kconfig.unmet import unmet
from ..pipeline.stage import Work
from ..stages.kernel_config import KernelConfigStage

ASKERS = "askers.json"


@dataclass(frozen=True)
class TrialStage(KernelConfigStage):
    """Output: ``askers.json``: each feature (or "spec") with requests that came out unmet, and these symbols."""

    name: ClassVar[str] = "kernel_trial"
    title: ClassVar[str] = "which features need one"
    modules: ClassVar[tuple[str, ...]] = (*KernelConfigStage.modules, "cost/trial.py")

    def run(self, work: Work) -> None:
        wishes = self._wishes(work.inputs)
        with self.origin.tree(work) as tree:
            values = read_config(self._resolve(tree, work, wishes.allconfig()))
        askers: dict[str, list[str]] = {}
        for request in unmet(wishes.requests, values):
            for asker in request.asked_by if request.allowed is None else ():
                askers.setdefault(asker, []).append(request.symbol)
        (work.out / ASKERS).write_text(json.dumps(askers, indent=1) + "\n")
