"""Checks of the processor and of KVM."""

from __future__ import annotations

import grp
import os
import pwd
import stat

from ..checks import FAIL, PASS, WARN, Skipped, Verdict
from .arches import ARCHES, NESTING, NESTING_ELSEWHERE
from .entry import HostCheck
from .host import AVAILABLE, BUILTIN, LOADED, MISSING, UNKNOWN, Host

KVM = "/dev/kvm"


def architecture(host: Host) -> Verdict:
    """Kata runs on four architectures."""
    if host.machine in ARCHES:
        return Verdict(PASS, host.machine)
    if host.machine == "riscv64":
        return Verdict(WARN, "riscv64: only Kata's Go runtime knows it", "build that runtime yourself")
    known = ", ".join(ARCHES)
    return Verdict(FAIL, f"{host.machine}: Kata does not run there", f"use a machine with a 64-bit kernel of {known}")


def virtualization(host: Host) -> Verdict:
    """The processor's own virtualisation, on every processor; whoever made it."""
    if host.machine not in ("x86_64", "s390x"):
        raise Skipped(f"{host.machine} does not say it in /proc/cpuinfo; see kvm-device")
    if not host.cpu_flags:
        return Verdict(FAIL, "/proc/cpuinfo tells no flags", "mount /proc")
    wanted = {"vmx": "Intel VT-x (vmx)", "svm": "AMD-V (svm)", "sie": "sie"}
    found = [name for flag, name in wanted.items() if flag in host.cpu_flags]
    if found:
        return _with_paging(host, found[0])
    if _guest_runs(host):
        return Verdict(PASS, "not shown to this machine, yet a guest ran under KVM")
    some = [name for flag, name in wanted.items() if any(flag in p.get("flags", "").split() for p in host.processors)]
    if some:
        return Verdict(FAIL, f"{some[0]}: only on some processors", "update the firmware, and the microcode")
    if host.machine == "s390x":
        return Verdict(FAIL, "no sie: this is a guest of z/VM or KVM without nesting", "modprobe kvm nested=1 below")
    if host.is_vm:
        remedy = next((text for word, text in NESTING if word in host.vendor), NESTING_ELSEWHERE)
        return Verdict(FAIL, "not offered to this VM: nested virtualisation is off", remedy)
    return Verdict(FAIL, "neither vmx nor svm", "switch VT-x, or SVM, on in the firmware's set-up")


def _with_paging(host: Host, name: str) -> Verdict:
    if host.machine == "x86_64" and not host.cpu_flags & {"ept", "npt"}:
        return Verdict(WARN, f"{name} without nested paging (ept, npt): guests are slow", "use a newer processor")
    return Verdict(PASS, name)


def _guest_runs(host: Host) -> bool:
    return host.may_use(KVM) and host.kvm_verdict.ok


def features(host: Host) -> Verdict:
    """What a guest's kernel and user space need of the processor."""
    arch = ARCHES.get(host.machine)
    needed = dict(arch.flags) if arch else {}
    if not needed:
        raise Skipped(f"every {host.machine} processor that can run guests has what they need")
    missing = [f"{flag} ({meaning})" for flag, meaning in needed.items() if flag not in host.cpu_flags]
    if missing:
        remedy = "give this VM the model of its host (-cpu host)" if host.is_vm else "use a newer processor"
        return Verdict(FAIL, f"missing: {', '.join(missing)}", remedy)
    return Verdict(PASS, ", ".join(needed))


def kvm_device(host: Host) -> Verdict:
    """``/dev/kvm`` is there and may be used by this user."""
    if not host.exists(KVM):
        return Verdict(FAIL, f"no {KVM}{_why_absent(host)}", _how_to_get(host))
    if host.may_use(KVM):
        return Verdict(PASS, f"{KVM} may be used")
    info = host.at(KVM).stat()
    mode = stat.filemode(info.st_mode)
    group = _name(info.st_gid)
    detail = f"{KVM} may not be used by {_user()} ({mode}, group {group}); root may"
    if info.st_mode & 0o060 == 0o060:
        return Verdict(FAIL, detail, f"sudo usermod -aG {group} {_user()}, then log in again")
    return Verdict(FAIL, detail, f"sudo chgrp kvm {KVM} && sudo chmod 660 {KVM} && sudo usermod -aG kvm {_user()}")


def _module(host: Host) -> str | None:
    """The module that would give /dev/kvm on this processor; None when its flags say that none can."""
    arch = ARCHES.get(host.machine)
    if arch is None:
        return None
    if host.machine == "x86_64":
        by_flag = {"vmx": "kvm_intel", "svm": "kvm_amd"}
        return next((module for flag, module in by_flag.items() if flag in host.cpu_flags), None)
    return arch.modules[0]


def _why_absent(host: Host) -> str:
    if host.in_container:
        return " in this container"
    module = _module(host)
    return f": the module {module} is {host.module(module)}" if module else ": the processor offers no virtualisation"


def _how_to_get(host: Host) -> str:
    module = _module(host)
    if host.in_container:
        return f"start the container with --device {KVM}"
    if module is None:
        return "see cpu-virtualization"
    return {
        LOADED: "sudo dmesg | grep -i kvm says why (often: disabled in the firmware)",
        BUILTIN: "sudo dmesg | grep -i kvm says why (often: disabled in the firmware)",
        AVAILABLE: f"sudo modprobe {module}",
        MISSING: "install a kernel with CONFIG_KVM",
        UNKNOWN: f"sudo modprobe {module}, or a kernel with CONFIG_KVM",
    }[host.module(module)]


def _name(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def _user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


_KVM_REMEDIES = {
    "absent": "see kvm-device",
    "denied": "a security module or the container forbids it: --device /dev/kvm, or its profile",
    "busy": "stop VirtualBox, VMware or whatever else uses the processor's virtualisation",
    "refused": "sudo dmesg | grep -i kvm says why",
    "killed": "sudo dmesg says why; use another host, or QEMU's TCG (kata-toolkit boot does)",
}
_NO_LINUX_BOOTS = (
    "this KVM creates VMs in which no Linux boots: use bare metal or another hypervisor below; "
    "kata-toolkit boot and verify work with TCG meanwhile"
)


def kvm_guest(host: Host) -> Verdict:
    """A 64-bit guest really runs."""
    if not host.may_use(KVM):
        raise Skipped(f"{KVM} cannot be opened", "see kvm-device")
    verdict = host.kvm_verdict
    if verdict.ok:
        return Verdict(PASS, verdict.detail)
    return Verdict(FAIL, verdict.detail, _KVM_REMEDIES.get(verdict.kind, _NO_LINUX_BOOTS))


def nesting(host: Host) -> Verdict:
    """Whether this machine is itself a VM, and whether its guests could run guests."""
    inner = {host.text(f"/sys/module/{m}/parameters/nested") for m in ("kvm_intel", "kvm_amd", "kvm")} & {"Y", "1"}
    guests = "its guests can run guests" if inner else "its guests cannot run guests, and need not"
    if host.machine != "x86_64":
        raise Skipped(f"{host.machine} does not say whether it is a VM; {guests}")
    if not host.is_vm:
        return Verdict(PASS, f"bare metal; {guests}")
    where = f" ({host.vendor})" if host.vendor else ""
    return Verdict(WARN, f"this is a VM{where}: guests in it are slower", "use bare metal where speed counts")


CHECKS = (
    HostCheck("architecture", "architecture", architecture, "Kata is built for four architectures.", "processor"),
    HostCheck(
        "cpu-virtualization",
        "processor virtualisation",
        virtualization,
        "Without it there are no fast guests.",
        "processor",
    ),
    HostCheck("cpu-features", "processor features", features, "A guest's kernel and programs need them.", "processor"),
    HostCheck("kvm-device", "/dev/kvm", kvm_device, "Through it the VMM runs guests.", "KVM"),
    HostCheck("kvm-guest", "a guest under KVM", kvm_guest, "Some hosts make VMs in which no Linux boots.", "KVM"),
    HostCheck("nesting", "bare metal or VM", nesting, "Guests in a VM are slower.", "KVM"),
)
