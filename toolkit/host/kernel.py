"""Checks of the host's kernel: its version, and what of it is switched off."""

from __future__ import annotations

import re

from ..checks import FAIL, PASS, WARN, Skipped, Verdict
from .entry import HostCheck
from .host import Host

LEAST, ADVISED = (4, 8), (5, 10)
"""vhost_vsock came with the first; the second is the oldest that kernel.org kept as a longterm kernel until 2026."""

_RELEASE = re.compile(r"([0-9]+)\.([0-9]+)", re.ASCII)
_IO_URING = (5, 1)  # the first kernel with it
_IO_URING_SWITCH = (6, 6)  # the first with kernel.io_uring_disabled


def release(host: Host) -> tuple[int, int] | None:
    """Major and minor version of the running kernel; None when /proc does not tell."""
    if host.kernel_release:
        host.note("/proc/sys/kernel/osrelease", host.kernel_release)
    found = _RELEASE.match(host.kernel_release)
    return (int(found[1]), int(found[2])) if found else None


def version(host: Host) -> Verdict:
    """New enough for vhost-vsock, and for its makers' care."""
    version = release(host)
    if version is None:
        raise Skipped("/proc/sys/kernel/osrelease cannot be read", "uname -r")
    advised = f"a newer kernel: {'.'.join(map(str, ADVISED))} or later"
    if version < LEAST:
        return Verdict(FAIL, f"{host.kernel_release}: vhost-vsock came with {'.'.join(map(str, LEAST))}", advised)
    if version < ADVISED:
        return Verdict(WARN, f"{host.kernel_release}: no longer maintained by kernel.org", advised)
    return Verdict(PASS, host.kernel_release)


def io_uring(host: Host) -> Verdict:
    """QEMU's asynchronous I/O as Kata sets it up (block_device_aio) is io_uring."""
    value = host.text("/proc/sys/kernel/io_uring_disabled")
    threads = 'sudo sysctl kernel.io_uring_disabled=0; or set block_device_aio = "threads"'
    if value == "0":
        return Verdict(PASS, "io_uring may be used")
    if value == "1":
        group = host.text("/proc/sys/kernel/io_uring_group")
        who = f"root and the group {group}" if group not in (None, "-1") else "root"
        status = WARN if host.wanted.rootless else PASS
        return Verdict(status, f"io_uring_disabled=1: only {who} may use it", threads if status == WARN else None)
    if value == "2":
        return Verdict(WARN, "io_uring_disabled=2: nobody may use it", threads)
    kernel = release(host)
    if kernel is None or kernel >= _IO_URING_SWITCH:
        raise Skipped("the kernel does not say (built without io_uring, or /proc/sys is hidden)", threads)
    if kernel < _IO_URING:
        return Verdict(WARN, f"the kernel {host.kernel_release} has none", 'set block_device_aio = "threads"')
    return Verdict(PASS, f"the kernel {host.kernel_release} cannot switch it off")


def user_namespaces(host: Host) -> Verdict:
    """Needed by rootless container managers and by virtiofsd's sandbox without root; not by Kata as root."""
    most = host.text("/proc/sys/user/max_user_namespaces")
    if most is None:
        if host.text("/proc/sys/kernel/osrelease") is None:
            raise Skipped("/proc/sys is hidden here")
        return Verdict(WARN, "the kernel has none", "a kernel with CONFIG_USER_NS, for rootless use")
    if most == "0":
        return Verdict(WARN, "switched off", "sudo sysctl user.max_user_namespaces=15000, for rootless use")
    if host.text("/proc/sys/kernel/unprivileged_userns_clone") == "0":
        return Verdict(WARN, "only for root", "sudo sysctl kernel.unprivileged_userns_clone=1, for rootless use")
    if host.text("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == "1":
        return Verdict(
            WARN,
            "AppArmor restricts them to programs with a profile",
            "an AppArmor profile with `userns,` for the program that needs them, or "
            "sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0",
        )
    return Verdict(PASS, f"up to {most}")


CHECKS = (
    HostCheck(
        "kernel-version",
        "kernel version",
        version,
        "vhost-vsock, cgroup v2 and io_uring came with later kernels, and old ones get no fixes.",
        "kernel",
        ("/proc/sys/kernel/osrelease", "uname -r"),
        "sudo apt-get install linux-image-amd64",
    ),
    HostCheck(
        "io-uring",
        "io_uring",
        io_uring,
        "With it QEMU reads and writes a guest's disks; switched off, disks of guests fail.",
        "kernel",
        ("/proc/sys/kernel/io_uring_disabled", "/proc/sys/kernel/io_uring_group", "/proc/sys/kernel/osrelease"),
        "sudo sysctl kernel.io_uring_disabled=0",
    ),
    HostCheck(
        "user-namespaces",
        "user namespaces",
        user_namespaces,
        "Rootless container managers and virtiofsd without root make them.",
        "kernel",
        (
            "/proc/sys/user/max_user_namespaces",
            "/proc/sys/kernel/unprivileged_userns_clone",
            "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
            "/proc/sys/kernel/osrelease",
        ),
        "sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0",
    ),
)
