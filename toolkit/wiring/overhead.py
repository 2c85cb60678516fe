"""What a pod in a VM takes besides its containers, guest and host side, from figures (``schemas/overheads.json``).

Kubernetes adds it to the limits of the containers when it makes the pod's cgroup and when it chooses a node. Too low,
and the kernel kills the VMM, with it the pod; too high, and nodes stay half empty.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from .. import resources

_KIB_PER_MIB = 1024


@dataclass(frozen=True, slots=True)
class Part:
    """One part of the sum, in MiB, and where the figure comes from."""

    name: str
    mib: int
    source: str


@dataclass(frozen=True, slots=True)
class Overhead:
    """What a RuntimeClass says: ``memory_mib`` and ``cpu_millis`` (thousandths of a CPU).

    ``parts`` of the memory; none where the spec gives it. ``ceiling_mib``: what it can never exceed, with all of the
    memory that the guest starts with in use.
    """

    memory_mib: int
    cpu_millis: int
    parts: tuple[Part, ...]
    ceiling_mib: int

    def as_json(self) -> dict[str, Any]:
        """As in ``wiring.json``."""
        return {
            "memory_mib": self.memory_mib,
            "cpu_millis": self.cpu_millis,
            "parts": [{"name": p.name, "mib": p.mib, "from": p.source} for p in self.parts],
            "ceiling_mib": self.ceiling_mib,
        }


@lru_cache(maxsize=1)
def figures() -> Mapping[str, Any]:
    """The figures. Raises FileNotFoundError when the installation is incomplete."""
    data: Mapping[str, Any] = json.loads(resources.resource("schemas", "overheads.json").read_bytes())
    return data


def overhead(
    vmm: str,
    memory_mib: int,
    *,
    virtiofsd: bool,
    static_mib: int = 0,
    taken_at_start: bool = False,
    given_memory_mib: int | None = None,
    given_cpu_millis: int | None = None,
) -> Overhead:
    """The overhead of a guest with that much memory under a VMM.

    ``static_mib``: what the runtime adds to the containers' limits when it sizes the VM before it starts
    (``overhead_memory``); the guest may use all of it. ``taken_at_start``: the VMM takes all of the guest's memory from
    the host before the guest runs, as for confidential guests. What the spec gives takes the place of the sum.
    """
    data = figures()
    guest = _guest(memory_mib, static_mib, taken_at_start=taken_at_start)
    host = _host(vmm, virtiofsd=virtiofsd and vmm not in data["elsewhere"])
    parts = host if vmm in data["elsewhere"] else (guest, *host)
    step = data["round_mib"]
    memory = math.ceil(sum(part.mib for part in parts) * (1 + data["margin"]) / step) * step
    most = 0 if vmm in data["elsewhere"] else max(memory_mib, static_mib)
    return Overhead(
        memory_mib=memory if given_memory_mib is None else given_memory_mib,
        cpu_millis=data["cpu_millis"] if given_cpu_millis is None else given_cpu_millis,
        parts=parts if given_memory_mib is None else (),
        ceiling_mib=most + sum(part.mib for part in host),
    )


def _guest(memory_mib: int, static_mib: int, *, taken_at_start: bool) -> Part:
    if taken_at_start:
        return Part("the guest's first memory", memory_mib, "default_memory: the VMM takes all of it at the start")
    guest = figures()["guest"]
    used = math.ceil((guest["base_kib"] + guest["per_mib_kib"] * memory_mib) / _KIB_PER_MIB)
    if static_mib > used:
        source = "overhead_memory: what the runtime adds for the guest when it sizes the VM"
        return Part("guest kernel and agent", static_mib, source)
    return Part("guest kernel and agent", used, guest["from"])


def _host(vmm: str, *, virtiofsd: bool) -> tuple[Part, ...]:
    data = figures()
    own = data["vmms"].get(vmm, data["other_vmm"])
    return (
        Part("VMM", own["mib"], own["from"]),
        *((Part("virtiofsd", data["virtiofsd"]["mib"], data["virtiofsd"]["from"]),) if virtiofsd else ()),
        Part("shim", data["shim"]["mib"], data["shim"]["from"]),
    )


def snapshotter(vmm: str) -> str:
    """The snapshotter of containerd that a VMM needs; empty where any will do."""
    return str(figures()["snapshotters"].get(vmm, ""))
