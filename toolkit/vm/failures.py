"""Why a guest did not come up, or went away: panic, silence, a guest that stopped, or QEMU itself."""

from __future__ import annotations

import signal

from ..errors import CheckError, KataToolkitError, ToolError
from .vmm import Vmm

_STDERR_LINES = 15
_SMALL_MIB = 128  # guests with less than this may lack the memory to come up


class GuestPanic(CheckError):  # noqa: N818 -- named for what happened, as the others here
    """The guest's kernel panicked."""


class GuestStopped(CheckError):  # noqa: N818
    """The guest switched itself off or restarted."""


class AgentUnanswered(CheckError):  # noqa: N818
    """The guest's kernel runs, its agent does not answer."""


class BootTimeout(CheckError):  # noqa: N818
    """The guest gave no sign of life in time."""


class VmmFailed(ToolError):  # noqa: N818
    """QEMU ended by itself, or was killed."""


def explain(vmm: Vmm, *, accel: str, limit_seconds: float, waiting_for: str) -> KataToolkitError:
    """The error for a guest that did not do what was waited for. ``waiting_for``: "its agent answered", …"""
    alive = vmm.signs.alive(vmm.console)  # by now: what comes while we wait for QEMU's end comes too late
    panic = vmm.console.panic()
    # A kernel that panics resets the machine a second later: give QEMU the time to end by itself.
    status = vmm.wait(2.5 if panic else 0.3)
    if panic:
        return GuestPanic(
            f"the guest's kernel panicked before {waiting_for}: {panic}{_console(vmm)}",
            hint=_panic_hint(panic) + _memory_hint(vmm),
        )
    if status is None:
        return _silent(vmm, alive, accel, limit_seconds, waiting_for)
    if status == 0:
        return GuestStopped(
            f"the guest {_STOPPED.get(vmm.signs.shutdown or '', 'stopped')} before {waiting_for}{_console(vmm)}",
            hint="boot with --console to see the kernel's messages",
        )
    return vmm_failed(vmm, status)


_STOPPED = {"guest-reset": "restarted itself", "guest-shutdown": "switched itself off"}


def _silent(vmm: Vmm, alive: bool, accel: str, limit_seconds: float, waiting_for: str) -> KataToolkitError:
    signs = vmm.signs
    if not alive:
        return BootTimeout(
            f"the guest gave no sign of life within {limit_seconds:g} s (accelerator {accel})",
            hint="a kernel without the console or PVH boot support is silent; --timeout gives it longer"
            + _memory_hint(vmm),
        )
    opened = f"its console came up after {signs.console_opened:.1f} s" if signs.console_opened else "it wrote"
    port = "" if signs.agent_opened is None else "; something holds the agent's port open"
    return AgentUnanswered(
        f"the guest's kernel runs ({opened}{port}), but {limit_seconds:g} s went by before {waiting_for}"
        f"{_console(vmm)}",
        hint="boot with --console to see the kernel's and the agent's messages; --timeout gives it longer"
        + _memory_hint(vmm),
    )


def vmm_failed(vmm: Vmm, status: int) -> VmmFailed:
    """QEMU's own failure, with what it said."""
    how = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"failed ({status})"
    said = "\n".join(f"  {line}" for line in vmm.stderr.split("\n")[-_STDERR_LINES:] if line)
    return VmmFailed(f"{vmm.machine.program} {how}" + (f":\n{said}" if said else ""))


def _console(vmm: Vmm) -> str:
    lines = vmm.console.tail()
    if not lines:
        return "; its console is empty"
    return "; the console ended with:\n" + "\n".join(f"  {line}" for line in lines)


def _memory_hint(vmm: Vmm) -> str:
    memory = vmm.machine.memory_mib
    return f"; its {memory} MiB of memory may be too little" if memory < _SMALL_MIB else ""


def _panic_hint(panic: str) -> str:
    if "No working init" in panic or "Requested init" in panic:
        return "the root file system was mounted, but has no program the kernel can start as its init"
    if "Unable to mount root" in panic:
        return "the kernel found no root file system: check the image, its type and the kernel's drivers"
    return "boot with --console to see all of the kernel's messages"
