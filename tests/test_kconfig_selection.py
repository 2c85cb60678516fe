"""Which features a kernel gets: what needs and excludes what, profiles that extend profiles, and a spec's changes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kata_toolkit.errors import InputError, Where
from kata_toolkit.kconfig.fragments import Library, load_library
from kata_toolkit.kconfig.requests import collect
from kata_toolkit.kconfig.selection import select
from kata_toolkit.spec.load import load_spec
from kata_toolkit.spec.model import FeatureChanges

FEATURES = {
    "bus": "",
    "net": "needs: [bus]\n",
    "disk": "needs: [bus]\n",
    "share": "needs: [disk]\n",
    "lean": "conflicts: [share]\n",
    "arm": "arch: [arm64]\n",
    "new": 'kernel: ">=6.6"\n',
}
PROFILES = {"small": "features: [net]\n", "big": "extends: small\nfeatures: [disk, arm, new]\n"}


def write(folder: Path, features: dict[str, str], profiles: dict[str, str]) -> Path:
    for kind in ("features", "profiles"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    for name, more in features.items():
        symbol = f'symbols:\n  CONFIG_{name.upper()}: {{value: y, why: "a reason for it"}}\n'
        (folder / "features" / f"{name}.yaml").write_text(f"feature: {name}\ntitle: A title\n{symbol}{more}")
    for name, text in profiles.items():
        (folder / "profiles" / f"{name}.yaml").write_text(f"profile: {name}\ntitle: A title\n{text}")
    return folder


@pytest.fixture
def library(tmp_path: Path) -> Library:
    return load_library(write(tmp_path, FEATURES, PROFILES))


def changes(add: str = "", drop: str = "") -> FeatureChanges:
    return FeatureChanges(
        {name: Where("my.yaml", line, 5) for line, name in enumerate(add.split(), 1)},
        {name: Where("my.yaml", line, 7) for line, name in enumerate(drop.split(), 1)},
    )


def names(library: Library, profile: str, change: FeatureChanges, **of: object) -> list[str]:
    facts = {"arch": "x86_64", "kernel": (6, 12), **of}
    return [f.name for f in select(library, profile, change, **facts)]  # type: ignore[arg-type] # facts are mixed


def test_a_spec_adds_and_drops_features(library: Library) -> None:
    assert names(library, "big", changes()) == ["bus", "net", "disk", "new"]
    assert names(library, "big", changes(), arch="arm64", kernel=(6, 1)) == ["bus", "net", "disk", "arm"]
    assert names(library, "small", changes(add="share")) == ["bus", "net", "disk", "share"]
    assert names(library, "big", changes(drop="disk new")) == ["bus", "net"]
    assert names(library, "big", changes(add="net")) == ["bus", "net", "disk", "new"], "twice does no harm"
    assert names(library, "small", changes(add="lean", drop="net")) == ["lean"]


BAD = {
    "unknown": (changes(add="shaer"), 'my.yaml:1:5: there is no kernel feature "shaer" (did you mean "share"?)'),
    "unknown drop": (changes(drop="nett"), 'my.yaml:1:7: there is no kernel feature "nett" (did you mean "net"?)'),
    "both": (
        changes(add="net", drop="net"),
        'my.yaml:1:7: the feature "net" is both added and dropped (remove one of the two)',
    ),
    "not there": (changes(drop="share"), 'my.yaml:1:7: the profile "big" has no feature "share" to drop (remove it)'),
    "needed": (
        changes(drop="bus"),
        (
            'my.yaml:1:7: the feature "bus" cannot be dropped: "net" needs it (FOLDER/features/net.yaml:5:9) '
            "(drop net as well, or keep bus)"
        ),
    ),
    "other architecture": (
        changes(add="arm"),
        'my.yaml:1:5: the feature "arm" is for arm64, not for x86_64 (remove it)',
    ),
    "exclusive": (
        changes(add="share lean"),
        (
            'my.yaml:2:5: the features "lean" and "share" exclude each other (FOLDER/features/lean.yaml:5:13): '
            '"lean" is asked for at my.yaml:2:5, "share" at my.yaml:1:5 (do not add both of lean and share)'
        ),
    ),
}


def test_what_brings_an_excluded_feature_is_named_at_its_line(tmp_path: Path) -> None:
    """The profile minimal is lean; hardening needs protection, which lean excludes."""
    with pytest.raises(InputError) as caught:
        select(load_library(), "minimal", changes(add="hardening"), arch="x86_64", kernel=(6, 12))
    (problem,) = caught.value.problems
    assert str(problem.where) == "my.yaml:1:5"
    assert problem.message.startswith('the features "lean" and "protection" exclude each other')
    assert problem.hint == "drop lean (kernel.features.drop), or do not add hardening"


@pytest.mark.parametrize("name", BAD)
def test_a_change_that_does_not_fit_is_refused_with_its_place(name: str, library: Library, tmp_path: Path) -> None:
    change, message = BAD[name]
    with pytest.raises(InputError) as caught:
        select(library, "big", change, arch="x86_64", kernel=(6, 12))
    assert str(caught.value.problems[0]).replace(str(tmp_path), "FOLDER") == message


def test_a_feature_for_newer_kernels_is_refused_only_when_the_spec_asks(library: Library) -> None:
    assert "new" not in names(library, "big", changes(), kernel=(6, 1))
    with pytest.raises(InputError, match=re.escape('the feature "new" is for kernels >=6.6; this one is 6.1')):
        select(library, "small", changes(add="new"), arch="x86_64", kernel=(6, 1))
    assert "new" in [f.name for f in select(library, "small", changes(add="new"), arch="x86_64")], "version unknown"


EXTENDS = {
    "unknown": ("extends: smal\nfeatures: [disk]\n", 'there is no kernel profile "smal" (did you mean "small"?)'),
    "circle": ("extends: bad\nfeatures: [disk]\n", '3:10: "bad" extends itself'),
    "again": ("extends: small\nfeatures: [net]\n", '4:12: "net" is in the extended profile already'),
    "drops what is not there": (
        "extends: small\nfeatures: [disk]\ndrop: [share]\n",
        '5:8: the profile "small" has no feature "share"',
    ),
    "drops from nothing": ("features: [disk]\ndrop: [net]\n", '"drop" needs "extends" beside it'),
}


@pytest.mark.parametrize("name", EXTENDS)
def test_a_profile_that_extends_wrongly_is_refused(name: str, tmp_path: Path) -> None:
    text, message = EXTENDS[name]
    with pytest.raises(InputError) as caught:
        load_library(write(tmp_path, FEATURES, {**PROFILES, "bad": text}))
    assert message in str(caught.value.problems[0])


def test_features_that_need_each_other_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        load_library(write(tmp_path, {"a": "needs: [b]\n", "b": "needs: [c]\n", "c": "needs: [a]\n"}, {}))
    assert len(caught.value.problems) == 3
    assert '"a" needs "b", which needs "a"' in str(caught.value.problems[0])


def test_an_allowance_holds_only_when_each_feature_that_asks_has_it(tmp_path: Path) -> None:
    same = 'symbols:\n  CONFIG_X: {value: y, why: "a reason for it"}\n'
    allow = "allow_missing:\n  - {symbol: CONFIG_X, arch: [arm64], reason: the board has none}\n"
    write(tmp_path, {}, {"p": "features: [a]\n", "q": "extends: p\nfeatures: [b]\n"})
    (tmp_path / "features" / "a.yaml").write_text(f"feature: a\ntitle: A title\n{same}{allow}")
    (tmp_path / "features" / "b.yaml").write_text(f"feature: b\ntitle: A title\n{same}")
    ours = load_library(tmp_path)

    def allowed(profile: str, arch: str) -> str | None:
        return collect(ours, profile, (), arch=arch, kernel="6.12").requests[0].allowed

    assert [allowed("p", "arm64"), allowed("p", "x86_64"), allowed("q", "arm64")] == ["the board has none", None, None]


def test_a_spec_is_told_at_once_where_its_features_do_not_fit(tmp_path: Path) -> None:
    spec = tmp_path / "g.yaml"
    spec.write_text("version: 1\nname: g\nkernel:\n  features: {add: [nsf], drop: [squashfs]}\n")
    with pytest.raises(InputError) as caught:
        load_spec(spec)
    found = [(p.message, p.where and (p.where.line, p.where.column), p.hint) for p in caught.value.problems]
    assert found == [('there is no kernel feature "nsf"', (4, 20), 'did you mean "nfs"?')]
    spec.write_text("version: 1\nname: g\nkernel:\n  features: {add: [nfs], drop: [xfs]}\n")
    assert list(load_spec(spec).kernel.features.add) == ["nfs"]
    assert list(load_spec(spec).kernel.features.drop) == ["xfs"]


WORDS = st.sampled_from(
    [
        "feature",
        "title",
        "symbols",
        "needs",
        "conflicts",
        "arch",
        "kernel",
        "allow_missing",
        "symbol",
        "reason",
        "value",
        "why",
        "profile",
        "features",
        "extends",
        "drop",
        "x",
        "CONFIG_X",
        "y",
        ">=6.1",
        "<6.6",
        "arm64",
        "[",
        "a:",
    ]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | WORDS | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS | st.text(max_size=6), inner, max_size=5),
    max_leaves=20,
)


def loads_or_tells(folder: Path, kind: str, data: bytes) -> None:
    for name in ("features", "profiles"):
        (folder / name).mkdir(exist_ok=True)
    (folder / kind / "x.yaml").write_bytes(data)
    try:
        load_library(folder)
    except InputError as error:
        for problem in error.problems:
            assert problem.where is not None, problem
            assert problem.where.file.endswith("x.yaml")
            assert problem.message


@pytest.mark.parametrize("kind", ["features", "profiles"])
@settings(max_examples=40, deadline=None)
@given(document=VALUES)
def test_no_document_crashes_the_reader(tmp_path_factory: pytest.TempPathFactory, kind: str, document: object) -> None:
    import yaml

    text = yaml.safe_dump(document, allow_unicode=True)
    loads_or_tells(tmp_path_factory.mktemp("library"), kind, text.encode(errors="surrogateescape"))


@settings(max_examples=40, deadline=None)
@given(data=st.binary(max_size=200), at=st.integers(0, 200))
def test_no_damage_to_a_fragment_crashes_the_reader(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, at: int
) -> None:
    good = b'feature: x\ntitle: A title\nneeds: []\nsymbols:\n  CONFIG_X: {value: y, why: "a reason for it"}\n'
    loads_or_tells(tmp_path_factory.mktemp("library"), "features", good[:at] + data + good[at:])
