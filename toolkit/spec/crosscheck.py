"""What a schema cannot say: parts of a spec that contradict each other, the file system, or Kata itself.

One small function a rule, in a table. A value that was already reported as wrong is seen as if it were left out;
where its default would make a rule complain, the rule names it in ``needs``, and does not run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Set
from dataclasses import dataclass

from ..arch import arch_of
from ..errors import InputError, Problem
from ..pipeline.files import sha256_of
from ..resources import resource
from .extension_rules import (
    WORD,
    extension_count,
    extension_files,
    extension_names,
    extensions_are_attached,
    extensions_are_mounted,
)
from .hypervisor_rules import (
    HYPERVISORS,
    boots_what_is_built,
    flavours_exist,
    kernel_is_right,
    memory_budget_possible,
    settings_hold,
    vmm_can_be_made,
)
from .image_rules import image_compression, image_layout, image_room, image_size, kernel_reads_root
from .model import (
    GitKernel,
    KernelSource,
    PackagedKernel,
    PrebuiltKernel,
    Spec,
    TarballKernel,
    TreeKernel,
)
from .paths import check_file, check_kernel_tree
from .read import MAX_CMDLINE, Read, given_file
from .rootfs_rules import agent_files, rootfs_files, systemd_starts
from .suggest import did_you_mean
from .yamltree import Steps, Tree

SOURCE = ("kernel", "source")
CMDLINE = ("kernel", "cmdline")
PATCHES = ("kernel", "patches")

_BY_RUNTIME = "the runtime writes it, to match what is booted"
CMDLINE_CONFLICTS = {
    "root": _BY_RUNTIME,
    "rootflags": _BY_RUNTIME,
    "rootfstype": _BY_RUNTIME,
    "dm-mod.create": _BY_RUNTIME,
    "initrd": "the runtime hands the initrd to the VMM",
    "noinitrd": "the initrd would not be used",
    "init": "the guest would start something else than the agent",
    "rdinit": "the guest would start something else than the agent",
    "systemd.unit": _BY_RUNTIME,
    "rw": "the image is read-only, and mounting it writable fails",
    "nr_cpus": "the runtime writes it; set default_maxvcpus in the hypervisor's settings",
    "maxcpus": "CPUs could not be hot-plugged; set default_maxvcpus in the hypervisor's settings",
    "mem": "memory could not be hot-plugged; set default_memory in the hypervisor's settings",
    "--": "what comes after it goes to the agent, and the kernel ignores it",
}

BUDGET_FLOORS = {
    "image_mib": (0.05, "the partition tables and the file system's own structures take as much"),
    "vmlinux_mib": (1, "a Linux kernel that can run a container is larger"),
    "boot_minstr": (20, "the firmware alone takes about 20 million"),
}

# Programs of Kata itself: in one bin folder with them, the wrapper would take their place.
KATA_PROGRAMS = frozenset(("kata-runtime", "kata-agent", "kata-agent-ctl", "kata-ctl", "kata-monitor"))
KATA_PREFIX = "/opt/kata"  # where Kata's own release archive installs itself


@dataclass(frozen=True, slots=True)
class Rule:
    """``check`` runs when none of the values in ``needs`` is unusable."""

    check: Callable[[Read], Iterable[Problem]]
    needs: tuple[Steps, ...] = ()


def crosscheck(spec: Spec, tree: Tree, unusable: Set[Steps]) -> list[Problem]:
    """Every contradiction in the spec. ``unusable``: paths of values already reported as wrong."""
    partly = frozenset(path[:depth] for path in unusable for depth in range(len(path)))
    read = Read(spec, tree, frozenset(unusable), partly)
    problems: list[Problem] = []
    for rule in RULES:
        if not any(read.lacks(need) for need in rule.needs):
            problems += rule.check(read)
    return problems


def _profile_exists(read: Read) -> Iterator[Problem]:
    spec, tree = read.spec, read.tree
    known = sorted(path.stem for path in resource("kernel-configs", "profiles").glob("*.yaml"))
    if spec.kernel.profile not in known and not _is_opaque(spec.kernel.source):
        hint = did_you_mean(spec.kernel.profile, known) or f"known profiles: {', '.join(known)}"
        where = tree.value_where(("kernel", "profile"))
        yield Problem(f'there is no kernel profile "{spec.kernel.profile}"', where, hint)


def _features_fit(read: Read) -> Iterator[Problem]:
    from ..kconfig.fragments import load_library
    from ..kconfig.selection import select

    kernel = read.spec.kernel
    library = load_library() if kernel.features.add or kernel.features.drop else None
    if library and kernel.profile in library.profiles and not _is_opaque(kernel.source):
        try:
            select(library, kernel.profile, kernel.features, arch=read.spec.arch)
        except InputError as error:
            yield from error.problems


def _is_opaque(source: KernelSource) -> bool:
    """A kernel of which nobody knows how it was configured."""
    return isinstance(source, PrebuiltKernel) and source.config is None


def _kernel_is_built_here(read: Read) -> Iterator[Problem]:
    spec = read.spec
    if not arch_of(spec.arch).builds and not isinstance(spec.kernel.source, PackagedKernel | PrebuiltKernel):
        yield Problem(
            f"a kernel for {spec.arch} is configured, but not built here",
            read.tree.value_where(("arch",)),
            "take a prebuilt one: kernel.source with kind: prebuilt",
        )


def _prebuilt_takes_nothing(read: Read) -> Iterator[Problem]:
    spec, tree = read.spec, read.tree
    if not isinstance(spec.kernel.source, PackagedKernel | PrebuiltKernel):
        return
    # Where its configuration is known, profile and features say what it is compared with.
    known = not _is_opaque(spec.kernel.source)
    for key, given in (
        ("profile", not known and tree.has(("kernel", "profile"))),
        ("features", not known and bool(spec.kernel.features.add or spec.kernel.features.drop)),
        ("options", bool(spec.kernel.options)),
        ("patches", bool(spec.kernel.patches)),
    ):
        if given:
            where = tree.key_where(("kernel", key))
            yield Problem(f"a prebuilt kernel cannot take {key}", where, "remove it, or build from sources")


def _kernel_source_files(read: Read) -> Iterator[Problem]:
    spec, tree = read.spec, read.tree
    source = spec.kernel.source
    if isinstance(source, TreeKernel):
        yield from check_kernel_tree(source.path, tree.value_where((*SOURCE, "path")))
    elif isinstance(source, TarballKernel):
        yield from given_file(source.archive, tree, SOURCE)
    elif isinstance(source, GitKernel):
        from ..git_source import spec_problem

        found = spec_problem(source, tree.value_where((*SOURCE, "repository")))
        yield from [found] if found else []
    elif isinstance(source, PackagedKernel):
        if source.deb:
            yield from given_file(source.deb, tree, (*SOURCE, "deb"))
    elif isinstance(source, PrebuiltKernel):
        yield from given_file(source.vmlinux, tree, (*SOURCE, "vmlinux"))
        if source.config:
            yield from given_file(source.config, tree, (*SOURCE, "config"))
        if source.bzimage:
            yield from given_file(source.bzimage, tree, (*SOURCE, "bzimage"))


def _patches(read: Read) -> Iterator[Problem]:
    for patch, step in zip(read.spec.kernel.patches, read.steps(PATCHES), strict=True):
        missing = list(check_file(patch.path, read.tree.value_where(step)))
        yield from missing
        if patch.sha256 and not missing:
            found = sha256_of(patch.path)
            if found != patch.sha256:
                message = f"{patch.path} has the sha256 {found}, not {patch.sha256}"
                where = read.tree.value_where((*step, "sha256"))
                yield Problem(message, where, "look at the patch before you change its digest")


def _cmdline_words(read: Read) -> Iterator[Problem]:
    spec, tree = read.spec, read.tree
    for word, where in zip(spec.kernel.cmdline, read.items(CMDLINE), strict=True):
        reason = CMDLINE_CONFLICTS.get(word.partition("=")[0])
        if reason:
            yield Problem(f'"{word}" cannot be in kernel.cmdline: {reason}', where, "remove it")
    length = len(" ".join(spec.kernel.cmdline))
    room = MAX_CMDLINE - WORD * len(spec.extensions)
    if spec.kernel.cmdline and length > room:
        yield Problem(
            f"kernel.cmdline is {length} bytes long; there is room for {room} beside the runtime's own",
            tree.key_where(CMDLINE),
        )


def _budgets_possible(read: Read) -> Iterator[Problem]:
    spec, tree = read.spec, read.tree
    for name, (floor, reason) in BUDGET_FLOORS.items():
        limit = spec.budgets.get(name)
        if limit is not None and limit < floor:
            where = tree.value_where(("budgets", name))
            yield Problem(f"budgets.{name} is below what is possible, {floor}: {reason}", where)


def _wrapper_name(read: Read) -> Iterator[Problem]:
    spec, tree = read.spec, read.tree
    given = tree.has(("wrapper", "name"))
    where = tree.value_where(("wrapper", "name") if given else ("name",))
    taken = None
    if spec.wrapper in KATA_PROGRAMS or spec.wrapper.startswith("containerd-shim-"):
        taken = f"{spec.wrapper} is a name of Kata's own programs"
    elif spec.wrapper == "kata":
        taken = "its shim would be containerd-shim-kata-v2, Kata's own"
    if taken:
        subject = f'the wrapper cannot be called "{spec.wrapper}"'
        yield Problem(f"{subject}: {taken}", where, "give another wrapper.name")


def _prefix(read: Read) -> Iterator[Problem]:
    spec, tree = read.spec, read.tree
    given = tree.has(("install", "prefix"))
    where = tree.value_where(("install", "prefix") if given else ("name",))
    steps = spec.prefix.split("/")[1:]
    if spec.prefix == "/":
        yield Problem("install.prefix cannot be the root folder", where, f"for example /opt/{spec.name}")
    elif spec.prefix == KATA_PREFIX or spec.prefix.startswith(f"{KATA_PREFIX}/"):
        message = f"install.prefix cannot be {spec.prefix}: an installed Kata lives in {KATA_PREFIX}"
        yield Problem(message, where, "give another install.prefix")
    elif not all(steps) or {".", ".."} & set(steps):
        yield Problem("install.prefix must be a plain path, without //, . or ..", where)


RULES = (
    Rule(_profile_exists, needs=(SOURCE,)),
    Rule(_features_fit, needs=(SOURCE, ("arch",), ("kernel", "features"))),
    Rule(_kernel_is_built_here, needs=(SOURCE, ("arch",))),
    Rule(_prebuilt_takes_nothing),
    Rule(_kernel_source_files),
    Rule(_patches),
    Rule(agent_files),
    Rule(rootfs_files),
    Rule(systemd_starts, needs=(SOURCE,)),
    Rule(extension_count),
    Rule(extension_names),
    Rule(extension_files),
    Rule(extensions_are_mounted, needs=(("agent",), ("rootfs",))),
    Rule(extensions_are_attached, needs=(HYPERVISORS,)),
    Rule(_cmdline_words),
    Rule(flavours_exist, needs=(("arch",),)),
    Rule(boots_what_is_built, needs=(("initrd", "enabled"),)),
    Rule(vmm_can_be_made, needs=(("arch",),)),
    Rule(kernel_is_right, needs=(SOURCE, ("arch",))),
    Rule(settings_hold, needs=(("arch",),)),
    Rule(_budgets_possible),
    Rule(memory_budget_possible, needs=(HYPERVISORS,)),
    Rule(image_room),
    Rule(image_size, needs=(HYPERVISORS, ("image", "align_mib"))),
    Rule(image_layout, needs=(("image", "dax"), ("image", "verity"))),
    Rule(image_compression, needs=(("image", "dax"), ("image", "format"))),
    Rule(kernel_reads_root, needs=(SOURCE, ("arch",), ("kernel", "features"), ("kernel", "options"), ("image",))),
    Rule(_wrapper_name),
    Rule(_prefix),
)
