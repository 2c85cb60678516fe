"""`kata-toolkit verify`: a sound set is proved, and each kind of fault makes its own check fail."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from kata_toolkit.checks import Report
from kata_toolkit.vm import vsock
from kata_toolkit.vm.built_set import BuiltSet
from kata_toolkit.vm.evidence import Evidence
from kata_toolkit.vm.options import Options
from kata_toolkit.vm.proof import CHECKS, QUICK, prove
from vm_guests import altered_set

pytestmark = pytest.mark.vm


def verify(tool: Path, folder: Path, *words: str) -> tuple[int, dict[str, Any]]:
    """The exit code, and the checks by id (with ``measurements`` beside them)."""
    done = subprocess.run([tool, "verify", folder, "--json", *words], capture_output=True, timeout=120, check=False)
    assert done.stdout, done.stderr.decode()
    return done.returncode, json.loads(done.stdout)


def only(folder: Path, *ids: str) -> Report:
    """The named checks alone, in the table's order."""
    with Evidence(BuiltSet.load(folder), Options(accel="tcg"), note=lambda text: None) as evidence:
        table = [check for check in CHECKS if check.id in ids]
        verdicts = {check.id: check.verdict(evidence) for check in table}
        return Report(verdicts, evidence.measurements)


def test_a_sound_set_is_proved_and_measured(tool: Path, built_set: Path, root: Path) -> None:
    code, report = verify(tool, built_set)
    schema = json.loads((root / "schemas" / "checks.schema.json").read_text())
    jsonschema.Draft202012Validator(schema).validate(report)
    status = {check["id"]: check["status"] for check in report["checks"]}
    with Evidence(BuiltSet.load(built_set), Options(), note=lambda text: None) as evidence:
        assert list(status) == [check.id for check in CHECKS if check.wanted(evidence)]
    lacks = {"extensions"}
    assert {status[name] for name in status.keys() - lacks} == {"pass"}, report
    assert {status[name] for name in lacks} == {"skip"}
    assert (code, report["ok"], report["proved"]) == (0, True, True)
    for figure in ("boot_minstr", "kernel_minstr", "check_minstr", "output_minstr", "guest_overhead_mib"):
        assert report["measurements"][figure] > 1


def test_a_part_is_looked_at_again_and_proves_nothing(tool: Path, built_set: Path, root: Path) -> None:
    code, report = verify(tool, built_set, "--only", "digests", "--only", "budget-im*")
    assert (code, "proved" in report, report["ok"]) == (0, False, True)
    assert [check["id"] for check in report["checks"]] == ["digests", "budget-image"]
    done = subprocess.run([tool, "verify", built_set, "--only", "digest"], capture_output=True, text=True, check=False)
    assert (done.returncode, "no check is called digest" in done.stderr) == (2, True)
    done = subprocess.run([tool, "verify", built_set, "--only", "layout"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "looked at: 1 passed")


def test_a_part_of_which_nothing_could_be_checked_is_no_success(tool: Path, built_set: Path) -> None:
    code, report = verify(tool, built_set, "--only", "extensions")
    assert (code, report["ok"]) == (1, True)
    assert verify(tool, built_set, "--only", "extensions", "--allow-skipped")[0] == 0


def test_quick_makes_what_the_sets_own_guest_shows(built_set: Path) -> None:
    with Evidence(BuiltSet.load(built_set), Options(accel="tcg"), note=lambda text: None) as evidence:
        table = [check for check in QUICK if not check.id.startswith(("container-", "budget-"))]
        verdicts = {check.id: check.verdict(evidence).status for check in table}
    assert set(verdicts.values()) <= {"pass", "skip"}
    assert "hotplug-cpu" not in verdicts
    assert verdicts["power-off"] == "pass"


def test_a_changed_a_missing_and_an_added_file_are_each_named(built_set: Path, tmp_path: Path) -> None:
    changed = altered_set(built_set, tmp_path, without="kernel_config")
    bzimage = changed / json.loads((changed / "manifest.json").read_text())["root"]["bzimage"]
    data = bytearray(bzimage.read_bytes())
    data[-1] ^= 1
    bzimage.unlink()
    bzimage.write_bytes(data)
    (changed / "added").touch()
    report = only(changed, "digests", "kernel-config")
    detail = report.verdicts["digests"].detail
    assert not report.ok
    assert f"{bzimage.name}: sha256" in detail
    assert "missing" in detail
    assert "added: not in the manifest" in detail
    assert report.verdicts["kernel-config"].status == "fail"


def test_a_wrong_digest_does_not_stop_the_other_checks(built_set: Path, tmp_path: Path) -> None:
    changed = altered_set(built_set, tmp_path)
    (changed / "added").touch()
    report = only(changed, "digests", "boots", "container-output")
    assert [v.status for v in report.verdicts.values()] == ["fail", "pass", "pass"]


def test_another_config_and_another_agent_are_found(built_set: Path, tmp_path: Path) -> None:
    changed = altered_set(built_set, tmp_path, without="kernel_config")
    manifest = json.loads((changed / "manifest.json").read_text())
    config = changed / manifest["root"]["kernel_config"]
    config.write_text((built_set / manifest["root"]["kernel_config"]).read_text().replace("=y", "=m", 1))
    manifest["root"]["agent"]["sha256"] = "0" * 64
    (changed / "manifest.json").write_text(json.dumps(manifest))
    report = only(changed, "layout", "kernel-config", "agent-digest")
    assert "is not the recorded configuration: 2 lines differ" in report.verdicts["kernel-config"].detail
    assert "recorded 0000000000000000…" in report.verdicts["agent-digest"].detail
    assert {v.status for v in report.verdicts.values()} == {"fail"}


def test_a_root_without_dax_fails_its_check(built_set: Path) -> None:
    built = BuiltSet.load(built_set)
    options = Options(accel="tcg", rootfs_driver="virtio-blk")
    with Evidence(built, options, note=lambda text: None) as evidence:
        verdict = next(check for check in CHECKS if check.id == "root-dax").verdict(evidence)
    assert verdict.status == "fail"
    assert "mounted without dax" in verdict.detail


def test_a_guest_that_does_not_boot_fails_once_and_skips_the_rest(tool: Path, built_set: Path, tmp_path: Path) -> None:
    code, report = verify(tool, altered_set(built_set, tmp_path, kernel_params=["init=/nope"]))
    status = {check["id"]: check["status"] for check in report["checks"]}
    assert (code, status["digests"], status["boots"]) == (1, "pass", "fail")
    assert status["budget-image"] == "pass"
    inside = ("root-dax", "kernel-config", "container-output", "power-off", "budget-boot")
    assert {status[name] for name in inside} == {"skip"}
    boots = next(check for check in report["checks"] if check["id"] == "boots")
    assert "Requested init /nope failed" in boots["detail"]


def test_an_agent_behind_vsock_is_skipped_never_passed(built_set: Path, tmp_path: Path) -> None:
    if vsock.unusable() is None:
        pytest.skip("this host has vhost-vsock")
    report = only(altered_set(built_set, tmp_path, agent_kind="binary"), "boots", "root-dax", "container-output")
    assert {v.status for v in report.verdicts.values()} == {"skip"}
    assert "reached over vsock only" in report.verdicts["boots"].detail


def test_a_partial_set_is_checked_and_not_proved(tool: Path, built_set: Path, tmp_path: Path) -> None:
    partial = altered_set(built_set, tmp_path, kernel=None, kernel_config=None, partial=True)
    code, report = verify(tool, partial)
    status = {check["id"]: check["status"] for check in report["checks"]}
    assert (code, report["ok"], report["proved"]) == (1, True, False)
    assert {status[name] for name in ("digests", "layout", "agent-digest")} == {"pass"}
    assert {status[name] for name in ("boots", "root-dax", "container-output", "power-off")} == {"skip"}
    code, report = verify(tool, partial, "--allow-skipped")
    assert (code, report["proved"]) == (0, False)


def test_a_failure_is_none_that_may_be_skipped(tool: Path, built_set: Path, tmp_path: Path) -> None:
    partial = altered_set(built_set, tmp_path, kernel=None, partial=True)
    (partial / "added").touch()
    assert verify(tool, partial, "--allow-skipped")[0] == 1


@pytest.mark.parametrize("size", [100, 1 << 20, 4 << 20])
def test_a_truncated_image_is_said_to_end_where_it_ends(built_set: Path, tmp_path: Path, size: int) -> None:
    cut = altered_set(built_set, tmp_path, without="image")
    image = json.loads((cut / "manifest.json").read_text())["root"]["image"]
    with (built_set / image).open("rb") as whole:
        (cut / image).write_bytes(whole.read(size))
    verdict = only(cut, "layout").verdicts["layout"]
    assert verdict.status == "fail"
    assert f"the image ends at {size}" in verdict.detail
    assert "-" not in verdict.detail


def test_a_budget_that_is_exceeded_fails_with_figure_and_limit(built_set: Path, tmp_path: Path) -> None:
    changed = altered_set(built_set, tmp_path)
    manifest = json.loads((changed / "manifest.json").read_text())
    manifest["budgets"] = {"image_mib": 0.01, "vmlinux_mib": 4096}
    (changed / "manifest.json").write_text(json.dumps(manifest))
    report = only(changed, "budget-image", "budget-vmlinux")
    assert report.verdicts["budget-image"].status == "fail"
    assert "MiB, the budget is 0.01" in report.verdicts["budget-image"].detail
    assert report.verdicts["budget-vmlinux"].status == "pass"


def test_every_check_is_reported_before_the_next_starts(built_set: Path, tmp_path: Path) -> None:
    begun: list[str] = []
    partial = altered_set(built_set, tmp_path)
    manifest = json.loads((partial / "manifest.json").read_text())
    manifest["root"]["kernel"], manifest["partial"] = None, True
    (partial / "manifest.json").write_text(json.dumps(manifest))
    with Evidence(BuiltSet.load(partial), Options(), note=lambda text: None) as evidence:
        for check, verdict in prove(evidence, starting=lambda check: begun.append(check.id)):
            assert begun[-1] == check.id
            assert verdict.status in ("pass", "fail", "skip")
    assert begun == [check.id for check in CHECKS if check.wanted(evidence)]
