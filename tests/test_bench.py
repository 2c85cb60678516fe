"""Sets side by side, what changed between two, and what counts as a regression."""

from __future__ import annotations

import copy
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from kata_toolkit.cli.app import run
from kata_toolkit.figures import FIGURES
from kata_toolkit.figures import KINDS as ALL_KINDS
from kata_toolkit.report.changes import COMPONENTS, KERNEL, changes, likely_cause
from kata_toolkit.report.document import collect
from kata_toolkit.report.regress import compare
from kata_toolkit.resources import resource
from kata_toolkit.vm.built_set import BuiltSet
from kata_toolkit.vm.throughput import throughput

KINDS = {
    "boot_minstr": "instructions",
    "output_minstr": "instructions",
    "vmlinux_mib": "size",
    "guest_overhead_mib": "memory",
    "exits_port": "accesses",
    "seconds_to_agent": "time",
}


def schema(name: str) -> Any:
    return json.loads(resource("schemas", f"{name}.schema.json").read_bytes())


@pytest.mark.parametrize(
    ("figure", "before", "after", "worse"),
    [
        ("boot_minstr", 85.14, 85.14, False),
        ("boot_minstr", 85.14, 85.98, False),  # 0.99 %
        ("boot_minstr", 85.14, 86.01, True),  # 1.02 %
        ("boot_minstr", 85.14, 60.0, False),
        ("output_minstr", 88.0, 89.5, False),  # it ends with an answer to the host
        ("output_minstr", 88.0, 90.0, True),
        ("vmlinux_mib", 10.1, 10.3, True),
        ("vmlinux_mib", 0.1, 0.105, False),  # 5 % of nothing
        ("guest_overhead_mib", 30.7, 31.2, False),  # 1.6 %
        ("guest_overhead_mib", 30.7, 31.5, True),
        ("exits_port", 2400, 2440, False),
        ("exits_port", 2400, 2460, True),
        ("exits_port", 3, 9, False),
        ("seconds_to_agent", 1.0, 10.0, False),  # a time is told, never judged
    ],
)
def test_what_is_a_regression(figure: str, before: float, after: float, worse: bool) -> None:
    (line,) = compare({figure: before}, {figure: after}, KINDS)
    assert line.worse is worse
    assert line.judged is (figure != "seconds_to_agent")


def test_figures_of_one_side_are_passed_over() -> None:
    assert compare({"boot_minstr": 1.0, "accel": "tcg"}, {"exits_port": 2.0, "accel": "tcg"}, KINDS) == []
    assert compare({"boot_minstr": True}, {"boot_minstr": 2.0}, KINDS) == []


@pytest.fixture(scope="module")
def told(built_set: Path) -> dict[str, Any]:
    return collect(built_set)


def test_a_set_does_not_differ_from_itself(told: dict[str, Any]) -> None:
    assert changes(told, copy.deepcopy(told)) == []


def test_changes_are_told_by_kind(told: dict[str, Any]) -> None:
    other = copy.deepcopy(told)
    other["inputs"]["kernel"]["CONFIG_EXT4_FS"] = "n"
    other["inputs"]["kernel"]["CONFIG_SELINUX"] = "n"  # missing before, which is the same
    other["inputs"]["components"]["busybox-static"] = "2.0"
    key = next(iter(other["inputs"]["configuration"]))
    del other["inputs"]["configuration"][key]
    other["contents"][0]["bytes"] += 4096
    found = {(change.kind, change.name): change for change in changes(told, other)}
    assert {kind for kind, _ in found} == {"kernel", "components", "configuration", "sizes"}
    assert len(found) == 4
    assert found["kernel", "CONFIG_EXT4_FS"].words() == "CONFIG_EXT4_FS: y → n"
    assert found["configuration", key].after is None


def test_a_set_that_tells_no_components_is_no_change(told: dict[str, Any]) -> None:
    other = copy.deepcopy(told)
    del other["inputs"]["components"]
    assert changes(told, other) == []


def test_the_likely_cause_fits_the_figure(told: dict[str, Any]) -> None:
    other = copy.deepcopy(told)
    other["inputs"]["kernel"]["CONFIG_EXT4_FS"] = "n"
    other["inputs"]["components"]["busybox-static"] = "2.0"
    found = changes(told, other)
    assert likely_cause("boot_minstr", found).startswith(KERNEL)
    assert likely_cause("image_mib", found).startswith(COMPONENTS)
    assert "look at QEMU" in likely_cause("boot_minstr", [])


def test_diff_of_a_set_and_a_report(built_set: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = collect(built_set)
    (tmp_path / "report.json").write_text(json.dumps(document))
    assert run(["diff", str(built_set), str(tmp_path / "report.json")]) == 0
    assert "the same" in capsys.readouterr().out
    document["inputs"]["kernel"]["CONFIG_NR_CPUS"] = "3"
    document["inputs"]["components"]["\x1b[31mred"] = "1"
    (tmp_path / "report.json").write_text(json.dumps(document))
    assert run(["diff", str(built_set), str(tmp_path / "report.json")]) == 1
    shown = capsys.readouterr().out
    assert "CONFIG_NR_CPUS" in shown
    assert "\x1b" not in shown
    assert run(["diff", "--json", str(built_set), str(tmp_path / "report.json")]) == 1
    found = json.loads(capsys.readouterr().out)
    jsonschema.validate(found, schema("set-diff"))
    assert {change["name"] for change in found["changes"]} == {"CONFIG_NR_CPUS", "\x1b[31mred"}


@pytest.mark.vm
def test_bench_counts_what_repeats_and_holds_it_to_a_report(
    built_set: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / built_set.name
    subprocess.run(["cp", "-a", str(built_set), str(folder)], check=True)  # its image is sparse
    assert run(["bench", "--json", "-n", "1", "--accel", "tcg", str(folder)]) == 0
    found = json.loads(capsys.readouterr().out)
    jsonschema.validate(found, schema("bench"))
    figures = found["sets"][0]["figures"]
    assert figures["kernel_minstr"] < figures["boot_minstr"] < figures["check_minstr"] < figures["output_minstr"]
    assert 0 < figures["seconds_to_agent"] < figures["seconds_to_output"]

    report = tmp_path / "earlier.json"
    shutil.copy(tmp_path / f"{built_set.name}.report" / "report.json", report)
    assert run(["bench", "--json", "-n", "0", "--against", str(report), str(folder)]) in (0, 1)
    judged = {line["figure"]: line for line in json.loads(capsys.readouterr().out)["against"]}
    assert not [line for line in judged.values() if line["worse"]], "it repeats to 1 %"
    assert judged["boot_minstr"]["ratio"] == pytest.approx(1, abs=0.005)

    document = json.loads(report.read_text())
    document["comparison"]["sets"][0]["figures"]["boot_minstr"] = figures["boot_minstr"] / 1.03
    document["inputs"]["kernel"]["CONFIG_NR_CPUS"] = "3"
    report.write_text(json.dumps(document))
    assert run(["bench", "-n", "0", "--against", str(report), str(folder)]) == 1
    shown = capsys.readouterr().out
    assert "worse: boot_minstr" in shown
    assert "CONFIG_NR_CPUS" in shown


@pytest.mark.parametrize(
    "arguments",
    [
        ["bench"],
        ["bench", "/nowhere"],
        ["bench", "nowhere.yaml"],
        ["bench", "--against", "/nowhere/report.json", "SET"],
        ["bench", "--rounds", "-1", "SET"],
        ["bench", "--accel", "hvf", "SET"],
        ["diff", "SET"],
        ["diff", "SET", "/nowhere"],
        ["diff", "SET", "/dev/null"],
        ["diff", "SET", "README.md"],
    ],
)
def test_wrong_arguments_are_the_users_mistake(arguments: list[str], built_set: Path) -> None:
    assert run([str(built_set) if word == "SET" else word for word in arguments]) == 2


def test_every_figure_can_have_a_budget_and_no_other() -> None:
    budgets = schema("spec")["properties"]["budgets"]["properties"]
    assert set(budgets) == {figure.name for figure in FIGURES}
    checks = [figure.check for figure in FIGURES]
    assert len(checks) == len(set(checks))


@pytest.mark.vm
def test_throughput_is_measured_and_never_judged(built_set: Path) -> None:
    found, missing = throughput(BuiltSet.load(built_set), "tcg", lambda text: None, lambda text: None)
    assert {name for name, kind in ALL_KINDS.items() if kind == "throughput"} == set(found) | {
        name for name in ALL_KINDS for way in missing if name.startswith(way)
    }
    assert "root_read_mibs" in found
    assert "blk_write_mibs" in found
    assert all(1 < value < 100_000 for value in found.values()), found
    (line,) = compare({"blk_read_mibs": 1000.0}, {"blk_read_mibs": 1.0}, ALL_KINDS)
    assert not line.judged
    assert not line.worse
