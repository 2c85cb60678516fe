"""What a configuration says about the size of a VM, as its runtime takes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..arch import arch_of
from ..errors import InputError, Where
from ..spec.model import Dialect, Hypervisor, Spec
from .flavours import flavours
from .keys import tables
from .lint.files import read_group
from .request import Request
from .rules import Values
from .translate_read import load
from .values import config_values

_STATIC = "runtime.static_sandbox_resource_mgmt"
_NVDIMM = ("qemu", "qemu-coco-dev")  # whose stock files have the Go runtime attach the image as an NVDIMM
_FOLDER = Path("share/defaults/kata-containers")


@dataclass(frozen=True, slots=True)
class Settings:
    """The size settings of one configuration, memory in MiB; ``label``: where they are from.

    ``vcpus`` 0: as many as the host has. ``max_vcpus`` and ``max_memory`` 0: as the host has. ``nvdimm``: the image
    takes one of the memory slots. ``admitted``: enable_annotations. ``least_memory``: less is not what the VM gets.
    """

    dialect: Dialect
    hypervisor: str
    label: str
    static: bool
    vcpus: float
    memory: int
    max_vcpus: int
    max_memory: int
    slots: int
    overhead_vcpus: float
    overhead_memory: int
    virtio_mem: bool
    nvdimm: bool
    admitted: tuple[str, ...]
    least_memory: int

    @property
    def title(self) -> str:
        """The runtime's name."""
        return tables().title(self.dialect)

    def sized_statically(self) -> Settings:
        """The same with static_sandbox_resource_mgmt."""
        return replace(self, static=True)


def settings_of(dialect: Dialect, hypervisor: str, facts: Mapping[str, Any], label: str) -> Settings:
    """The settings among a file's values by setting name; what it leaves out is the runtime's default."""
    values = Values(dialect, hypervisor, "x86_64", "image", facts)
    vcpus = float(values.get("default_vcpus") or 0)
    memory = _number(values, "default_memory")
    least = _least(values)
    if dialect == "go" and memory < least:  # the Go runtime puts its default in the place of what is too little
        memory = _default(values, "default_memory")
    return Settings(
        dialect=dialect,
        hypervisor=hypervisor,
        label=label,
        static=bool(values.get(_STATIC)),
        vcpus=1.0 if vcpus == 0 else max(vcpus, 0.0),
        memory=memory,
        max_vcpus=int(values.get("default_maxvcpus") or 0),
        max_memory=int(values.get("default_maxmemory") or 0),
        slots=_number(values, "memory_slots"),
        overhead_vcpus=float(values.get("overhead_vcpus") or 0),
        overhead_memory=int(values.get("overhead_memory") or 0),
        virtio_mem=bool(values.get("enable_virtio_mem")),
        nvdimm=hypervisor == "qemu" and bool(facts.get("image")) and values.driver() == "nvdimm",
        admitted=tuple(values.get("enable_annotations") or ()),
        least_memory=least,
    )


def _number(values: Values, name: str) -> int:
    """A number, or what the runtime takes for 0."""
    value = values.get(name)
    if value:
        return int(value)
    setting = tables().find(name)
    side = setting.side(values.dialect) if setting else None
    means = side.zero_means(values.hypervisor) if side else None
    return int(means) if isinstance(means, int) else _default(values, name)


def _default(values: Values, name: str) -> int:
    setting = tables().find(name)
    side = setting.side(values.dialect) if setting else None
    return int(side.default_of(values.hypervisor) or 0) if side else 0


def _least(values: Values) -> int:
    setting = tables().find("default_memory")
    side = setting.side(values.dialect) if setting else None
    return (side.low.at(values.hypervisor, None) or 0) if side and side.low else 0


def stock(flavour: str, *, also_static: bool = True) -> list[Settings]:
    """What a flavour has unless somebody says otherwise, for both runtimes; the Go one in both of its ways.

    Raises InputError for a flavour that there is not.
    """
    from ..spec.suggest import did_you_mean

    known = flavours()
    if flavour not in known:
        hint = did_you_mean(flavour, known) or f"there is {', '.join(known)}"
        raise InputError(f"no flavour is called {flavour}", hint=hint)
    found = []
    for dialect, arches in known[flavour].arches.items():
        one: Dialect = "go" if dialect == "go" else "rs"
        facts = {e["setting"]: e["value"] for e in known[flavour].entries(one, arches[0]) if "value" in e}
        facts.setdefault("image", "stock")
        if flavour in _NVDIMM:  # what our own files say follows from the image; Kata's say nothing of the kind
            facts["disable_image_nvdimm"] = False if one == "go" else facts.get("disable_image_nvdimm")
        settings = settings_of(one, known[flavour].vmm, facts, f"Kata's own settings for {flavour}")
        found.append(settings)
        if also_static and one == "go" and not settings.static:
            found.append(settings.sized_statically())
    return found


def of_config(path: Path) -> Settings:
    """The settings of a Kata TOML and the drop-ins beside it. Raises InputError."""
    loaded = load(read_group(path))
    return settings_of(loaded.known.dialect, loaded.hypervisor, loaded.facts, str(path))


def of_set(folder: Path) -> list[Settings]:
    """The settings of every configuration of a set, built or installed. Raises InputError when it has none."""
    root = folder / _FOLDER
    if not folder.is_dir():
        raise InputError("is no folder", where=Where(str(folder)), hint="the output of a build is wanted")
    files = [*sorted(root.glob("configuration-*.toml")), *sorted((root / "runtime-rs").glob("configuration-*.toml"))]
    if not files:
        raise InputError(f"has no configuration below {_FOLDER}", where=Where(str(folder)))
    return [of_config(file) for file in files]


def of_spec(spec: Spec) -> list[Settings]:
    """The settings that a spec's configurations get. Raises InputError with every mistake of its settings."""
    found = []
    for hypervisor in spec.hypervisors:
        for dialect, values in config_values(_request(spec, hypervisor)).items():
            found.append(settings_of(dialect, hypervisor.vmm, values, f"{spec.file}: {hypervisor.name}"))
    return found


def _request(spec: Spec, hypervisor: Hypervisor) -> Request:
    return replace(Request.of(spec, hypervisor), arch=arch_of(spec.arch).uname)
