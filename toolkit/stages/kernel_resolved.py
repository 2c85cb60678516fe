"""What conf makes of a kernel's requests, met or not, and of others that are tried: to be told, not to be built."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, ClassVar

from ..pipeline.stage import Inputs, Work
from .kernel_config import KernelConfigStage

if TYPE_CHECKING:
    from ..kconfig.fragments import Library
    from ..kconfig.requests import Wishes


@dataclass(frozen=True)
class KernelResolvedStage(KernelConfigStage):
    """Output: ``config``, as `KernelConfigStage` would make it if it did not check it.

    It is made by conf from the symbols in the recipe, so that neither our code nor the wording of a reason counts.
    """

    name: ClassVar[str] = "kernel_resolved"
    title: ClassVar[str] = "kernel configuration, unchecked"
    modules: ClassVar[tuple[str, ...]] = ()
    label: ClassVar[str] = "kernel"  # tells what is asked of one spec's conf apart in the store's memory

    library: Library | None = field(default=None, compare=False)  # of the fragments, when it was read already

    @classmethod
    def of(cls, stage: KernelConfigStage, library: Library) -> KernelResolvedStage:
        """The same requests on the same source."""
        return cls(**{f.name: getattr(stage, f.name) for f in fields(stage)}, library=library)

    def run(self, work: Work) -> None:
        with self.origin.tree(work) as tree:
            config = self._resolve(tree, work, self._wishes(work.inputs).allconfig())
        (work.out / "config").write_text(config)

    def wishes(self, inputs: Inputs) -> Wishes:
        """What is asked for, by whom and why. Raises NotBuiltYet, InputError."""
        return self._wishes(inputs)

    def version(self, inputs: Inputs) -> str:
        """The kernel's version. Raises NotBuiltYet."""
        return str(json.loads(inputs.path("kernel_source", "source.json").read_bytes())["version"])

    def _asked(self, inputs: Inputs) -> Mapping[str, Any]:
        return {"symbols": {r.symbol: r.value for r in self._wishes(inputs).requests}, "reasons": ""}

    def _wishes(self, inputs: Inputs) -> Wishes:
        from ..kconfig.library_memo import cached_library
        from ..kconfig.requests import collect

        return collect(
            self.library or cached_library(inputs.cache),
            self.profile,
            self.options,
            arch=self.arch,
            kernel=self.version(inputs),
            changes=self.features,
        )


@dataclass(frozen=True)
class KernelTriedStage(KernelResolvedStage):
    """Output: ``config``, as conf makes it of requests that are only tried.

    ``requests``: the text for KCONFIG_ALLCONFIG.
    """

    name: ClassVar[str] = "kernel_tried"
    title: ClassVar[str] = "kernel configuration, tried"
    label: ClassVar[str] = "kernel-tried"

    requests: str = ""

    def run(self, work: Work) -> None:
        with self.origin.tree(work) as tree:
            config = self._resolve(tree, work, self.requests)
        (work.out / "config").write_text(config)

    def _asked(self, inputs: Inputs) -> Mapping[str, Any]:
        return {"symbols": self.requests.splitlines(), "reasons": ""}
