"""The state of a guest's devices, without its memory: saved to a file, and gone on from in another QEMU.

With the capability x-ignore-shared QEMU leaves memory that is mapped shared out of what it saves. So the memory must
be a file (see `template.py`), and an NVDIMM's image mapped shared: QEMU would write its bytes into the state, and on
restoring back into an image that it may only read. Source: QEMU's docs/devel/migration.rst and qapi/migration.json.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ToolError
from .qmp import QmpGone

if TYPE_CHECKING:
    from .vmm import Vmm

INCOMING = ("-incoming", "defer")
"""QEMU's words for a guest that goes on from a state."""

_SECONDS = 30.0
_NAME = "state"


def save(vmm: Vmm, path: Path) -> None:
    """Pause a guest and write its devices' state to a new file. The guest stays paused. Raises ToolError."""
    vmm.qmp.execute("stop")
    # Who has the state has the guest's registers.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        _transfer(vmm, "migrate", descriptor)
    finally:
        os.close(descriptor)


def restore(vmm: Vmm, path: Path) -> None:
    """Hand a saved state to a QEMU that was started with `INCOMING`, and let the guest go on.

    When QEMU ends over it, that is for who waits for the agent to explain. Raises ToolError.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with contextlib.suppress(QmpGone):
            _transfer(vmm, "migrate-incoming", descriptor)
            # The state says "paused", as the guest was when it was saved.
            vmm.qmp.execute("cont")
    finally:
        os.close(descriptor)


def _transfer(vmm: Vmm, command: str, descriptor: int) -> None:
    capabilities = [{"capability": name, "state": True} for name in ("events", "x-ignore-shared")]
    vmm.qmp.execute("migrate-set-capabilities", capabilities=capabilities)
    vmm.qmp.execute("getfd", fds=[descriptor], fdname=_NAME)
    since = vmm.qmp.mark()
    vmm.qmp.execute(command, uri=f"fd:{_NAME}")
    while True:
        event = vmm.qmp.wait_event("MIGRATION", since=since, timeout_seconds=_SECONDS)
        match event.data.get("status"):
            case "completed":
                return
            case "failed" | "cancelled":
                why = vmm.qmp.execute("query-migrate").get("error-desc", "QEMU says no more")
                raise ToolError(f"the state of the guest's devices could not be handed over: {why}")
        since = event.number + 1
