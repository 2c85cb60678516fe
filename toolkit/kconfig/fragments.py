"""The fragment library: one YAML file a feature, one a profile, read strictly and checked against their schemas."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from .. import resources
from ..errors import InputError, Problem, Where, relative
from ..spec.schema import check, load_schema
from ..spec.suggest import did_you_mean
from ..spec.yamltree import Tree, load_yaml
from .soundness import unsound
from .versions import VersionRange


@dataclass(frozen=True, slots=True)
class Setting:
    """One wished-for value; ``value`` as ``.config`` writes it, "n" for off. ``arch`` empty: all."""

    symbol: str
    value: str
    why: str
    where: Where
    arch: frozenset[str]
    kernel: VersionRange


@dataclass(frozen=True, slots=True)
class AllowedMissing:
    """A request of a feature that may stay unmet."""

    symbol: str
    reason: str
    where: Where
    arch: frozenset[str]
    kernel: VersionRange


@dataclass(frozen=True, slots=True)
class Feature:
    """What one file of features/ says. ``arch`` empty: all.

    ``needs``: the features it brings along, ``conflicts``: those it cannot be on together with; with their places.
    ``who``: who loses something in a guest without it.
    """

    name: str
    title: str
    arch: frozenset[str]
    kernel: VersionRange
    needs: Mapping[str, Where]
    conflicts: Mapping[str, Where]
    settings: tuple[Setting, ...]
    allow_missing: tuple[AllowedMissing, ...]
    who: str | None = None

    def is_for(self, arch: str, kernel: tuple[int, ...] | None) -> bool:
        """Whether it exists for an architecture and, when known, a kernel version."""
        return (not self.arch or arch in self.arch) and (kernel is None or kernel in self.kernel)


@dataclass(frozen=True, slots=True)
class Profile:
    """What one file of profiles/ says, and the profile that it extends; the features with their places."""

    name: str
    title: str
    features: Mapping[str, Where]


@dataclass(frozen=True, slots=True)
class Library:
    """All features and profiles of one folder."""

    features: Mapping[str, Feature]
    profiles: Mapping[str, Profile]

    def profile(self, name: str, where: Where | None = None) -> Profile:
        """The profile of that name. Raises InputError at ``where`` (the spec) when there is none."""
        if name not in self.profiles:
            hint = did_you_mean(name, self.profiles) or f"there are: {', '.join(self.profiles)}"
            raise InputError(f'there is no kernel profile "{name}"', where=where, hint=hint)
        return self.profiles[name]

    def closure(self, names: Iterable[str], arch: str, kernel: tuple[int, ...] | None = None) -> tuple[Feature, ...]:
        """The features of these names and all that they need; needed ones first.

        What is not for the architecture or the kernel version (None: any) is left out.
        """
        ordered: dict[str, Feature] = {}

        def visit(name: str) -> None:
            feature = self.features[name]
            if name in ordered or not feature.is_for(arch, kernel):
                return
            for needed in feature.needs:
                visit(needed)
            ordered[name] = feature

        for name in names:
            visit(name)
        return tuple(ordered.values())


def load_library(folder: Path | None = None) -> Library:
    """Read kernel-configs/ (or another folder laid out like it). Raises InputError with every mistake found."""
    root = folder or resources.resource("kernel-configs")
    problems: list[Problem] = []
    features = {
        tree.value["feature"]: _feature(tree) for tree in _documents(root / "features", "feature", "fragment", problems)
    }
    profiles = {tree.value["profile"]: tree for tree in _documents(root / "profiles", "profile", "profile", problems)}
    composed: dict[str, Profile] = {}
    if not problems:
        composed = _Composer(profiles, problems).all()
        problems += unsound(features, composed)
    if problems:
        raise InputError.many(problems)
    return Library(features, composed)


def _documents(folder: Path, kind: str, schema: str, problems: list[Problem]) -> Iterator[Tree]:
    """The folder's documents that agree with their schema; what is wrong with the others goes to ``problems``."""
    rules = load_schema(schema)
    for path in sorted(folder.glob("*.yaml")):
        try:
            tree = load_yaml(path)
        except InputError as error:
            problems += map(_local, error.problems)
            continue
        mistakes = [_local(problem) for _, problem in check(tree, rules)]
        if not mistakes and tree.value[kind] != path.stem:
            mistakes = [
                Problem(
                    f'the {kind} "{tree.value[kind]}" lies in a file of another name',
                    _short(tree.value_where([kind])),
                    f"rename the file to {tree.value[kind]}.yaml",
                )
            ]
        problems += mistakes
        if not mistakes:
            yield tree


def _short(where: Where) -> Where:
    return Where(relative(Path(where.file)), where.line, where.column)


def _local(problem: Problem) -> Problem:
    return Problem(problem.message, _short(problem.where) if problem.where else None, problem.hint)


def _feature(tree: Tree) -> Feature:
    value = tree.value
    return Feature(
        name=value["feature"],
        title=value["title"],
        arch=frozenset(value.get("arch", ())),
        kernel=VersionRange.parse(value.get("kernel")),
        needs=names_of(tree, "needs"),
        conflicts=names_of(tree, "conflicts"),
        settings=tuple(_settings(tree)),
        allow_missing=tuple(
            AllowedMissing(
                entry["symbol"],
                entry["reason"],
                _short(tree.value_where(["allow_missing", index])),
                frozenset(entry.get("arch", ())),
                VersionRange.parse(entry.get("kernel")),
            )
            for index, entry in enumerate(value.get("allow_missing", ()))
        ),
        who=value.get("who"),
    )


class _Composer:
    """Resolves what profiles extend; what is wrong goes to ``problems``."""

    def __init__(self, trees: Mapping[str, Tree], problems: list[Problem]) -> None:
        self.trees, self.problems = trees, problems
        self.done: dict[str, Profile] = {}

    def all(self) -> dict[str, Profile]:
        """Every profile that could be composed."""
        for name in self.trees:
            self.of(name, ())
        return self.done

    def of(self, name: str, above: tuple[str, ...]) -> Profile | None:
        """The profile of that name; ``above``: those that extend it, to notice a circle."""
        if name not in self.done:
            tree = self.trees[name]
            base = self._base(tree, (*above, name))
            features = self._without(tree, base) if base else {}
            for feature, where in names_of(tree, "features").items():
                if feature in features:
                    hint = f"see {features[feature]}"
                    self.problems.append(Problem(f'"{feature}" is in the extended profile already', where, hint))
                features[feature] = where
            self.done[name] = Profile(name, tree.value["title"], features)
        return self.done[name]

    def _base(self, tree: Tree, above: tuple[str, ...]) -> Profile | None:
        name = tree.value.get("extends")
        where = _short(tree.value_where(["extends"]))
        if name in above:
            self.problems.append(Problem(f'"{name}" extends itself', where))
        elif name is not None and name not in self.trees:
            self.problems.append(Problem(f'there is no kernel profile "{name}"', where, did_you_mean(name, self.trees)))
        elif name is not None:
            return self.of(name, above)
        return None

    def _without(self, tree: Tree, base: Profile) -> dict[str, Where]:
        """The extended profile's features without those that are dropped."""
        features = dict(base.features)
        for name, where in names_of(tree, "drop").items():
            if name in features:
                del features[name]
            else:
                hint = did_you_mean(name, features)
                self.problems.append(Problem(f'the profile "{base.name}" has no feature "{name}"', where, hint))
        return features


def names_of(tree: Tree, key: str) -> dict[str, Where]:
    """A list of names in a document, each with its place."""
    return {name: _short(tree.value_where([key, index])) for index, name in enumerate(tree.value.get(key, ()))}


def _settings(tree: Tree) -> Iterator[Setting]:
    for symbol, given in tree.value.get("symbols", {}).items():
        variants = given if isinstance(given, list) else [given]
        for index, facts in enumerate(variants):
            steps: list[str | int] = ["symbols", symbol, index] if isinstance(given, list) else ["symbols", symbol]
            node = tree.node([*steps, "value"])
            yield Setting(
                symbol,
                node.raw or str(facts["value"]),
                facts["why"],
                _short(tree.key_where(steps)),
                frozenset(facts.get("arch", ())),
                VersionRange.parse(facts.get("kernel")),
            )
