"""Checks of KVM: its module, its device, and a guest that really runs."""

from __future__ import annotations

from ..checks import FAIL, PASS, WARN, Skipped, Verdict
from .entry import HostCheck
from .host import AVAILABLE, BUILTIN, LOADED, MISSING, UNKNOWN, Host
from .rights import refusal

KVM, MSHV = "/dev/kvm", "/dev/mshv"


def module(host: Host) -> Verdict:
    """The module for this processor is loaded or built in; a built-in one need not show in /sys/module."""
    name = host.kvm_module
    if name is None:
        raise Skipped("nothing says which module it would be", "see cpu-virtualization")
    state = host.module(name)
    if state in (LOADED, BUILTIN):
        return Verdict(PASS, f"{name} is {state}")
    if host.exists(KVM) and host.may_use(KVM) and host.kvm_verdict.ok:
        return Verdict(PASS, f"{name} is {state}, yet KVM works")
    if state == UNKNOWN:
        raise Skipped(f"{name} is not loaded, and whether it could be is not to be seen here", f"sudo modprobe {name}")
    remedy = f"sudo modprobe {name}" if state == AVAILABLE else "install a kernel with CONFIG_KVM"
    return Verdict(FAIL, f"{name} is {state}", remedy)


def microsoft(host: Host) -> Verdict | None:
    """Microsoft's hypervisor in place of KVM, as on Azure's nodes: of Kata's VMMs Cloud Hypervisor alone knows it."""
    if not host.exists(MSHV):
        return None
    detail = f"no KVM, but {MSHV}, which only Cloud Hypervisor uses"
    wanted = host.wanted.hypervisors
    if wanted and all(name.partition("-")[0] == "clh" for name in wanted):
        return Verdict(PASS, detail)
    return Verdict(FAIL if wanted else WARN, detail, "use the hypervisor clh")


def kvm_device(host: Host) -> Verdict:
    """``/dev/kvm`` is there and may be used by this user."""
    if not host.exists(KVM) and (instead := microsoft(host)):
        return instead
    if not host.exists(KVM):
        return Verdict(FAIL, f"no {KVM}{_why_absent(host)}", _how_to_get(host))
    if host.may_use(KVM):
        return Verdict(PASS, f"{KVM} may be used")
    return Verdict(FAIL, *refusal(host, KVM))


def _why_absent(host: Host) -> str:
    if host.in_container:
        return " in this container"
    name = host.kvm_module
    return f": the module {name} is {host.module(name)}" if name else ": the processor offers no virtualisation"


def _how_to_get(host: Host) -> str:
    name = host.kvm_module
    if host.in_container:
        return f"start the container with --device {KVM}"
    if name is None:
        return "see cpu-virtualization"
    return {
        LOADED: "sudo dmesg | grep -i kvm says why (often: disabled in the firmware)",
        BUILTIN: "sudo dmesg | grep -i kvm says why (often: disabled in the firmware)",
        AVAILABLE: f"sudo modprobe {name}",
        MISSING: "install a kernel with CONFIG_KVM",
        UNKNOWN: f"sudo modprobe {name}, or a kernel with CONFIG_KVM",
    }[host.module(name)]


_REMEDIES = {
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
    return Verdict(FAIL, verdict.detail, _REMEDIES.get(verdict.kind, _NO_LINUX_BOOTS))


CHECKS = (
    HostCheck(
        "kvm-module",
        "KVM's module",
        module,
        "It gives the kernel its KVM for this processor.",
        "KVM",
        ("/sys/module/MODULE", "/lib/modules/RELEASE", "/proc/sys/kernel/osrelease", KVM),
        "sudo modprobe kvm_intel (kvm_amd, kvm_hv, kvm)",
    ),
    HostCheck(
        "kvm-device",
        "/dev/kvm",
        kvm_device,
        "Through it the VMM runs guests.",
        "KVM",
        (KVM, MSHV, "/sys/module/MODULE", "/lib/modules/RELEASE"),
        "sudo usermod -aG kvm USER, then log in again",
    ),
    HostCheck(
        "kvm-guest",
        "a guest under KVM",
        kvm_guest,
        "Some hosts make VMs in which no Linux boots; only running one tells.",
        "KVM",
        (f"{KVM}: KVM_GET_API_VERSION, KVM_CREATE_VM, KVM_RUN",),
        "sudo dmesg | grep -i kvm",
    ),
)
