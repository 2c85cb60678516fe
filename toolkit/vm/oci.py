"""The OCI specification of a container as a runtime would hand it to the agent: ordinary mounts, namespaces, limits.

Values are those of the OCI runtime specification's examples and of what container engines use by default.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

CAPABILITIES = (
    "CAP_AUDIT_WRITE", "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_MKNOD",
    "CAP_NET_BIND_SERVICE", "CAP_NET_RAW", "CAP_SETFCAP", "CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID", "CAP_SYS_CHROOT",
)  # fmt: skip

NAMESPACES = ("pid", "mount", "uts", "ipc", "cgroup")

MASKED = (
    "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/scsi", "/proc/timer_list",
    "/proc/sched_debug", "/sys/firmware",
)  # fmt: skip

READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")


@dataclass(frozen=True, slots=True)
class Mount:
    """A mount of a container: destination, then as mount(8) takes it."""

    destination: str
    source: str
    type: str
    options: tuple[str, ...] = ()


MOUNTS = (
    Mount("/proc", "proc", "proc", ("nosuid", "noexec", "nodev")),
    Mount("/dev", "tmpfs", "tmpfs", ("nosuid", "strictatime", "mode=755", "size=65536k")),
    Mount("/dev/pts", "devpts", "devpts",
          ("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5")),
    Mount("/dev/shm", "shm", "tmpfs", ("nosuid", "noexec", "nodev", "mode=1777", "size=65536k")),  # noqa: S108 -- in the container
    Mount("/dev/mqueue", "mqueue", "mqueue", ("nosuid", "noexec", "nodev")),
    Mount("/sys", "sysfs", "sysfs", ("nosuid", "noexec", "nodev", "ro")),
    Mount("/sys/fs/cgroup", "cgroup", "cgroup", ("nosuid", "noexec", "nodev", "relatime", "ro")),
    Mount("/run", "tmpfs", "tmpfs", ("nosuid", "nodev", "mode=755", "size=65536k")),
    Mount("/tmp", "tmpfs", "tmpfs", ("nosuid", "nodev", "mode=1777")),  # noqa: S108 -- in the container
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Process:
    """A program to run. ``user``: uid, gid and further gids. ``capabilities`` None: the agent's own, all of them.

    ``rlimits``: name such as RLIMIT_NOFILE → (soft, hard). ``size``: the terminal's rows and columns.
    """

    args: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: str = "/"
    user: tuple[int, ...] = (0, 0)
    terminal: bool = False
    size: tuple[int, int] | None = None
    capabilities: Sequence[str] | None = CAPABILITIES
    rlimits: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    no_new_privileges: bool = True

    def message(self) -> Any:
        """The protobuf message."""
        from . import agent_pb2 as pb

        process = pb.Process(
            terminal=self.terminal,
            user=pb.User(uid=self.user[0], gid=self.user[1], additional_gids=self.user[2:]),
            args=self.args,
            env=[f"{name}={value}" for name, value in ({"PATH": DEFAULT_PATH} | dict(self.env)).items()],
            cwd=self.cwd,
            no_new_privileges=self.no_new_privileges,
            rlimits=[pb.PosixRlimit(type=name, soft=s, hard=h) for name, (s, h) in self.rlimits.items()],
        )
        if self.size:
            process.console_size.height, process.console_size.width = self.size
        if self.capabilities is not None:
            sets = ("bounding", "effective", "permitted")
            process.capabilities.CopyFrom(pb.LinuxCapabilities(**dict.fromkeys(sets, self.capabilities)))
        return process


def container_spec(
    process: Process,
    *,
    rootfs: str = "/",
    read_only: bool = True,
    hostname: str = "",
    mounts: Sequence[Mount] = (),
    standard_mounts: Sequence[Mount] = MOUNTS,
    namespaces: Sequence[str] = NAMESPACES,
) -> Any:
    """A container's specification. ``rootfs`` is a path in the guest; ``mounts`` come after the standard ones."""
    from . import agent_pb2 as pb

    spec = pb.Spec(
        version="1.1.0",
        process=process.message(),
        root=pb.Root(path=rootfs, readonly=read_only),
        hostname=hostname,
        mounts=[
            pb.Mount(destination=m.destination, source=m.source, type=m.type, options=m.options)
            for m in (*standard_mounts, *mounts)
        ],
    )
    spec.linux.namespaces.extend(pb.LinuxNamespace(type=name) for name in namespaces)
    spec.linux.masked_paths.extend(MASKED)
    spec.linux.readonly_paths.extend(READ_ONLY)
    return spec
