"""Builds and boots one kernel after the other, by the stages of an ordinary build; what was done is in the store."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace

from ..arch import arch_of
from ..errors import CheckError, InputError
from ..events import Cached, Emit, Event, Progress
from ..kata.guest import guest_settings
from ..lock.prepare import lock_where_it_fits
from ..pipeline.engine import Engine
from ..pipeline.inputs import BuildInputs
from ..pipeline.stage import Stage
from ..pipeline.store import Entry, Store
from ..recipe import stages_of
from ..run import Log
from ..spec.model import BuiltinAgent, Initrd, MinimalRootfs, Spec
from ..stages.kernel_boot import FIGURES, ROOTS, KernelBootStage
from ..stages.kernel_config import KernelConfigStage
from .figures import Figures, sizes
from .trial import ASKERS, TrialStage


@dataclass
class Lab:
    """Where kernels are measured.

    ``compiled`` and ``seconds``: the objects compiled and the time taken by the last kernel, None if it was cached.
    """

    store: Store
    emit: Emit
    log: Log
    jobs: int
    offline: bool = False
    compiled: int | None = None
    seconds: float | None = None
    _objects: int = field(default=0)

    def bring(self, spec: Spec, label: str, names: Sequence[str], more: Sequence[Stage] = ()) -> Mapping[str, Entry]:
        """Bring stages of a spec, or of ``more``, into the store. Raises InputError, ToolError, CheckError.

        ``label`` tells the kernels of one spec apart in the store's memory of what is in use.
        """
        with self.store.in_use():
            inputs = BuildInputs(self.store, offline=self.offline, lock=lock_where_it_fits(spec))
            key = f"{spec.key}-cost-{label}"
            self._objects = 0
            engine = Engine(key, (*stages_of(spec), *more), self.store, inputs, self._tell, self.log, self.jobs)
            entries = engine.build(names)
        if "kernel" in entries and not more:
            ran = "kernel" in engine.seconds
            self.compiled = self._objects if ran else None
            self.seconds = round(engine.seconds["kernel"], 1) if ran else None
        return entries

    def _tell(self, event: Event) -> None:
        """The stages' events, but not for each kernel that its source is there already."""
        if isinstance(event, Progress) and (event.stage, event.unit) == ("kernel", "objects"):
            self._objects = event.done
        if not isinstance(event, Cached):
            self.emit(event)

    def version(self, spec: Spec) -> str:
        """The kernel's version."""
        entry = self.bring(spec, "base", ["kernel_source"])["kernel_source"]
        return str(json.loads(entry.path("source.json").read_bytes())["version"])

    def askers(self, spec: Spec, label: str) -> dict[str, list[str]]:
        """The features (or "spec") that the spec's kernel leaves unsatisfied, with the symbols."""
        config = next(stage for stage in stages_of(spec) if isinstance(stage, KernelConfigStage))
        trial = TrialStage(**{f.name: getattr(config, f.name) for f in fields(config)})
        entry = self.bring(spec, label, [trial.name], [trial])[trial.name]
        found: dict[str, list[str]] = json.loads(entry.path(ASKERS).read_bytes())
        return found

    def size(self, spec: Spec, label: str) -> Figures:
        """Build the spec's kernel; its sizes."""
        return Figures(**sizes(self.bring(spec, label, ["kernel"])["kernel"]))

    def boot(self, spec: Spec, label: str, known: Figures, root: str) -> Figures:
        """The figures known so far and those of a boot. ``root``: one of ROOTS.

        Raises CheckError when it fails, InputError for a kernel that cannot use such a root.
        """
        guest = with_own_agent(spec)
        settings = guest_settings(guest, guest.hypervisors[0].name)
        stage = KernelBootStage(spec.arch, settings, guest.image.format, guest.image.dax, root)
        entry = self.bring(guest, f"{label}-{root}", [stage.name], [stage])[stage.name]
        told = json.loads(entry.path(FIGURES).read_bytes())
        return replace(
            known,
            boot_minstr=told.get("boot_minstr"),
            kernel_minstr=told.get("kernel_minstr"),
            overhead_mib=told.get("guest_overhead_mib"),
            exits=told["exits_port"] + told["exits_mmio"] if "exits_port" in told else None,
        )

    def sources(self, spec: Spec, root: str | None) -> dict[str, str]:
        """What the spec's figures are of, for people: the kernel's source, and the tools that decide the figures.

        ``root``: what the kernel was booted from, None when it was not.
        """
        entries = self.bring(spec, "base", ["kernel"])
        facts = json.loads(entries["kernel_source"].path("source.json").read_bytes())
        recipe = self.store.recipe("kernel", entries["kernel"].id) or {}
        found = {"Linux": f"{facts['version']}, source {facts['identity']}"}
        found.update({n: v for n, v in recipe.get("tools", {}).items() if n not in _HELPERS})
        if root:
            found["QEMU"] = BuildInputs(self.store).tool(arch_of(spec.arch).qemu, "--version")
        return found


_HELPERS = ("bc", "make")  # tools whose version moves no figure


def with_own_agent(spec: Spec) -> Spec:
    """The same kernel below the built-in agent, which counts, and a small root that comes in any way."""
    return replace(spec, agent=BuiltinAgent(), rootfs=MinimalRootfs(), initrd=Initrd(enabled=True))


class Boots:
    """Boots of the base, one for each way of bringing in its root, made when they are needed."""

    def __init__(self, lab: Lab, spec: Spec, sizes_: Figures) -> None:
        self._lab, self._spec, self._sizes = lab, spec, sizes_
        self._known: dict[str, Figures | CheckError | InputError] = {}

    def of(self, root: str) -> Figures:
        """Raises CheckError or InputError, each time, for a root that the base does not boot from."""
        if root not in self._known:
            try:
                self._known[root] = self._lab.boot(self._spec, "base", self._sizes, root)
            except (CheckError, InputError) as error:
                self._known[root] = error
        found = self._known[root]
        if isinstance(found, CheckError | InputError):
            raise found
        return found

    def usual(self) -> str:
        """The first way that works. Raises what the first one failed with when none does."""
        first: CheckError | InputError | None = None
        for root in ROOTS:
            try:
                self.of(root)
            except (CheckError, InputError) as error:
                first = first or error
            else:
                return root
        assert first is not None  # noqa: S101 -- there are roots
        raise first
