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
    kernel: VersionRange


@dataclass(frozen=True, slots=True)
class Feature:
    """What one file of features/ says. ``arch`` empty: all. ``needs``: other features, with their places."""

    name: str
    title: str
    arch: frozenset[str]
    needs: Mapping[str, Where]
    settings: tuple[Setting, ...]
    allow_missing: tuple[AllowedMissing, ...]


@dataclass(frozen=True, slots=True)
class Profile:
    """What one file of profiles/ says."""

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
            raise InputError(
                f'there is no kernel profile "{name}"', where=where, hint=did_you_mean(name, self.profiles)
            )
        return self.profiles[name]

    def closure(self, names: Iterable[str], arch: str) -> tuple[Feature, ...]:
        """The features of these names and all that they need, for one architecture; needed ones first."""
        ordered: dict[str, Feature] = {}

        def visit(name: str) -> None:
            feature = self.features[name]
            if name in ordered or (feature.arch and arch not in feature.arch):
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
    features: dict[str, Feature] = {}
    profiles: dict[str, Profile] = {}
    for tree in _documents(root / "features", "feature", "fragment", problems):
        features[tree.value["feature"]] = _feature(tree)
    for tree in _documents(root / "profiles", "profile", "profile", problems):
        profiles[tree.value["profile"]] = _profile(tree)
    if not problems:
        problems = list(_references(features, profiles))
    if problems:
        raise InputError.many(problems)
    return Library(features, profiles)


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
        needs=_names(tree, "needs"),
        settings=tuple(_settings(tree)),
        allow_missing=tuple(
            AllowedMissing(
                entry["symbol"],
                entry["reason"],
                _short(tree.value_where(["allow_missing", index])),
                VersionRange.parse(entry.get("kernel")),
            )
            for index, entry in enumerate(value.get("allow_missing", ()))
        ),
    )


def _profile(tree: Tree) -> Profile:
    return Profile(tree.value["profile"], tree.value["title"], _names(tree, "features"))


def _names(tree: Tree, key: str) -> dict[str, Where]:
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


def _references(features: Mapping[str, Feature], profiles: Mapping[str, Profile]) -> Iterator[Problem]:
    for names in [*(f.needs for f in features.values()), *(p.features for p in profiles.values())]:
        for name, where in names.items():
            if name not in features:
                yield Problem(f'there is no feature "{name}"', where, did_you_mean(name, features))
    for feature in features.values():
        asked = {setting.symbol for setting in feature.settings}
        for entry in feature.allow_missing:
            if entry.symbol not in asked:
                yield Problem(f"{entry.symbol} is not asked for in this feature", entry.where)
