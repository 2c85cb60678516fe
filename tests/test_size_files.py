"""size: files of both kinds, the pods of Kubernetes as a kubelet adds them up, bad input, and the command."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from kata_toolkit.errors import InputError
from kata_toolkit.kata.size_read import read_workloads

MIB = 1 << 20
POD = """\
apiVersion: v1
kind: Pod
metadata: {{name: p}}
spec:
  runtimeClassName: kata
{}
"""


def pods(tmp_path: Path, text: str) -> Any:
    file = tmp_path / "pod.yaml"
    file.write_text(text)
    return read_workloads(file)


def total(tmp_path: Path, body: str) -> tuple[int, int]:
    (pod,) = pods(tmp_path, POD.format(body))
    return (pod.total.quota or 0) // 100, pod.total.mib


def container(limits: str, more: str = "") -> str:
    return f"  - {{name: c, resources: {{limits: {{{limits}}}}}{more}}}\n"


C1, C2, C3 = container("cpu: 1, memory: 1Gi"), container("cpu: 500m, memory: 512Mi"), container("cpu: 3, memory: 100Mi")
ALWAYS = ", restartPolicy: Always"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (f"  containers:\n{C1}{C2}", (1500, 1536)),
        (f"  initContainers:\n{C3}  containers:\n{C1}{C2}", (3000, 1536)),
        (f"  initContainers:\n{container('cpu: 500m, memory: 512Mi', ALWAYS)}  containers:\n{C1}", (1500, 1536)),
        # An init container behind a sidecar runs beside it, one before it does not.
        (f"  initContainers:\n{container('cpu: 500m', ALWAYS)}{C3}  containers:\n{C1}", (3500, 1024)),
        (f"  initContainers:\n{C3}{container('cpu: 500m', ALWAYS)}  containers:\n{C1}", (3000, 1024)),
        (f"  resources: {{limits: {{cpu: 2, memory: 2Gi}}}}\n  containers:\n{C1}{C2}", (2000, 2048)),
        (f"  resources: {{limits: {{memory: 2Gi}}}}\n  containers:\n{C1}{C2}", (1500, 2048)),
        (f"  containers:\n{container('cpu: 1m')}", (10, 0)),
        (f"  containers:\n{container('cpu: 0.1')}{container('memory: 1e9')}", (100, 953)),
        (f"  containers:\n{container('cpu: 0, memory: 0')}", (0, 0)),
        ("  containers:\n  - name: c\n", (0, 0)),
        (f"  containers:\n{container('cpu: 1, memory: ' + str(MIB * 3))}", (1000, 3)),
    ],
)
def test_pods_are_added_up_as_a_kubelet_does_it(tmp_path: Path, body: str, expected: tuple[int, int]) -> None:
    assert total(tmp_path, body) == expected


TEMPLATE = "metadata: {annotations: {a: b}}\n%sspec: {containers: [{name: c}]}"


@pytest.mark.parametrize(
    ("kind", "before", "depth"),
    [
        ("Deployment", "spec: {template: ", 1),
        ("StatefulSet", "spec: {template: ", 1),
        ("DaemonSet", "spec: {template: ", 1),
        ("ReplicaSet", "spec: {template: ", 1),
        ("Job", "spec: {template: ", 1),
        ("CronJob", "spec: {jobTemplate: {spec: {template: ", 3),
        ("PodTemplate", "template: ", 0),
    ],
)
def test_every_kind_with_a_pod_in_it(tmp_path: Path, kind: str, before: str, depth: int) -> None:
    inner = "{metadata: {annotations: {a: b}}, spec: {containers: [{name: c}]}}"
    (found,) = pods(tmp_path, f"apiVersion: v1\nkind: {kind}\nmetadata: {{name: x}}\n{before}{inner}{'}' * depth}\n")
    assert (found.kind, found.name, len(found.containers)) == (kind, "x", 1)
    assert found.annotations["a"][0] == "b"


def test_several_documents_a_runtime_class_and_what_is_no_pod(tmp_path: Path) -> None:
    text = (
        "# first\n---\nkind: Service\nspec: {ports: [{port: 80}]}\n---\nkind: RuntimeClass\nmetadata: {name: kata}\n"
        "overhead: {podFixed: {memory: 160Mi, cpu: 250m}}\n--- # the pod\n"
        + POD.format(f"  containers:\n{C1}")
        + "...\n---\n"
    )
    (pod,) = pods(tmp_path, text)
    assert pod.overhead is not None
    assert (pod.overhead.memory >> 20, float(pod.overhead.cpus)) == (160, 0.25)
    assert pod.where.line == 10


def test_a_list_and_json(tmp_path: Path) -> None:
    pod = {"kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [{"name": "c"}]}}
    file = tmp_path / "pods.json"
    file.write_text(json.dumps({"kind": "List", "items": [pod, pod]}))
    assert len(read_workloads(file)) == 2


def test_what_yaml_readers_disagree_on_matters_only_where_it_is_read(tmp_path: Path) -> None:
    body = f"  volumes: [{{secret: {{defaultMode: 0644}}}}]\n  containers:\n{C1}"
    assert total(tmp_path, body) == (1000, 1024)
    with pytest.raises(InputError, match="1_000"):
        total(tmp_path, f"  containers:\n{container('memory: 1_000Mi')}")


BAD_PODS = [
    ("cpu: 500mi", "unknown suffix"),
    ("cpu: -1", "is negative"),
    ("cpu: '-500m'", "is negative"),
    ("cpu: true", "must be a quantity"),
    ("cpu: [1]", "must be a quantity"),
    ("memory: 1GB", "write G or Gi"),
    ("memory: 1gb", "write G or Gi"),
    ("memory: '1 Gi'", "is no quantity"),
    ("memory: 128m", "thousandths of a byte"),
    ("memory: 128", "less than a MiB"),
    ("memory: lots", "is no quantity"),
    ("memory: ''", "is no quantity"),
    ("memory: 0x10", "quantity"),
    ("memory: 99E", "too large"),
    ("cpu: .inf", "quantity"),
]


@pytest.mark.parametrize(("limits", "message"), BAD_PODS, ids=[case[0] for case in BAD_PODS])
def test_bad_limits_are_told_at_their_place(tmp_path: Path, limits: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        total(tmp_path, f"  containers:\n{container(limits)}")
    (problem,) = caught.value.problems
    assert message in str(problem)
    assert problem.where is not None
    assert (problem.where.line, problem.where.column) == (
        7,
        len("  - {name: c, resources: {limits: {") + limits.index(":") + 3,
    )


BAD_YAML = [
    ("", "is empty"),
    ("# nothing\n---\n", "is empty"),
    ("just text\n", "no mapping"),
    ("- a\n", "no mapping"),
    ("a: b\n", "has no kind"),
    ("kind: 3\n", "kind must be a string"),
    ("kind: Service\n", "has no pod in it"),
    ("kind: Pod\n", "has no spec"),
    ("kind: Deployment\nspec: {}\n", "has no spec.template.spec"),
    ("kind: Pod\nspec: {containers: []}\n", "has no containers"),
    ("kind: Pod\nspec: {containers: {}}\n", "must be a list"),
    ("kind: Pod\nspec: {containers: [x]}\n", "must be a mapping"),
    ("kind: Pod\nspec: {containers: [{name: c, resources: 3}]}\n", "resources must be a mapping"),
    ("kind: Pod\nspec: {initContainers: [{restartPolicy: Never}], containers: [{name: c}]}\n", "restartPolicy"),
    ("kind: Pod\nmetadata: {annotations: {a: 3}}\nspec: {containers: [{name: c}]}\n", "quote it"),
    ("kind: Pod\nkind: Pod\n", "already given"),
    ("kind: Pod\n\tspec: {}\n", "tab"),
    ("kind: [\n", "not YAML"),
    ("kind: Pod\nspec: &a {containers: *a}\n", "part of what it stands for"),
]


@pytest.mark.parametrize(("text", "message"), BAD_YAML, ids=[case[1] for case in BAD_YAML])
def test_bad_manifests(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        pods(tmp_path, text)
    assert message in " ".join(map(str, caught.value.problems))


def oci(resources: str) -> str:
    return '{\n"process": {},\n"linux": {"resources": ' + resources + "}}"


BAD_JSON = [
    ("{", "is not JSON"),
    ("[]", "no Kubernetes object|no object|is no OCI"),
    ("{}", "neither process nor linux"),
    ('{"linux": {}}', "has no process"),
    ('{"process": 3}', "process must be a mapping"),
    ('{"process": {}, "process": {}}', "already given"),
    ('{"process": {}, "annotations": {"a": 1}}', "must be a string"),
    (oci('{"memory": {"limit": "1Gi"}}'), "memory.limit must be a whole number"),
    (oci('{"memory": {"limit": "1024"}}'), "remove the quotes"),
    (oci('{"memory": {"limit": 1e9}}'), "memory.limit must be a whole number"),
    (oci('{"memory": {"limit": 1.5}}'), "memory.limit must be a whole number"),
    (oci('{"memory": {"limit": true}}'), "memory.limit must be a whole number"),
    (oci('{"memory": {"limit": NaN}}'), "is no number"),
    (oci('{"memory": {"limit": 99999999999999999999}}'), "64 bits"),
    (oci('{"memory": []}'), "memory must be a mapping"),
    (oci('{"cpu": {"quota": "500m"}}'), "cpu.quota must be a whole number"),
    (oci('{"cpu": {"period": -1}}'), "cpu.period must be a number from 0"),
    (oci('{"cpu": {"cpus": "0-"}}'), "no list of CPUs"),
    (oci('{"cpu": {"cpus": "7-3"}}'), "no range of CPUs"),
    (oci('{"cpu": {"cpus": "0-9999999"}}'), "no range of CPUs"),
    (oci('{"hugepageLimits": {}}'), "must be a list"),
    ('{"process": {"args": 1}, "process": 2}', "already given"),
    ("[" * 5000 + "]" * 5000, "nested too deeply"),
]


@pytest.mark.parametrize(("text", "message"), BAD_JSON, ids=[case[1] for case in BAD_JSON])
def test_bad_oci_configurations(tmp_path: Path, text: str, message: str) -> None:
    import re

    file = tmp_path / "config.json"
    file.write_text(text)
    with pytest.raises(InputError) as caught:
        read_workloads(file)
    assert re.search(message, " ".join(map(str, caught.value.problems)))


def test_a_place_in_json_is_that_of_the_value(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text(
        '{\n\t"process": {"args": ["a\\"b", {}]},\n\t"linux": {"resources":\n\t\t{"cpu" : {"quota":  "1"}}}}\n'
    )
    with pytest.raises(InputError) as caught:
        read_workloads(file)
    where = caught.value.problems[0].where
    assert where is not None
    assert (where.line, where.column) == (4, 23)


@pytest.mark.parametrize("value", ["x", "", "1.5", "99999999999999999999"])
def test_sandbox_annotations_that_are_no_numbers(tmp_path: Path, value: str) -> None:
    told = {"io.kubernetes.cri.container-type": "sandbox", "io.kubernetes.cri.sandbox-memory": value}
    file = tmp_path / "config.json"
    file.write_text(json.dumps({"process": {}, "annotations": told}))
    with pytest.raises(InputError, match="sandbox-memory"):
        read_workloads(file)


def run(tool: Path, *words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([tool, "size", *words], env={**os.environ}, capture_output=True, text=True, check=False)


def test_the_command(tool: Path, root: Path, tmp_path: Path) -> None:
    file = tmp_path / "pod.yaml"
    file.write_text(POD.format(f"  containers:\n{C1}{C2}"))
    done = run(tool, file)
    assert done.returncode == 0
    assert "Rust runtime, qemu, static  2 vCPU, 1568 MiB  2 vCPU, 1568 MiB" in done.stdout
    found = json.loads(run(tool, file, "--json").stdout)
    jsonschema.validate(found, json.loads((root / "schemas" / "size.schema.json").read_text()))
    machines = found["workloads"][0]["machines"]
    assert [(m["runtime"], m["mode"], m["vcpus"], m["memory_mib"]) for m in machines] == [
        ("go", "hot-plug", 3, 3584),
        ("go", "static", 3, 3584),
        ("rs", "static", 2, 1568),
    ]


def test_settings_from_a_configuration_a_spec_and_a_set(tool: Path, root: Path, tmp_path: Path) -> None:
    file = tmp_path / "pod.yaml"
    file.write_text(POD.format(f"  containers:\n{C1}"))
    toml = tmp_path / "c.toml"
    toml.write_text('[hypervisor.qemu]\ndefault_memory = 512\n[runtime]\nhypervisor_name = "qemu"\n')
    (machine,) = json.loads(run(tool, file, "--config", toml, "--json").stdout)["workloads"][0]["machines"]
    assert (machine["runtime"], machine["mode"], machine["memory_mib"]) == ("rs", "hot-plug", 1536)
    machines = json.loads(run(tool, file, "--spec", root / "examples/quickstart.yaml", "--json").stdout)
    assert [m["runtime"] for m in machines["workloads"][0]["machines"]] == ["go", "rs"]
    folder = tmp_path / "set" / "share" / "defaults" / "kata-containers" / "runtime-rs"
    folder.mkdir(parents=True)
    (folder / "configuration-qemu-runtime-rs.toml").write_text(toml.read_text())
    assert run(tool, file, "--set", tmp_path / "set").returncode == 0
    for words in (
        ["--set", tmp_path],
        ["--set", tmp_path / "no"],
        ["--config", file],
        ["--hypervisor", "qmeu"],
        ["--spec", toml],
    ):
        done = run(tool, file, *words)
        assert done.returncode == 2, words
        assert "Traceback" not in done.stderr


def test_a_pod_that_a_runtime_refuses_is_exit_status_1(tool: Path, tmp_path: Path) -> None:
    file = tmp_path / "pod.yaml"
    annotation = 'metadata: {name: p, annotations: {io.katacontainers.config.hypervisor.default_memory: "64"}}'
    file.write_text(POD.format(f"  containers:\n{C1}").replace("metadata: {name: p}", annotation))
    done = run(tool, file)
    assert done.returncode == 1
    assert "does not start" in done.stdout


def test_mistakes_of_all_files_are_told_together(tool: Path, tmp_path: Path) -> None:
    one, two = tmp_path / "a.yaml", tmp_path / "b.json"
    one.write_text(POD.format(f"  containers:\n{container('cpu: x')}"))
    two.write_text("{}")
    done = run(tool, one, two, tmp_path / "missing", "--json")
    assert done.returncode == 2
    assert len(json.loads(done.stdout)["errors"]) == 3


@pytest.mark.parametrize(("data", "status"), [(POD.format(f"  containers:\n{C1}").encode(), 0), (b"\xff", 2), (b"", 2)])
def test_a_pipe(tool: Path, data: bytes, status: int) -> None:
    done = subprocess.run([tool, "size", "-"], input=data, capture_output=True, check=False)
    assert done.returncode == status
    assert b"Traceback" not in done.stderr
