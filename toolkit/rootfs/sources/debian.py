"""debian: what packages of Debian put into a root file system, without what a guest does not need."""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import ClassVar

from ...components import Component
from ...pipeline.stage import Inputs, Work
from ...sbom.dep5 import licence_of
from ...spec.model import DebianRootfs
from ..stage_files import DEBIAN_INFO, DEBIAN_TAR
from .source import Base, Identity, Source


@dataclass(frozen=True)
class DebianSource(Source):
    """The tar of the debian stage, slimmed."""

    source: DebianRootfs

    modules: ClassVar[tuple[str, ...]] = (
        "os_release.py",
        "rootfs/debian_slim.py",
        "rootfs/sources/debian.py",
        "rootfs/stage_files.py",
        "sbom/dep5.py",
        "sbom/expression.py",
        "sbom/spdx_ids.py",
    )

    def identity(self, inputs: Inputs) -> Identity:
        return Identity(
            {"kind": "debian", "slim": asdict(self.source.slim), "asked": self._asked()},
            inputs={f"debian/{name}": inputs.digest("debian", name) for name in (DEBIAN_TAR, DEBIAN_INFO)},
        )

    def base(self, work: Work, open_files: ExitStack) -> Base:
        from ..debian_slim import add_sources, clean, licence_texts, slim, vendor
        from ..tar import open_tar

        info = json.loads(work.inputs.path("debian", DEBIAN_INFO).read_bytes())
        tree = open_files.enter_context(open_tar(work.inputs.path("debian", DEBIAN_TAR))).tree()
        packages = info["packages"]
        whose = vendor(tree)
        licences = licence_texts(tree, (package["name"] for package in packages))
        clean(tree)
        add_sources(tree, info["sources"])
        gone = slim(tree, self.source.slim, self._asked())
        left = [package for package in packages if package["name"] not in gone]
        return Base(
            tree,
            tuple(_component(package, whose, licences) for package in left),
            {name: text for name, text in licences.items() if name.partition("/")[0] not in gone},
        )

    def _asked(self) -> list[str]:
        return sorted(package.text.partition("=")[0] for package in self.source.packages)


def _component(package: dict[str, str], vendor: str, licences: dict[str, bytes]) -> Component:
    text = licences.get(f"{package['name']}/copyright", b"").decode(errors="replace")
    return Component(
        package["name"],
        package["version"],
        kind="deb",
        namespace=vendor,
        arch=package["architecture"],
        sha256=package["sha256"],
        origin=package.get("origin", ""),
        source_name=package["source"],
        source_version=package["source_version"],
        licence=licence_of(text),
        built_using=package.get("built_using", ""),
    )
