"""What a configuration means for the guest."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..spec.model import Dialect, Spec
from .cmdline import agent_params
from .flavours import flavour
from .keys import tables
from .request import Request
from .rules import Values
from .values import config_values, facts_of, kernel_params


@dataclass(frozen=True, slots=True)
class GuestSettings:
    """What the configuration says about the guest, in the units of the manifest.

    ``vcpus``: rounded up, and 1 where all CPUs of the host are asked for (a negative number): what the set needs to
    be proved anywhere. ``maxvcpus`` and ``maxmemory_mib`` 0: as many CPUs and as much memory as the host has.
    ``rootfs_driver``: ``nvdimm``, ``virtio-blk`` or ``initrd``. ``agent_params`` and ``kernel_params`` are words of
    the kernel command line, the former written by the runtime, the latter by us and the spec. ``machine_type``,
    ``machine_accelerators`` and ``firmware`` are QEMU's; the first may be empty under another VMM.
    """

    vcpus: int
    maxvcpus: int
    memory_mib: int
    memory_slots: int
    maxmemory_mib: int
    debug: bool
    rootfs_driver: str
    disable_guest_selinux: bool
    block_device_driver: str
    machine_type: str
    machine_accelerators: str
    firmware: str
    agent_params: tuple[str, ...]
    kernel_params: tuple[str, ...]


def guest_settings(spec: Spec, hypervisor: str | None = None, dialect: Dialect | None = None) -> GuestSettings:
    """What a spec's configuration says about the guest; the first hypervisor and dialect when none is named.

    Raises InputError with every mistake of the settings.
    """
    chosen = next(h for h in spec.hypervisors if hypervisor in (None, h.name))
    request = Request.of(spec, chosen)
    values = config_values(request)
    which = dialect if dialect is not None else next(iter(values))
    return _guest(request, which, values[which])


def boots_in_qemu(spec: Spec, hypervisor: str) -> bool:
    """Whether a QEMU anywhere boots the set as that configuration says: no other VMM, no hardware that encrypts.

    Raises InputError with every mistake of the settings.
    """
    request = Request.of(spec, next(h for h in spec.hypervisors if h.name == hypervisor))
    kind = flavour(hypervisor)
    if kind.vmm != "qemu" or kind.kernel == "sealed":
        return False
    return not any(values.get("confidential_guest") for values in config_values(request).values())


def plugs_dimms(spec: Spec) -> bool:
    """Whether any of a spec's configurations lets the runtime plug memory in as DIMMs beside an NVDIMM image.

    Raises InputError with every mistake of the settings.
    """
    for hypervisor in spec.hypervisors:
        request = Request.of(spec, hypervisor)
        for dialect, values in config_values(request).items():
            facts = facts_of(dialect, request, values)
            if _driver(request, values) != "nvdimm":
                continue
            if facts.get("enable_virtio_mem") or facts.get("runtime.static_sandbox_resource_mgmt"):
                continue
            most = facts.get("default_maxmemory") or 0  # 0: as much as the host has
            if most == 0 or most > _nonzero(facts, dialect, "default_memory"):
                return True
    return False


def _guest(request: Request, dialect: Dialect, values: Mapping[str, Any]) -> GuestSettings:
    facts = facts_of(dialect, request, values)
    return GuestSettings(
        vcpus=max(1, math.ceil(facts.get("default_vcpus"))),
        maxvcpus=facts.get("default_maxvcpus") or 0,
        memory_mib=_nonzero(facts, dialect, "default_memory"),
        memory_slots=_nonzero(facts, dialect, "memory_slots"),
        maxmemory_mib=facts.get("default_maxmemory") or 0,
        debug=facts.get("enable_debug"),
        rootfs_driver=_driver(request, values),
        disable_guest_selinux=facts.get("disable_guest_selinux"),
        block_device_driver=facts.get("block_device_driver"),
        machine_type=facts.get("machine_type") or "",
        machine_accelerators=facts.get("machine_accelerators") or "",
        firmware=facts.get("firmware") or "",
        agent_params=tuple(agent_params(dialect, facts.get, values)),
        kernel_params=kernel_params(request),
    )


def _nonzero(facts: Values, dialect: Dialect, name: str) -> int:
    """A number, or what the runtime takes for 0."""
    value = facts.get(name)
    if value:
        return int(value)
    setting = tables().find(name)
    side = setting.side(dialect) if setting else None
    return int(side.zero_means(facts.hypervisor) or side.default_of(facts.hypervisor) or 0) if side else 0


def _driver(request: Request, values: Mapping[str, Any]) -> str:
    """What the root comes from. Where there is no NVDIMM, nothing is written of one, and the image is a disk."""
    if request.hypervisor.boot == "initrd":
        return "initrd"
    return "nvdimm" if values.get("disable_image_nvdimm", True) in (False, "virtio-pmem") else "virtio-blk"
