"""The whole job: a spec in, what its features cost out. What fails is told in its row, and the rest goes on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..errors import CheckError, InputError, KataToolkitError, Problem, ToolError
from ..events import Emit, Finished, Note, Progress, Started
from ..kconfig.fragments import load_library
from ..kconfig.requests import SPEC
from ..kconfig.versions import version_tuple
from ..pipeline.store import Store
from ..run import Log
from ..spec.model import PackagedKernel, PrebuiltKernel, Spec
from ..stages.kernel_boot import ROOTS
from .costs import Costs, Row
from .figures import Figures
from .lab import Boots, Lab
from .points import Candidates, Point

STAGE = "kernel_cost"
"""The name under which the whole run tells of its progress."""


def measure_costs(
    spec: Spec,
    store: Store,
    emit: Emit,
    log: Log,
    *,
    features: Sequence[str] = (),
    every: bool = False,
    boot: bool = True,
    offline: bool = False,
    jobs: int = 1,
) -> Costs:
    """Measure what features cost in a spec's kernel; by default those it has, with ``every`` all of the library.

    ``boot``: count instructions and memory as well, which needs QEMU. Every kernel and every boot is kept in the
    store, so an interrupted run goes on where it was. Raises InputError for names that are no features and for a
    kernel that is not compiled, and what the base kernel fails with.
    """
    if isinstance(spec.kernel.source, PackagedKernel | PrebuiltKernel):
        raise InputError(
            "a prebuilt kernel cannot be measured: it is not compiled here",
            where=spec.kernel.source.where,
            hint="measure a kernel from sources; without a spec, Debian's is taken",
        )
    store.sweep()
    lab = Lab(store, emit, log, jobs, offline)
    version = lab.version(spec)
    candidates = Candidates(load_library(), spec, version_tuple(version))
    points = candidates.points(features or (candidates.all() if every else candidates.base))
    emit(Started(STAGE, "", f"{len(points)} features of {spec.kernel.profile}, Linux {version}"))
    run = _Run(lab, spec, candidates, boot)
    rows = []
    for done, point in enumerate(points):
        word = "with" if point.added else "without"
        emit(Progress(STAGE, done, len(points), "kernels", f"{word} {point.feature}"))
        row = run.row(point)
        rows.append(row)
        emit(Note(STAGE, f"{point.feature}: {_summary(row)}"))
    emit(Finished(STAGE, "", 0.0))
    return Costs(
        name=spec.name,
        profile=spec.kernel.profile,
        kernel=version,
        arch=spec.arch,
        base=run.base,
        root=run.root,
        rows=tuple(rows),
        sources=lab.sources(spec, run.root),
    )


class _Run:
    """The base, measured at once, and the points beside it."""

    def __init__(self, lab: Lab, spec: Spec, candidates: Candidates, boot: bool) -> None:
        self._lab, self._spec, self._candidates = lab, spec, candidates
        self.base = lab.size(spec, "base")
        self.root: str | None = None
        self._boots = Boots(lab, spec, self.base)
        if boot:
            self.root = self._boots.usual()
            self.base = self._boots.of(self.root)

    def row(self, point: Point) -> Row:
        """The row of a point; a failure is told in it."""
        row = Row(point.feature, point.added)
        try:
            point = self._settled(point)
            leaves, comes = self._candidates.together(point)
            row = replace(row, along=comes if point.added else leaves, instead=leaves if point.added else ())
            sizes = self._lab.size(self._candidates.spec_of(point), point.feature)
            row = replace(row, cost=_cost(point, sizes, self.base), compiled=self._lab.compiled)
            row = replace(row, seconds=self._lab.seconds)
            return self._booted(row, point, sizes) if self.root else row
        except (InputError, ToolError, CheckError) as error:
            return replace(row, problem=_told(error))

    def _settled(self, point: Point) -> Point:
        """The point, with what conf says cannot stay without the feature left out as well.

        Where the spec's own options need it, nothing can be done: the build then says so.
        """
        while not point.added:
            askers = self._lab.askers(self._candidates.spec_of(point), point.feature)
            more = self._candidates.dependents([*point.drop, *(asker for asker in askers if asker != SPEC)])
            if more == point.drop:
                break
            point = replace(point, drop=more)
        return point

    def _booted(self, row: Row, point: Point, sizes: Figures) -> Row:
        """The row with what a boot tells: of both kernels from the same root, the usual one if that works."""
        spec = self._candidates.spec_of(point)
        first: CheckError | InputError | None = None
        for root in [self.root, *(r for r in ROOTS if r != self.root)]:
            assert root is not None  # noqa: S101 -- the caller asked
            try:
                figures = self._lab.boot(spec, point.feature, sizes, root)
                base = self._boots.of(root)
            except (CheckError, InputError) as error:
                first = first or error
                continue
            return replace(row, cost=_cost(point, figures, base), root=None if root == self.root else root)
        assert first is not None  # noqa: S101 -- there are roots
        return replace(row, problem=f"does not boot: {_told(first)}")


def _cost(point: Point, figures: Figures, base: Figures) -> Figures:
    return figures - base if point.added else base - figures


def _told(error: KataToolkitError) -> str:
    """The first line of the first problem, and how many more there are."""
    first: Problem = error.problems[0]
    more = f" (and {len(error.problems) - 1} more)" if len(error.problems) > 1 else ""
    return first.message.splitlines()[0].rstrip(":") + more


def _summary(row: Row) -> str:
    """One line on what a row says."""
    if row.cost is None:
        return f"not measured: {row.problem}"
    words = [f"bzImage {(row.cost.bzimage or 0) / 1024:+,.0f} KiB"]
    if row.cost.boot_minstr is not None:
        words.append(f"{row.cost.boot_minstr:+,.2f} M instructions")
    if row.compiled is not None:
        words.append(f"{row.compiled} objects compiled in {row.seconds} s")
    return ", ".join([*words, *([row.problem] if row.problem else [])])
