"""Small behaviours of containers as data: a script, what surrounds it, and what must come out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .. import agent_pb2 as pb
from ..oci import DEFAULT_PATH, Mount

_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Case:
    """One behaviour. ``out`` and ``err``: regular expressions for the whole of both outputs, white space at the ends
    left out; ``status``: the exit code.

    ``process``: fields of `oci.Process` (without ``args``, the script is run by ``sh -c``); ``container``: what
    `oci.container_spec` takes; ``adjust`` changes the specification. ``tools``: of `host_root.RARE_TOOLS`;
    ``needs``: kernel options without which the set promises no such thing.
    """

    name: str
    title: str
    script: str = ""
    out: str = ""
    err: str | None = ""
    status: int = 0
    stdin: bytes = b""
    process: Mapping[str, Any] = field(default_factory=dict)
    container: Mapping[str, Any] = field(default_factory=dict)
    adjust: Callable[[Any], None] | None = None
    tools: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()


def _resources(**limits: Mapping[str, int]) -> Callable[[Any], None]:
    def adjust(spec: Any) -> None:
        for kind, values in limits.items():
            for name, value in values.items():
                setattr(getattr(spec.linux.resources, kind), name, value)

    return adjust


def _seccomp(action: str, *names: str) -> Callable[[Any], None]:
    def adjust(spec: Any) -> None:
        seccomp = spec.linux.seccomp
        seccomp.default_action = "SCMP_ACT_ALLOW"
        seccomp.syscalls.add(names=names, action=action)

    return adjust


def _sysctl(spec: Any) -> None:
    spec.linux.sysctl.append(pb.KeyValue(key="kernel.shm_rmid_forced", value="1"))


def _device_rules(spec: Any) -> None:
    rules = spec.linux.resources.devices
    rules.add(allow=False, access="rwm")
    rules.add(allow=True, type="c", major=1, minor=3, access="rwm")
    rules.add(allow=True, type="c", major=-1, minor=-1, access="m")


def _own_device(spec: Any) -> None:
    spec.linux.devices.add(path="/dev/nought", type="c", major=1, minor=5, file_mode=0o640, uid=7, gid=8)
    spec.linux.resources.devices.add(allow=True, type="c", major=1, minor=5, access="rw")


_SECCOMP = ("CONFIG_SECCOMP_FILTER",)
# The usual ones; without CAP_MKNOD where the kernel cannot hold a container to rules for devices.
_CAPABILITIES = r"CapEff:\s+00000000a[80]0425fb"

CASES: tuple[Case, ...] = (
    # ---- the program and its streams ----
    Case("output", "a container's output comes back", "echo out; echo err >&2", "out", "err"),
    Case("arguments", "arguments arrive as they are", out=r"<a b><><ü\n><\*>",
         process={"args": ("sh", "-c", 'for a; do printf "<%s>" "$a"; done', "sh", "a b", "", "ü\n", "*")}),
    Case("environment", "the environment arrives, and nothing else", 'echo "$A|${EMPTY-unset}|$PATH|${HOSTNAME-}"',
         rf"b c\|\|{DEFAULT_PATH}\|.*", process={"env": {"A": "b c", "EMPTY": ""}}),
    Case("large-environment", "a variable of 100,000 bytes arrives", 'printf %s "$BIG" | wc -c', "100000",
         process={"env": {"BIG": "x" * 100_000}}),
    Case("working-directory", "the working directory is set", "pwd", "/tmp", process={"cwd": "/tmp"}),  # noqa: S108 -- in the container
    Case("stdin-end", "without input a program sees its end at once", "cat; echo end", "end"),
    Case("terminal", "a terminal of the size that was asked for", "tty; stty size; [ -t 0 ] && [ -t 2 ] && echo all",
         r"/dev/pts/0\s+40 100\s+all", process={"terminal": True, "size": (40, 100)}),
    Case("no-terminal", "no terminal where none was asked for", "tty; [ -t 1 ] || echo none", "not a tty\nnone"),
    Case("pid-1", "the program is process 1, and sees no others", "set -- /proc/[0-9]*; echo $$ $*", "1 /proc/1"),
    # ---- who it is, and what it may ----
    Case("user", "user and group are set", "id -u; id -g", "1000\n1001", process={"user": (1000, 1001)}),
    Case("groups", "further groups are set, and no others", "grep ^Groups: /proc/self/status", r"Groups:\s+5 20",
         process={"user": (1000, 1001, 5, 20)}),
    Case("no-groups", "without further groups there are none", "grep ^Groups: /proc/self/status", r"Groups:(\s+1001)?",
         process={"user": (1000, 1001)}),
    Case("capabilities", "root has the capabilities given", "grep ^CapEff /proc/self/status",
         _CAPABILITIES),
    Case("capability-bounds", "no program can regain others", "grep ^CapBnd /proc/self/status",
         r"CapBnd:\s+0000000000000001", process={"capabilities": ("CAP_CHOWN",)}),
    Case("no-capabilities", "without capabilities root may not even chown", "touch /tmp/f; chown 5 /tmp/f", "",
         r"(?i).*(operation not permitted|not permitted).*", 1, process={"capabilities": ()}),
    Case("user-capabilities", "an ordinary user has none in effect", "grep ^CapEff /proc/self/status",
         r"CapEff:\s+0000000000000000", process={"user": (1000, 1000)}),
    Case("no-new-privileges", "no program gains privileges", "grep ^NoNewPrivs /proc/self/status", r"NoNewPrivs:\s+1"),
    Case("new-privileges", "unless they are allowed", "grep ^NoNewPrivs /proc/self/status", r"NoNewPrivs:\s+0",
         process={"no_new_privileges": False}),
    Case("seccomp-refuses", "a system call that the profile refuses fails", "mkdir /tmp/x", "",
         "(?i).*operation not permitted.*", 1, adjust=_seccomp("SCMP_ACT_ERRNO", "mkdir", "mkdirat"), needs=_SECCOMP),
    Case("seccomp-kills", "one for which it kills ends the program", "(mkdir /tmp/x); echo $?", "159", None,
         adjust=_seccomp("SCMP_ACT_KILL_PROCESS", "mkdir", "mkdirat"), needs=_SECCOMP),
    Case("seccomp-state", "the filter holds for every program", "grep ^Seccomp: /proc/self/status", r"Seccomp:\s+2",
         adjust=_seccomp("SCMP_ACT_ERRNO", "mkdir", "mkdirat"), needs=_SECCOMP),
    Case("open-files", "limits of a process are set", "ulimit -Sn; ulimit -Hn; ulimit -Sc", "123\n456\n0",
         process={"rlimits": {"RLIMIT_NOFILE": (123, 456), "RLIMIT_CORE": (0, 0)}}),
    Case("file-size", "and enforced",
         "dd if=/dev/zero of=/tmp/f bs=1024 count=64 2>/dev/null; stat -c %s /tmp/f", "4096",
         process={"rlimits": {"RLIMIT_FSIZE": (4096, 4096)}}),
    # ---- files ----
    Case("masked-paths", "masked files are empty, masked folders too",
         "wc -c </proc/timer_list; set -- /sys/firmware/*; echo $*", r"0\s+/sys/firmware/\*"),
    Case("read-only-paths", "what is to be read-only in /proc is", "echo x >/proc/sys/kernel/domainname || exit 1", "",
         "(?is).*(read-only file system|permission denied|nonexistent).*", 1),
    Case("cgroup-read-only", "the container's own cgroup cannot be changed", "mkdir /sys/fs/cgroup/x", "",
         "(?i).*read-only file system.*", 1),
    Case("tmpfs", "a tmpfs has its size and is no larger",
         "dd if=/dev/zero of=/run/t/f bs=1024 count=128 2>&1 | grep -c 'No space'; stat -c %s /run/t/f", "1\n65536",
         container={"mounts": (Mount("/run/t", "tmpfs", "tmpfs", ("size=64k",)),)}),
    Case("mount-options", "mounts have the options given", "grep ' /tmp ' /proc/mounts", ".* rw,.*nosuid,nodev.*"),
    Case("read-only-mount", "a mount that is read-only cannot be written", "touch /run/t/f", "",
         "(?i).*read-only file system.*", 1,
         container={"mounts": (Mount("/run/t", "tmpfs", "tmpfs", ("ro",)),)}),
    Case("devices", "the usual devices work",
         "head -c 3 /dev/zero | wc -c; head -c 9 /dev/urandom | wc -c; echo x >/dev/null; cat /dev/null;"
         " cat /proc/version >/dev/full || [ -c /dev/random ] && [ -c /dev/tty ] && [ -e /dev/ptmx ] && echo all",
         "3\n9\nall", "(?i).*no space left.*"),
    Case("device-links", "so do the usual links",
         "echo a >/dev/stdout; echo b | cat /dev/stdin; echo c >/dev/fd/2", "a\nb", "c"),
    Case("no-other-devices", "the guest's own devices are not there",
         "ls /dev | grep -E '^(pmem|vd|dm-|mem|kmsg|hvc|vport)'", status=1),
    Case("device-rules", "a device that the rules forbid cannot be used",
         "mknod /dev/k c 1 11 2>/dev/null && head -c 1 /dev/k >/dev/null 2>&1 && echo open || echo refused", "refused",
         adjust=_device_rules),
    Case("own-device", "a device of the container's own is there and works",
         "stat -c '%a %u %g' /dev/nought; head -c 5 /dev/nought | wc -c", r"640 7 8\s+5", adjust=_own_device),
    # ---- namespaces ----
    Case("hostname", "the host name is the container's own", "hostname", "box", container={"hostname": "box"}),
    Case("cgroup-namespace", "it sees itself at the top of the cgroups", "cat /proc/self/cgroup", "0::/"),
    Case("sysctl", "kernel parameters of its namespaces are set", "cat /proc/sys/kernel/shm_rmid_forced", "1",
         adjust=_sysctl, needs=("CONFIG_IPC_NS",)),
    Case("loopback", "the loopback interface works", "ping -c 1 -W 5 127.0.0.1 | grep -c '1 packets received'", "1",
         tools=("ping",)),
    Case("ipv6-loopback", "so does that of IPv6", "ping -6 -c 1 -W 5 ::1 | grep -c '1 packets received'", "1",
         tools=("ping",), needs=("CONFIG_IPV6",)),
    # ---- limits of a container ----
    Case("many-processes", "100 processes at a time",
         "i=0; while [ $i -lt 100 ]; do sleep 1000 & i=$((i+1)); done; set -- /proc/[0-9]*; echo $#", "101"),
    Case("pids-limit", "a limit of processes holds",
         "i=0; while [ $i -lt 20 ]; do sleep 1000 & i=$((i+1)); done; echo all", "", "(?is).*fork.*", 2,
         adjust=_resources(pids={"limit": 8}), needs=("CONFIG_CGROUP_PIDS",)),
    Case("memory-limit", "a limit of memory is set", "cat /sys/fs/cgroup/memory.max", str(32 * _MIB),
         adjust=_resources(memory={"limit": 32 * _MIB}), needs=("CONFIG_MEMCG",)),
    Case("cpu-limit", "limits of processor time are set", "cat /sys/fs/cgroup/cpu.max /sys/fs/cgroup/cpu.weight",
         r"20000 50000\n39", adjust=_resources(cpu={"quota": 20000, "period": 50000, "shares": 1024}),
         needs=("CONFIG_CFS_BANDWIDTH",)),
)  # fmt: skip
"""Every one is a check named ``container-NAME``."""
