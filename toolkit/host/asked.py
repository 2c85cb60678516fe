"""What ``check-host --for`` asks about: a named purpose, a spec, a built set, or an installed one."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError
from .purposes import purposes
from .wanted import KATA_MEMORY_MIB, KATA_VCPUS, SE, SNP, TDX, Wanted

_KINDS = {"tdx": TDX, "snp": SNP, "se": SE}
_GPU = "nvidia-gpu"
_NO_PLUG = ("", "no-port", None)


@dataclass(frozen=True, slots=True)
class _Guest:
    """What one configuration asks of a host."""

    hypervisor: str
    memory_mib: int
    vcpus: int
    hugepages: bool
    virtio_fs: bool
    vfio: bool
    confidential: str | None
    rootless: bool

    @classmethod
    def of(cls, hypervisor: str, values: Mapping[str, Any]) -> _Guest:
        """From the values of a configuration, by Kata's names; what is missing is Kata's default."""
        kind = next((kind for word, kind in _KINDS.items() if word in hypervisor.split("-")), None)
        plugs = (values.get("cold_plug_vfio"), values.get("hot_plug_vfio"))
        return cls(
            hypervisor,
            _number(values.get("default_memory"), KATA_MEMORY_MIB),
            _number(values.get("default_vcpus"), KATA_VCPUS),
            values.get("enable_hugepages") is True,
            str(values.get("shared_fs") or "").startswith("virtio-fs"),
            _GPU in hypervisor or any(plug not in _NO_PLUG for plug in plugs),
            kind,
            values.get("rootless") is True,
        )


def wanted_for(text: str) -> Wanted:
    """What a host must offer for what ``text`` names.

    Raises InputError when it is no purpose, and no spec or set either, or a broken one.
    """
    if text in purposes():
        return purposes()[text].wanted
    known = ", ".join(purposes())
    path = Path(text)
    if not text or "\0" in text:
        raise InputError("--for needs a spec, a set's folder, or a purpose", hint=f"purposes: {known}")
    try:
        is_folder, there = path.is_dir(), path.exists()
    except OSError as error:
        raise InputError(f"{text[:80]} cannot be looked at: {error.strerror}", hint=f"purposes: {known}") from error
    if is_folder:
        return _of_set(path)
    if not there:
        from ..spec.suggest import nearest

        like = nearest(text, purposes())
        hint = f"did you mean {like}?" if like else f"purposes: {known}"
        raise InputError(f"{text} is no purpose, and there is no such spec or folder", hint=hint)
    from ..spec.load import load_spec

    return _of_spec(path, load_spec(path))


def _of_spec(path: Path, spec: Any) -> Wanted:
    from ..arch import arch_of
    from ..kata.request import Request
    from ..kata.values import config_values, facts_of

    guests = []
    for hypervisor in spec.hypervisors:
        request = Request.of(spec, hypervisor)
        for dialect, values in config_values(request).items():
            facts = facts_of(dialect, request, values)
            keys = ("default_memory", "default_vcpus", "enable_hugepages", "shared_fs", "rootless")
            plugs = ("cold_plug_vfio", "hot_plug_vfio")
            guests.append(_Guest.of(hypervisor.name, {key: facts.get(key) for key in (*keys, *plugs)}))
    return _together(arch_of(spec.arch).uname, guests, (), builds=True)


def _of_set(folder: Path) -> Wanted:
    from ..vm.built_set import BuiltSet

    built = BuiltSet.load(folder)
    guests = list(_guests_in(folder, built.manifest))
    if not guests:
        raise InputError(f"{folder} has no runtime configuration: it is a partial set", hint="build it whole")
    prefix = str(built.manifest.get("prefix", ""))
    return _together(built.arch, guests, (prefix,) if prefix.startswith("/") else (), builds=False)


def _guests_in(folder: Path, manifest: Mapping[str, Any]) -> Iterator[_Guest]:
    from ..set_paths import flavour_of

    for artifact in manifest.get("artifacts", []):
        if artifact.get("role") != "runtime_config":
            continue
        file = folder / str(artifact.get("path"))
        try:
            tree = tomllib.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"{file} cannot be read: {error}", hint="kata-toolkit config lint tells where") from error
        tables = tree.get("hypervisor")
        flavour = flavour_of(str(artifact["path"])).removesuffix("-runtime-rs")
        for table in tables.values() if isinstance(tables, dict) else []:
            if isinstance(table, dict):
                rootless = {"rootless": table.get("rootless") is True}
                yield _Guest.of(flavour, {"shared_fs": "virtio-fs", **table, **rootless})


def _together(arch: str, guests: Iterable[_Guest], sets: tuple[str, ...], *, builds: bool) -> Wanted:
    """The most that any of them wants: a host is good for a set when it is good for each of its hypervisors."""
    every = list(guests)
    return Wanted(
        arch=arch,
        memory_mib=max(guest.memory_mib for guest in every),
        vcpus=max(guest.vcpus for guest in every),
        hypervisors=tuple(dict.fromkeys(guest.hypervisor for guest in every)),
        hugepages=any(guest.hugepages for guest in every),
        vfio=any(guest.vfio for guest in every),
        confidential=next((guest.confidential for guest in every if guest.confidential), None),
        rootless=any(guest.rootless for guest in every),
        virtio_fs=any(guest.virtio_fs for guest in every),
        sets=sets,
        builds=builds,
    )


def _number(value: Any, default: int) -> int:
    """A size; Kata takes a zero or a missing one for its default. A fraction of a vCPU takes a whole one."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
        return default
    return -int(-value // 1)
