"""Kata's configuration for a spec, as values by setting name: what each dialect's file says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .. import set_paths
from ..arch import arch_of_uname
from ..errors import InputError, InternalError, Problem, Where
from ..spec.model import Dialect, Hypervisor
from .flavours import Flavour, flavour, flavours
from .keys import DIALECTS, tables
from .request import NOTHING_BUILT, Built, Request
from .rules import Values, broken
from .settings import Chosen, carried, choose


def check_settings(hypervisor: Hypervisor, kata: str, *, arch: str = "x86_64", dax: bool = True) -> list[Problem]:
    """Every mistake in a hypervisor's settings, in the order of the spec; then those that lie between settings."""
    request = Request("check", "/opt/check", arch, kata, hypervisor, dax=dax)
    return _values(request, NOTHING_BUILT)[1]


def config_values(request: Request, built: Built = NOTHING_BUILT) -> dict[Dialect, dict[str, Any]]:
    """The values of each dialect asked for, by setting name, in the order of the file.

    Raises InputError with every mistake of the settings.
    """
    values, problems = _values(request, built)
    if problems:
        raise InputError.many(problems)
    return values


def facts_of(dialect: Dialect, request: Request, values: Mapping[str, Any]) -> Values:
    """One dialect's values as the rules, and whoever wants the runtime's defaults too, look at them."""
    return Values(dialect, request.hypervisor.vmm, request.arch, request.hypervisor.boot, values)


def kernel_params(request: Request) -> tuple[str, ...]:
    """What we add to the kernel's command line: what Kata's agent wants, then the spec's own words."""
    return (*flavour(request.hypervisor.name).kernel_params, *request.kernel_params)


def _values(request: Request, built: Built) -> tuple[dict[Dialect, dict[str, Any]], list[Problem]]:
    hypervisor = request.hypervisor
    if hypervisor.name not in flavours():
        hint = f"there is: {', '.join(flavours())}"
        return {}, [Problem(f"no configuration is known for {hypervisor.name}", None, hint)]
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
    kind = flavour(request.hypervisor.name)
    entries = [e for e in kind.entries(dialect, request.arch) if _heeded(e["setting"], dialect, kind.vmm)]
    values: dict[str, Any] = {}
    for entry in entries:
        if "value" in entry:
            value, own_words = entry["value"], "dialect" in entry
            values[entry["setting"]] = value if own_words else _written(entry["setting"], dialect, value)
    if request.hypervisor.boot != "image" and kind.kernel != "sealed":
        values.pop("disable_image_nvdimm", None)
    elif request.dax and request.arch in kind.nvdimm:
        values["disable_image_nvdimm"] = _written("disable_image_nvdimm", dialect, False)
    if request.hypervisor.trim:
        values.update({name: value for name, value in kind.trimmed.items() if name in values})
    if request.hypervisor.build:
        values["path"] = request.installed(set_paths.vmm(_qemu(request)))
    values.update(given)
    for entry in entries:
        name = entry["setting"]
        if name in given:
            continue
        if any(values.get(other) not in wanted for other, wanted in entry.get("when", {}).items()):
            values.pop(name, None)
        elif "of" in entry and entry["of"] in values:
            values[name] = [values[entry["of"]]]
    values.update(_decided(dialect, request, built))
    return {setting.name: values[setting.name] for setting in known.settings if setting.name in values}


def _qemu(request: Request) -> str:
    arch = arch_of_uname(request.arch)
    if arch is None:
        raise InternalError(f"there is no architecture {request.arch}")
    return arch.qemu


def _written(name: str, dialect: Dialect, value: Any) -> Any:
    """A value of ours, in Go's words, as the dialect writes it."""
    setting = tables().find(name)
    side = setting.side(dialect) if setting else None
    if setting is None or side is None:
        raise InternalError(f"schemas/kata/flavours.json writes {name}, which the {dialect} runtime does not know")
    return carried(value, setting.carry, side) if dialect == "rs" else value


def _heeded(name: str, dialect: Dialect, vmm: str) -> bool:
    """Whether a setting does anything there; one that the dialect does not know is left to `_written`."""
    setting = tables().find(name)
    side = setting.side(dialect) if setting else None
    return side is None or (side.heeded_by(vmm) and not side.inert)


def _decided(dialect: Dialect, request: Request, built: Built) -> dict[str, Any]:
    """What follows from the rest of the spec and from what was built."""
    decided: dict[str, Any] = {}
    if dialect == "rs":  # which looks its tables up by these names; the Go runtime takes the ones there are
        decided |= {
            "runtime.name": "virt_container",
            "runtime.hypervisor_name": request.hypervisor.vmm,
            "runtime.agent_name": "kata",
        }
    kind = flavour(request.hypervisor.name)
    if kind.kernel == "none":
        return decided
    decided["kernel"] = request.installed(_kernel(kind, request, built))
    decided["kernel_params"] = " ".join(kernel_params(request))
    if request.extensions:
        decided["guest_extension_images"] = [
            {
                "name": name,
                "path": request.installed(set_paths.extension(request.name, name)),
                "verity_params": built.extensions.get(name, ""),
            }
            for name in request.extensions
        ]
    if kind.kernel == "sealed":
        return decided
    if request.hypervisor.boot == "initrd":
        return {**decided, "initrd": request.installed(set_paths.initrd(request.name))}
    decided |= {"image": request.installed(set_paths.image(request.name)), "rootfs_type": request.rootfs_type}
    return {**decided, "kernel_verity_params": built.verity} if request.verity else decided


def _kernel(kind: Flavour, request: Request, built: Built) -> str:
    """The file below the prefix that is booted. Only x86 has a compressed kernel that boots like the other one."""
    if kind.kernel == "sealed":
        return set_paths.sealed(request.name)
    compressed = kind.kernel == "bzimage" and request.arch == "x86_64"
    return set_paths.bzimage(built.release) if compressed else set_paths.kernel(built.release)


def _between(dialect: Dialect, request: Request, values: Mapping[str, Any], chosen: list[Chosen]) -> list[Problem]:
    """Settings that do not fit together, or not the rest of the spec."""
    names = {c.setting.name: c.given_as for c in chosen}
    where = request.hypervisor.where

    def place(settings: tuple[str, ...]) -> Where | None:
        given = [names[s] for s in settings if s in names]
        return where.get(given[0]) if given else None

    problems = [Problem(b.message, place(b.settings), b.hint) for b in broken(facts_of(dialect, request, values))]
    nvdimm = values.get("disable_image_nvdimm") in (False, "virtio-pmem")
    if request.hypervisor.boot == "image" and nvdimm and not request.dax:
        key = names.get("disable_image_nvdimm", "disable_image_nvdimm")
        message = f"{key} asks for an NVDIMM, but the image has no DAX header"
        problems.append(Problem(message, place(("disable_image_nvdimm",)), "set image.dax: true"))
    return problems
