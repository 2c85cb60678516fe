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
