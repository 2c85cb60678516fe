"""The guest kernel's command line, word for word as Kata's runtimes write it.

The words and their order are data (schemas/kata/boot.json): for each runtime and hypervisor a list of rules, each with
a condition. The root device and verity follow drivers/md/dm-init.c and the runtimes' own choice of flags.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from .. import resources
from ..errors import InputError
from ..spec.model import Dialect

_SECTOR = 512
_VERITY_FIELDS = ("root_hash", "salt", "data_blocks", "data_block_size", "hash_block_size")


@dataclass(frozen=True, slots=True)
class Segment:
    """Some neighbouring words and the rule that put them there."""

    name: str
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class GuestBoot:
    """All that decides a command line.

    ``boot`` is what the guest's root comes from: ``nvdimm`` or ``virtio-blk`` (Go), ``virtio-pmem``,
    ``virtio-blk-pci`` … (Rust), or ``initrd``. ``maxvcpus`` is the effective number, 1 at least. ``verity`` has the
    form of ``kernel_verity_params``; ``extensions`` are (name, verity) pairs.
    """

    runtime: Dialect
    hypervisor: str
    arch: str
    boot: str
    rootfs_type: str = "ext4"
    maxvcpus: int = 1
    debug: bool = False
    guest_selinux: bool = False
    iommu: bool = False
    legacy_serial: bool = False
    confidential: bool = False
    machine_type: str = "q35"
    block_device_driver: str = "virtio-scsi"
    passfd_port: int | None = None
    agent_params: Sequence[str] = ()
    kernel_params: Sequence[str] = ()
    verity: str | None = None
    extensions: Sequence[tuple[str, str]] = ()


@lru_cache(maxsize=1)
def _rules() -> Any:
    return json.loads(resources.resource("schemas", "kata", "boot.json").read_bytes())


def kernel_cmdline(guest: GuestBoot) -> str:
    """The guest's kernel command line, as the runtime writes it.

    Raises InputError when that runtime cannot boot so, or ``verity`` is malformed.
    """
    return " ".join(word for segment in segments(guest) for word in segment.words)


def segments(guest: GuestBoot) -> list[Segment]:
    """The command line in its parts, empty ones left out. Raises InputError as `kernel_cmdline` does."""
    vmm = _rules()["runtimes"][guest.runtime].get(guest.hypervisor)
    if vmm is None:
        raise InputError(f"no command line is known for {guest.hypervisor} under the {guest.runtime} runtime")
    if guest.boot not in vmm["roots"]:
        raise InputError(
            f"{guest.hypervisor} cannot boot from {guest.boot} under the {guest.runtime} runtime",
            hint=f"it boots from: {', '.join(vmm['roots'])}",
        )
    if guest.rootfs_type not in _rules()["rootflags"]:
        raise InputError(
            f"no runtime mounts a root of type {guest.rootfs_type}",
            hint=f"there are: {', '.join(_rules()['rootflags'])}",
        )
    facts = _facts(guest)
    inserts: dict[str, Callable[[], Iterable[str]]] = {
        "root": lambda: _root(guest, vmm["roots"][guest.boot]),
        "agent": lambda: guest.agent_params,
        "user": lambda: guest.kernel_params,
        "extensions": lambda: (
            f"kata.extension.{n}.verity_params" + (f"={v}" if v else "") for n, v in guest.extensions
        ),
    }
    rewrite: Mapping[str, str] = vmm.get("rewrite", {})
    found = []
    for rule in vmm["rules"]:
        if all(_holds(facts[fact], wanted) for fact, wanted in rule.get("when", {}).items()):
            words = inserts[rule["insert"]]() if "insert" in rule else (w.format_map(facts) for w in rule["words"])
            found.append(Segment(rule["name"], tuple(rewrite.get(w, w) for w in words)))
    return [segment for segment in found if segment.words]


def _facts(guest: GuestBoot) -> dict[str, Any]:
    """What the rules' conditions and words may name."""
    if guest.maxvcpus < 1:
        raise ValueError(f"maxvcpus is the effective number of vCPUs, not {guest.maxvcpus}")
    return {
        "arch": guest.arch,
        "image": guest.boot != "initrd",
        "debug": guest.debug,
        "guest_selinux": guest.guest_selinux,
        "iommu": guest.iommu,
        "legacy_serial": guest.legacy_serial,
        "confidential": guest.confidential,
        "machine_type": guest.machine_type,
        "block_device_driver": guest.block_device_driver,
        "passfd": guest.passfd_port is not None,
        "passfd_port": guest.passfd_port,
        "maxvcpus": guest.maxvcpus,
    }


def _holds(fact: Any, wanted: Any) -> bool:
    return fact in wanted if isinstance(wanted, list) else bool(fact == wanted)


def _root(guest: GuestBoot, root: Mapping[str, Any]) -> list[str]:
    """root=, rootflags= (with the ``ro`` behind it) and rootfstype=, after dm-mod.create= where there is verity."""
    if not root:
        return []
    devices = _rules()["devices"]
    flags = list(_rules()["rootflags"][guest.rootfs_type])
    device = devices[root["device"]]
    words = []
    if guest.verity and guest.verity.strip():
        words.append(f'dm-mod.create="{_verity_table(guest.verity, device)}"')
        name = devices["verity"]
    else:
        name = device["data"]
        if guest.arch in root.get("dax", ()):
            flags.insert(0, "dax")
    rootflags = "rootflags=" + " ".join([",".join(flags), "ro"] if flags else ["ro"])
    return [*words, f"root={name}", rootflags, f"rootfstype={guest.rootfs_type}"]


def _verity_table(text: str, device: Mapping[str, str]) -> str:
    """The device-mapper table for ``kernel_verity_params``. Raises InputError."""
    fields = dict(part.split("=", 1) for part in text.strip().split(",") if "=" in part)
    missing = [name for name in _VERITY_FIELDS if not fields.get(name)]
    if missing:
        raise InputError(f"kernel_verity_params lacks {', '.join(missing)}")
    numbers = {}
    for name in _VERITY_FIELDS[2:]:
        if not fields[name].isascii() or not fields[name].isdigit() or int(fields[name]) == 0:
            raise InputError(f"kernel_verity_params: {name} must be a number above 0, not {fields[name][:40]}")
        numbers[name] = int(fields[name])
    for name in ("data_block_size", "hash_block_size"):
        if numbers[name] % _SECTOR:
            raise InputError(f"kernel_verity_params: {name} must be a multiple of {_SECTOR}, not {numbers[name]}")
    sectors = numbers["data_block_size"] // _SECTOR * numbers["data_blocks"]
    return (
        f"dm-verity,,,ro,0 {sectors} verity 1 {device['data']} {device['hash']} {numbers['data_block_size']} "
        f"{numbers['hash_block_size']} {numbers['data_blocks']} 0 sha256 {fields['root_hash']} {fields['salt']}"
    )


def agent_params(runtime: Dialect, value_of: Callable[[str], Any], written: Mapping[str, Any]) -> list[str]:
    """The words by which a runtime hands the [agent] table to the agent.

    ``value_of`` gives a setting's value by its name, in that dialect's words, the runtime's default included;
    ``written`` holds those that the file has.
    """
    data = _rules()["agent"][runtime]
    found = []
    for param in data["params"]:
        value = written.get(param["setting"]) if param["form"] == "given" else value_of(param["setting"])
        if "needs" in param and not value_of(param["needs"]):
            continue
        word = _agent_param(param, value)
        if word:
            found.append((param["name"], word))
    return [word for _, word in (sorted(found) if data["order"] == "sorted" else found)]


def _agent_param(param: Mapping[str, Any], value: Any) -> str | None:
    name, form = param["name"], param["form"]
    if form == "given":
        return None if value is None else f"{name}={str(value).lower() if isinstance(value, bool) else value}"
    if not value:
        return None
    if form == "flag":
        return str(name)
    return f"{name}={param['value'] if form == 'constant' else value // param.get('divide', 1)}"
