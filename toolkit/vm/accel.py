"""KVM where it truly works, TCG otherwise; never one for the other without a word.

That ``/dev/kvm`` opens says little: a host can offer it and still abort QEMU on a model-specific register, stop
the guest with an internal error, or run it into silence. So KVM is first tried with a small guest of our own, and
even then a real guest that fails in one of those ways is started again under TCG.
"""

from __future__ import annotations

import platform
from dataclasses import dataclass

from ..errors import ToolError
from .console import Console
from .vmm import KVM_ERROR, Signs

PROBE_SECONDS = 5.0
SILENCE_SECONDS = 10.0  # under KVM a kernel reaches its console in well under a second


@dataclass(frozen=True, slots=True)
class Plan:
    """Accelerators to try, in order, and what a person should know about the choice (or None)."""

    accels: tuple[str, ...]
    note: str | None = None


def plan(wanted: str, arch: str | None = None) -> Plan:
    """What to try for ``auto``, ``kvm`` or ``tcg``, and a guest of that architecture (None: the host's own).

    Raises ToolError when KVM is insisted on and does not work.
    """
    if wanted == "tcg":
        return Plan(("tcg",))
    host = platform.machine()
    if arch not in (None, host):
        reason = f"KVM runs only guests of the host's own architecture, {host}, and this one is for {arch}"
        if wanted == "kvm":
            raise ToolError(reason, hint="--accel tcg boots it")
        return Plan(("tcg",), f"{reason}: using TCG, which is slower")
    # The probe is not needed for TCG, and pulls in the host checks.
    from ..host.kvm_guest import kvm_usable

    verdict = kvm_usable(PROBE_SECONDS)
    if wanted == "kvm":
        if not verdict.ok:
            raise ToolError(f"KVM does not work on this host: {verdict.detail}", hint="--accel tcg boots without it")
        return Plan(("kvm",))
    if verdict.ok:
        return Plan(("kvm", "tcg"))
    return Plan(("tcg",), f"KVM does not work on this host ({verdict.detail}): using TCG, which is slower")


def kvm_fault(signs: Signs, status: int | None, console: Console, stderr: str) -> str | None:
    """Why a guest under KVM failed, when the fault is KVM's and not the guest's; None otherwise."""
    if signs.paused == KVM_ERROR:
        return f"{KVM_ERROR}: the guest was stopped"
    if signs.paused:
        return signs.paused
    if status and not signs.alive(console):
        last = stderr.rpartition("\n")[2]
        return f"QEMU ended with {status}" + (f": {last}" if last else "")
    return None
