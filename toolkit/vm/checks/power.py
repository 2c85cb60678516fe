"""How a guest ends: switched off by its agent, restarted by itself, and restarted when its kernel panics."""

from __future__ import annotations

import time
from dataclasses import replace

from ...checks import FAIL, PASS, Check, Skipped, Verdict
from .. import failures
from ..evidence import Evidence
from ..options import machine_for
from ..vmm import Vmm

_END_SECONDS = 30.0
_NO_INIT = ("init=/nonexistent", "rdinit=/nonexistent")  # the kernel has nothing to start, and panics


def power_off(evidence: Evidence) -> Verdict:
    """Destroying the sandbox switches the guest off; QEMU ends by itself with 0, and no panic is on the console."""
    end = evidence.ending().power_off()
    return Verdict(PASS if end.clean else FAIL, end.detail)


def reboot(evidence: Evidence) -> Verdict:
    """A restart asked for inside the guest, on its debug console, resets the machine: QEMU, told not to start it
    again, ends with 0."""
    inside = evidence.inside("console")
    if inside.root != "/":
        raise Skipped("the guest has no shell tools for its debug console")
    inside.needs_tools("reboot")
    session = evidence.ending("console")
    begin = time.monotonic()
    session.debug_console().sendall(b"reboot -f\n")
    status = session.vmm.wait(_END_SECONDS)
    if panic := session.vmm.console.panic():
        return Verdict(FAIL, f"the kernel panicked: {panic}")
    return _reset(session.vmm, status, f"{time.monotonic() - begin:.1f} s after `reboot -f`")


def panic(evidence: Evidence) -> Verdict:
    """A kernel that panics restarts the machine after a second (panic=1): its sandbox ends, and that is noticed. Here
    it panics because it is told to start a program that there is not."""
    accel = evidence.guest().accel
    options = replace(evidence.options, kernel_params=(*evidence.options.kernel_params, *_NO_INIT))
    with Vmm(machine_for(evidence.built.bootable(), options, accel)) as vmm:
        status = vmm.wait(_END_SECONDS)
        said, seconds = vmm.console.panic(), time.monotonic() - vmm.started
        if said is None and evidence.config.get("CONFIG_VIRTIO_CONSOLE") == "m":
            said = "nothing, since its console is a module that nobody has loaded"
        if said is None:
            return Verdict(
                FAIL, "a guest that is told to start a program that there is not does not say that it panics"
            )
        return _reset(vmm, status, f"{seconds:.1f} s after its start, having said: {said}")


def _reset(vmm: Vmm, status: int | None, when: str) -> Verdict:
    if status is None:
        return Verdict(FAIL, f"the guest still ran {_END_SECONDS:g} s later: it does not restart")
    if status:
        return Verdict(FAIL, str(failures.vmm_failed(vmm, status)))
    if vmm.signs.shutdown not in ("guest-reset", "guest-panic"):
        return Verdict(FAIL, f"the guest ended by {vmm.signs.shutdown or 'an unknown cause'}, not by a reset")
    return Verdict(PASS, f"QEMU ended with 0 by {vmm.signs.shutdown} {when}")


RESTARTS: tuple[Check[Evidence], ...] = (
    Check("reboot", "a restart asked for in the guest is clean", reboot),
    Check("panic", "a panic restarts the guest", panic),
)
LAST: tuple[Check[Evidence], ...] = (Check("power-off", "the guest powers off cleanly", power_off),)
"""After it there is no guest ``main`` any more."""
