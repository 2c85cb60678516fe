"""The kernel's .config: the profile's features and the spec's options, resolved by the kernel's own conf."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from .. import kbuild, resources
from ..arch import arch_of
from ..kernel_tree import KernelTree
from ..pipeline.files import read_json, write_atomically
from ..pipeline.stage import Inputs, Recipe, Stage, Work
from ..spec.model import FeatureChanges, KernelOption
from ..toolchain import Toolchain
from .kernel_source import KernelOrigin

if TYPE_CHECKING:
    from ..kconfig.requests import Wishes


@dataclass(frozen=True)
class KernelConfigStage(Stage):
    """Output: ``config`` (the .config, on which the kernel depends) and ``kernel-config.json`` (who asked, and why).

    They are two files so that a reworded reason never compiles anything.
    """

    name: ClassVar[str] = "kernel_config"
    title: ClassVar[str] = "kernel configuration"
    modules: ClassVar[tuple[str, ...]] = (
        "kbuild.py",
        "kconfig/chain.py",
        "kconfig/config.py",
        "kconfig/expression.py",
        "kconfig/findings.py",
        "kconfig/fix.py",
        "kconfig/fixes.py",
        "kconfig/fragments.py",
        "kconfig/hardening.py",
        "kconfig/index.py",
        "kconfig/overruled.py",
        "kconfig/renames.py",
        "kconfig/requests.py",
        "kconfig/resolve.py",
        "kconfig/scan.py",
        "kconfig/selection.py",
        "kconfig/soundness.py",
        "kconfig/symbols.py",
        "kconfig/unmet.py",
        "kconfig/versions.py",
        "stages/kernel_config.py",
    )

    origin: KernelOrigin
    profile: str
    options: tuple[KernelOption, ...]
    arch: str
    toolchain: str = "gcc"
    features: FeatureChanges = field(default_factory=FeatureChanges)

    def plan(self, inputs: Inputs) -> Recipe:
        """Raises NotBuiltYet before the source is known, InputError for a profile or feature that is wrong."""
        asked = self._asked(inputs)
        toolchain = Toolchain.of(self.arch, self.toolchain)
        return Recipe(
            commands=[
                kbuild.make(
                    toolchain,
                    "allnoconfig",
                    env={"KCONFIG_ALLCONFIG": "@scratch@/requests", "KCONFIG_WARN_UNKNOWN_SYMBOLS": "1"},
                )
            ],
            options={"profile": self.profile, "arch": self.arch, "symbols": asked["symbols"]},
            files={
                "kernel-configs (the wording of a why)": asked["reasons"],
                "kernel-configs/hardening.yaml": inputs.file_digest(
                    resources.resource("kernel-configs", "hardening.yaml")
                ),
            },
            inputs={"kernel_source/source.json": inputs.digest("kernel_source", "source.json")},
            tools=self.known_tools(inputs),
            modules=self.module_digests(),
        )

    def known_tools(self, inputs: Inputs) -> Mapping[str, str]:
        tools = {name: inputs.tool(name, "--version") for name in ("flex", "bison")}
        return {**Toolchain.of(self.arch, self.toolchain).identities(inputs), **tools}

    def run(self, work: Work) -> None:
        from ..kconfig.config import read_config
        from ..kconfig.resolve import Source, check, report

        folder = arch_of(self.arch).folder
        wishes = self._wishes(work.inputs)
        with self.origin.tree(work) as tree:
            config = self._resolve(tree, work, wishes.allconfig())
            source = Source(tree.path, folder, tree.version, work.inputs.digest("kernel_source", "source.json"))
            values = read_config(config)
            findings = check(
                wishes,
                values,
                source,
                cache=work.inputs.cache,
                conf=lambda requests: read_config(self._resolve(tree, work, requests)),
            )
            described = report(wishes, values, findings, arch=self.arch, kernel=tree.version, profile=self.profile)
        (work.out / "config").write_text(config)
        (work.out / "kernel-config.json").write_bytes(described)

    def _resolve(self, tree: KernelTree, work: Work, requests: str) -> str:
        """What conf makes of a text of requests; conf itself is kept between builds."""
        (work.scratch / "requests").write_text(requests)
        cache = work.inputs.cache
        toolchain = Toolchain.of(self.arch, self.toolchain)
        name = f"kernel-conf-{_short(f'{tree.path} {toolchain.host_compiler}')}"
        with kbuild.build_folder(cache, name) as (build, _):
            (build / ".config").unlink(missing_ok=True)
            work.run(work.recipe.commands[0], **kbuild.places(toolchain, tree.path, build, compiles=False))
            return (build / ".config").read_text()

    def _wishes(self, inputs: Inputs) -> Wishes:
        from ..kconfig.fragments import load_library
        from ..kconfig.requests import collect

        return collect(
            load_library(),
            self.profile,
            self.options,
            arch=self.arch,
            kernel=_version(inputs),
            changes=self.features,
        )

    def _asked(self, inputs: Inputs) -> Mapping[str, Any]:
        """Symbols and a digest of the reasons; remembered by data and code that decide them: reading 40 files of YAML
        takes longer than a build that has nothing to do should."""
        options = [[o.symbol, o.value] for o in self.options]
        changes = [sorted(self.features.add), sorted(self.features.drop)]
        parts = [self.module_digests(), library_digest(), self.profile, changes, options, self.arch, _version(inputs)]
        key = json.dumps(parts)
        memo = inputs.cache / "kconfig" / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"
        known = read_json(memo, {})
        if not known:
            wishes = self._wishes(inputs)
            said = json.dumps([wishes.features, [[asdict(r)[k] for k in _SAID] for r in wishes.requests]])
            known = {
                "symbols": {r.symbol: r.value for r in wishes.requests},
                "reasons": hashlib.sha256(said.encode()).hexdigest(),
            }
            write_atomically(memo, json.dumps(known).encode())
        return known


_SAID = ("symbol", "why", "asked_by", "overridden", "allowed")  # what the report tells beside the values


def _version(inputs: Inputs) -> str:
    return str(json.loads(inputs.path("kernel_source", "source.json").read_bytes())["version"])


def library_digest() -> str:
    """What the fragment library and all else in kernel-configs/ say, as one digest."""
    hasher = hashlib.sha256()
    for path in sorted(resources.resource("kernel-configs").rglob("*.yaml")):
        hasher.update(f"{path.parent.name}/{path.name}\0".encode() + path.read_bytes())
    return hasher.hexdigest()


def _short(path: object) -> str:
    return hashlib.sha256(str(path).encode()).hexdigest()[:32]
