"""Checks of what may forbid a sandbox its work: AppArmor, SELinux, seccomp, and packages in a confinement."""

from __future__ import annotations

import re

from ..checks import FAIL, PASS, WARN, Skipped, Verdict
from .entry import HostCheck
from .host import Host

_APPARMOR, _SELINUX = "/sys/module/apparmor/parameters/enabled", "/sys/fs/selinux"
_PROFILES = "/etc/apparmor.d"
_VMM_PROFILES = re.compile(r"(qemu|virtiofsd|cloud-hypervisor|firecracker|containerd|kata)", re.ASCII)
_SELINUX_STORE = "/var/lib/selinux"
_CONTAINER_POLICY = ("/usr/share/selinux/packages/container.pp.bz2", "/usr/share/selinux/packages/container.pp")
_CONFINED = {"1": "strict (read, write, exit only)", "2": "a filter"}
_SNAPS = ("docker", "containerd", "microk8s", "k8s")


def apparmor(host: Host) -> Verdict:
    """No profile confines the VMM or virtiofsd."""
    if host.text(_APPARMOR) != "Y":
        return Verdict(PASS, "not in use")
    own = (host.text("/proc/self/attr/current") or "").strip()
    if own.endswith("(enforce)"):
        return Verdict(WARN, f"this process is confined by {own}", "run it outside of the container, or of the profile")
    loaded = (host.text("/sys/kernel/security/apparmor/profiles") or "").splitlines()
    enforced = [line.rpartition(" ")[0] for line in loaded if line.endswith("(enforce)")]
    if loaded:
        found = [name for name in enforced if _VMM_PROFILES.search(name.rpartition("/")[2])]
        source = "in force"
    else:  # only root may see what is in force
        off = host.names(f"{_PROFILES}/disable")
        files = (name for name in host.names(_PROFILES) if name not in off)
        found = [name for name in files if _VMM_PROFILES.search(name.rpartition(".")[2])]
        source = "installed"
    if found:
        names = ", ".join(found)
        profile = found[0].strip("/").replace("/", ".")
        return Verdict(
            WARN, f"{source}: {names}; a sandbox's files may be out of bounds", f"sudo aa-complain {profile}"
        )
    return Verdict(PASS, f"no profile {source} confines a VMM or virtiofsd")


def selinux(host: Host) -> Verdict:
    """Where it enforces, the policy for containers is there: it has the type of Kata's VMM, container_kvm_t."""
    if not host.exists(f"{_SELINUX}/enforce"):
        return Verdict(PASS, "not in use")
    if host.text(f"{_SELINUX}/enforce") != "1":
        return Verdict(PASS, "permissive: it only reports")
    own = (host.text("/proc/self/attr/current") or "").strip("\0\n")
    if ":container_t:" in own or ":container_init_t:" in own:
        return Verdict(FAIL, f"this process is {own}, which may not use /dev/kvm", "--security-opt label=disable")
    modules = [f"{_SELINUX_STORE}/{kind}/active/modules" for kind in host.names(_SELINUX_STORE)]
    there = any("container" in host.names(f"{folder}/{level}") for folder in modules for level in host.names(folder))
    if there or any(host.exists(file) for file in _CONTAINER_POLICY):
        return Verdict(PASS, "enforcing, with container-selinux (container_kvm_t)")
    return Verdict(
        WARN,
        "enforcing, and container-selinux is not seen: the VMM would have no type of its own",
        "sudo dnf install container-selinux, or disable_selinux = true in the runtime configuration",
    )


def seccomp(host: Host) -> Verdict:
    """This process is under no filter that a VMM started from it would inherit."""
    status = host.text("/proc/self/status")
    found = re.search(r"^Seccomp:\s*([0-9])", status or "", re.MULTILINE)
    if found is None:
        raise Skipped("the kernel does not tell", "a kernel with CONFIG_SECCOMP")
    host.note("/proc/self/status", f"Seccomp: {found[1]}")
    if found[1] in _CONFINED and host.in_container:
        return Verdict(
            WARN,
            f"{_CONFINED[found[1]]} holds for this container, and may forbid what a VMM needs (io_uring, userfaultfd)",
            "--security-opt seccomp=unconfined, where Kata itself is to run in it",
        )
    if found[1] in _CONFINED:
        return Verdict(PASS, f"{_CONFINED[found[1]]} holds for this session; the manager's services are not below it")
    return Verdict(PASS, "no filter")


def snaps(host: Host) -> Verdict:
    """No container manager is a snap: its confinement sees neither /opt/kata nor a set elsewhere."""
    installed = [name for name in _SNAPS if name in host.names("/snap") or host.exists(f"/var/lib/snapd/snap/{name}")]
    strict = [name for name in installed if name == "docker"]
    if strict:
        return Verdict(
            WARN,
            "docker is a snap: it sees no shim outside of itself",
            "sudo snap remove docker && sudo apt-get install docker.io",
        )
    if installed:
        return Verdict(PASS, f"{', '.join(installed)}: classic snaps, which see the whole system")
    return Verdict(PASS, "none")


CHECKS = (
    HostCheck(
        "apparmor",
        "AppArmor",
        apparmor,
        "A profile that does not know a sandbox's files stops its VMM with a plain permission error.",
        "security",
        (_APPARMOR, "/proc/self/attr/current", "/sys/kernel/security/apparmor/profiles, else /etc/apparmor.d"),
        "sudo aa-complain PROFILE",
    ),
    HostCheck(
        "selinux",
        "SELinux",
        selinux,
        "Where it enforces, the VMM needs a type that may use /dev/kvm and the sandbox's files.",
        "security",
        (f"{_SELINUX}/enforce", "/proc/self/attr/current", "/var/lib/selinux/POLICY/active/modules"),
        "sudo dnf install container-selinux",
    ),
    HostCheck(
        "seccomp",
        "seccomp",
        seccomp,
        "A filter is inherited: what it forbids here, it forbids the VMM.",
        "security",
        ("/proc/self/status",),
        "--security-opt seccomp=unconfined",
    ),
    HostCheck(
        "snaps",
        "snap packages",
        snaps,
        "A manager in a strict snap does not find shims and sets of the host.",
        "security",
        ("/snap", "/var/lib/snapd/snap"),
        "sudo snap remove docker",
    ),
)
