"""Which features a kernel gets: the profile's, as the spec changes them, and all that these need."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from ..errors import InputError, Problem, Where
from ..spec.model import FeatureChanges
from ..spec.suggest import did_you_mean
from .fragments import Feature, Library, Profile

NO_CHANGES = FeatureChanges()


def select(
    library: Library,
    profile: str,
    changes: FeatureChanges = NO_CHANGES,
    *,
    arch: str,
    kernel: tuple[int, ...] | None = None,
    where: Where | None = None,
) -> tuple[Feature, ...]:
    """The features, needed ones first; ``kernel`` None: whatever the version.

    A profile's features that are not for this architecture or version are left out: it is for all of them. What the
    spec adds must be for it. Adding a feature that is there already is no mistake: profiles grow. Raises InputError
    with every change that does not fit, and for features that exclude each other, with the places of both.
    """
    chosen = library.profile(profile, where)
    problems = [*_unknown(library, changes), *_contradictory(changes)]
    if not problems:
        problems += _not_there(library, chosen, changes, arch)
        problems += _not_for_this(library, changes, arch, kernel)
    if problems:
        raise InputError.many(problems)
    names = {name: place for name, place in chosen.features.items() if name not in changes.drop}
    names.update({name: place for name, place in changes.add.items() if name not in names})
    features = library.closure(names, arch, kernel)
    asked = _asked(names, features)
    problems = [*_still_needed(features, changes), *_exclusive(features, asked, changes)]
    if problems:
        raise InputError.many(problems)
    return features


def _unknown(library: Library, changes: FeatureChanges) -> Iterator[Problem]:
    for name, where in (*changes.add.items(), *changes.drop.items()):
        if name not in library.features:
            hint = did_you_mean(name, library.features) or "docs/kernel-profiles.md lists them"
            yield Problem(f'there is no kernel feature "{name}"', where, hint)


def _contradictory(changes: FeatureChanges) -> Iterator[Problem]:
    for name, where in changes.drop.items():
        if name in changes.add:
            yield Problem(f'the feature "{name}" is both added and dropped', where, "remove one of the two")


def _not_there(library: Library, profile: Profile, changes: FeatureChanges, arch: str) -> Iterator[Problem]:
    there = {*profile.features, *(f.name for f in library.closure([*profile.features, *changes.add], arch))}
    for name, where in changes.drop.items():
        if name not in there:
            hint = did_you_mean(name, there) or "remove it"
            yield Problem(f'the profile "{profile.name}" has no feature "{name}" to drop', where, hint)


def _not_for_this(
    library: Library, changes: FeatureChanges, arch: str, kernel: tuple[int, ...] | None
) -> Iterator[Problem]:
    for name, where in changes.add.items():
        feature = library.features[name]
        if not feature.is_for(arch, None):
            yield Problem(f'the feature "{name}" is for {_names(feature.arch)}, not for {arch}', where, "remove it")
        elif not feature.is_for(arch, kernel):
            version = ".".join(map(str, kernel or ()))
            yield Problem(f'the feature "{name}" is for kernels {feature.kernel}; this one is {version}', where)


def _still_needed(features: Iterable[Feature], changes: FeatureChanges) -> Iterator[Problem]:
    """What was dropped and came back, since another feature needs it."""
    for feature in features:
        for name, place in feature.needs.items():
            if name in changes.drop:
                yield Problem(
                    f'the feature "{name}" cannot be dropped: "{feature.name}" needs it ({place})',
                    changes.drop[name],
                    f"drop {feature.name} as well, or keep {name}",
                )


def _exclusive(features: Iterable[Feature], asked: Mapping[str, Where], changes: FeatureChanges) -> Iterator[Problem]:
    """Told where the spec adds one of the two, or what needs it, since there it can be helped; else where the features
    say so."""
    features = tuple(features)
    for feature in features:
        for other, place in feature.conflicts.items():
            if other not in asked:
                continue
            pair = (feature.name, other)
            bringing = {name: _bringing(name, features, changes) for name in pair}
            added = [adding for name in pair for adding in bringing[name]]
            droppable = [name for name in pair if not bringing[name]]
            yield Problem(
                f'the features "{feature.name}" and "{other}" exclude each other ({place}): "{feature.name}" is asked '
                f'for at {asked[feature.name]}, "{other}" at {asked[other]}',
                changes.add[added[0]] if added else place,
                _one_of_two(droppable, list(dict.fromkeys(added))),
            )


def _one_of_two(droppable: list[str], added: list[str]) -> str:
    if not droppable:
        return f"do not add both of {' and '.join(added)}" if len(added) > 1 else f"do not add {added[0]}"
    without = f", or do not add {' and '.join(added)}" if added else ""
    return f"drop {' or '.join(droppable)} (kernel.features.drop){without}"


def _bringing(name: str, features: Iterable[Feature], changes: FeatureChanges) -> list[str]:
    """What the spec adds that is this feature, or needs it, directly or not."""
    found = {name}
    for feature in reversed(tuple(features)):  # what is needed comes first
        if found & feature.needs.keys():
            found.add(feature.name)
    return [added for added in changes.add if added in found]


def _asked(names: Mapping[str, Where], features: Iterable[Feature]) -> dict[str, Where]:
    """Where each feature is asked for: in the profile, in the spec, or by another one's needs."""
    found = {f.name: names[f.name] for f in features if f.name in names}
    for feature in features:
        for name, place in feature.needs.items():
            found.setdefault(name, place)
    there = {f.name for f in features}
    return {name: place for name, place in found.items() if name in there}


def _names(words: Iterable[str]) -> str:
    return ", ".join(sorted(words))
