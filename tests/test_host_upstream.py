"""Kata's own host checks: each has its match here or a reason why not, and what is wrong with them is not repeated."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from host_kinds import KINDS, Kind
from host_trees import (
    AMD,
    BASE_FLAGS,
    CREATED,
    GOOD,
    INTEL,
    MACHINES,
    RUNS,
    Checked,
    Program,
    checked,
    cpuinfo,
    lay,
    modules_listed,
    put,
)
from kata_toolkit.checks import Verdict
from kata_toolkit.host import page
from kata_toolkit.host.kvm_guest import KvmVerdict, judge
from kata_toolkit.host.table import CHECKS
from kata_toolkit.host.wanted import Wanted
from kata_toolkit.resources import resource

UPSTREAM = json.loads(resource("schemas", "host-upstream.json").read_text())
COVERED = [name for entry in UPSTREAM["checks"] for name in entry["upstream"]]
BY_NAME = {kind.name: kind for kind in KINDS}
MAKERS = ("intel", "amd")


def look(
    root: Path, base: str, files: Mapping[str, Any] | None = None, *, gone: tuple[str, ...] = (), **more: Any
) -> Checked:
    """The good host of an architecture with some things changed, without programs: they are other tests' business."""
    tree = Kind("", base, {}, files or {}, gone).tree
    lay(root, {name: entry for name, entry in tree.items() if not isinstance(entry, Program)})
    more.setdefault("kvm", RUNS if base in MAKERS else CREATED)
    return checked(root, machine=MACHINES.get(base, base), **more)


def of(root: Path, name: str) -> Checked:
    """One of the kinds of host, which `test_host_kinds` judges altogether."""
    kind = BY_NAME[name]
    return look(root, kind.base, kind.files, gone=kind.gone, kvm=kind.probe, denied=kind.denied, wanted=kind.wanted)


def test_the_data_follows_its_schema(root: Path) -> None:
    schema = json.loads((root / "schemas/host-upstream.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(UPSTREAM, schema)


def test_each_of_sixty_checks_is_accounted_for_once_by_checks_that_exist() -> None:
    assert len(COVERED) == len(set(COVERED)) == 60
    assert sum(name.startswith("go-") for name in COVERED) == 45
    ours = {entry.id for entry in CHECKS}
    for entry in (*UPSTREAM["checks"], *UPSTREAM["defects"]):
        assert set(entry["ours"]) <= ours, entry


def test_the_page_is_what_the_table_says(root: Path) -> None:
    assert (root / "docs/check-host.md").read_text() == page.page(), "run: make docs"


def unrestricted_never(root: Path) -> None:
    """The parameter is read on an ordinary host."""
    it = of(root, "bare Intel with module parameters set wrong")
    assert it["kvm-unrestricted-guest"].status == "fail"


def remote_intel(root: Path) -> None:
    """Guests that run elsewhere need neither KVM nor its devices here, on Intel as on AMD."""
    for base in MAKERS:
        it = look(root / base, base, gone=("/dev/",), wanted=Wanted(hypervisors=("remote",)))
        assert it.not_passed().keys() <= software()
        assert it["kernel-version"].status == "pass"


def amd_any_hypervisor(root: Path) -> None:
    """What a hypervisor needs is looked at on AMD as on Intel."""
    for base in MAKERS:
        gone = ("/dev/vhost-vsock", "/sys/module/vhost_vsock")
        for name, status in (("qemu", "fail"), ("stratovirt", "fail"), ("clh", "pass"), ("firecracker", "pass")):
            wanted = Wanted(hypervisors=(name,))
            assert look(root / base / name, base, gone=gone, wanted=wanted)["vhost-vsock"].status == status


def dragonball_root(root: Path) -> None:
    """Root or not, the same hypervisor is judged alike."""
    for uid in (0, 1000):
        it = look(root / str(uid), "intel", wanted=Wanted(hypervisors=("dragonball",)), uid=uid)
        assert it["cpu-virtualization"].status == it["kvm-guest"].status == it["vhost-vsock"].status == "pass"


def other_cpu(root: Path) -> None:
    for vendor, flags in (("CentaurHauls", INTEL), ("  Shanghai  ", INTEL), ("HygonGenuine", AMD)):
        base = "intel" if flags == INTEL else "amd"
        it = look(root / vendor.strip(), base, {"/proc/cpuinfo": cpuinfo(vendor, f"{BASE_FLAGS} {flags}")})
        assert it["cpu-info"].status == it["cpu-virtualization"].status == "pass"


def strict_unused(root: Path) -> None:
    """Every option of the command is named where its function uses it, beyond its own declaration."""
    import inspect

    from kata_toolkit.cli.check_host import check_host

    source = inspect.getsource(check_host)
    for option in inspect.signature(check_host).parameters:
        assert source.count(option) > 1, option


def root_vs_network(root: Path) -> None:
    """With and without root the same checks are made, and KVM is tried."""
    tried = []

    def probe() -> KvmVerdict:
        tried.append(1)
        return RUNS

    ids = [list(look(root / str(uid), "intel", uid=uid, kvm=probe).report.verdicts) for uid in (0, 1000)]
    assert ids[0] == ids[1]
    assert len(tried) == 2


def nonroot_module(root: Path) -> None:
    for name in ("everything built in", "modules that come when they are needed"):
        it = of(root / name, name)
        for check in ("kvm-module", "vhost-vsock", "vhost-net", "tun"):
            assert it[check].status == "pass", (name, check)


def param_abort(root: Path) -> None:
    it = of(root, "module parameters that cannot be read")
    assert it["kvm-unrestricted-guest"].status == it["kvm-clock"].status == "skip"
    assert it["kvm-guest"].status == it["vhost-vsock"].status == "pass"


def param_double_log(root: Path) -> None:
    report = of(root, "bare Intel with module parameters set wrong").report.as_json()
    told = [check["status"] for check in report["checks"] if check["id"] == "kvm-unrestricted-guest"]
    assert told == ["fail"]


def vsock_optional(root: Path) -> None:
    for base in GOOD:
        it = look(root / base, base, modules_listed(), gone=("/dev/vhost-vsock", "/sys/module/vhost_vsock"))
        assert it["vhost-vsock"].status == "fail"
        assert not it.report.ok


def vhost_always(root: Path) -> None:
    for base in GOOD:
        it = look(root / base, base, gone=("/dev/vhost-net", "/sys/module/vhost_net"))
        assert it["vhost-net"].status == "warn"
        assert "disable_vhost_net = true" in (it["vhost-net"].remedy or "")


def first_cpu_only(root: Path) -> None:
    it = of(root, "virtualisation on one processor only")
    assert it["cpu-virtualization"].status == it["cpu-features"].status == "fail"


def riscv_vendor(root: Path) -> None:
    assert "mvendorid 0x5b7" in look(root, "riscv64")["cpu-info"].detail


def no_api_version(root: Path) -> None:
    verdict = judge([{"event": "version", "number": 11}], 0)
    assert not verdict.ok
    it = look(root, "intel", kvm=verdict)
    assert it["kvm-guest"].status == "fail"
    assert "version 11" in it["kvm-guest"].detail


def intel_only(root: Path) -> None:
    it = look(root, "amd")
    assert it["cpu-virtualization"].detail == "AMD-V (svm)"
    assert it["kvm-module"].detail == "kvm_amd is loaded"


def cpu_never_fails(root: Path) -> None:
    x86 = look(root / "x86", "intel", {"/proc/cpuinfo": cpuinfo("GenuineIntel", f"fpu lm {INTEL}")})
    s390 = of(root / "s390x", "a z/VM guest")
    for it in (x86, s390):
        assert it["cpu-features"].status == "fail"
        assert it.report.exit_code == 1


def missing_module_passes(root: Path) -> None:
    it = of(root, "a kernel without KVM and vhost")
    assert it["kvm-module"].status == it["vhost-vsock"].status == "fail"
    assert it.report.exit_code == 1


def no_network_subset(root: Path) -> None:
    """There is one list, with modules and KVM in it, and none of it speaks to the network."""
    assert {"kvm-module", "kvm-guest", "cpu-virtualization"} <= look(root, "intel").report.verdicts.keys()
    assert not any("http" in read for entry in CHECKS for read in entry.reads)


def version_only(root: Path) -> None:
    """No option speaks of versions or the network."""
    import inspect

    from kata_toolkit.cli.check_host import check_host

    assert not [name for name in inspect.signature(check_host).parameters if "version" in name or "network" in name]


def network_noop(root: Path) -> None:
    """No check of this machine passes without having read anything."""
    it = look(root, "intel")
    passed = {name: verdict for name, verdict in it.report.verdicts.items() if verdict.status == "pass"}
    assert passed
    for entry in CHECKS:
        if entry.id in passed and entry.id not in software():
            assert passed[entry.id].read, entry.id


def all_arm_s390(root: Path) -> None:
    every_check(root, "arm64", "s390x")


def ppc(root: Path) -> None:
    every_check(root, "ppc64le")
    assert of(root / "power8", "POWER8 with SMT on")["smt"].status == "fail"
    assert of(root / "lpar", "ppc64le in a PowerVM partition").report.exit_code == 1


def riscv(root: Path) -> None:
    every_check(root, "riscv64")


def every_check(root: Path, *bases: str) -> None:
    for base in bases:
        it = look(root / base, base)
        for check in ("cpu-virtualization", "kvm-module", "kvm-device", "kvm-guest", "vhost-vsock", "memory"):
            assert it[check].status == "pass", (base, check)


def arm_existence(root: Path) -> None:
    assert look(root / "denied", "arm64", denied=["/dev/kvm"])["kvm-device"].status == "fail"
    broken = KvmVerdict(False, "KVM refuses to create a VM", "refused")
    assert look(root / "broken", "arm64", kvm=broken)["kvm-guest"].status == "fail"


def sbin_paths(root: Path) -> None:
    """No program is started for modules: a tree without any tells them apart."""
    it = look(root, "intel", modules_listed(builtin=["kvm-intel"]), gone=("/sys/module/kvm_intel",))
    assert it["kvm-module"].detail == "kvm_intel is built in"
    assert not (root / "sbin").exists()


def mislabel(root: Path) -> None:
    titles: dict[str, str] = {entry.id: entry.title for entry in CHECKS}
    assert len(set(titles.values())) == len(titles)
    why = {entry.id: entry.why for entry in CHECKS}
    assert "KVM" in why["kvm-module"]
    assert "KVM" not in why["vhost-vsock"]


def env_capable(root: Path) -> None:
    """Without a KVM that works nothing says that the processor can."""
    for base in ("arm64", "ppc64le"):
        it = look(root / base, base, gone=("/dev/kvm", "/sys/module/kvm"))
        put(root / base, "/proc/cpuinfo", "processor\t: 0\n")
        again: Verdict = checked(root / base, machine=MACHINES.get(base, base))["cpu-virtualization"]
        assert again.status == "skip"
        assert not it.report.ok


def software() -> set[str]:
    return {entry.id for entry in CHECKS if entry.subject in ("programs", "managers", "security", "installed")}


DEFECTS: Mapping[str, Callable[[Path], None]] = {
    "go-unrestricted-never": unrestricted_never,
    "go-remote-intel": remote_intel,
    "go-amd-any-hypervisor": amd_any_hypervisor,
    "go-dragonball-root": dragonball_root,
    "go-other-cpu": other_cpu,
    "go-strict-unused": strict_unused,
    "go-root-vs-network": root_vs_network,
    "go-nonroot-module": nonroot_module,
    "go-param-abort": param_abort,
    "go-param-double-log": param_double_log,
    "go-vsock-optional": vsock_optional,
    "go-vhost-always": vhost_always,
    "go-first-cpu-only": first_cpu_only,
    "go-riscv-vendor": riscv_vendor,
    "go-no-api-version": no_api_version,
    "ctl-intel-only": intel_only,
    "ctl-cpu-never-fails": cpu_never_fails,
    "ctl-missing-module-passes": missing_module_passes,
    "ctl-no-network-subset": no_network_subset,
    "ctl-version-only": version_only,
    "ctl-network-noop": network_noop,
    "ctl-all-arm-s390": all_arm_s390,
    "ctl-ppc": ppc,
    "ctl-riscv": riscv,
    "ctl-arm-existence": arm_existence,
    "ctl-sbin-paths": sbin_paths,
    "ctl-mislabel": mislabel,
    "ctl-env-capable": env_capable,
}


def test_every_defect_that_is_known_has_a_test() -> None:
    assert len(DEFECTS) == 28
    assert [entry["upstream"] for entry in UPSTREAM["defects"]] == list(DEFECTS)


@pytest.mark.parametrize("defect", DEFECTS)
def test_the_defect_is_not_repeated(tmp_path: Path, defect: str) -> None:
    DEFECTS[defect](tmp_path)
