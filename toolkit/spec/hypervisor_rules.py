"""What the hypervisors of a spec must satisfy: Kata has them, they can boot what is built, their settings hold."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ..arch import arch_of, arch_of_uname
from ..errors import InputError, Problem, Where
from .model import Hypervisor, PrebuiltKernel
from .read import Read
from .yamltree import Steps

HYPERVISORS: Steps = ("runtime", "hypervisors")
_PAGE_STRUCT_SHARE = 64  # struct page: 64 bytes for each 4 KiB page (include/linux/mm_types.h)


def flavours_exist(read: Read) -> Iterator[Problem]:
    """Kata has each hypervisor for the runtimes asked for, on the spec's architecture."""
    for hypervisor in read.spec.hypervisors:
        yield from _unavailable(hypervisor, read)


def _unavailable(hypervisor: Hypervisor, read: Read) -> Iterator[Problem]:
    from ..kata.flavours import flavour
    from ..kata.keys import tables

    kind, arch = flavour(hypervisor.name), arch_of(read.spec.arch).uname
    path = (*HYPERVISORS, hypervisor.name)
    for number, dialect in enumerate(hypervisor.dialects):
        if kind.has(dialect, arch):
            continue
        step = (*path, "dialects", number)
        title = tables().title(dialect)
        if dialect not in kind.files:
            others = ", ".join(kind.files)
            hint = f"write dialects: [{others}]"
            yield Problem(f"the {title} has no {hypervisor.name}", _place(read, step, path), hint)
        else:
            fitting = [d for d in hypervisor.dialects if kind.has(d, arch)]
            there = ", ".join(_arch_name(a) for a in kind.arches[dialect])
            hint = f"write dialects: [{', '.join(fitting)}]" if fitting else f"Kata has it on {there}"
            message = f"the {title} has no {hypervisor.name} on {read.spec.arch}"
            yield Problem(message, _place(read, step, path), hint)


def _arch_name(uname: str) -> str:
    """An architecture as specs call it."""
    arch = arch_of_uname(uname)
    return arch.name if arch else uname


def _place(read: Read, step: Steps, path: Steps) -> Where:
    """Where a value stands, or the key of what it would be part of."""
    return read.tree.value_where(step) if read.tree.has(step) else read.tree.key_where(path)


def kernel_is_right(read: Read) -> Iterator[Problem]:
    """A hypervisor that boots the compressed kernel needs one."""
    from ..kata.flavours import flavour

    source = read.spec.kernel.source
    if not isinstance(source, PrebuiltKernel) or source.bzimage or arch_of(read.spec.arch).uname != "x86_64":
        return
    for hypervisor in read.spec.hypervisors:
        if flavour(hypervisor.name).kernel == "bzimage":
            where = read.tree.value_where(("kernel", "source"))
            message = f"{hypervisor.name} boots the compressed kernel, and kernel.source has only vmlinux"
            yield Problem(message, where, "give kernel.source.bzimage too")


def _cannot_boot(hypervisor: Hypervisor) -> list[str]:
    """The dialects in which it does not boot from what it is told to boot from."""
    from ..kata.flavours import flavour

    kind = flavour(hypervisor.name)
    return [d for d in hypervisor.dialects if hypervisor.boot not in kind.boots.get(d, (hypervisor.boot,))]


def boots_what_is_built(read: Read) -> Iterator[Problem]:
    """Each hypervisor boots from something that it can boot from, and that is built."""
    from ..kata.keys import tables

    spec = read.spec
    for hypervisor in spec.hypervisors:
        path = (*HYPERVISORS, hypervisor.name)
        where = _place(read, (*path, "boot"), path)
        if next(_unavailable(hypervisor, read), None):
            continue  # which has been said
        cannot = _cannot_boot(hypervisor)
        if cannot:
            other = "initrd" if hypervisor.boot == "image" else "image"
            yield Problem(
                f"{hypervisor.name} does not boot from the {hypervisor.boot} with the {tables().title(cannot[0])}",
                where,
                f"set boot: {other}",
            )
        elif hypervisor.boot == "initrd" and not spec.initrd.enabled:
            message = f"{hypervisor.name} boots the initrd, which is not built"
            yield Problem(message, where, "set initrd.enabled: true")


def vmm_can_be_made(read: Read) -> Iterator[Problem]:
    """A QEMU of the set's own, and one with fewer devices, only where there is one."""
    from ..kata.flavours import flavour

    for hypervisor in read.spec.hypervisors:
        kind, path = flavour(hypervisor.name), (*HYPERVISORS, hypervisor.name)
        machine = hypervisor.settings.get("machine_type", "q35")
        x86 = read.spec.arch == "x86_64"
        if hypervisor.build and (kind.vmm != "qemu" or not x86 or hypervisor.name != "qemu"):
            whose = hypervisor.name if x86 else f"{hypervisor.name} on {read.spec.arch}"
            yield Problem(
                f"a QEMU of the set's own is built for the flavour qemu on x86_64, not for {whose}",
                hypervisor.build.where,
                "leave build: out, and name the program with settings: {path: …}",
            )
        if hypervisor.build and "path" in hypervisor.settings:
            yield Problem(
                "path is another QEMU than the one that build: makes", hypervisor.where["path"], "keep one of them"
            )
        if hypervisor.trim and (not kind.trimmed or not x86 or machine != "q35"):
            yield Problem(
                f"nothing can be trimmed of {hypervisor.name}{'' if x86 else f' on {read.spec.arch}'}"
                + ("" if machine == "q35" else f" with the machine {machine}"),
                read.tree.value_where((*path, "trim")),
                "leave trim: out; it is for q35, QEMU's machine on x86_64",
            )
        if hypervisor.trim and "machine_accelerators" in hypervisor.settings:
            yield Problem(
                "machine_accelerators says itself which devices the machine has, so nothing is trimmed",
                hypervisor.where["machine_accelerators"],
                "keep one of them",
            )


def settings_hold(read: Read) -> Iterator[Problem]:
    from ..kata.values import check_settings

    """Every mistake in the settings, each at its key."""
    for hypervisor in read.spec.hypervisors:
        path = (*HYPERVISORS, hypervisor.name)
        if next(_unavailable(hypervisor, read), None) or _cannot_boot(hypervisor):
            continue  # which has been said
        if read.lacks((*path, "dialects")) or read.lacks((*path, "boot")):
            continue
        for problem in check_settings(
            hypervisor, read.spec.kata, arch=arch_of(read.spec.arch).uname, dax=read.spec.image.dax
        ):
            yield problem if problem.where else replace(problem, where=read.tree.key_where((*path, "settings")))


def memory_budget_possible(read: Read) -> Iterator[Problem]:
    """A budget for the guest's own memory that the kernel's page descriptors alone exceed is a mistake."""
    from ..kata.guest import guest_settings

    limit = read.spec.budgets.get("guest_overhead_mib")
    for hypervisor in read.spec.hypervisors if limit is not None else ():
        try:
            memory = guest_settings(read.spec, hypervisor.name).memory_mib
        except InputError:
            continue  # the settings' own rule has said so
        if limit is not None and limit < memory / _PAGE_STRUCT_SHARE:
            yield Problem(
                f"budgets.guest_overhead_mib is below what is possible, {memory / _PAGE_STRUCT_SHARE:g}: "
                f"of {memory} MiB of memory, the kernel's page descriptors alone take as much",
                read.tree.value_where(("budgets", "guest_overhead_mib")),
            )
