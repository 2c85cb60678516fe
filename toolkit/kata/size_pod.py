"""What a Kubernetes manifest asks for: pods and what makes them, added up as a kubelet adds them up for CRI.

Rules: k8s.io/component-helpers/resource (PodLimits), and kubelet's kuberuntime, which turns a CPU limit into a quota of
at least 1 ms in a period of 100 ms.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction

from ..errors import InputError
from ..spec.words import shown
from ..spec.yamltree import Node, Tree
from .size_fields import Fields
from .size_oci import read_annotations
from .size_quantity import whole
from .size_workload import PERIOD, Container, Limits, Overhead, Role, Workload

_TEMPLATES: dict[str, tuple[str, ...]] = {
    "Pod": (),
    "PodTemplate": ("template",),
    "Deployment": ("spec", "template"),
    "StatefulSet": ("spec", "template"),
    "DaemonSet": ("spec", "template"),
    "ReplicaSet": ("spec", "template"),
    "ReplicationController": ("spec", "template"),
    "Job": ("spec", "template"),
    "CronJob": ("spec", "jobTemplate", "spec", "template"),
}
"""Where each kind has its pod."""

_LEAST_QUOTA = 1000


def read_pods(trees: list[Tree]) -> list[Workload]:
    """The pods of a file's documents. Raises InputError with every mistake, and for a file without any pod."""
    fields = Fields()
    objects = [node for tree in trees for node in _objects(tree.root)]
    classes = {name: found for node in objects for name, found in _class(fields, node)}
    pods = [pod for node in objects for pod in _pod(fields, node)]
    if fields.problems:
        raise InputError.many(fields.problems)
    if not pods:
        kinds = [str(node.value.get("kind")) for node in objects if isinstance(node.value, dict)]
        told = f"has no pod in it, only {', '.join(kinds)}" if any(kinds) else "has no pod in it"
        raise InputError(told, where=trees[0].root.where, hint=f"there must be one of {', '.join(_TEMPLATES)}")
    return [_with_overhead(pod, classes) for pod in pods]


def _objects(root: Node) -> Iterator[Node]:
    """The object, or those of a List."""
    if isinstance(root.value, dict) and isinstance(root.value.get("items"), list):
        for item in root.children["items"].children.values():
            yield from _objects(item)
    else:
        yield root


def _class(fields: Fields, node: Node) -> Iterator[tuple[str, Overhead]]:
    """The overhead that a RuntimeClass tells."""
    if not isinstance(node.value, dict) or node.value.get("kind") != "RuntimeClass":
        return
    metadata = fields.mapping(node, "metadata")
    name = fields.text(metadata, "name") if metadata else None
    overhead = fields.mapping(node, "overhead")
    fixed = fields.mapping(overhead, "podFixed") if overhead else None
    if name and fixed:
        yield name, _overhead(fields, fixed)


def _overhead(fields: Fields, node: Node) -> Overhead:
    memory = fields.quantity(node, "memory", "overhead's memory") or Fraction(0)
    return Overhead(whole(memory), fields.quantity(node, "cpu", "overhead's cpu") or Fraction(0), node.where)


def _pod(fields: Fields, node: Node) -> Iterator[Workload]:
    if not isinstance(node.value, dict):
        fields.wrong("is no Kubernetes object: its top is no mapping", node.where)
        return
    kind = fields.text(node, "kind")
    if kind is None:
        fields.wrong(
            "has no kind: is it a Kubernetes object?", node.where, "a pod's manifest or an OCI config.json is wanted"
        )
        return
    if kind not in _TEMPLATES:
        return
    metadata = fields.mapping(node, "metadata")
    name = (fields.text(metadata, "name") or fields.text(metadata, "generateName")) if metadata else None
    template: Node | None = node
    for step in _TEMPLATES[kind]:
        template = fields.mapping(template, step) if template else None
    spec = fields.mapping(template, "spec") if template else None
    if template is None or spec is None:
        fields.wrong(f"{kind} has no {'.'.join((*_TEMPLATES[kind], 'spec'))}", node.where)
        return
    inner = fields.mapping(template, "metadata")
    annotated = fields.mapping(inner, "annotations") if inner else None
    annotations = read_annotations(fields, annotated) if annotated else {}
    containers = _containers(fields, spec)
    if not any(container.role == "container" for container in containers) and not fields.problems:
        fields.wrong(f"{kind} has no containers", spec.where)
    overhead = fields.mapping(spec, "overhead")
    yield Workload(
        name=name or "unnamed",
        kind=kind,
        containers=tuple(containers),
        total=_total(fields, spec, containers),
        where=node.where,
        annotations=annotations,
        runtime_class=fields.text(spec, "runtimeClassName"),
        overhead=_overhead(fields, overhead) if overhead else None,
        notes=tuple(_notes(spec, containers)),
    )


def _notes(spec: Node, containers: list[Container]) -> Iterator[str]:
    if spec.value.get("runtimeClassName") is None:
        yield "it has no runtimeClassName: it runs under Kata only where that is the node's default"
    staying = [container for container in containers if container.role != "init"]
    no_memory = [container.name for container in staying if not container.limits.memory]
    no_cpu = [container.name for container in staying if container.limits.quota is None]
    for what, without in (("memory", no_memory), ("CPU", no_cpu)):
        if without and len(without) < len(staying):
            yield f"no {what} limit, so nothing is counted for: {', '.join(without)}"


def _containers(fields: Fields, spec: Node) -> list[Container]:
    found = []
    for item in fields.items(spec, "initContainers"):
        restart = fields.text(item, "restartPolicy")
        if restart not in (None, "Always"):
            fields.wrong(f"an init container's restartPolicy is Always or left out, not {shown(restart)}", item.where)
        found.append(_container(fields, item, "sidecar" if restart == "Always" else "init"))
    return found + [_container(fields, item, "container") for item in fields.items(spec, "containers")]


def _container(fields: Fields, node: Node, role: Role) -> Container:
    resources = fields.mapping(node, "resources")
    name = fields.text(node, "name") or "unnamed"
    return Container(name, _limits(fields, resources, name) if resources else Limits(), role, node.where)


def _limits(fields: Fields, resources: Node, name: str) -> Limits:
    node = fields.mapping(resources, "limits")
    if node is None:
        return Limits()
    cpu = fields.quantity(node, "cpu", f"{name}'s cpu limit")
    memory = fields.quantity(node, "memory", f"{name}'s memory limit")
    if memory is not None and 0 < memory < 1 << 20:
        where = node.children["memory"].where
        hint = (
            "m means thousandths of a byte; Mi was meant?"
            if str(node.value["memory"]).endswith("m")
            else "Mi was meant?"
        )
        fields.wrong(f"{name}'s memory limit is less than a MiB", where, hint)
    huge = sum(
        whole(fields.quantity(node, str(key), f"{name}'s {key} limit") or Fraction(0))
        for key in node.children
        if str(key).startswith("hugepages-")
    )
    return replace(_of(cpu, memory), hugepages=huge)


def _of(cpu: Fraction | None, memory: Fraction | None) -> Limits:
    """The limits that a kubelet hands on: 0 is no limit."""
    milli = whole(cpu * 1000) if cpu else 0
    quota = max(milli * PERIOD // 1000, _LEAST_QUOTA) if milli else None
    return Limits(quota, PERIOD if quota else None, whole(memory) if memory else None)


def _total(fields: Fields, spec: Node, containers: list[Container]) -> Limits:
    """The pod's limits: containers and sidecars together, or what an init container needs beside sidecars, if more."""
    cpu = memory = peak_cpu = peak_memory = side_cpu = side_memory = 0
    for container in containers:
        milli = (container.limits.quota or 0) // 100
        size = container.limits.memory or 0
        if container.role == "init":
            peak_cpu, peak_memory = max(peak_cpu, milli + side_cpu), max(peak_memory, size + side_memory)
            continue
        cpu, memory = cpu + milli, memory + size
        if container.role == "sidecar":
            side_cpu, side_memory = side_cpu + milli, side_memory + size
    resources = fields.mapping(spec, "resources")
    whole_pod = _limits(fields, resources, "the pod") if resources else Limits()
    milli = (whole_pod.quota or 0) // 100 or max(cpu, peak_cpu)
    size = whole_pod.memory or max(memory, peak_memory)
    return _of(Fraction(milli, 1000), Fraction(size))


def _with_overhead(pod: Workload, classes: dict[str, Overhead]) -> Workload:
    """The overhead of its RuntimeClass, if the file has that too and the pod does not say its own."""
    if pod.overhead or pod.runtime_class not in classes:
        return pod
    return replace(pod, overhead=classes[pod.runtime_class])
