"""Settings that must fit together, each rule a function over the values about to be written.

The rules are those that a runtime enforces late, in words that do not name the cause, or breaks in silence.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..spec.model import Dialect
from .keys import tables


@dataclass(frozen=True, slots=True)
class Values:
    """All values of one dialect by setting name, defaults of the runtime included."""

    dialect: Dialect
    hypervisor: str
    arch: str
    boot: str  # image | initrd
    given: Mapping[str, Any]

    def get(self, name: str) -> Any:
        """The value that the runtime will see: what is written, else its default."""
        if name in self.given:
            return self.given[name]
        setting = tables().find(name)
        side = setting.side(self.dialect) if setting else None
        return side.default_of(self.hypervisor) if side else None


@dataclass(frozen=True, slots=True)
class Broken:
    """A rule that does not hold: the settings it is about (the first one given carries the place), why, a remedy."""

    settings: tuple[str, ...]
    message: str
    hint: str | None = None


Rule = Callable[[Values], Iterator[Broken]]


def _vcpus(v: Values) -> Iterator[Broken]:
    vcpus, most = v.get("default_vcpus"), v.get("default_maxvcpus")
    if most and vcpus and vcpus > most:
        yield Broken(
            ("default_vcpus", "default_maxvcpus"),
            f"default_vcpus {vcpus} is above default_maxvcpus {most}",
            "0 as default_maxvcpus means the host's CPUs",
        )


def _memory(v: Values) -> Iterator[Broken]:
    memory, most = v.get("default_memory"), v.get("default_maxmemory")
    if most and memory and memory > most:
        yield Broken(
            ("default_memory", "default_maxmemory"),
            f"default_memory {memory} MiB is above default_maxmemory {most} MiB",
            "0 as default_maxmemory means the host's memory",
        )


def _sectors(v: Values) -> Iterator[Broken]:
    logical, physical = v.get("block_device_logical_sector_size"), v.get("block_device_physical_sector_size")
    if logical and physical and logical > physical:
        yield Broken(
            ("block_device_logical_sector_size", "block_device_physical_sector_size"),
            f"block_device_logical_sector_size {logical} is above block_device_physical_sector_size {physical}",
        )


def _vfio(v: Values) -> Iterator[Broken]:
    if v.dialect == "go" and all(v.get(f"{when}_plug_vfio") != "no-port" for when in ("hot", "cold")):
        yield Broken(
            ("hot_plug_vfio", "cold_plug_vfio"),
            "hot_plug_vfio and cold_plug_vfio exclude each other",
            'set one of them to "no-port"',
        )
    if v.dialect == "rs" and v.get("pcie_root_port") and v.get("pcie_switch_port"):
        yield Broken(
            ("pcie_root_port", "pcie_switch_port"),
            "pcie_root_port and pcie_switch_port exclude each other in the Rust runtime",
            "set one of them to 0",
        )


def _network(v: Values) -> Iterator[Broken]:
    model = v.get("runtime.internetworking_model")
    if v.dialect == "go" and v.get("runtime.disable_new_netns") and model != "none":
        yield Broken(
            ("runtime.disable_new_netns", "runtime.internetworking_model"),
            f'runtime.disable_new_netns needs runtime.internetworking_model "none", not "{model}"',
        )


def _numa(v: Values) -> Iterator[Broken]:
    if v.get("enable_numa") and not v.get("runtime.static_sandbox_resource_mgmt"):
        yield Broken(
            ("enable_numa", "runtime.static_sandbox_resource_mgmt"),
            "enable_numa needs runtime.static_sandbox_resource_mgmt: true",
        )


def _sharing(v: Values) -> Iterator[Broken]:
    kind = v.get("shared_fs")
    if kind in ("virtio-fs", "virtio-fs-nydus") and not v.get("virtio_fs_daemon"):
        yield Broken(("virtio_fs_daemon", "shared_fs"), f'shared_fs "{kind}" needs a virtio_fs_daemon')
    if kind == "none" and v.get("disable_block_device_use"):
        yield Broken(
            ("shared_fs", "disable_block_device_use"),
            'shared_fs "none" with disable_block_device_use leaves a container no way to its root file system',
            "set disable_block_device_use: false",
        )


def _template(v: Values) -> Iterator[Broken]:
    if not v.get("factory.enable_template"):
        return
    if v.dialect == "go" and v.get("shared_fs") in ("virtio-fs", "virtio-fs-nydus"):
        yield Broken(
            ("factory.enable_template", "shared_fs"),
            f'factory.enable_template excludes shared_fs "{v.get("shared_fs")}" in the Go runtime',
            'a template cannot hold the connection to virtiofsd: set shared_fs: "virtio-9p" or "none"',
        )


def _nvdimm(v: Values) -> Iterator[Broken]:
    if v.boot != "image" or v.get("disable_image_nvdimm") not in (False, "virtio-pmem"):
        return
    if v.get("machine_type") == "microvm":
        yield Broken(
            ("machine_type", "disable_image_nvdimm"),
            "machine_type microvm has no NVDIMM: the image would silently become a block device",
            "set disable_image_nvdimm: true",
        )
    if v.get("confidential_guest"):
        yield Broken(
            ("confidential_guest", "disable_image_nvdimm"),
            "confidential_guest has no NVDIMM: its memory is encrypted",
            "set disable_image_nvdimm: true",
        )


def _confidential(v: Values) -> Iterator[Broken]:
    if v.dialect == "go" and v.get("confidential_guest") and v.get("block_device_driver") == "virtio-mmio":
        yield Broken(
            ("block_device_driver", "confidential_guest"),
            'block_device_driver "virtio-mmio" is refused for a confidential_guest',
        )


def _paths(v: Values) -> Iterator[Broken]:
    for name, allowed in (
        ("path", "valid_hypervisor_paths"),
        ("virtio_fs_daemon", "valid_virtio_fs_daemon_paths"),
        ("entropy_source", "valid_entropy_sources"),
    ):
        path, patterns = v.get(name), v.given.get(allowed)
        if path and patterns is not None and not any(fnmatch.fnmatchcase(path, p) for p in patterns):
            yield Broken((allowed, name), f"{allowed} does not admit {name}, {path}", f"add {path}")


def _dialling(v: Values) -> Iterator[Broken]:
    pause, total = v.get("agent.dial_timeout_ms"), v.get("agent.dial_timeout")
    if v.dialect == "rs" and pause and total is not None and total < pause:
        yield Broken(
            ("agent.dial_timeout", "agent.dial_timeout_ms"),
            f"agent.dial_timeout_ms {pause} ms, the pause between attempts, is longer than the whole time, {total} ms",
        )


RULES: tuple[Rule, ...] = (
    _vcpus,
    _memory,
    _sectors,
    _vfio,
    _network,
    _numa,
    _sharing,
    _template,
    _nvdimm,
    _confidential,
    _paths,
    _dialling,
)


def broken(values: Values) -> list[Broken]:
    """Every rule that these values break."""
    return [b for rule in RULES for b in rule(values)]
