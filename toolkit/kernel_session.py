"""Asks the kernel's own conf what specs and profiles become, through the store: once for each, then never again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path

from .arch import Arch, arch_of, arches
from .errors import InputError, Where, relative
from .events import Emit, Note
from .kconfig.config import read_config
from .kconfig.fragments import Library
from .kconfig.library_memo import cached_library
from .kconfig.requests import Wishes
from .kconfig.symbols import Definition, Tree
from .kernel_tree import KernelTree, OnFile
from .lock.prepare import lock_where_it_fits
from .pipeline.engine import Engine
from .pipeline.inputs import BuildInputs
from .pipeline.stage import Inputs
from .pipeline.store import Store, cache_folder
from .recipe import stages_of
from .spec.model import DebianKernel, FeatureChanges, KernelSource, PackagedKernel, PrebuiltKernel, Spec, TreeKernel
from .spec.suggest import did_you_mean
from .stages.kernel_config import KernelConfigStage
from .stages.kernel_package import PackagedKernelStage
from .stages.kernel_resolved import KernelResolvedStage, KernelTriedStage
from .stages.kernel_source import KernelOrigin, KernelSourceStage
from .stages.sources import SourcesStage

NAME = "kernel"  # of the spec that stands for a profile without one


def default_spec(*, profile: str = "default", source: KernelSource | None = None, arch: str | None = None) -> Spec:
    """The spec of nothing but defaults, with another profile, source or architecture.

    Raises InputError for an unknown architecture.
    """
    from .spec.defaults import filled
    from .spec.schema import load_schema
    from .spec.source import Source
    from .spec.to_model import to_model
    from .spec.yamltree import parse

    text = f"version: 1\nname: {NAME}\n"
    tree, _ = parse(Source(f"{NAME}.yaml", text, ""))
    spec = to_model(filled(load_schema("spec"), tree.value), tree)
    kernel = replace(spec.kernel, profile=profile, source=source or spec.kernel.source)
    return replace(spec, kernel=kernel, arch=known_arch(arch) if arch else spec.arch)


def known_arch(text: str) -> str:
    """The architecture that a person means. Raises InputError, with a did-you-mean, when there is none."""
    if text not in arches():
        hint = did_you_mean(text, arches()) or f"there are: {', '.join(arches())}"
        raise InputError(f'there is no architecture "{text}"', hint=hint)
    return text


def named_source(text: str) -> KernelSource:
    """A kernel source as a person writes it after ``@``: a source tree's folder, a Debian package, or its version.

    Raises InputError for what is none of them.
    """
    if "/" in text or text in (".", ".."):
        return TreeKernel(Path(text).absolute())
    name = text if text.startswith("linux-source-") else f"linux-source-{text}"
    if not name.removeprefix("linux-source-").replace(".", "").isdigit():
        raise InputError(
            f'"{text}" is no kernel source', hint="@linux-source-6.1 (or @6.1) is Debian's package, @./linux a tree"
        )
    return DebianKernel(name)


@dataclass(frozen=True)
class Resolved:
    """What conf made of a spec's kernel: ``values`` as `read_config` gives them, met or not.

    ``root`` is where the source tree lies; ``identity`` names its content.
    """

    spec: Spec
    arch: Arch
    kernel: str
    values: Mapping[str, str]
    wishes: Wishes
    root: Path
    identity: str
    cache: Path

    @cached_property
    def tree(self) -> Tree:
        """The kernel's Kconfig files, as data."""
        from .kconfig.index import load_tree

        return load_tree(self.root, self.arch.folder, self.identity, self.cache)

    def help_of(self, definition: Definition) -> str:
        """The help text of a definition; empty when it has none."""
        from .kconfig.index import help_text

        return help_text(self.root, definition)


@dataclass(frozen=True)
class HeldOrigin(KernelOrigin):
    """A kernel's origin whose tree is looked through once and then held, for many configurations of one kernel."""

    until: ExitStack = field(default_factory=ExitStack, compare=False)
    held: dict[str, KernelTree] = field(default_factory=dict, compare=False)

    @contextmanager
    def open(self, inputs: Inputs, on_file: OnFile) -> Iterator[KernelTree]:
        if "tree" not in self.held:
            self.held["tree"] = self.until.enter_context(super().open(inputs, on_file))
        yield self.held["tree"]


class KernelSession:
    """Resolves kernels; of one session, the sources of a kernel are looked for once.

    Use it as a context: while it lasts nobody collects the store.
    """

    def __init__(self, emit: Emit, *, offline: bool = False) -> None:
        """Raises ToolError when there can be no store."""
        self._emit, self._offline = emit, offline
        self._store = Store(cache_folder())
        self._until = ExitStack()
        self._inputs: dict[KernelOrigin, BuildInputs] = {}
        self._origins: dict[KernelOrigin, HeldOrigin] = {}

    @contextmanager
    def open(self) -> Iterator[KernelSession]:
        """Hold the store, and keep what was learnt about files and tools."""
        with self._store.in_use(), self._until:
            self._store.sweep()
            yield self
        for inputs in self._inputs.values():
            inputs.save()

    @cached_property
    def library(self) -> Library:
        """The features and profiles there are. Raises InputError."""
        return cached_library(self._store.cache)

    def profiles(self, spec: Spec) -> dict[str, Resolved | InputError]:
        """Every profile as it is, on a spec's source, for its architecture; an error where one cannot be resolved."""
        found: dict[str, Resolved | InputError] = {}
        for name in self.library.profiles:
            kernel = replace(spec.kernel, profile=name, options=(), features=FeatureChanges())
            try:
                found[name] = self.resolve(replace(spec, kernel=kernel))
            except InputError as error:
                found[name] = error
        return found

    def _held(self, origin: KernelOrigin) -> HeldOrigin:
        return HeldOrigin(**{f.name: getattr(origin, f.name) for f in fields(origin)}, until=self._until)

    def packaged_config(self, spec: Spec) -> Path:
        """The configuration in a distribution's kernel package, which is fetched and taken apart once.

        Raises InputError, ToolError.
        """
        sources = SourcesStage(spec.kernel.source)
        kernel = next(stage for stage in stages_of(spec) if isinstance(stage, PackagedKernelStage))
        stages = [*([sources] if sources.needed else []), kernel]
        inputs = BuildInputs(self._store, offline=self._offline, lock=lock_where_it_fits(spec))
        with (self._store.cache / "kernel.log").open("w") as log:
            entries = Engine(spec.key, stages, self._store, inputs, self._emit, log, jobs=1).build([kernel.name])
        inputs.save()
        return entries[kernel.name].path("config")

    def resolve(self, spec: Spec) -> Resolved:
        """What conf makes of a spec's kernel.

        Raises InputError for a prebuilt kernel and for requests that contradict each other, ToolError.
        """
        if isinstance(spec.kernel.source, PackagedKernel | PrebuiltKernel):
            raise InputError(
                "its kernel is prebuilt: there is no source tree to ask",
                where=Where(relative(spec.file)),
                hint=f"compare its configuration: kata-toolkit kernel diff {relative(spec.file)} profile:default",
            )
        self.library.profile(spec.kernel.profile)
        resolved = self._stage(spec)
        values, inputs = self._asked(spec, resolved)
        origin = resolved.origin
        root = origin.folder(inputs)
        if not (root / "Kconfig").is_file():  # removed since it was read
            self._emit(Note(KernelSourceStage.name, "the source is unpacked again"))
            with origin.open(inputs, lambda _: None):
                pass
        return Resolved(
            spec=spec,
            arch=arch_of(spec.arch),
            kernel=resolved.version(inputs),
            values=values,
            wishes=resolved.wishes(inputs),
            root=root,
            identity=inputs.digest(KernelSourceStage.name, "source.json"),
            cache=self._store.cache,
        )

    def tried(self, resolved: Resolved, requests: str) -> Mapping[str, str]:
        """What conf makes of other requests, the text for KCONFIG_ALLCONFIG, on the same source. Raises ToolError."""
        stage = self._stage(resolved.spec)
        trial = KernelTriedStage(**{f.name: getattr(stage, f.name) for f in fields(stage)}, requests=requests)
        return self._asked(resolved.spec, trial)[0]

    def _stage(self, spec: Spec) -> KernelResolvedStage:
        """The stage that asks conf, on a tree that this session holds."""
        config = next(stage for stage in stages_of(spec) if isinstance(stage, KernelConfigStage))
        origin = self._origins.setdefault(config.origin, self._held(config.origin))
        return replace(KernelResolvedStage.of(config, self.library), origin=origin)

    def _asked(self, spec: Spec, stage: KernelResolvedStage) -> tuple[Mapping[str, str], BuildInputs]:
        """The values that conf gave, now or before, and what is known of the files behind them."""
        sources = SourcesStage(spec.kernel.source)
        stages = [*([sources] if sources.needed else []), KernelSourceStage(stage.origin), stage]
        if stage.origin not in self._inputs:
            lock = lock_where_it_fits(spec)
            self._inputs[stage.origin] = BuildInputs(self._store, offline=self._offline, lock=lock)
        inputs = self._inputs[stage.origin]
        inputs.drop(stage.name)
        with (self._store.cache / "kernel.log").open("w") as log:
            key = f"{spec.key}.{stage.label}-{spec.kernel.profile}"
            entries = Engine(key, stages, self._store, inputs, self._emit, log, jobs=1).build([stage.name])
        return read_config(entries[stage.name].path("config").read_text()), inputs
