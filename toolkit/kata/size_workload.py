"""What wants to run: containers with their limits, as they reach a runtime, and the totals that a sandbox is told."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Literal

from ..errors import Where

PERIOD = 100_000
"""Microseconds of a CPU period, as kubelets set it."""

Role = Literal["container", "init", "sidecar"]


def f32(value: float | Fraction) -> float:
    """A number as the runtimes hold it: both count vCPUs in 32-bit floating point."""
    result: float = struct.unpack("f", struct.pack("f", float(value)))[0]
    return result


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits as an OCI configuration has them. ``quota`` and ``period`` in µs, ``memory`` and ``hugepages`` in bytes.

    None: not limited. ``cpuset``: how many CPUs a container is bound to.
    """

    quota: int | None = None
    period: int | None = None
    memory: int | None = None
    hugepages: int = 0
    cpuset: int = 0

    @property
    def cpus(self) -> float:
        """CPUs by the quota, as the runtimes count them; 0: no limit."""
        if self.quota is None or not self.period or self.quota < 0:
            return 0.0
        return f32(Fraction(self.quota, self.period))

    @property
    def vcpus(self) -> int:
        """CPUs by the quota, rounded up: (quota + period - 1) / period."""
        if self.quota is None or not self.period or self.quota < 0:
            return 0
        return (self.quota + self.period - 1) // self.period

    @property
    def mib(self) -> int:
        """The memory limit in whole MiB: limit >> 20; 0: no limit."""
        return max(self.memory or 0, 0) >> 20

    def as_json(self) -> dict[str, Any]:
        """As the JSON document has them."""
        return {"quota": self.quota, "period": self.period, "memory": self.memory, "vcpus": self.vcpus, "mib": self.mib}


@dataclass(frozen=True, slots=True)
class Container:
    """One container. ``sidecar``: an init container that keeps running beside the others."""

    name: str
    limits: Limits
    role: Role = "container"
    where: Where | None = None


@dataclass(frozen=True, slots=True)
class Overhead:
    """What a RuntimeClass adds to a pod's cgroup, in bytes and CPUs, and where that is said."""

    memory: int
    cpus: Fraction
    where: Where


@dataclass(frozen=True, slots=True)
class Workload:
    """Something that becomes one VM.

    ``total``: the limits of the sandbox as the runtime is told them when it makes the VM.
    ``notes``: what there is to say of it before any sizing.
    """

    name: str
    kind: str
    containers: tuple[Container, ...]
    total: Limits
    where: Where
    annotations: Mapping[str, tuple[str, Where]] = field(default_factory=dict)
    runtime_class: str | None = None
    overhead: Overhead | None = None
    notes: tuple[str, ...] = ()
