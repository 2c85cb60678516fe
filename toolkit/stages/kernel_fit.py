"""What a kernel that others have built has of what the guest needs: its .config against the profile's features."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from ..errors import InputError, Where
from ..pipeline.stage import Inputs, Recipe, Stage, Work
from ..spec.model import FeatureChanges
from .kernel_config import library_digest

if TYPE_CHECKING:
    from ..kconfig.prebuilt import FeatureFound
    from ..kconfig.prebuilt_rules import Guest

REPORT = "kernel-config.json"
WANTED = "modules-wanted.json"
# A kernel with one of these loads signed modules only.
_ENFORCING = (
    "CONFIG_MODULE_SIG_FORCE",
    "CONFIG_LOCK_DOWN_KERNEL_FORCE_INTEGRITY",
    "CONFIG_LOCK_DOWN_KERNEL_FORCE_CONFIDENTIALITY",
)


@dataclass(frozen=True)
class KernelFitStage(Stage):
    """Output: ``kernel-config.json``, as of a compiled kernel, and what was found of each feature; and
    ``modules-wanted.json``: the symbols whose modules go into the guest, and whether with their signatures.

    ``cmdline``: the spec's words for the kernel's command line; ``packaged``: the kernel's modules are at hand.
    """

    name: ClassVar[str] = "kernel_config"
    title: ClassVar[str] = "kernel configuration"
    modules: ClassVar[tuple[str, ...]] = (
        "kconfig/config.py",
        "kconfig/chain.py",
        "kconfig/expression.py",
        "kconfig/fragments.py",
        "kconfig/hardening.py",
        "kconfig/prebuilt.py",
        "kconfig/prebuilt_rules.py",
        "kconfig/requests.py",
        "kconfig/selection.py",
        "kconfig/soundness.py",
        "kconfig/symbols.py",
        "kconfig/versions.py",
        "stages/kernel_fit.py",
    )

    profile: str
    arch: str
    guests: Sequence[Guest]
    where: Where | None = None
    features: FeatureChanges = field(default_factory=FeatureChanges)
    cmdline: tuple[str, ...] = ()
    packaged: bool = True

    def plan(self, inputs: Inputs) -> Recipe:
        """Raises NotBuiltYet before the kernel is here."""
        return Recipe(
            options={
                "profile": self.profile,
                "add": sorted(self.features.add),
                "drop": sorted(self.features.drop),
                "arch": self.arch,
                "packaged": self.packaged,
                "signatures": self._enforced(),
                "guests": [[g.name, g.boot, sorted(g.conditions)] for g in self.guests],
            },
            files={"kernel-configs": library_digest()},
            inputs={f"kernel/{name}": inputs.digest("kernel", name) for name in ("config", "release")},
            modules=self.module_digests(),
        )

    def run(self, work: Work) -> None:
        """Raises InputError with everything without which no guest of this set starts; says the rest."""
        from ..kconfig.config import read_config
        from ..kconfig.fragments import load_library
        from ..kconfig.prebuilt import features_found, fit_report, wanted_modules
        from ..kconfig.prebuilt_rules import PrebuiltRules
        from ..kconfig.requests import collect

        release = work.inputs.path("kernel", "release").read_text().strip()
        values = read_config(work.inputs.path("kernel", "config").read_text(errors="replace"))
        if not values:
            raise InputError(f"the configuration of {release} sets no option: is it a .config?", where=self.where)
        rules, library = PrebuiltRules(), load_library()
        wishes = collect(library, self.profile, (), arch=self.arch, kernel=release, changes=self.features)
        problems = rules.unmet(values, self.guests, release, self.where, modules=self.packaged)
        if problems:
            raise InputError.many(problems)
        found = list(features_found(wishes, values, library, rules))
        first, later = wanted_modules(found, rules)
        document = fit_report(wishes, values, found, arch=self.arch, kernel=release, profile=self.profile)
        (work.out / REPORT).write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
        signed = self._enforced() or any(values.get(symbol) == "y" for symbol in _ENFORCING)
        wanted = {"boot": list(first), "on_demand": list(later), "signatures": signed}
        (work.out / WANTED).write_text(json.dumps(wanted, indent=1) + "\n")
        for line in _notes(found, release):
            work.note(line)

    def _enforced(self) -> bool:
        """Whether the command line makes the kernel refuse a module that is not signed."""
        words = [word.partition("=") for word in self.cmdline]
        return any(name in ("module.sig_enforce", "lockdown") and value not in ("0", "n") for name, _, value in words)


def _notes(found: Sequence[FeatureFound], release: str) -> list[str]:
    by_status: dict[str, list[FeatureFound]] = {}
    for feature in found:
        by_status.setdefault(feature.status, []).append(feature)
    counts = ", ".join(f"{len(features)} {status}" for status, features in sorted(by_status.items()))
    lines = [f"{release}: of {len(found)} features, {counts}"]
    lines += [
        f"{release}: {feature.name} ({feature.title}) is {feature.status}; off are {', '.join(feature.missing)}"
        for feature in found
        if feature.missing
    ]
    return lines
