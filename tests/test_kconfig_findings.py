"""Wrong requests to the real kernel: what is said to each, and that every fix suggested is one.

The requests and the exact answers are data: data/kernel-wrong-requests.yaml.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from kata_toolkit.cli.render_problems import render
from kata_toolkit.errors import InputError, Where
from kata_toolkit.kconfig.config import config_line, same_value
from kata_toolkit.kconfig.findings import Finding
from kata_toolkit.kconfig.fixes import with_fixes
from kata_toolkit.kconfig.fragments import load_library
from kata_toolkit.kconfig.requests import Request, Wishes, collect
from kata_toolkit.kconfig.resolve import Source, check
from kata_toolkit.kconfig.unmet import Inquiry
from kata_toolkit.kernel_tree import version_of
from kata_toolkit.spec.model import FeatureChanges, KernelOption
from kernel_harness import conf

pytest_plugins = ("kernel_fixtures",)
pytestmark = pytest.mark.kernel

CORPUS = yaml.safe_load((Path(__file__).parent / "data" / "kernel-wrong-requests.yaml").read_text())
PLACE = re.compile(r"((?:[\w.+-]+/)*Kconfig[\w.]*):(\d+)")

Run = Callable[[str], Mapping[str, str]]


@pytest.fixture(scope="session")
def run(real_tree: Path, conf_folder: Path) -> Run:
    """The real conf; what it was asked before it is not asked again."""
    known: dict[str, Mapping[str, str]] = {}

    def answer(requests: str) -> Mapping[str, str]:
        if requests not in known:
            known[requests] = conf(real_tree, conf_folder, requests)
        return known[requests]

    return answer


@pytest.fixture(scope="session")
def source(real_tree: Path) -> Source:
    return Source(real_tree, "x86", "6.12.0", str(real_tree))


def requests_of(case: Mapping[str, Any]) -> tuple[Request, ...]:
    """The case's requests, as if they stood in my.yaml."""
    allowed = case.get("allowed", ())
    return tuple(
        Request(
            f"CONFIG_{symbol}",
            value,
            "a reason",
            Where("my.yaml", line, 3),
            ("spec",),
            allowed="older kernels lack it" if symbol in allowed else None,
            allowed_at=Where("my.yaml", line, 40) if symbol in allowed else None,
        )
        for line, (symbol, value) in enumerate(case["requests"].items(), 1)
    )


def text_of(wanted: Mapping[str, str]) -> str:
    return "".join(config_line(symbol, wanted[symbol]) for symbol in sorted(wanted))


def plain(text: str) -> str:
    """Without line numbers of the kernel's files, and with one width of blanks."""
    return re.sub(r"  +", "  ", PLACE.sub(r"\1:#", text))


def said(finding: Finding) -> dict[str, Any]:
    """A finding as the corpus writes it."""
    problem = finding.problem()
    answer = {"kind": finding.kind, "at": str(finding.where), "message": plain(problem.message)}
    table = {"table": [plain(line) for line in problem.details]} if problem.details else {}
    return {**answer, **table, **({"hint": plain(problem.hint)} if problem.hint else {})}


@pytest.mark.parametrize("case", CORPUS, ids=lambda case: case["name"])
def test_a_wrong_request_is_explained_and_its_fix_works(
    case: Mapping[str, Any], run: Run, source: Source, conf_folder: Path, root: Path
) -> None:
    requests = requests_of(case)
    values = run(text_of({r.symbol: r.value for r in requests}))
    inquiry = Inquiry(source.scan(conf_folder / "cache"), source, values, requests)
    findings = with_fixes(inquiry, [f for f in inquiry.findings() if f.is_error], run)
    assert [said(f) for f in findings] == [{k: v for k, v in s.items() if k != "fix"} for s in case["says"]]
    for finding in findings:
        jsonschema.validate(finding.as_json(), json.loads((root / "schemas" / "finding.schema.json").read_text()))
        assert_places(finding, source.root)
    prove_fixes(findings, requests, values, run)


def assert_places(finding: Finding, tree: Path) -> None:
    """Each line of the table says what stands at its place in the kernel's tree."""
    for line in finding.table:
        symbol, _, says, place = re.split(r"  +", line)
        file, number = place.split(":")
        text = " ".join((tree / file).read_text().splitlines()[int(number) - 1 : int(number) + 4])
        if says.startswith("depends on "):
            bare = says.removeprefix("depends on ").removesuffix(" (of its prompt)")
            assert all(word in text for word in re.findall(r"\w+", bare)), line
        elif says.startswith("selected by "):
            assert f"select {symbol}" in text, line
        elif says.startswith("the compiler"):
            assert "$(" in text, line
        else:
            assert re.match(rf"\s*(menu)?config {symbol}\b", text), line


def prove_fixes(findings: list[Finding], requests: tuple[Request, ...], before: Mapping[str, str], run: Run) -> None:
    """Follow the suggestions and ask conf: those tried together, together; the others one by one."""
    fixed = [f for f in findings if f.fix]
    together = [f for f in fixed if f.fix and f.fix.together]
    for group in ([together] if together else []) + [[f] for f in fixed if f not in together]:
        wanted = {r.symbol: r.value for r in requests}
        for finding in group:
            fix = finding.fix
            assert fix is not None
            for gone in [*([finding.request] if fix.replaces else []), *fix.overrides]:
                wanted.pop(gone.symbol, None)
        for finding in group:
            wanted.update(finding.fix.settings if finding.fix else ())
        after = run(text_of(wanted))
        for finding in group:
            if finding.request.symbol in wanted:
                symbol = finding.request.symbol
                assert same_value(wanted[symbol], after.get(symbol)), f"{symbol} is still unmet"
        for request in requests:
            if request.symbol in wanted and same_value(request.value, before.get(request.symbol)):
                assert same_value(wanted[request.symbol], after.get(request.symbol)), f"{request.symbol} was lost"


def test_there_are_many_of_them() -> None:
    assert sum(len(case["says"]) for case in CORPUS) >= 50


def test_what_may_be_missing_is_no_error_and_is_reported(run: Run, source: Source, conf_folder: Path) -> None:
    case = {"requests": {"MEMCG_KMEM": "y", "ARM64_SVE": "y"}, "allowed": ["MEMCG_KMEM", "ARM64_SVE"]}
    wishes = Wishes((), requests_of(case))
    values = run(wishes.allconfig())
    found = check(wishes, values, source, cache=conf_folder / "cache", conf=run)
    assert [(f.kind, f.request.symbol, plain(f.text)) for f in found] == [
        (
            "allowed missing",
            "CONFIG_ARM64_SVE" if f.request.symbol == "CONFIG_ARM64_SVE" else "CONFIG_MEMCG_KMEM",
            {
                "CONFIG_ARM64_SVE": (
                    "this kernel has no such symbol for this architecture; it is defined in arch/arm64/Kconfig:#; "
                    "allowed, because older kernels lack it"
                ),
                "CONFIG_MEMCG_KMEM": (
                    "this kernel has no such symbol: since Linux 6.11 it is called CONFIG_MEMCG "
                    "(kernel memory is always accounted); allowed, because older kernels lack it"
                ),
            }[f.request.symbol],
        )
        for f in found
    ]
    assert len(found) == 2


def test_a_request_that_another_breaks_when_fixed_gets_no_fix(run: Run, source: Source, conf_folder: Path) -> None:
    """BPF=n needs NET=n, which VSOCKETS=y does not survive: nothing is suggested that was not seen to work."""
    requests = requests_of({"requests": {"NET": "y", "VSOCKETS": "y", "BPF": "n"}})
    wishes = Wishes((), requests)
    with pytest.raises(InputError) as caught:
        check(wishes, run(wishes.allconfig()), source, cache=conf_folder / "cache", conf=run)
    (problem,) = caught.value.problems
    assert problem.hint == "switch that off, or leave this one on"
    assert problem.finding is not None
    assert problem.finding["fix"] is None


def test_a_table_is_shown_below_the_message(run: Run, source: Source, conf_folder: Path) -> None:
    requests = requests_of({"requests": {"KVM_GUEST": "y"}})
    inquiry = Inquiry(source.scan(conf_folder / "cache"), source, run(text_of({"CONFIG_KVM_GUEST": "y"})), requests)
    (finding,) = inquiry.findings()
    shown = render([replace(finding).problem()], {"my.yaml": "  CONFIG_KVM_GUEST: y\n"}).splitlines()
    assert shown[0] == f"my.yaml:1:3: error: {finding.message}"
    assert [plain(line) for line in shown[3:]] == [
        "  KVM_GUEST  n  depends on PARAVIRT  arch/x86/Kconfig:#",
        "  PARAVIRT  n  depends on HYPERVISOR_GUEST  arch/x86/Kconfig:#",
        "  HYPERVISOR_GUEST  n  not asked for  arch/x86/Kconfig:#",
    ]


def told(run: Run, source: Source, folder: Path, options: Mapping[str, str], drop: str = "") -> list[Any]:
    """The problems of the profile default with these options of a spec, and without these features."""
    source = replace(source, kernel=version_of(source.root))
    changed = [KernelOption(f"CONFIG_{s}", v, Where("my.yaml", n, 3)) for n, (s, v) in enumerate(options.items(), 5)]
    features = FeatureChanges(drop={name: Where("my.yaml", 4, 20) for name in drop.split()})
    wishes = collect(load_library(), "default", changed, arch="x86_64", kernel=source.kernel, changes=features)
    with pytest.raises(InputError) as caught:
        check(wishes, run(wishes.allconfig()), source, cache=folder / "cache", conf=run)
    return list(caught.value.problems)


def test_what_one_line_of_the_spec_takes_from_features_is_told_there_and_once(
    run: Run, source: Source, conf_folder: Path, root: Path
) -> None:
    (problem,) = told(run, source, conf_folder, {"MEMORY_HOTPLUG": "n"})
    assert str(problem.where) == "my.yaml:5:3"
    assert problem.message == (
        "CONFIG_MEMORY_HOTPLUG=n: features hotplug-dimm, hotplug-memory, pmem-dax, virtio-fs-dax, virtio-mem cannot "
        "have what they ask for"
    )
    assert "virtio-fs-dax   CONFIG_FUSE_DAX" in problem.details
    leave, _, drop = problem.hint.partition(", or ")
    assert leave == "leave CONFIG_MEMORY_HOTPLUG out (tried: it works)"
    assert drop.startswith("do without these features (tried: it works): drop: [hotplug-dimm, hotplug-memory, ")
    jsonschema.validate(problem.finding, json.loads((root / "schemas" / "finding.schema.json").read_text()))
    # And the advice is good: with these features dropped, the option stays and nothing is unmet.
    names = drop.partition("[")[2].rstrip("]").replace(",", "")
    features = FeatureChanges(drop={name: Where("my.yaml", 4, 20) for name in names.split()})
    option = KernelOption("CONFIG_MEMORY_HOTPLUG", "n", Where("my.yaml", 5, 3))
    kernel = version_of(source.root)
    wishes = collect(load_library(), "default", (option,), arch="x86_64", kernel=kernel, changes=features)
    assert check(wishes, run(wishes.allconfig()), source, cache=conf_folder / "cache", conf=run) == []


def test_what_the_spec_drops_is_told_where_it_drops_it(run: Run, source: Source, conf_folder: Path) -> None:
    """Kconfig knows more needs than the library."""
    gone = "acpi hotplug-cpu hotplug-dimm hotplug-pci hotplug-pcie nvdimm vmgenid"
    (problem,) = told(run, source, conf_folder, {}, drop=gone)
    assert str(problem.where) == "my.yaml:4:20"
    assert problem.message == "without the feature acpi: feature pci cannot have what it asks for"
    assert problem.details == ("pci  CONFIG_PCI_MMCONFIG",)
    assert problem.hint.startswith("keep acpi")


def test_a_big_batch_keeps_its_hints(run: Run, source: Source, conf_folder: Path) -> None:
    """BPF=n cannot be met, so nothing works together; what one fix was seen to meet as well gets it all the same."""
    wanted = {"FS_DAX": "y", "NVDIMM_PFN": "y", "NVDIMM_DAX": "y", "ZONE_DEVICE": "y", "XFS_FS": "m", "ACPI_NUMA": "y"}
    more = {"KVM_GUEST": "y", "VSOCKETZ": "y", "BPF": "n", "DRM_I915": "y", "CRC32": "n", "NET": "y", "VSOCKETS": "y"}
    requests = requests_of({"requests": {**wanted, **more}})
    inquiry = Inquiry(
        source.scan(conf_folder / "cache"), source, run(text_of({r.symbol: r.value for r in requests})), requests
    )
    findings = with_fixes(inquiry, inquiry.findings(), run)
    fixes = {f.request.symbol.removeprefix("CONFIG_"): f.fix for f in findings}
    assert all(fixes[name] for name in wanted), fixes
    assert any(fix and fix.meets for fix in fixes.values())
    prove_fixes(findings, requests, inquiry.values, run)
