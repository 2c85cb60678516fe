"""What an OCI runtime configuration (config.json) asks for, and what CRI tells of the sandbox in its annotations."""

from __future__ import annotations

import re

from ..errors import InputError, Where
from ..spec.words import shown
from ..spec.yamltree import Node, Tree
from .size_fields import Fields
from .size_workload import Container, Limits, Workload

_TYPES = {
    "io.kubernetes.cri.container-type": {"sandbox": "sandbox", "container": "container"},
    "io.kubernetes.cri-o.ContainerType": {"sandbox": "sandbox", "container": "container"},
    "io.kubernetes.docker.type": {"podsandbox": "sandbox", "container": "container"},
}
"""Annotations by which a container manager says which of a pod's containers this is."""

_SANDBOX = "io.kubernetes.cri.sandbox-"
_NUMBER = re.compile(r"-?[0-9]+")
_CPUSET = re.compile(r"[0-9]+(-[0-9]+)?(,[0-9]+(-[0-9]+)?)*")


def read_oci(tree: Tree) -> Workload:
    """The workload of a config.json. Raises InputError with every mistake that matters here."""
    fields = Fields()
    root = tree.root
    file = tree.source.file
    if not isinstance(root.value, dict):
        raise InputError("is no OCI configuration: its top is no object", where=root.where)
    if "process" not in root.children and "linux" not in root.children:
        raise InputError(
            "is no OCI configuration: it has neither process nor linux",
            where=Where(file, 1, 1),
            hint="an OCI bundle's config.json or a pod's YAML is wanted",
        )
    process = fields.mapping(root, "process")
    if process is None and not fields.problems:
        fields.wrong("has no process: no runtime can start it", Where(file, 1, 1))
    linux = fields.mapping(root, "linux")
    resources = fields.mapping(linux, "resources") if linux else None
    limits = _limits(fields, resources) if resources else Limits()
    annotations = _annotations(fields, root)
    kind = next(
        (kinds[annotations[k][0]] for k, kinds in _TYPES.items() if k in annotations and annotations[k][0] in kinds),
        None,
    )
    total = _sandbox(fields, annotations) if kind == "sandbox" else limits
    if fields.problems:
        raise InputError.many(fields.problems)
    notes = []
    if kind == "sandbox":
        notes.append("it is a pod's sandbox; the pod's containers come later, and only hot-plug takes their limits")
    elif kind == "container":
        notes.append("it joins the VM of its sandbox; sized statically, that VM does not change for it")
    name = _name(annotations) or file
    container = Container(_name(annotations) or "container", limits, "container", root.where)
    return Workload(name, kind or "container", (container,), total, root.where, annotations, notes=tuple(notes))


def _name(annotations: dict[str, tuple[str, Where]]) -> str | None:
    for key in ("io.kubernetes.cri.container-name", "io.kubernetes.cri.sandbox-name", "io.kubernetes.container.name"):
        if key in annotations:
            return annotations[key][0]
    return None


def _limits(fields: Fields, resources: Node) -> Limits:
    quota = period = memory = None
    cpuset = 0
    cpu = fields.mapping(resources, "cpu")
    if cpu:
        quota = fields.integer(cpu, "quota", "cpu.quota")
        period = fields.integer(cpu, "period", "cpu.period", 0)
        cpus = fields.text(cpu, "cpus")
        if cpus:
            cpuset = _cpuset(fields, cpus, cpu.children["cpus"].where)
    mapping = fields.mapping(resources, "memory")
    if mapping:
        memory = fields.integer(mapping, "limit", "memory.limit")
    huge = 0
    for item in fields.items(resources, "hugepageLimits"):
        huge += fields.integer(item, "limit", "a hugepageLimits entry's limit", 0) or 0
    return Limits(quota, period, memory, huge, cpuset)


def _cpuset(fields: Fields, text: str, where: Where) -> int:
    if not _CPUSET.fullmatch(text):
        fields.wrong(f"cpu.cpus: {shown(text)} is no list of CPUs", where, "write it like 0-3,7")
        return 0
    chosen: set[int] = set()
    for part in text.split(","):
        low, _, high = part.partition("-")
        first, last = int(low), int(high or low)
        if last > 8191 or first > last:
            fields.wrong(f"cpu.cpus: {shown(part)} is no range of CPUs", where)
            return 0
        chosen |= set(range(first, last + 1))
    return len(chosen)


def _annotations(fields: Fields, root: Node) -> dict[str, tuple[str, Where]]:
    mapping = fields.mapping(root, "annotations")
    return read_annotations(fields, mapping) if mapping else {}


def read_annotations(fields: Fields, mapping: Node) -> dict[str, tuple[str, Where]]:
    """Annotations with their places; those that are no strings are mistakes."""
    found = {}
    for key, node in mapping.children.items():
        if isinstance(node.value, str):
            found[str(key)] = (node.value, node.where)
        else:
            hint = f'quote it: "{node.raw}"' if node.raw else None
            fields.wrong(f"the annotation {key} must be a string", node.where, hint)
    return found


def _sandbox(fields: Fields, annotations: dict[str, tuple[str, Where]]) -> Limits:
    """The pod's totals as containerd tells them."""
    values: dict[str, int | None] = {}
    for name in ("cpu-quota", "cpu-period", "memory"):
        text, where = annotations.get(_SANDBOX + name, (None, None))
        values[name] = None
        if text is None or where is None:
            continue
        if _NUMBER.fullmatch(text) and abs(int(text)) < 1 << 63:
            values[name] = int(text)
        else:
            told = f"{_SANDBOX}{name}: {shown(text)} is no number, and the runtimes take it for 0"
            fields.wrong(told, where, "CRI writes plain numbers: microseconds, and bytes")
    return Limits(values["cpu-quota"], values["cpu-period"], values["memory"])
