"""What a schema cannot say: parts of a spec that contradict each other, the file system, or Kata itself.

One small function a rule, in a table. A rule runs only when everything it looks at could be used, so that one
mistake is never reported twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from ..errors import Problem
from ..resources import resource
from .model import Artifact, BinaryAgent, PrebuiltKernel, Spec, TarballKernel, TreeKernel
from .paths import check_file, check_kernel_tree
from .suggest import did_you_mean
from .yamltree import Steps, Tree

SOURCE = ("kernel", "source")
CMDLINE = ("kernel", "cmdline")
HYPERVISORS = ("runtime", "hypervisors")

# The kernel's own limit on x86 is 2048 bytes (COMMAND_LINE_SIZE); the runtime's words take up to half of it.
MAX_CMDLINE = 1024

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
_PAGE_STRUCT_SHARE = 64  # struct page: 64 bytes for each 4 KiB page (include/linux/mm_types.h)
_DEFAULT_MEMORY_MIB = 2048  # what Kata's own configuration gives a guest

# Programs of Kata itself: in one bin folder with them, the wrapper would take their place.
KATA_PROGRAMS = frozenset(("kata-runtime", "kata-agent", "kata-agent-ctl", "kata-ctl", "kata-monitor"))
KATA_PREFIX = "/opt/kata"  # where Kata's own release archive installs itself


@dataclass(frozen=True, slots=True)
class Rule:
    """``check`` runs when none of the parts in ``needs`` is unusable."""

    needs: tuple[Steps, ...]
    check: Callable[[Spec, Tree], Iterable[Problem]]


def crosscheck(spec: Spec, tree: Tree, unusable: list[Steps]) -> list[Problem]:
    """Every contradiction in the spec. ``unusable``: paths of values already reported as wrong."""
    problems: list[Problem] = []
    for rule in RULES:
        if not any(_overlap(need, path) for need in rule.needs for path in unusable):
            problems += rule.check(spec, tree)
    return problems


def _overlap(one: Steps, other: Steps) -> bool:
    shorter = min(len(one), len(other))
    return tuple(one[:shorter]) == tuple(other[:shorter])


def _profile_exists(spec: Spec, tree: Tree) -> Iterator[Problem]:
    known = sorted(path.stem for path in resource("kernel-configs", "profiles").glob("*.yaml"))
    if known and spec.kernel.profile not in known and not isinstance(spec.kernel.source, PrebuiltKernel):
        hint = did_you_mean(spec.kernel.profile, known) or f"known profiles: {', '.join(known)}"
        where = tree.value_where(("kernel", "profile"))
        yield Problem(f'there is no kernel profile "{spec.kernel.profile}"', where, hint)


def _prebuilt_takes_nothing(spec: Spec, tree: Tree) -> Iterator[Problem]:
    if not isinstance(spec.kernel.source, PrebuiltKernel):
        return
    for key, given in (
        ("profile", tree.has(("kernel", "profile"))),
        ("options", bool(spec.kernel.options)),
        ("patches", bool(spec.kernel.patches)),
    ):
        if given:
            where = tree.key_where(("kernel", key))
            yield Problem(f"a prebuilt kernel cannot take {key}", where, "remove it, or build from sources")


def _kernel_source_files(spec: Spec, tree: Tree) -> Iterator[Problem]:
    source = spec.kernel.source
    if isinstance(source, TreeKernel):
        yield from check_kernel_tree(source.path, tree.value_where((*SOURCE, "path")))
    elif isinstance(source, TarballKernel):
        yield from _artifact(source.archive, tree, SOURCE)
    elif isinstance(source, PrebuiltKernel):
        yield from _artifact(source.vmlinux, tree, (*SOURCE, "vmlinux"))
        if source.config:
            yield from _artifact(source.config, tree, (*SOURCE, "config"))
        if source.bzimage:
            yield from _artifact(source.bzimage, tree, (*SOURCE, "bzimage"))


def _artifact(artifact: Artifact, tree: Tree, path: Steps) -> Iterator[Problem]:
    if artifact.path:
        yield from check_file(artifact.path, tree.value_where((*path, "path")))


def _patches(spec: Spec, tree: Tree) -> Iterator[Problem]:
    for index, patch in enumerate(spec.kernel.patches):
        yield from check_file(patch, tree.value_where(("kernel", "patches", index)))


def _agent_files(spec: Spec, tree: Tree) -> Iterator[Problem]:
    if isinstance(spec.agent, BinaryAgent):
        yield from _artifact(spec.agent.binary, tree, ("agent",))
        if spec.agent.policy is not None and not isinstance(spec.agent.policy, str):
            yield from check_file(spec.agent.policy, tree.value_where(("agent", "policy")))


def _cmdline_words(spec: Spec, tree: Tree) -> Iterator[Problem]:
    for index, word in enumerate(spec.kernel.cmdline):
        reason = CMDLINE_CONFLICTS.get(word.partition("=")[0])
        if reason:
            where = tree.value_where((*CMDLINE, index))
            yield Problem(f'"{word}" cannot be in kernel.cmdline: {reason}', where, "remove it")
    length = len(" ".join(spec.kernel.cmdline))
    if length > MAX_CMDLINE:
        yield Problem(
            f"kernel.cmdline is {length} bytes long; there is room for {MAX_CMDLINE} beside the runtime's own",
            tree.key_where(CMDLINE),
        )


def _boots_what_is_built(spec: Spec, tree: Tree) -> Iterator[Problem]:
    for hypervisor in spec.hypervisors:
        if hypervisor.boot == "initrd" and not spec.initrd.enabled:
            where = tree.value_where((*HYPERVISORS, hypervisor.name, "boot"))
            yield Problem(f"{hypervisor.name} boots the initrd, which is not built", where, "set initrd.enabled: true")


def _dax_where_nvdimm(spec: Spec, tree: Tree) -> Iterator[Problem]:
    """The Go runtime mounts an nvdimm root with rootflags=dax, which needs the DAX header."""
    for hypervisor in spec.hypervisors:
        wants_nvdimm = hypervisor.settings.get("disable_image_nvdimm") is False
        if not spec.image.dax and wants_nvdimm and hypervisor.boot == "image":
            where = tree.key_where((*HYPERVISORS, hypervisor.name, "settings", "disable_image_nvdimm"))
            yield Problem(
                "the image is given to the guest as an nvdimm, but has no DAX header", where, "set image.dax: true"
            )


def _budgets_possible(spec: Spec, tree: Tree) -> Iterator[Problem]:
    for name, (floor, reason) in BUDGET_FLOORS.items():
        limit = getattr(spec.budgets, name)
        if limit is not None and limit < floor:
            where = tree.value_where(("budgets", name))
            yield Problem(f"budgets.{name} is below what is possible, {floor}: {reason}", where)


def _memory_budget_possible(spec: Spec, tree: Tree) -> Iterator[Problem]:
    limit = spec.budgets.guest_overhead_mib
    for hypervisor in spec.hypervisors:
        memory = hypervisor.settings.get("default_memory", _DEFAULT_MEMORY_MIB)
        if limit is None or not isinstance(memory, int) or limit >= memory / _PAGE_STRUCT_SHARE:
            continue
        floor = f"{memory / _PAGE_STRUCT_SHARE:g}"
        yield Problem(
            f"budgets.guest_overhead_mib is below what is possible, {floor}: "
            f"of {memory} MiB of memory, the kernel's page descriptors alone take as much",
            tree.value_where(("budgets", "guest_overhead_mib")),
        )


def _wrapper_name(spec: Spec, tree: Tree) -> Iterator[Problem]:
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


def _prefix(spec: Spec, tree: Tree) -> Iterator[Problem]:
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
    Rule((SOURCE, ("kernel", "profile")), _profile_exists),
    Rule((SOURCE, ("kernel", "profile"), ("kernel", "options"), ("kernel", "patches")), _prebuilt_takes_nothing),
    Rule((SOURCE,), _kernel_source_files),
    Rule((("kernel", "patches"),), _patches),
    Rule((("agent",),), _agent_files),
    Rule((CMDLINE,), _cmdline_words),
    Rule((HYPERVISORS, ("initrd",)), _boots_what_is_built),
    Rule((HYPERVISORS, ("image",)), _dax_where_nvdimm),
    Rule((("budgets",),), _budgets_possible),
    Rule((("budgets",), HYPERVISORS), _memory_budget_possible),
    Rule((("name",), ("wrapper",)), _wrapper_name),
    Rule((("name",), ("install",)), _prefix),
)
