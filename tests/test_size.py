"""size: what VM a workload becomes, by each runtime's own arithmetic."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from kata_toolkit.kata.size import Machine, size
from kata_toolkit.kata.size_quantity import QuantityError, quantity, whole
from kata_toolkit.kata.size_read import read_workloads
from kata_toolkit.kata.size_settings import Settings, of_config, settings_of, stock
from kata_toolkit.kata.size_workload import Container, Limits, Workload
from kata_toolkit.spec.model import Dialect

MIB = 1 << 20


def settings(dialect: Dialect, hypervisor: str = "qemu", **facts: Any) -> Settings:
    named = {"static": "runtime.static_sandbox_resource_mgmt"}
    return settings_of(dialect, hypervisor, {named.get(key, key): value for key, value in facts.items()}, "test")


def oci(tmp_path: Path, resources: Any = None, annotations: Any = None, **more: Any) -> Workload:
    document = {"ociVersion": "1.0.2", "process": {"args": ["true"]}, "linux": {"resources": resources or {}}, **more}
    document |= {"annotations": annotations} if annotations else {}
    file = tmp_path / "config.json"
    file.write_text(json.dumps(document, indent="\t"))
    (workload,) = read_workloads(file)
    return workload


def limited(cpu: tuple[int, int] | None, mib: int | None) -> Any:
    found: dict[str, Any] = {}
    if cpu:
        found["cpu"] = {"quota": cpu[0], "period": cpu[1]}
    if mib is not None:
        found["memory"] = {"limit": mib * MIB}
    return found


ARITHMETIC = [
    # (quota, period), limit in MiB: Go hot-plug, Go static, Rust static; each (vCPUs, MiB),
    # with 1 vCPU and 2048 MiB as defaults, 0.2 and 32 as overheads
    (None, None, (1, 2048), (1, 2048), (1, 2048)),
    ((100_000, 100_000), 512, (2, 2560), (2, 2560), (2, 544)),
    ((220_000, 100_000), 512, (4, 2560), (4, 2560), (3, 544)),
    ((50_000, 100_000), 256, (2, 2304), (2, 2304), (1, 288)),
    ((80_000, 100_000), 256, (2, 2304), (2, 2304), (1, 288)),
    ((90_000, 100_000), 256, (2, 2304), (2, 2304), (2, 288)),
    ((1_000, 100_000), 100, (2, 2176), (2, 2148), (1, 132)),
    ((150_000, 50_000), 1024, (4, 3072), (4, 3072), (4, 1056)),
    (None, 513, (1, 2688), (1, 2561), (1, 546)),
    ((200_000, 100_000), None, (3, 2048), (3, 2048), (3, 32)),
    ((-1, 100_000), -1, (1, 2048), (1, 2048), (1, 2048)),
    ((100_000, 0), 64, (1, 2176), (1, 2112), (1, 96)),
]


@pytest.mark.parametrize(("cpu", "mib", "plugged", "static", "rust"), ARITHMETIC)
def test_one_container(tmp_path: Path, cpu: Any, mib: Any, plugged: Any, static: Any, rust: Any) -> None:
    workload = oci(tmp_path, limited(cpu, mib))
    machines = [size(workload, one) for one in stock("qemu")]
    assert [m.mode for m in machines] == ["hot-plug", "static", "static"]
    assert [(m.vcpus, m.memory) for m in machines] == [plugged, static, rust]
    assert (machines[0].boot_vcpus, machines[0].boot_memory) == (1, 2048)
    assert [(m.boot_vcpus, m.boot_memory) for m in machines[1:]] == [static, rust]


@pytest.mark.parametrize(("quota", "period", "vcpus"), [(1, 100, 1), (100, 100, 1), (101, 100, 2), (0, 100, 0)])
def test_the_formula_of_vcpus(quota: int, period: int, vcpus: int) -> None:
    assert Limits(quota, period).vcpus == vcpus == (quota + period - 1) // period


def test_the_documented_examples_of_overheads() -> None:
    rust = settings("rs", default_vcpus=2, default_memory=1024, overhead_vcpus=0.5, overhead_memory=128, static=True)
    for cpus, mib, expected in (
        (150_000, 600, (2, 728)),
        (None, 512, (1, 640)),
        (150_000, None, (2, 128)),
        (None, None, (2, 1024)),
    ):
        limits = Limits(cpus, 100_000 if cpus else None, mib * MIB if mib else None)
        machine = size(pod(limits), rust)
        assert (machine.vcpus, machine.memory) == expected
    zero = settings("rs", default_vcpus=2, default_memory=1024, overhead_vcpus=0, overhead_memory=0, static=True)
    assert "no memory" in str(size(pod(Limits(150_000, 100_000)), zero).fails)


def pod(*limits: Limits, roles: str = "") -> Workload:
    from kata_toolkit.errors import Where

    words = {"i": "init", "s": "sidecar", "c": "container"}
    containers = tuple(
        Container(f"c{number}", one, words[(roles or "c" * len(limits))[number]])  # type: ignore[arg-type] -- of the three
        for number, one in enumerate(limits)
    )
    total = limits[0] if len(limits) == 1 else Limits()
    return Workload("pod", "Pod", containers, total, Where("pod.yaml"))


def test_hot_plug_counts_what_runs_and_memory_never_shrinks() -> None:
    big, small = Limits(300_000, 100_000, 1024 * MIB), Limits(50_000, 100_000, 100 * MIB)
    machine = size(pod(big, small, small, roles="isc"), settings("go", default_memory=256))
    assert (machine.boot_vcpus, machine.boot_memory) == (1, 256)
    assert (machine.peak_vcpus, machine.peak_memory) == (4, 1280)
    assert (machine.vcpus, machine.memory) == (2, 1280)
    assert machine.slots == (1, 10)


def test_each_container_takes_a_slot_until_there_is_none() -> None:
    one = Limits(None, None, 128 * MIB)
    go = settings("go", memory_slots=3)
    assert size(pod(*[one] * 3), go).slots == (3, 3)
    assert "no memory slot is left" in str(size(pod(*[one] * 4), go).fails)
    with_image = settings("go", memory_slots=3, image="/i", disable_image_nvdimm=False)
    assert size(pod(one), with_image).slots == (2, 3)
    assert size(pod(*[one] * 3), with_image).fails
    virtio = size(pod(*[Limits(None, None, 100 * MIB)] * 4), settings("go", memory_slots=3, enable_virtio_mem=True))
    assert (virtio.slots, virtio.memory, virtio.fails) == (None, 2448, None)


def test_maxima_stop_hot_plug_and_warn_where_the_size_is_static() -> None:
    workload = pod(Limits(800_000, 100_000, 4096 * MIB))
    plugged = size(workload, settings("go", default_maxvcpus=4, default_maxmemory=3072))
    assert (plugged.vcpus, plugged.memory) == (4, 3072)
    assert len([w for w in plugged.warnings if "allows" in w]) == 2
    static = size(workload, settings("go", default_maxvcpus=4, default_maxmemory=3072, static=True))
    assert (static.vcpus, static.memory) == (9, 6144)
    assert len([w for w in static.warnings if "default_max" in w]) == 2
    rust = size(workload, settings("rs", default_maxvcpus=4, static=True))
    assert any("default_maxvcpus" in w for w in rust.warnings)


def test_a_vmm_without_hot_plug_stays_as_it_is() -> None:
    machine = size(pod(Limits(200_000, 100_000, 512 * MIB)), settings("go", "firecracker", default_memory=256))
    assert (machine.vcpus, machine.memory) == (1, 256)
    assert any("takes nothing while it runs" in w for w in machine.warnings)


@pytest.mark.parametrize(
    ("facts", "limits", "warning"),
    [
        ({}, Limits(), "no limits: the VM has what the configuration's defaults say"),
        ({}, Limits(None, None, 16 * MIB), "less than what the guest itself takes"),
        ({}, Limits(100_000, 100_000), "no memory limit"),
        ({"default_vcpus": -1}, Limits(), "as many as the host has"),
    ],
)
def test_warnings(facts: Any, limits: Limits, warning: str) -> None:
    for dialect in ("go", "rs"):
        machine = size(pod(limits), settings(dialect, static=True, overhead_memory=32, **facts))  # type: ignore[arg-type] -- one of the two
        assert any(warning in w for w in machine.warnings), machine.warnings


def test_defaults_are_those_of_the_runtime() -> None:
    assert settings("go", default_memory=100).memory == 2048
    assert settings("go", memory_slots=0).slots == 10
    assert settings("rs").memory == 128
    assert settings("rs").slots == 128
    assert settings("rs", "firecracker").least_memory == 128
    assert settings("go", default_vcpus=0).vcpus == 1


PREFIX = "io.katacontainers.config.hypervisor."


@pytest.mark.parametrize(
    ("annotations", "facts", "expected"),
    [
        ({"default_vcpus": "2.5", "default_memory": "512"}, {}, (3, 512)),
        ({"default_vcpus": "2"}, {"enable_annotations": ["default_.*"]}, (2, 2048)),
        ({"default_vcpus": "2"}, {"enable_annotations": []}, "not in enable_annotations"),
        ({"default_memory": "512"}, {"enable_annotations": ["default_vcpus"]}, "not in enable_annotations"),
        ({"default_memory": "64"}, {}, "less than the least"),
        ({"default_memory": "1Gi"}, {}, "is no number"),
        ({"default_vcpus": "-1"}, {}, "is no number"),
        ({"default_vcpus": ""}, {}, "is no number"),
    ],
)
def test_annotations_of_a_pod(tmp_path: Path, annotations: Any, facts: Any, expected: Any) -> None:
    facts = {"enable_annotations": ["default_vcpus", "default_memory"], **facts}
    workload = oci(tmp_path, annotations={PREFIX + key: value for key, value in annotations.items()})
    machine = size(workload, settings("go", **facts))
    if isinstance(expected, str):
        assert expected in str(machine.fails)
    else:
        assert (machine.vcpus, machine.memory) == expected


def test_the_sandbox_is_told_its_size_by_annotations(tmp_path: Path) -> None:
    cri = "io.kubernetes.cri."
    told = {cri + "container-type": "sandbox", cri + "sandbox-name": "web", cri + "sandbox-cpu-quota": "220000"}
    told |= {cri + "sandbox-cpu-period": "100000", cri + "sandbox-memory": str(512 * MIB)}
    workload = oci(tmp_path, annotations=told)
    assert (workload.kind, workload.name) == ("sandbox", "web")
    plugged, static, rust = (size(workload, one) for one in stock("qemu"))
    assert (plugged.vcpus, plugged.memory) == (1, 2048), "hot-plug waits for the containers"
    assert (static.vcpus, static.memory) == (4, 2560)
    assert (rust.vcpus, rust.memory) == (3, 544)


def test_cpusets_and_huge_pages_count_for_hot_plug(tmp_path: Path) -> None:
    resources = {"cpu": {"cpus": "0-2,7"}, "hugepageLimits": [{"pageSize": "2MB", "limit": 128 * MIB}]}
    machine = size(oci(tmp_path, resources), settings("go"))
    assert (machine.vcpus, machine.memory) == (5, 2176)
    assert size(oci(tmp_path, resources | limited((50_000, 100_000), None)), settings("go")).vcpus == 2


@pytest.mark.parametrize("flavour", ["qemu", "clh", "fc", "dragonball", "qemu-tdx", "remote", "stratovirt"])
def test_every_flavour_has_settings_of_its_own(flavour: str) -> None:
    for one in stock(flavour):
        machine = size(pod(Limits(100_000, 100_000, 512 * MIB)), one)
        assert machine.fails is None
        assert machine.vcpus >= 1
        assert json.loads(json.dumps(machine.as_json()))["hypervisor"] == one.hypervisor


def test_a_configuration_with_its_drop_ins(tmp_path: Path) -> None:
    file = tmp_path / "configuration.toml"
    file.write_text("[hypervisor.qemu]\ndefault_memory = 512\n[runtime]\n[factory]\n[agent.kata]\ndial_timeout = 3\n")
    assert (of_config(file).dialect, of_config(file).memory, of_config(file).static) == ("go", 512, False)
    (tmp_path / "config.d").mkdir()
    (tmp_path / "config.d" / "10.toml").write_text("[runtime]\nstatic_sandbox_resource_mgmt = true\n")
    machine: Machine = size(pod(Limits(None, None, 256 * MIB)), of_config(file))
    assert (machine.mode, machine.memory) == ("static", 768)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("500m", Fraction(1, 2)), ("1", 1), ("0.5", Fraction(1, 2)), (".5", Fraction(1, 2)), ("1.", 1), ("+1", 1),
        ("1e3", 1000), ("1E3", 1000), ("12e-1", Fraction(6, 5)), ("1k", 1000), ("1Ki", 1024), ("1.5Gi", 3 << 29),
        ("2E", 2 * 10**18), ("0", 0), ("-0", 0), ("100n", Fraction(1, 10**7)), ("1u", Fraction(1, 10**6)),
    ],
)  # fmt: skip
def test_quantities(text: str, value: Any) -> None:
    assert quantity(text) == value


@pytest.mark.parametrize(
    "text", ["", "m", "1K", "1MB", "1mi", "1 Gi", "1Gi ", "-1", "1e", "one", "0x10", "1_000", "1Gib", "9E99", "\uff11"]
)
def test_what_is_no_quantity(text: str) -> None:
    with pytest.raises(QuantityError):
        quantity(text)


def test_rounding_up() -> None:
    assert [whole(Fraction(n, 2)) for n in (0, 1, 2, 3)] == [0, 1, 1, 2]


@pytest.mark.parametrize(
    ("dialect", "hypervisor", "cpus", "refused"),
    [
        ("go", "qemu", 1000, True),
        ("rs", "qemu", 257, True),
        ("rs", "firecracker", 40, True),
        ("go", "qemu", 100, False),
        ("rs", "qemu", 200, False),
        ("rs", "firecracker", 30, False),
    ],
)
def test_more_cpus_than_a_vm_can_have(dialect: Dialect, hypervisor: str, cpus: int, refused: bool) -> None:
    machine = size(pod(Limits(cpus * 1000, 1000, 512 * MIB)), settings(dialect, hypervisor, static=True))
    assert any("are refused everywhere" in warning for warning in machine.warnings) is refused
