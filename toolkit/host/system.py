"""Checks of what the host's kernel offers around a guest: devices, cgroups, memory, namespaces."""

from __future__ import annotations

import re

from ..checks import FAIL, PASS, WARN, Verdict
from .entry import HostCheck
from .host import AVAILABLE, BUILTIN, LOADED, MISSING, Host

LEAST_MEMORY_MIB, DEFAULT_VM_MIB = 512, 2048
"""Below the first no guest is of use; the second is Kata's own default_memory."""

_SIZE = re.compile(r"(\w+):\s*([0-9]+) kB", re.ASCII)
_CONTROLLERS = ("cpu", "cpuset", "memory", "pids")


def vhost_vsock(host: Host) -> Verdict:
    """Kata's QEMU and StratoVirt configurations do not even load without it."""
    return _device(host, "/dev/vhost-vsock", "vhost_vsock", "CONFIG_VHOST_VSOCK", FAIL)


def vhost_net(host: Host) -> Verdict:
    """Networking in the kernel instead of in QEMU; can be switched off in the configuration."""
    verdict = _device(host, "/dev/vhost-net", "vhost_net", "CONFIG_VHOST_NET", WARN)
    if verdict.status == PASS:
        return verdict
    return Verdict(WARN, verdict.detail, f"{verdict.remedy}; or set disable_vhost_net = true")


def tun(host: Host) -> Verdict:
    """A sandbox with a network gets a tap device."""
    return _device(host, "/dev/net/tun", "tun", "CONFIG_TUN", FAIL)


def _device(host: Host, device: str, module: str, option: str, status: str) -> Verdict:
    state = host.module(module)
    if host.exists(device):
        if state == MISSING:  # a static node from an older kernel's list
            return Verdict(status, f"{device} is there, but the kernel lacks {module}", f"a kernel with {option}")
        if host.may_use(device):
            later = "; the module is loaded on first use" if state == AVAILABLE else ""
            return Verdict(PASS, f"{device} may be used{later}")
        return Verdict(PASS, f"{device} is there; only root may use it, as Kata's shim does")
    if host.in_container:
        return Verdict(status, f"no {device} in this container", f"start the container with --device {device}")
    if state in (LOADED, BUILTIN):
        return Verdict(status, f"{module} is {state}, but {device} does not exist", "sudo udevadm trigger")
    if state == AVAILABLE:
        return Verdict(
            status,
            f"the module {module} is not loaded",
            f"sudo modprobe {module} (and, to keep it: echo {module} | sudo tee /etc/modules-load.d/{module}.conf)",
        )
    if state == MISSING:
        return Verdict(status, f"the kernel lacks {module}", f"install a kernel with {option}")
    return Verdict(status, f"{device} does not exist", f"sudo modprobe {module}, or a kernel with {option}")


def cgroups(host: Host) -> Verdict:
    """Version 2 with the controllers that container managers use; version 1 still works."""
    mounts = [line.split() for line in (host.text("/proc/self/mounts") or "").splitlines()]
    kinds = {(words[1], words[2]) for words in mounts if len(words) > 2 and words[2] in ("cgroup", "cgroup2")}
    if any(kind == "cgroup" for _, kind in kinds):
        hybrid = any(kind == "cgroup2" for _, kind in kinds)
        return Verdict(
            WARN,
            "version 1" + (" beside version 2 (hybrid)" if hybrid else ""),
            "boot with systemd.unified_cgroup_hierarchy=1",
        )
    if not kinds:
        return Verdict(FAIL, "no cgroup file system is mounted", "sudo mount -t cgroup2 none /sys/fs/cgroup")
    place = min(place for place, _ in kinds)
    offered = (host.text(f"{place}/cgroup.controllers") or "").split()
    missing = [name for name in _CONTROLLERS if name not in offered]
    if missing:
        return Verdict(
            WARN,
            f"version 2 without {', '.join(missing)}",
            "remove cgroup_disable= from the kernel's command line; delegate them (Delegate=yes) in a user session",
        )
    return Verdict(PASS, f"version 2 with {', '.join(_CONTROLLERS)}")


def memory(host: Host) -> Verdict:
    """Room for a guest of Kata's default size."""
    sizes = {}
    for line in (host.text("/proc/meminfo") or "").splitlines():
        found = _SIZE.fullmatch(line)
        if found:
            sizes[found[1]] = int(found[2]) // 1024
    if "MemTotal" not in sizes:
        return Verdict(FAIL, "/proc/meminfo cannot be read", "mount /proc")
    total, free = sizes["MemTotal"], sizes.get("MemAvailable", sizes.get("MemFree", 0))
    host.measurements["memory_total_mib"] = total
    host.measurements["memory_available_mib"] = free
    detail = f"{free} MiB of {total} MiB available"
    if free < LEAST_MEMORY_MIB:
        return Verdict(FAIL, detail, f"free memory: a guest needs {LEAST_MEMORY_MIB} MiB with all around it")
    if free < DEFAULT_VM_MIB:
        return Verdict(WARN, f"{detail}; Kata's default guest has {DEFAULT_VM_MIB}", "set default_memory to less")
    return Verdict(PASS, detail)


def user_namespaces(host: Host) -> Verdict:
    """Needed by rootless container managers and by virtiofsd's sandbox without root; not by Kata as root."""
    most = host.text("/proc/sys/user/max_user_namespaces")
    if most is None:
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
    HostCheck("vhost-vsock", "/dev/vhost-vsock", vhost_vsock, "The shim talks to the agent over it.", "devices"),
    HostCheck("vhost-net", "/dev/vhost-net", vhost_net, "It carries a sandbox's network traffic faster.", "devices"),
    HostCheck("tun", "/dev/net/tun", tun, "A sandbox's network reaches its guest through a tap device.", "devices"),
    HostCheck("cgroups", "cgroups", cgroups, "Container managers put sandboxes into them.", "cgroups"),
    HostCheck("memory", "memory", memory, "Each sandbox is a VM with memory of its own.", "memory"),
    HostCheck("user-namespaces", "user namespaces", user_namespaces, "Rootless use needs them.", "kernel"),
)
