"""The fragment library: what ours says, and what a mistake in a fragment is answered with."""

from __future__ import annotations

from pathlib import Path

import pytest
from kata_toolkit.errors import InputError, Where
from kata_toolkit.kconfig.fragments import load_library
from kata_toolkit.kconfig.requests import collect
from kata_toolkit.kconfig.versions import VersionRange, version_tuple
from kata_toolkit.spec.model import KernelOption

GOOD = """\
feature: vsock
title: The agent's connection
symbols:
  CONFIG_VSOCKETS: {value: y, why: "the agent listens there"}
"""
PROFILE = "profile: small\ntitle: A small one\nfeatures: [vsock]\n"

BAD = {
    "no symbols": ("feature: vsock\ntitle: A title\n", '1:1: the document lacks "symbols"'),
    "another name": (GOOD.replace("feature: vsock", "feature: vsok"), "lies in a file of another name"),
    "unknown key": (GOOD + "nedes: [net]\n", '5:1: unknown key "nedes" (did you mean "needs"?)'),
    "no prefix": (
        GOOD.replace("CONFIG_VSOCKETS", "VSOCKETS"),
        '4:3: "VSOCKETS" is not a Kconfig symbol, such as CONFIG_VSOCKETS (write CONFIG_VSOCKETS)',
    ),
    "yes": (GOOD.replace("value: y", "value: yes"), "4:28: expected y, m, n, a number, or text in double quotes"),
    "true": (GOOD.replace("value: y", "value: true"), "4:28: expected a whole number, got true"),
    "no why": (GOOD.replace(', why: "the agent listens there"', ""), 'symbols.CONFIG_VSOCKETS lacks "why"'),
    "empty why": (GOOD.replace("the agent listens there", ""), "expected a reason of 10 to 200 characters"),
    "long why": (GOOD.replace("the agent", "x" * 200), "expected a reason of 10 to 200 characters"),
    "version": (
        GOOD.replace("value: y", 'value: y, kernel: "6.1"'),
        'expected a range of kernel versions: ">=6.6", "<6.9" or ">=6.1,<6.9", got "6.1"',
    ),
    "arch": (GOOD.replace("value: y", "value: y, arch: [amd64]"), 'did you mean "x86_64"?'),
    "twice": (
        GOOD + '  CONFIG_VSOCKETS: {value: n, why: "the agent listens there"}\n',
        '5:3: the key "CONFIG_VSOCKETS" is already given at line 4',
    ),
    "needs nothing known": (GOOD + "needs: [vsok]\n", '5:9: there is no feature "vsok" (did you mean "vsock"?)'),
    "allowed where it is not asked": (
        GOOD.replace("value: y", 'value: y, kernel: ">=6.6"')
        + "allow_missing:\n  - {symbol: CONFIG_VSOCKETS, kernel: '<6.6', reason: older kernels lack it}\n",
        "6:5: CONFIG_VSOCKETS is never asked for where this entry allows it to be missing (it is asked for at",
    ),
    "allowed on another architecture": (
        GOOD.replace("value: y", "value: y, arch: [arm64]")
        + "allow_missing:\n  - {symbol: CONFIG_VSOCKETS, arch: [s390x], reason: there is none}\n",
        "6:5: CONFIG_VSOCKETS is never asked for where this entry allows it to be missing",
    ),
    "no version": (
        GOOD.replace("value: y", 'value: y, kernel: ">=6.9,<6.6"'),
        "4:3: CONFIG_VSOCKETS: no kernel version is in this range",
    ),
    "no version of the feature's": (
        GOOD.replace("value: y", 'value: y, kernel: "<6.6"') + 'kernel: ">=6.6"\n',
        "4:3: CONFIG_VSOCKETS: no kernel version is in this range",
    ),
    "architecture not the feature's": (
        GOOD.replace("value: y", "value: y, arch: [arm64]") + "arch: [x86_64]\n",
        '4:3: CONFIG_VSOCKETS: the feature "vsock" is not for that architecture',
    ),
    "excludes nothing known": (
        GOOD + "conflicts: [vsok]\n",
        '5:13: there is no feature "vsok" (did you mean "vsock"?)',
    ),
    "needs itself": (GOOD + "needs: [vsock]\n", '5:9: "vsock" needs "vsock", which needs "vsock"'),
    "excludes itself": (GOOD + "conflicts: [vsock]\n", '5:13: "vsock" excludes "vsock", but needs it'),
    "allowed, not asked": (
        GOOD + "allow_missing:\n  - {symbol: CONFIG_NET, reason: older kernels lack it}\n",
        "6:5: CONFIG_NET is not asked for in this feature",
    ),
    "not YAML": ("feature: [\n", "is not YAML"),
}


def library(folder: Path, **features: str) -> Path:
    for kind in ("features", "profiles"):
        (folder / kind).mkdir(exist_ok=True)
    for name, text in features.items():
        (folder / "features" / f"{name}.yaml").write_text(text)
    return folder


@pytest.mark.parametrize("name", BAD)
def test_a_mistake_is_reported_with_its_place(name: str, tmp_path: Path) -> None:
    text, message = BAD[name]
    with pytest.raises(InputError) as caught:
        load_library(library(tmp_path, vsock=text))
    assert [str(p) for p in caught.value.problems if message in str(p)], [str(p) for p in caught.value.problems]
    assert len(caught.value.problems) == 1
    where = caught.value.problems[0].where
    assert where is not None
    assert where.file.endswith("features/vsock.yaml")


def test_all_mistakes_of_all_files_are_reported_at_once(tmp_path: Path) -> None:
    folder = library(tmp_path, a="feature: a\n", b="feature: b\ntitle: abc\nsymbols: {}\n")
    (folder / "profiles" / "p.yaml").write_text("profile: p\n")
    with pytest.raises(InputError) as caught:
        load_library(folder)
    files = {Path(p.where.file).name for p in caught.value.problems if p.where}
    assert files == {"a.yaml", "b.yaml", "p.yaml"}


def test_our_library_is_sound_and_teaches() -> None:
    ours = load_library()
    assert {"default", "minimal", "parity", "upstream", "firecracker", "confidential", "gpu", "debug", "edge"} == set(
        ours.profiles
    )
    for feature in ours.features.values():
        for setting in feature.settings:
            assert "\n" not in setting.why
            assert setting.why[-1] != ".", f"{setting.where}: a reason is a phrase, not a sentence"


@pytest.mark.parametrize("profile", sorted(load_library().profiles))
@pytest.mark.parametrize("kernel", ["6.1.0", "6.12.0", "6.18.0"])
def test_our_profiles_do_not_contradict_themselves(profile: str, kernel: str) -> None:
    wishes = collect(load_library(), profile, (), arch="x86_64", kernel=kernel)
    assert len(wishes.requests) > 100
    assert "CONFIG_VSOCKETS=y\n" in wishes.allconfig()


def test_needed_features_come_along_first_and_once(tmp_path: Path) -> None:
    net = GOOD.replace("vsock", "net").replace("VSOCKETS", "NET")
    folder = library(tmp_path, net=net, vsock=GOOD + "needs: [net]\n")
    (folder / "profiles" / "small.yaml").write_text(PROFILE.replace("[vsock]", "[vsock, net]"))
    wishes = collect(load_library(folder), "small", (), arch="x86_64", kernel="6.12")
    assert wishes.features == ("net", "vsock")


def test_architecture_and_version_choose_the_variant(tmp_path: Path) -> None:
    text = """\
feature: vsock
title: Variants
symbols:
  CONFIG_A:
    - {value: 1, why: "for old kernels", kernel: "<6.6"}
    - {value: 2, why: "for new kernels", kernel: ">=6.6"}
  CONFIG_B: {value: y, why: "for one architecture", arch: [arm64]}
  CONFIG_C: {value: 0x10, why: "hex stays hex, as conf writes it"}
  CONFIG_D: {value: '"text"', why: "text in its quotes"}
  CONFIG_E: {value: n, why: "off is a request too"}
"""
    folder = library(tmp_path, vsock=text)
    (folder / "profiles" / "small.yaml").write_text(PROFILE)
    ours = load_library(folder)
    old = collect(ours, "small", (), arch="x86_64", kernel="6.1.9")
    assert old.allconfig() == 'CONFIG_A=1\nCONFIG_C=0x10\nCONFIG_D="text"\n# CONFIG_E is not set\n'
    new = collect(ours, "small", (), arch="arm64", kernel="6.6.0-rc1")
    assert new.allconfig().startswith("CONFIG_A=2\nCONFIG_B=y\n")


def test_features_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    folder = library(
        tmp_path, a=GOOD.replace("feature: vsock", "feature: a"), vsock=GOOD.replace("value: y", "value: n")
    )
    (folder / "profiles" / "small.yaml").write_text(PROFILE.replace("[vsock]", "[a, vsock]"))
    with pytest.raises(InputError, match='CONFIG_VSOCKETS: the feature "vsock" wants n, but "a" wants y'):
        collect(load_library(folder), "small", (), arch="x86_64", kernel="6.12")


def test_the_spec_has_the_last_word_and_the_report_says_over_whom(tmp_path: Path) -> None:
    folder = library(tmp_path, vsock=GOOD)
    (folder / "profiles" / "small.yaml").write_text(PROFILE)
    option = KernelOption("CONFIG_VSOCKETS", "n", Where("my.yaml", 7, 3))
    (request,) = collect(load_library(folder), "small", (option,), arch="x86_64", kernel="6.12").requests
    assert (request.value, request.asked_by, request.overridden) == ("n", ("spec",), ("vsock",))
    assert request.where == option.where


def test_an_unknown_profile_is_answered_with_the_nearest() -> None:
    with pytest.raises(InputError, match='there is no kernel profile "defualt"') as caught:
        load_library().profile("defualt", Where("my.yaml", 4, 12))
    assert caught.value.problems[0].hint == 'did you mean "default"?'
    assert caught.value.problems[0].where == Where("my.yaml", 4, 12)


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        (">=6.6", ["6.6", "6.6.1", "6.12.117", "7.0"], ["6.5.99", "6.1"]),
        ("<6.9", ["6.1.170", "6.8.12"], ["6.9", "6.9.0", "6.12.1"]),
        (">=6.1,<6.9", ["6.1", "6.8"], ["6.0", "6.9"]),
        (None, ["1.0", "99.0"], []),
    ],
)
def test_version_ranges(text: str | None, inside: list[str], outside: list[str]) -> None:
    found = VersionRange.parse(text)
    assert all(version_tuple(v) in found for v in inside)
    assert not any(version_tuple(v) in found for v in outside)
