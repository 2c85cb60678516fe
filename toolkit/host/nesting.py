"""Checks of what runs below this machine, and of how good it is at letting guests run here."""

from __future__ import annotations

from ..checks import PASS, WARN, Skipped, Verdict
from .arches import NESTED_HELP, NESTING_ELSEWHERE
from .below import below
from .entry import HostCheck
from .host import Host


def nesting(host: Host) -> Verdict:
    """Whether this machine is itself a VM, and whether its guests could run guests."""
    inner = {host.text(f"/sys/module/{m}/parameters/nested") for m in ("kvm_intel", "kvm_amd", "kvm", "kvm_hv")} - {
        None
    }
    guests = "its guests can run guests" if inner & {"Y", "1"} else "its guests cannot run guests, and need not"
    it = below(host)
    if it.vm is None:
        raise Skipped("this machine does not say whether it is a VM" + (f"; {guests}" if inner else ""))
    if not it.vm:
        # x86 boards have a maker's name without end; elsewhere the name says what kind of machine it is.
        name = f" ({it.name})" if it.name and host.machine != "x86_64" else ""
        return Verdict(PASS, f"bare metal{name}" + (f"; {guests}" if inner else ""))
    where = f" ({it.name})" if it.name else ""
    return Verdict(WARN, f"this is a VM{where}: guests in it are slower", "use bare metal where speed counts")


def nesting_quality(host: Host) -> Verdict:
    """Whether the hypervisor below passes on what keeps guests in a VM from being much slower."""
    module = host.kvm_module
    helps = NESTED_HELP.get(module or "", {})
    missing = [f"{flag} ({what})" for flag, what in helps.items() if flag not in host.cpu_flags]
    host.note("/proc/cpuinfo", f"flags {' '.join(flag for flag in helps if flag in host.cpu_flags) or 'without any'}")
    if missing:
        return Verdict(WARN, f"not passed on by the hypervisor below: {', '.join(missing)}", NESTING_ELSEWHERE)
    if module == "kvm_intel" and "Microsoft" in host.vendor:
        return _hyper_v(host)
    return Verdict(PASS, f"passed on: {', '.join(helps)}")


def _hyper_v(host: Host) -> Verdict:
    """On Hyper-V, KVM can hand its control structure over in memory instead of by instructions that all exit."""
    value = host.text("/sys/module/kvm_intel/parameters/enlightened_vmcs")
    if value == "N":
        return Verdict(
            WARN,
            "enlightened_vmcs=N: each access to a guest's control structure goes through Hyper-V",
            "sudo modprobe -r kvm_intel && sudo modprobe kvm_intel enlightened_vmcs=1",
        )
    return Verdict(PASS, f"Hyper-V; enlightened_vmcs={value or 'not told'}")


CHECKS = (
    HostCheck(
        "nesting",
        "bare metal or VM",
        nesting,
        "Guests in a VM are slower, and depend on the hypervisor below.",
        "KVM",
        (
            "/proc/cpuinfo",
            "/sys/hypervisor/type",
            "/sys/class/dmi/id/sys_vendor",
            "/sys/class/dmi/id/product_name",
            "/proc/sysinfo",
            "/sys/firmware/devicetree/base",
            "/sys/module/KVM_MODULE/parameters/nested",
        ),
        "use bare metal where speed counts",
    ),
    HostCheck(
        "nesting-quality",
        "quality of nesting",
        nesting_quality,
        "Each of these that the hypervisor below keeps back costs exits to it, at every switch between guests.",
        "KVM",
        ("/proc/cpuinfo", "/sys/module/kvm_intel/parameters/enlightened_vmcs"),
        NESTING_ELSEWHERE,
        ("x86_64",),
        lambda host: host.kvm_module is not None and bool(below(host).vm),
    ),
)
