"""The licences of what we compile ourselves: our programs', and that of the C library that is linked into them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

from .. import resources
from ..arch import Arch, arch_of
from ..components import Component
from ..dpkg import owner
from ..errors import ToolError
from ..pipeline.stage import Inputs, Recipe, Stage, Work
from ..static_c import StaticC

COMPONENTS = "components.json"
OURS, GPL, LGPL = "Apache-2.0.txt", "GPL-2.0.txt", "LGPL-2.1.txt"  # in licences/
_COPYRIGHT, _LIBRARY = "copyright", "libc.a"
_MUSL = "musl-gcc"


@dataclass(frozen=True)
class LicencesStage(Stage):
    """Output: ``licences/kata-toolkit/LICENSE``, ``licences/LIBRARY/copyright``, and ``licences/GPL-2.0.txt``, to which
    busybox's refers, as glibc's does to ``licences/LGPL-2.1.txt``; ``components.json``, with the C library.
    """

    name: ClassVar[str] = "licences"
    title: ClassVar[str] = "licences"
    modules: ClassVar[tuple[str, ...]] = (
        "components.py",
        "dpkg.py",
        "os_release.py",
        "sbom/dep5.py",
        "sbom/expression.py",
        "sbom/spdx_ids.py",
        "stages/licences.py",
        "static_c.py",
    )

    arch: str

    def plan(self, inputs: Inputs) -> Recipe:
        """Raises ToolError without a C compiler."""
        arch = arch_of(self.arch)
        compiler = StaticC.for_arch(arch)
        library = compiler.library(inputs)
        texts = (OURS, GPL, *(() if compiler.command == _MUSL else (LGPL,)))
        files = {name: inputs.file_digest(resources.resource("licences", name)) for name in texts}
        files[_LIBRARY] = inputs.file_digest(library)
        package = owner(_package(compiler, arch), library)
        facts: dict[str, Any] = {}
        if package:
            facts = {key: value for key, value in asdict(package).items() if key != _COPYRIGHT}
            if package.copyright:
                files[_COPYRIGHT] = inputs.file_digest(package.copyright)
        return Recipe(
            options={"arch": self.arch, "compiler": compiler.command, "library": facts},
            files=files,
            modules=self.module_digests(),
        )

    def run(self, work: Work) -> None:
        from ..sbom.dep5 import licence_of

        recipe, arch = work.recipe, arch_of(self.arch)
        compiler = StaticC.for_arch(arch)
        library = compiler.library(work.inputs)
        folder = work.out / "licences"
        _copy(resources.resource("licences", OURS), folder / "kata-toolkit" / "LICENSE", recipe.files[OURS])
        for name in (GPL, LGPL):
            if name in recipe.files:
                _copy(resources.resource("licences", name), folder / name, recipe.files[name])
        facts, text = recipe.options["library"], ""
        if facts and hashlib.md5(library.read_bytes(), usedforsecurity=False).hexdigest() != facts["md5"]:
            facts = {}  # a library of somebody's own in the package's place
        package = owner(facts["package"], library) if facts else None
        if package and package.copyright and _COPYRIGHT in recipe.files:
            target = folder / package.package / _COPYRIGHT
            _copy(package.copyright, target, recipe.files[_COPYRIGHT])
            text = target.read_text(errors="replace")
        found = _component(compiler, facts, recipe.files[_LIBRARY], licence_of(text))
        (work.out / COMPONENTS).write_text(json.dumps([found.as_json()], indent=1) + "\n")


def _package(compiler: StaticC, arch: Arch) -> str:
    """The Debian package that would bring the C library."""
    if not arch.native:
        return arch.libc_package
    return "musl-dev" if compiler.command == _MUSL else "libc6-dev"


def _component(compiler: StaticC, facts: Mapping[str, str], digest: str, licence: str) -> Component:
    if not facts:
        name = "musl" if compiler.command == _MUSL else _LIBRARY
        return Component(name, f"sha256:{digest}", sha256=digest)
    return Component(
        facts["package"],
        facts["version"],
        kind="deb",
        sha256=digest,
        arch=facts["arch"],
        licence=licence,
        source_name=facts["source"],
        source_version=facts["source_version"],
        namespace=facts["vendor"],
        built_using=facts["built_using"],
    )


def _copy(source: Path, target: Path, digest: str) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    data = source.read_bytes()
    if hashlib.sha256(data).hexdigest() != digest:
        raise ToolError(f"{source} changed while it was used", hint="build again")
    target.write_bytes(data)
