"""extension: a further read-only file system as an EROFS image with dm-verity, read back before it counts as made."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from typing import ClassVar

from ..errors import told_at
from ..image.make import Wanted
from ..image.produce import MODULES, Production
from ..image.tool_checks import CHECKERS
from ..pipeline.layout import extension_stage
from ..pipeline.stage import Inputs, Recipe, Stage, Work
from ..rootfs.sources.choose import source_of
from ..rootfs.sources.source import Source
from ..spec.model import Extension
from .image import IMAGE, VERITY

_FORMAT = "erofs"  # what guests mount extensions as
_ALIGN_MIB = 1
_TAR = "extension.tar"


@dataclass(frozen=True)
class ExtensionStage(Stage):
    """One extension image; ``arch``: for which guest.

    Output: ``image``: partition 1 with the file system, 2 with its digests; ``root_hash.txt``, its ``verity_params``;
    ``extension-NAME.json`` with its figures and the components in it; their licences below ``licences/``.
    """

    extension: Extension
    arch: str = "x86_64"

    checkers: ClassVar[frozenset[str]] = CHECKERS
    modules: ClassVar[tuple[str, ...]] = (
        *MODULES,
        "components.py",
        "rootfs/sources/choose.py",
        "rootfs/sources/source.py",
        "rootfs/tar_write.py",
        "stages/extension.py",
    )

    @property
    def name(self) -> str:  # type: ignore[override]  # one stage for each extension
        """By the extension's own name."""
        return extension_stage(self.extension.name)

    @property
    def title(self) -> str:  # type: ignore[override]  # as the name
        """The same, for people."""
        return f"extension image {self.extension.name}"

    @property
    def _production(self) -> Production:
        wanted = Wanted(format=_FORMAT, dax=False, verity=True, align_mib=_ALIGN_MIB, layout="packed")
        return Production(wanted, self.extension.compression)

    def plan(self, inputs: Inputs) -> Recipe:
        source, production = self._source(), self._production
        with told_at(self.extension.where):
            identity = source.identity(inputs)
        return Recipe(
            commands=(*identity.commands, *production.commands(inputs)),
            options={
                "source": dict(identity.options),
                "compression": self.extension.compression,
                "image": production.wanted.options,
            },
            files=identity.files,
            inputs=identity.inputs,
            tools={**identity.tools, **production.tools(inputs)},
            modules=self.module_digests(*source.modules),
        )

    def run(self, work: Work) -> None:
        from ..pipeline.files import sha256_of
        from ..rootfs.tar_write import write_tar

        tar = work.scratch / _TAR
        with contextlib.ExitStack() as files:
            with told_at(self.extension.where):
                base = self._source().base(work, files)
            write_tar(base.tree, tar)
        self.require_unchanged(work)
        production = self._production
        made = production.make(work, tar, sha256_of(tar), work.out / IMAGE, None)
        assert made.verity is not None  # noqa: S101 -- it was asked for
        (work.out / VERITY).write_text(made.verity.params + "\n")
        info = {
            "version": 1,
            "name": self.extension.name,
            **production.described(made),
            "components": [component.as_json() for component in base.components],
            "entries": len(base.tree),
        }
        (work.out / f"{self.name}.json").write_text(json.dumps(info, indent=2) + "\n")
        base.write_licences(work.out)

    def _source(self) -> Source:
        return source_of(self.extension.source, self.arch, fetched=self.name)
