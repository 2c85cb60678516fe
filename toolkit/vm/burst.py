"""Many guests started at once, as when a node is drained or a deployment scaled: how long each takes to be of use."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from math import ceil
from pathlib import Path

from ..errors import CheckError
from . import device_state
from .agent_client import AgentClient
from .built_set import Guest
from .options import Options, machine_for
from .template import make_unique
from .vmm import Vmm

COMMAND = ("/bin/echo", "ready")


@dataclass(frozen=True, slots=True)
class Burst:
    """Seconds from the start of the burst to each guest's first output of a container, in ascending order."""

    seconds: tuple[float, ...]

    def percentile(self, percent: float) -> float:
        """The least of the times that at least ``percent`` of them do not exceed (nearest rank)."""
        return self.seconds[max(0, ceil(percent / 100 * len(self.seconds)) - 1)]


def burst(guest: Guest, options: Sequence[Options], accel: str) -> Burst:
    """Start a guest for each of ``options`` at once, and run a container in each as soon as it can.

    Over virtio-serial. Raises ToolError and InputError as starting a VMM does, CheckError when a guest does not come.
    """
    with ExitStack() as undo:
        begin = time.monotonic()
        # Processes are started from this thread only; what is waited for needs one each.
        vmms = [undo.enter_context(Vmm(machine_for(guest, one, accel))) for one in options]
        with ThreadPoolExecutor(len(vmms)) as threads:
            waits = [threads.submit(_first_output, vmm, one) for vmm, one in zip(vmms, options, strict=True)]
            try:
                moments = [wait.result() for wait in waits]
            except BaseException:
                for vmm in vmms:
                    vmm.kill()  # ends what the other threads wait for
                raise
        return Burst(tuple(sorted(moment - begin for moment in moments)))


def _first_output(vmm: Vmm, options: Options) -> float:
    state: Path | None = options.restore
    if state:
        device_state.restore(vmm, state)
    end = vmm.agent_socket
    assert end is not None  # noqa: S101 -- there is one unless a vsock was given
    agent = AgentClient(end)
    try:
        agent.check(options.timeout_seconds)
        if state:
            make_unique(agent)
        done = agent.run_at_once(COMMAND)
    finally:
        agent.close()
    if done.stdout != b"ready\n":
        raise CheckError(f"a guest of the burst wrote {done.stdout!r} instead of what it was told to")
    return time.monotonic()
