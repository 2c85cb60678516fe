"""The source of QEMU, as Debian has it: upstream's tar and Debian's changes, each by its digest."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from ..apt_source import AptSources, SourceFile
from ..download import Pool, copy_file, download
from ..errors import InputError, ToolError
from ..pipeline.stage import Command, Inputs, Lookup, Missing, Recipe, Stage, Work

PACKAGE = "qemu"
UPSTREAM, DEBIAN, FACTS = "orig.tar", "debian.tar", "source.json"
KEY = "runtime.hypervisors.qemu.build"
_SUFFIXES = {".debian.tar": DEBIAN, ".orig.tar": UPSTREAM}


@dataclass(frozen=True)
class QemuSourceStage(Stage):
    """Output: ``orig.tar`` and ``debian.tar``, packed as they came, and ``source.json``, what they are.

    ``version``: Debian's, or None for the newest.
    """

    name: ClassVar[str] = "qemu_source"
    title: ClassVar[str] = "QEMU's source"
    fetches: ClassVar[bool] = True
    version: str | None = None

    def plan(self, inputs: Inputs) -> Recipe:
        """Raises InputError when there is no such version, ToolError without apt or its archives."""
        found = self._found(inputs)
        return Recipe(
            commands=(Command("apt-get", "-q", "source", "--download-only", f"{PACKAGE}={found['version']}"),),
            options={"version": found["version"], "sha256": {f["name"]: f["sha256"] for f in found["files"]}},
        )

    def missing(self, recipe: Recipe, inputs: Inputs) -> Iterable[Missing]:
        for file in self._found(inputs)["files"]:
            if not Pool(inputs.cache).has(file["sha256"]):
                yield Missing(file["name"], file["sha256"], file["size"])

    def run(self, work: Work) -> None:
        found = self._found(work.inputs)
        for file in found["files"]:
            target = next((t for suffix, t in _SUFFIXES.items() if suffix in file["name"]), None)
            if target is None:
                raise InputError(f"{file['name']} is no part of a source package in the format 3.0 (quilt)")
            copy_file(self._brought(SourceFile(**file), work), work.out / target)
        facts = {"package": PACKAGE, "version": found["version"], "files": found["files"]}
        (work.out / FACTS).write_text(json.dumps(facts, sort_keys=True) + "\n")

    def _brought(self, file: SourceFile, work: Work) -> Path:
        def fetch(part: Path) -> None:
            if work.inputs.offline:
                there = f"{file.name} (sha256 {file.sha256})"
                raise ToolError(f"offline, and this is not in the cache: {there}", hint="build once without --offline")
            download(file.uri, part, lambda done, total: work.progress(done, total, "bytes", file.name))

        return Pool(work.inputs.cache).bring(file.sha256, fetch, file.name)

    def _found(self, inputs: Inputs) -> dict[str, Any]:
        def find() -> dict[str, Any]:
            package = AptSources(inputs.cache, offline=inputs.offline).resolve(PACKAGE, self.version)
            files = [{"name": f.name, "uri": f.uri, "size": f.size, "sha256": f.sha256} for f in package.files]
            return {"kind": "debian-source", "package": PACKAGE, "version": package.version, "files": files}

        return dict(inputs.resolved(Lookup(KEY, {"package": PACKAGE, "version": self.version}, find)))
