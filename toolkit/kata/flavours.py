"""The flavours of Kata's configuration: each is a VMM, set up for one purpose (schemas/kata/flavours.json).

A flavour has Kata's own name (``qemu``, ``fc``, ``qemu-tdx``), which is the key of a spec's ``runtime.hypervisors``.
Its VMM's name is the one of the ``[hypervisor.NAME]`` table (``qemu``, ``firecracker``). A flavour that has a ``base``
says only what is different there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from .. import resources
from ..errors import InternalError
from ..spec.model import Dialect
from .keys import DIALECTS


@dataclass(frozen=True, slots=True)
class Flavour:
    """One flavour, its base already taken into account.

    ``files``: where each dialect that has it keeps its file, below share/defaults/kata-containers; ``arches``: where
    that dialect has it, by Kata's names; ``boots``: what the guest can boot from in each; ``nvdimm``: the architectures
    where an image with a DAX header is mapped. ``kernel``: ``vmlinux``, ``bzimage``, ``sealed`` (one file with kernel,
    initrd and command line, which its owner makes) or ``none`` (the VM is made elsewhere); ``kernel_needs``: what it
    must have besides, in the words of kernel-configs/prebuilt.yaml. ``written`` are entries of the data: what a file
    of ours says unless the spec says otherwise. ``trimmed``: what it says instead with ``trim: devices``, where it
    would say that setting at all; empty where nothing can be trimmed.
    """

    name: str
    title: str
    vmm: str
    files: Mapping[str, str]
    arches: Mapping[str, tuple[str, ...]]
    boots: Mapping[str, tuple[str, ...]]
    nvdimm: tuple[str, ...]
    kernel: str
    kernel_params: tuple[str, ...]
    kernel_needs: tuple[str, ...]
    trimmed: Mapping[str, Any]
    written: tuple[Mapping[str, Any], ...]

    def has(self, dialect: str, arch: str) -> bool:
        """Whether Kata has this flavour in that dialect on that architecture (Kata's name)."""
        return arch in self.arches.get(dialect, ())

    def dialects(self, arch: str) -> tuple[Dialect, ...]:
        """The dialects that have it there; where none has, those that have it elsewhere."""
        return tuple(d for d in DIALECTS if self.has(d, arch)) or tuple(d for d in DIALECTS if d in self.files)

    def entries(self, dialect: Dialect, arch: str) -> tuple[Mapping[str, Any], ...]:
        """What is written in one dialect on one architecture."""
        return tuple(
            entry
            for entry in self.written
            if arch in _list(entry.get("arch", arch)) and entry.get("dialect", dialect) == dialect
        )


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def make_flavours(document: Mapping[str, Any]) -> dict[str, Flavour]:
    """The flavours of a ``kind: flavours`` document, by name. A base stands before what is made from it."""
    found: dict[str, Flavour] = {}
    for name, data in document["flavours"].items():
        base = found[data["base"]] if "base" in data else None
        found[name] = _flavour(name, data, base, document["common"])
    return found


def _flavour(name: str, data: Mapping[str, Any], base: Flavour | None, common: Sequence[Mapping[str, Any]]) -> Flavour:
    changed = {entry["setting"] for entry in data.get("written", ())} | set(data.get("unwritten", ()))
    kept = tuple(entry for entry in (base.written if base else common) if entry["setting"] not in changed)

    def own(key: str, otherwise: Any) -> Any:
        return data.get(key, getattr(base, key) if base else otherwise)

    return Flavour(
        name=name,
        title=data["title"],
        vmm=data["vmm"] if base is None else base.vmm,
        files=data["files"],
        arches={dialect: tuple(arches) for dialect, arches in data["arches"].items()},
        boots={dialect: tuple(boots) for dialect, boots in own("boots", {}).items()},
        nvdimm=tuple(own("nvdimm", ())),
        kernel=own("kernel", "vmlinux"),
        kernel_params=tuple(own("kernel_params", ())),
        kernel_needs=tuple(own("kernel_needs", ())),
        trimmed=own("trimmed", {}),
        written=(*kept, *data.get("written", ())),
    )


@lru_cache(maxsize=1)
def flavours() -> Mapping[str, Flavour]:
    """All flavours by name. Raises FileNotFoundError when the installation is incomplete."""
    return make_flavours(json.loads(resources.resource("schemas", "kata", "flavours.json").read_bytes()))


def flavour(name: str) -> Flavour:
    """The flavour of that name, which a spec's schema has admitted. Raises InternalError for another."""
    try:
        return flavours()[name]
    except KeyError:
        raise InternalError(f"there is no flavour {name}") from None
