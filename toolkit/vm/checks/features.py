"""What the kernel's recorded configuration promises to containers works in the guest, not only is switched on."""

from __future__ import annotations

from collections.abc import Mapping

from ... import resources, run, warden
from ...arch import arch_of_uname
from ...checks import FAIL, PASS, Check, Skipped, Verdict
from ...errors import ToolError
from ...static_c import CFLAGS, LDFLAGS, StaticC
from .. import agent_pb2 as pb
from ..evidence import Evidence, text
from ..oci import CAPABILITIES, Mount
from .common import needs

# Kernel source: init/Kconfig, kernel/cgroup; perf_event is always there and never listed.
_CONTROLLERS: Mapping[str, str] = {
    "cpu": "CONFIG_CGROUP_SCHED", "cpuset": "CONFIG_CPUSETS", "hugetlb": "CONFIG_CGROUP_HUGETLB",
    "io": "CONFIG_BLK_CGROUP", "memory": "CONFIG_MEMCG", "misc": "CONFIG_CGROUP_MISC", "pids": "CONFIG_CGROUP_PIDS",
    "rdma": "CONFIG_CGROUP_RDMA",
}  # fmt: skip
_NAMESPACES: Mapping[str, str] = {
    "ipc": "CONFIG_IPC_NS", "net": "CONFIG_NET_NS", "pid": "CONFIG_PID_NS", "time": "CONFIG_TIME_NS",
    "user": "CONFIG_USER_NS", "uts": "CONFIG_UTS_NS",
}  # fmt: skip
_ALWAYS = ("cgroup", "mnt")
_ADMIN: Mapping[str, object] = {"capabilities": (*CAPABILITIES, "CAP_SYS_ADMIN", "CAP_NET_ADMIN")}
_PROOF = "/run/kata-containers/proof-overlay"  # in the guest
_LAYERS = (f"lowerdir={_PROOF}/low", f"upperdir={_PROOF}/up", f"workdir={_PROOF}/work")
_CHANGE = "echo up >/run/all/a && rm /run/all/b && cat /run/low/a /run/all/a && ls /run/all /run/low"
_CHANGED = "low up /run/all: a /run/low: a b"


def _promised(evidence: Evidence, symbols: Mapping[str, str]) -> list[str]:
    return sorted(name for name, symbol in symbols.items() if evidence.config.get(symbol) in ("y", "m"))


def cgroups(evidence: Evidence) -> Verdict:
    """The guest's cgroups are version 2, with every controller that its kernel is built with."""
    promised = _promised(evidence, _CONTROLLERS)
    # Without a cgroup namespace of its own a container sees the guest's hierarchy from its top.
    namespaces = ("pid", "mount", "uts", "ipc")
    lines = evidence.inside().lines("cat /sys/fs/cgroup/cgroup.controllers", namespaces=namespaces)
    found = sorted(lines[0].split()) if lines else []
    missing = [name for name in promised if name not in found]
    if missing:
        return Verdict(FAIL, f"missing: {', '.join(missing)}; there are {', '.join(found) or 'none'}")
    return Verdict(PASS, ", ".join(found))


def namespaces(evidence: Evidence) -> Verdict:
    """Each kind of namespace that the kernel is built with can be made anew by who may."""
    promised = _promised(evidence, _NAMESPACES)
    inside = evidence.inside()
    found = inside.lines("ls /proc/self/ns")
    missing = [name for name in (*_ALWAYS, *promised) if name not in found]
    if missing:
        return Verdict(FAIL, f"missing: {', '.join(missing)}")
    if "unshare" not in inside.tools:
        return Verdict(PASS, f"{', '.join((*_ALWAYS, *promised))} (there; the guest has no unshare to make them anew)")
    flags = {"mnt": "m", "ipc": "i", "net": "n", "uts": "u", "user": "U"}
    tried = [name for name in (*_ALWAYS, *promised) if name in flags]
    look = "readlink /proc/self/ns/"
    script = "; ".join(
        f"[ $(unshare -{flags[name]} {look}{name}) != $({look}{name}) ] && echo {name}" for name in tried
    )
    made = inside.lines(f"{script}; true", process=_ADMIN)
    missing = [name for name in tried if name not in made]
    if missing:
        return Verdict(FAIL, f"cannot be made anew: {', '.join(missing)}")
    return Verdict(PASS, f"{', '.join((*_ALWAYS, *promised))}; made anew: {', '.join(tried)}")


def overlay(evidence: Evidence) -> Verdict:
    """An overlay, mounted by the agent, hides what is changed and removed in it from the folder below."""
    needs(evidence, "CONFIG_OVERLAY_FS")
    inside = evidence.inside()
    low = _PROOF.replace("/run/", "/run/guest/", 1) + "/low"
    below = Mount("/run/guest", "/run", "bind", ("rbind", "rw"))
    inside.lines(f"mkdir -p {low} && echo low >{low}/a && echo low >{low}/b", mounts=(below,))
    over = pb.Storage(
        driver="overlayfs", source="overlay", fstype="overlay", options=_LAYERS, mount_point=f"{_PROOF}/all"
    )
    mounts = [Mount(f"/run/{name}", f"{_PROOF}/{name}", "bind", ("rbind", "rw")) for name in ("all", "low")]
    done = inside.sh(_CHANGE, mounts=mounts, storages=(over,))
    if done.status == 0 and done.stdout.decode(errors="replace").split() == _CHANGED.split():
        return Verdict(PASS, "changed and removed above, untouched below")
    return Verdict(FAIL, f"exit code {done.status}: {text(done.stdout)} {text(done.stderr)}")


def seccomp(evidence: Evidence) -> Verdict:
    """The kernel has the actions that engines' profiles use, and the agent says that it applies profiles."""
    needs(evidence, "CONFIG_SECCOMP_FILTER")
    actions = evidence.read("/proc/sys/kernel/seccomp/actions_avail").decode().split()
    missing = [name for name in ("kill_process", "kill_thread", "trap", "errno", "log", "allow") if name not in actions]
    if missing:
        return Verdict(FAIL, f"missing: {', '.join(missing)}")
    if not evidence.guest().agent.guest_details().supports_seccomp:
        return Verdict(FAIL, "the kernel filters system calls, and the agent says that it does not")
    return Verdict(PASS, f"{' '.join(actions)}; the agent applies profiles")


def nftables(evidence: Evidence) -> Verdict:
    """A container that may do so makes a table, a chain and a rule of nftables, and the kernel lists them. A small
    program of our own does it, compiled here: guests have no nft."""
    needs(evidence, "CONFIG_NF_TABLES")
    needs(evidence, "CONFIG_NF_TABLES_INET")
    program = _compiled(evidence)
    script = "cat >/run/nftables && chmod +x /run/nftables && /run/nftables"
    done = evidence.inside().sh(script, process=_ADMIN, stdin=program)
    if (done.status, done.stdout) == (0, b"ok\n"):
        return Verdict(PASS, "a table, a chain and a rule, listed by the kernel")
    return Verdict(FAIL, f"exit code {done.status}: {text(done.stdout or done.stderr)}")


def _compiled(evidence: Evidence) -> bytes:
    """The program for the guest's architecture. Raises Skipped where it cannot be compiled."""
    arch = arch_of_uname(evidence.configuration().arch)
    if arch is None:
        raise Skipped("no compiler is known for the guest's architecture")
    compiler = StaticC.for_arch(arch)
    # The kernel's headers, which musl-gcc does not know by itself.
    folders = (f"/usr/include/{arch.uname}-linux-gnu", "/usr/include") if arch.native else ()
    headers = [word for folder in folders for word in ("-idirafter", folder)]
    source = resources.resource("templates", "proof", "nftables.c")
    with warden.temporary_folder("probe") as folder:
        target = folder / "nftables"
        argv = [compiler.command, "-Os", *CFLAGS, *LDFLAGS, *headers, "-o", str(target), str(source)]
        try:
            run.run(argv, timeout=60)
        except ToolError as error:
            why = text(error.problems[0].message.encode())
            raise Skipped(f"the program that tries it cannot be compiled here: {why}") from error
        return target.read_bytes()


CHECKS: tuple[Check[Evidence], ...] = (
    Check("cgroups", "every promised cgroup controller is there", cgroups),
    Check("namespaces", "every promised namespace can be made", namespaces),
    Check("seccomp", "system calls can be filtered", seccomp),
    Check("overlay", "overlays work", overlay),
    Check("nftables", "packet filters of nftables work", nftables),
)
