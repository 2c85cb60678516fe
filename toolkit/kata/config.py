"""Kata's configuration for a spec: the values that each dialect gets, and what they mean for the guest."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .. import set_paths
from ..arch import arch_of
from ..errors import InputError, InternalError, Problem, Where
from ..spec.model import Dialect, Hypervisor, Spec
from .cmdline import agent_params
from .keys import DIALECTS, tables
from .rules import Values, broken
from .settings import Chosen, carried, choose

TEMPLATE = "configuration.toml.j2"
"""The template that `render` fills in, below ``templates/``."""


@dataclass(frozen=True, slots=True)
class Request:
    """What a configuration is to be written for: the parts of a spec that decide it. ``arch``: by Kata's name."""

    name: str
    prefix: str
    arch: str
    kata: str
    hypervisor: Hypervisor
    rootfs_type: str = "ext4"
    dax: bool = True
    kernel_params: tuple[str, ...] = ()
    verity: bool = False
    extensions: tuple[str, ...] = ()

    @classmethod
    def of(cls, spec: Spec, hypervisor: Hypervisor) -> Request:
        """The request for one hypervisor of a spec."""
        return cls(
            name=spec.name,
            prefix=spec.prefix,
            arch=arch_of(spec.arch).uname,
            kata=spec.kata,
            hypervisor=hypervisor,
            rootfs_type=spec.image.format,
            dax=spec.image.dax,
            verity=spec.image.verity,
            kernel_params=spec.kernel.cmdline,
            extensions=tuple(extension.name for extension in spec.extensions),
        )

    def installed(self, path: str) -> str:
        """Where a file of the set (see `set_paths`) lies once it is installed."""
        return f"{self.prefix.rstrip('/')}/{path}"


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


def check_settings(hypervisor: Hypervisor, kata: str, *, arch: str = "x86_64", dax: bool = True) -> list[Problem]:
    """Every mistake in a hypervisor's settings, in the order of the spec; then those that lie between settings."""
    request = Request("check", "/opt/check", arch, kata, hypervisor, dax=dax)
    return _values(request, NOTHING_BUILT)[1]


@dataclass(frozen=True, slots=True)
class Built:
    """What the configuration says of what was built.

    ``release`` is the kernel's (``uname -r``), ``verity`` the image's ``kernel_verity_params``, ``extensions`` name →
    the same of an extension image.
    """

    release: str = "0"
    verity: str = ""
    extensions: Mapping[str, str] = field(default_factory=dict)


NOTHING_BUILT = Built()


def config_values(request: Request, built: Built = NOTHING_BUILT) -> dict[Dialect, dict[str, Any]]:
    """The values of each dialect asked for, by setting name, in the order of the file.

    ``release`` is the kernel's (``uname -r``), ``verity`` the image's ``kernel_verity_params``. Raises InputError with
    every mistake of the settings.
    """
    values, problems = _values(request, built)
    if problems:
        raise InputError.many(problems)
    return values


def _values(request: Request, built: Built) -> tuple[dict[Dialect, dict[str, Any]], list[Problem]]:
    hypervisor = request.hypervisor
    flavours = tables().hypervisors
    if hypervisor.name not in flavours:
        return {}, [
            Problem(f"no configuration is known for {hypervisor.name}", None, f"there is: {', '.join(flavours)}")
        ]
    chosen, problems = choose(hypervisor, request.kata, request.arch)
    result: dict[Dialect, dict[str, Any]] = {}
    for dialect in DIALECTS:
        if dialect not in hypervisor.dialects:
            continue
        given = {c.setting.name: c.values[dialect] for c in chosen if dialect in c.values}
        result[dialect] = _for_dialect(dialect, request, built, given)
    if not problems:
        found = [p for d, values in result.items() for p in _between(d, request, values, chosen)]
        problems = list(dict.fromkeys(found))  # a rule that both dialects break is told once
    return result, problems


def _for_dialect(dialect: Dialect, request: Request, built: Built, given: Mapping[str, Any]) -> dict[str, Any]:
    known = tables()
    entries = [
        entry
        for entry in known.hypervisors[request.hypervisor.name]["written"]
        if entry.get("arch", request.arch) == request.arch and entry.get("dialect", dialect) == dialect
    ]
    values: dict[str, Any] = {}
    for entry in entries:
        if "value" in entry:
            value, own_words = entry["value"], "dialect" in entry
            values[entry["setting"]] = value if own_words else _written(entry["setting"], dialect, value)
    if request.hypervisor.boot == "image":
        values["disable_image_nvdimm"] = _written("disable_image_nvdimm", dialect, not request.dax)
    values.update(given)
    for entry in entries:
        name = entry["setting"]
        if name in given:
            continue
        if any(values.get(other) not in wanted for other, wanted in entry.get("when", {}).items()):
            values.pop(name, None)
        elif "of" in entry and entry["of"] in values:
            values[name] = [values[entry["of"]]]
    values.update(_decided(request, built))
    return {setting.name: values[setting.name] for setting in known.settings if setting.name in values}


def _written(name: str, dialect: Dialect, value: Any) -> Any:
    """A value of ours, in Go's words, as the dialect writes it."""
    setting = tables().find(name)
    side = setting.side(dialect) if setting else None
    if setting is None or side is None:
        raise InternalError(f"schemas/kata/hypervisors.json writes {name}, which the {dialect} runtime does not know")
    return carried(value, setting.carry, side) if dialect == "rs" else value


def _decided(request: Request, built: Built) -> dict[str, Any]:
    """What follows from the rest of the spec and from what was built."""
    decided: dict[str, Any] = {
        "kernel": request.installed(set_paths.kernel(built.release)),
        "kernel_params": " ".join(_kernel_params(request)),
    }
    if request.extensions:
        decided["guest_extension_images"] = [
            {
                "name": name,
                "path": request.installed(set_paths.extension(request.name, name)),
                "verity_params": built.extensions.get(name, ""),
            }
            for name in request.extensions
        ]
    if request.hypervisor.boot == "initrd":
        return {**decided, "initrd": request.installed(set_paths.initrd(request.name))}
    decided |= {"image": request.installed(set_paths.image(request.name)), "rootfs_type": request.rootfs_type}
    return {**decided, "kernel_verity_params": built.verity} if request.verity else decided


def _kernel_params(request: Request) -> tuple[str, ...]:
    """What we add to the kernel's command line: what Kata's agent wants, then the spec's own words."""
    return (*tables().hypervisors[request.hypervisor.name]["kernel_params"], *request.kernel_params)


def _between(dialect: Dialect, request: Request, values: Mapping[str, Any], chosen: list[Chosen]) -> list[Problem]:
    """Settings that do not fit together, or not the rest of the spec."""
    names = {c.setting.name: c.given_as for c in chosen}
    where = request.hypervisor.where

    def place(settings: tuple[str, ...]) -> Where | None:
        given = [names[s] for s in settings if s in names]
        return where.get(given[0]) if given else None

    facts = Values(dialect, request.hypervisor.name, request.arch, request.hypervisor.boot, values)
    problems = [Problem(b.message, place(b.settings), b.hint) for b in broken(facts)]
    nvdimm = values.get("disable_image_nvdimm") in (False, "virtio-pmem")
    if request.hypervisor.boot == "image" and nvdimm and not request.dax:
        key = names.get("disable_image_nvdimm", "disable_image_nvdimm")
        message = f"{key} asks for an NVDIMM, but the image has no DAX header"
        problems.append(Problem(message, place(("disable_image_nvdimm",)), "set image.dax: true"))
    return problems


def config_tree(dialect: Dialect, hypervisor: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values as the file's tables, nested as TOML nests them."""
    tree: dict[str, Any] = {}
    known = tables()
    for name, value in values.items():
        setting = known.find(name)
        side = setting.side(dialect) if setting else None
        if side is None:
            raise InternalError(f"{name} has no place in a file of the {known.title(dialect)}")
        table = tree
        for part in known.table_path(side.table, dialect, hypervisor):
            table = table.setdefault(part, {})
        table[side.key] = value
    return tree


def file_name(dialect: Dialect, hypervisor: str) -> str:
    """The file's path below share/defaults/kata-containers."""
    return str(tables().hypervisors[hypervisor][dialect]["file"])


def guest_settings(spec: Spec, hypervisor: str | None = None, dialect: Dialect | None = None) -> GuestSettings:
    """What a spec's configuration says about the guest; the first hypervisor and dialect when none is named.

    Raises InputError with every mistake of the settings.
    """
    chosen = next(h for h in spec.hypervisors if hypervisor in (None, h.name))
    request = Request.of(spec, chosen)
    values = config_values(request)
    which = dialect if dialect is not None else next(iter(values))
    return _guest(request, which, values[which])


def plugs_dimms(spec: Spec) -> bool:
    """Whether any of a spec's configurations lets the runtime plug memory in as DIMMs beside an NVDIMM image.

    Raises InputError with every mistake of the settings.
    """
    for hypervisor in spec.hypervisors:
        request = Request.of(spec, hypervisor)
        for dialect, values in config_values(request).items():
            facts = Values(dialect, hypervisor.name, request.arch, hypervisor.boot, values)
            if _driver(request, values) != "nvdimm":
                continue
            if facts.get("enable_virtio_mem") or facts.get("runtime.static_sandbox_resource_mgmt"):
                continue
            most = facts.get("default_maxmemory") or 0  # 0: as much as the host has
            if most == 0 or most > _nonzero(facts, dialect, "default_memory"):
                return True
    return False


def _guest(request: Request, dialect: Dialect, values: Mapping[str, Any]) -> GuestSettings:
    facts = Values(dialect, request.hypervisor.name, request.arch, request.hypervisor.boot, values)
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
        kernel_params=_kernel_params(request),
    )


def _nonzero(facts: Values, dialect: Dialect, name: str) -> int:
    """A number, or what the runtime takes for 0."""
    value = facts.get(name)
    if value:
        return int(value)
    setting = tables().find(name)
    side = setting.side(dialect) if setting else None
    return int(side.zero_means(facts.hypervisor) or side.default_of(facts.hypervisor)) if side else 0


def _driver(request: Request, values: Mapping[str, Any]) -> str:
    if request.hypervisor.boot == "initrd":
        return "initrd"
    return "nvdimm" if values["disable_image_nvdimm"] in (False, "virtio-pmem") else "virtio-blk"
