"""Checks of devices and of the modules behind them. No device is opened: that could load a module."""

from __future__ import annotations

from collections.abc import Mapping

from ..checks import FAIL, PASS, SKIP, Verdict
from .entry import HostCheck
from .host import AVAILABLE, BUILTIN, LOADED, MISSING, UNKNOWN, Host
from .kernel import release
from .rights import refusal

_VMWARE, _SEVERAL_TRANSPORTS = "vmw_vsock_vmci_transport", (5, 5)


def device(host: Host, path: str, module: str, option: str, status: str) -> Verdict:
    """A device node and the module behind it; ``status`` is what its absence counts as."""
    if host.exists(path):
        return _present(host, path, module, option, status)
    state = host.module(module)
    if host.in_container:
        return Verdict(status, f"no {path} in this container", f"start the container with --device {path}")
    if state in (LOADED, BUILTIN):
        return Verdict(status, f"{module} is {state}, but {path} does not exist", "sudo udevadm trigger")
    if state == AVAILABLE:
        return Verdict(
            status,
            f"the module {module} is not loaded",
            f"sudo modprobe {module} (and, to keep it: echo {module} | sudo tee /etc/modules-load.d/{module}.conf)",
        )
    if state == MISSING:
        return Verdict(status, f"the kernel lacks {module}", f"install a kernel with {option}")
    return Verdict(status, f"{path} does not exist", f"sudo modprobe {module}, or a kernel with {option}")


def _present(host: Host, path: str, module: str, option: str, status: str) -> Verdict:
    state = host.module(module)
    if state == MISSING:  # a static node from an older kernel's list
        return Verdict(status, f"{path} is there, but the kernel lacks {module}", f"install a kernel with {option}")
    if host.may_use(path):
        later = "; the module is loaded on first use" if state == AVAILABLE else ""
        return Verdict(PASS, f"{path} may be used{later}")
    detail, remedy = refusal(host, path)
    if host.wanted.rootless:
        return Verdict(status, detail, remedy)
    return Verdict(PASS, f"{path} is there; only root may use it, as Kata's shim does (without root: {remedy})")


def vhost_vsock(host: Host) -> Verdict:
    """Kata's QEMU and StratoVirt configurations do not even load without it; the other hypervisors do not use it."""
    verdict = _held_by_vmware(host) or device(host, "/dev/vhost-vsock", "vhost_vsock", "CONFIG_VHOST_VSOCK", FAIL)
    if verdict.status == FAIL and not host.wanted.needs_vhost_vsock:
        names = ", ".join(host.wanted.hypervisors)
        return Verdict(PASS, f"{verdict.detail}; {names} does not need it: its vsock is a socket of the VMM's own")
    return verdict


def _held_by_vmware(host: Host) -> Verdict | None:
    """Before Linux 5.5 there was one vsock transport at a time, and in VMware's VMs that is VMware's own."""
    kernel = release(host)
    if kernel is None or kernel >= _SEVERAL_TRANSPORTS or host.module(_VMWARE) != LOADED:
        return None
    keep = f"echo blacklist {_VMWARE} | sudo tee /etc/modprobe.d/no-vmware-vsock.conf"
    remedy = f"sudo modprobe -r {_VMWARE} && sudo modprobe vhost_vsock && {keep}"
    return Verdict(FAIL, f"the module {_VMWARE} holds vsock, which this kernel gives to one alone", remedy)


def modules(host: Host, options: Mapping[str, str], status: str) -> Verdict:
    """Modules that the kernel loads by itself when they are asked for: not being loaded is no fault."""
    states = {module: host.module(module) for module in options}
    if missing := [module for module, state in states.items() if state == MISSING]:
        return Verdict(status, f"the kernel lacks {', '.join(missing)}", f"a kernel with {', '.join(options.values())}")
    if unknown := [module for module, state in states.items() if state == UNKNOWN]:
        return Verdict(
            SKIP, f"not to be seen here: {', '.join(unknown)}", f"sudo modprobe -n {' '.join(unknown)} tells"
        )
    return Verdict(PASS, ", ".join(f"{module} {state}" for module, state in states.items()))


CHECKS = (
    HostCheck(
        "vhost-vsock",
        "/dev/vhost-vsock",
        vhost_vsock,
        "The shim talks to the guest's agent over it.",
        "devices",
        (
            "/dev/vhost-vsock",
            "/sys/module/vhost_vsock",
            "/lib/modules/RELEASE",
            "/proc/sys/kernel/osrelease",
            f"/sys/module/{_VMWARE}",
        ),
        "sudo modprobe vhost_vsock",
    ),
)
