"""Checks of cgroups: their version, their controllers, and whether this user has some of their own."""

from __future__ import annotations

from ..checks import FAIL, PASS, WARN, Skipped, Verdict
from .entry import HostCheck
from .host import Host
from .rights import user_name

CONTROLLERS = ("cpu", "cpuset", "memory", "pids")
DELEGATED = ("cpu", "cpuset", "io", "memory", "pids")

_UNIFIED = (
    "add systemd.unified_cgroup_hierarchy=1 to GRUB_CMDLINE_LINUX in /etc/default/grub, sudo update-grub, then restart"
)
_DELEGATE = (
    "sudo mkdir -p /etc/systemd/system/user@.service.d && "
    "printf '[Service]\\nDelegate=cpu cpuset io memory pids\\n' | "
    "sudo tee /etc/systemd/system/user@.service.d/delegate.conf && sudo systemctl daemon-reload, then log in again"
)


def cgroups(host: Host) -> Verdict:
    """Version 2 with the controllers that container managers use; version 1 still works."""
    if not host.mounts:
        raise Skipped("/proc/self/mounts cannot be read", "sudo mount -t proc proc /proc")
    kinds = {(place, kind) for place, kind, _ in host.mounts if kind in ("cgroup", "cgroup2")}
    host.note("/proc/self/mounts", ", ".join(f"{kind} at {place}" for place, kind in sorted(kinds)) or "no cgroups")
    if any(kind == "cgroup" for _, kind in kinds):
        hybrid = any(kind == "cgroup2" for _, kind in kinds)
        return Verdict(
            WARN,
            "version 1" + (" beside version 2 (hybrid)" if hybrid else ""),
            _UNIFIED,
        )
    if not kinds:
        return Verdict(FAIL, "no cgroup file system is mounted", "sudo mount -t cgroup2 none /sys/fs/cgroup")
    place = min(place for place, _ in kinds)
    offered = host.words(f"{place}/cgroup.controllers")
    missing = [name for name in CONTROLLERS if name not in offered]
    if missing:
        return Verdict(
            WARN,
            f"version 2 without {', '.join(missing)}",
            "remove cgroup_disable= from the kernel's command line (Raspberry Pi: add cgroup_enable=memory to "
            "/boot/firmware/cmdline.txt), then restart",
        )
    return Verdict(PASS, f"version 2 with {', '.join(CONTROLLERS)}")


def delegation(host: Host) -> Verdict:
    """A user's own part of the tree, with the controllers that limit a sandbox. Root has the whole tree."""
    root = next((place for place, kind, _ in host.mounts if kind == "cgroup2"), None)
    own = _own_cgroup(host)
    if root is None or own is None:
        raise Skipped("there is no cgroup version 2, and version 1 cannot be delegated", "see cgroups")
    if host.uid == 0 and not host.wanted.rootless:
        return _as_root(host, root)
    manager = f"{root}/user.slice/user-{host.uid}.slice/user@{host.uid}.service"
    if host.exists(manager):
        return _delegated(host, manager, "user@.service")
    # No systemd for this user: what counts is the cgroup that we are in.
    folder = f"{root}{own}".rstrip("/")
    if not host.may_use(f"{folder}/cgroup.procs"):
        return Verdict(
            WARN,
            f"no cgroup is this user's own ({own})",
            f"sudo loginctl enable-linger {user_name(host)}, then log in again",
        )
    return _delegated(host, folder, own)


def _own_cgroup(host: Host) -> str | None:
    lines = (host.text("/proc/self/cgroup") or "").splitlines()
    return next((line.removeprefix("0::") for line in lines if line.startswith("0::/")), None)


def _as_root(host: Host, root: str) -> Verdict:
    used = host.words(f"{root}/cgroup.subtree_control")
    missing = [name for name in CONTROLLERS if name not in used and name in host.words(f"{root}/cgroup.controllers")]
    if not missing or host.exists("/run/systemd/system"):
        return Verdict(PASS, "root may use all of it" + ("; systemd hands controllers out" if missing else ""))
    words = " ".join(f"+{name}" for name in missing)
    return Verdict(
        WARN,
        f"below the root of the tree there are no {', '.join(missing)}",
        f"echo '{words}' | sudo tee {root}/cgroup.subtree_control",
    )


def _delegated(host: Host, folder: str, name: str) -> Verdict:
    offered = host.words(f"{folder}/cgroup.controllers")
    missing = [controller for controller in DELEGATED if controller not in offered]
    if missing:
        return Verdict(WARN, f"{name} lacks {', '.join(missing)}, for rootless use", _DELEGATE)
    return Verdict(PASS, f"{name} has {', '.join(DELEGATED)}")


CHECKS = (
    HostCheck(
        "cgroups",
        "cgroups",
        cgroups,
        "Container managers put sandboxes into them.",
        "cgroups",
        ("/proc/self/mounts", "/sys/fs/cgroup/cgroup.controllers"),
        _UNIFIED,
    ),
    HostCheck(
        "cgroup-delegation",
        "delegated cgroups",
        delegation,
        "Without root, a sandbox can only be limited where its user was given a part of the tree with controllers.",
        "cgroups",
        (
            "/proc/self/mounts",
            "/proc/self/cgroup",
            "/sys/fs/cgroup/user.slice/user-UID.slice/user@UID.service/cgroup.controllers",
            "/sys/fs/cgroup/{cgroup.controllers,cgroup.subtree_control}",
            "/run/systemd/system",
        ),
        _DELEGATE,
    ),
)
