"""SARIF: fits the format, points into the sources, and stays the same where only lines moved."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from kata_toolkit.kata.lint.catalogue import RULES
from kata_toolkit.kata.lint.findings import Finding, Place
from kata_toolkit.kata.lint.sarif import sarif
from lint_files import found_in

SCHEMA = json.loads((Path(__file__).parent / "data" / "sarif-2.1.0-trimmed.schema.json").read_text())
BAD = """\
[hypervisor.qemu]
kernel = "vmlinux"
image = "/i"
initrd = "/i"
defualt_memory = 1
default_vcpus = "é 漢"
"""


def run_of(findings: list[Finding], folder: Path = Path("/src")) -> Any:
    document = sarif(findings, folder)
    jsonschema.Draft202012Validator(SCHEMA).validate(document)
    return document["runs"][0]


def test_findings_as_results() -> None:
    findings = found_in(BAD, "go", file="conf/a b.toml")
    run = run_of(findings)
    rules = run["tool"]["driver"]["rules"]
    assert [rule["id"] for rule in rules] == list(RULES)
    assert len(run["results"]) == len(findings) > 4
    for finding, result in zip(findings, run["results"], strict=True):
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"] == finding.rule
        assert result["level"] == finding.level
        place = result["locations"][0]["physicalLocation"]
        assert place["artifactLocation"] == {"uri": "conf/a%20b.toml", "uriBaseId": "%SRCROOT%"}
        assert place["region"]["startLine"] == finding.where.line
        for part in (finding.message, finding.does, finding.hint):
            assert part is None or part in result["message"]["text"]


def test_regions_hold_the_value_in_characters() -> None:
    result = next(r for r in run_of(found_in(BAD, "go"))["results"] if r["ruleId"] == "wrong-type")
    region = result["locations"][0]["physicalLocation"]["region"]
    assert region == {"startLine": 6, "startColumn": 17, "endLine": 6, "endColumn": 22}


def test_the_other_place_is_related() -> None:
    results = run_of(found_in(BAD, "go"))["results"]
    related = next(r for r in results if r["ruleId"] == "image-and-initrd")
    assert related["relatedLocations"][0]["physicalLocation"]["region"]["startLine"] == 4


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("a.toml", {"uri": "a.toml", "uriBaseId": "%SRCROOT%"}),
        ("/src/b/c.toml", {"uri": "b/c.toml", "uriBaseId": "%SRCROOT%"}),
        ("/etc/k.toml", {"uri": "file:///etc/k.toml"}),
        ("/etc/ü #?.toml", {"uri": "file:///etc/%C3%BC%20%23%3F.toml"}),
        ("-", {"uri": "stdin.toml", "uriBaseId": "%SRCROOT%"}),
        ("\udcff.toml", {"uri": "%FF.toml", "uriBaseId": "%SRCROOT%"}),
    ],
)
def test_files_are_named_relative_to_the_sources(file: str, expected: dict[str, str]) -> None:
    finding = Finding("unknown-key", "error", "x", Place(file, 1, 1, 1, 2))
    place = run_of([finding])["results"][0]["locations"][0]["physicalLocation"]
    assert place["artifactLocation"] == expected


def test_a_file_above_the_sources_is_named_by_its_own_path() -> None:
    finding = Finding("unknown-key", "error", "x", Place("../k.toml", 1, 1, 1, 2))
    place = run_of([finding])["results"][0]["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"].startswith("file:///")


def test_fingerprints_do_not_know_lines_and_differ() -> None:
    first = [r["partialFingerprints"] for r in run_of(found_in(BAD, "go"))["results"]]
    moved = [r["partialFingerprints"] for r in run_of(found_in("# moved\n\n" + BAD, "go"))["results"]]
    assert first == moved
    assert len({json.dumps(p) for p in first}) == len(first)
    twice = [Finding("unknown-key", "error", "x", Place("a", line, 1, line, 2)) for line in (1, 2)]
    assert len({json.dumps(r["partialFingerprints"]) for r in run_of(twice)["results"]}) == 2


def test_a_finding_about_the_whole_file_has_no_region() -> None:
    place = run_of([Finding("drop-in-entry", "error", "x", Place("a"))])["results"][0]["locations"][0]
    assert "region" not in place["physicalLocation"]


def test_every_rule_has_help() -> None:
    for rule in run_of([])["tool"]["driver"]["rules"]:
        assert rule["help"]["text"].endswith(".")
        assert not rule["shortDescription"]["text"].endswith("..")
