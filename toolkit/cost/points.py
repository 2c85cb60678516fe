"""Which kernels are measured: the base, and for each feature the base without it, or with it where it is not in."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from ..errors import InputError, Problem, Where
from ..kconfig.fragments import Library
from ..kconfig.selection import select
from ..spec.model import FeatureChanges, Spec
from ..spec.suggest import did_you_mean

_ASKER = Where("kernel cost")  # where conf's complaints say the wish comes from


@dataclass(frozen=True, slots=True)
class Point:
    """One kernel beside the base.

    ``feature``: the one that was asked about. ``drop``: what is left out of the base, the feature itself or what
    excludes it; ``add``: what is asked for on top. Sorted names.
    """

    feature: str
    drop: tuple[str, ...] = ()
    add: tuple[str, ...] = ()

    @property
    def added(self) -> bool:
        """Whether the feature is added to the base, and not left out of it."""
        return bool(self.add)


class Candidates:
    """The features that can be asked about, for one spec on one kernel version (as numbers)."""

    def __init__(self, library: Library, spec: Spec, version: tuple[int, ...]) -> None:
        """Raises InputError when the spec's own features do not fit together."""
        self._library, self._spec, self._version = library, spec, version
        self.base = self._names(spec)

    def _names(self, spec: Spec) -> tuple[str, ...]:
        kernel = spec.kernel
        found = select(self._library, kernel.profile, kernel.features, arch=spec.arch, kernel=self._version)
        return tuple(feature.name for feature in found)

    def all(self) -> tuple[str, ...]:
        """Every feature of the library for this architecture and version: the base's first, then the others."""
        others = (n for n, f in self._library.features.items() if f.is_for(self._spec.arch, self._version))
        return tuple(dict.fromkeys((*self.base, *others)))

    def points(self, names: Sequence[str]) -> list[Point]:
        """The point of each name. Raises InputError with every name that is no feature for this kernel."""
        wanted = tuple(dict.fromkeys(names))
        problems = [problem for name in wanted if (problem := self._wrong(name))]
        if problems:
            raise InputError.many(problems)
        return [self._point(name) for name in wanted]

    def _wrong(self, name: str) -> Problem | None:
        known = self._library.features
        if name not in known:
            hint = did_you_mean(name, known) or f"there are: {', '.join(sorted(known))}"
            return Problem(f'there is no kernel feature "{name}"', hint=hint)
        feature, arch = known[name], self._spec.arch
        if not feature.is_for(arch, None):
            return Problem(f'the feature "{name}" is for {", ".join(sorted(feature.arch))}, not for {arch}')
        if not feature.is_for(arch, self._version):
            version = ".".join(map(str, self._version))
            return Problem(f'the feature "{name}" is for kernels {feature.kernel}; this one is {version}')
        return None

    def _point(self, name: str) -> Point:
        if name in self.base:
            return Point(name, drop=self.dependents([name]))
        coming = {f.name for f in self._library.closure([name], self._spec.arch, self._version)}
        return Point(name, drop=self.dependents(self._excluded(coming)), add=(name,))

    def _excluded(self, coming: Iterable[str]) -> set[str]:
        """Features of the base that exclude one of those coming, whichever of the two says so."""
        features = self._library.features
        said = {other for name in coming for other in features[name].conflicts}
        saying = {name for name in self.base for other in features[name].conflicts if other in set(coming)}
        return (said | saying) & set(self.base)

    def dependents(self, names: Iterable[str]) -> tuple[str, ...]:
        """These features and all of the base that need them, directly or not; sorted."""
        found = set(names)
        while True:
            more = {n for n in self.base if n not in found and found & self._library.features[n].needs.keys()}
            if not more:
                return tuple(sorted(found))
            found |= more

    def spec_of(self, point: Point) -> Spec:
        """The spec of a point's kernel."""
        kernel = self._spec.kernel
        profile = self._library.profile(kernel.profile)
        in_profile = {f.name for f in self._library.closure(profile.features, self._spec.arch, self._version)}
        drop = {n: w for n, w in kernel.features.drop.items() if n not in point.add}
        drop.update({n: _ASKER for n in point.drop if n in in_profile})
        add = {n: w for n, w in kernel.features.add.items() if n not in point.drop}
        add.update(dict.fromkeys(point.add, _ASKER))
        return replace(self._spec, kernel=replace(kernel, features=FeatureChanges(add, drop)))

    def together(self, point: Point) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """What leaves the base beside the feature, and what comes beside it, as the library has it; sorted.

        Raises InputError when what is added does not fit the rest.
        """
        there, now = set(self.base), set(self._names(self.spec_of(point)))
        return tuple(sorted(there - now - {point.feature})), tuple(sorted(now - there - {point.feature}))
