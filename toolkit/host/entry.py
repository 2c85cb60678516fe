"""An entry of the table of host checks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..checks import Check
from .host import Host


@dataclass(frozen=True, slots=True)
class HostCheck(Check[Host]):
    """A check of the host. ``why``: one sentence on why it matters. ``subject``: one of the table's `SUBJECTS`.

    For the docs: ``reads``, the paths and programs that it looks at (capitals stand for names), and ``remedy``, the
    usual one as a command. ``arches``: where it is made, as ``uname -m`` says it; empty: everywhere. ``when``: a
    further condition on the host; where it does not hold, the check is left out of the report.
    """

    why: str
    subject: str
    reads: tuple[str, ...] = ()
    remedy: str = ""
    arches: tuple[str, ...] = ()
    when: Callable[[Host], bool] | None = None

    def applies(self, host: Host) -> bool:
        """Whether it is made on such a machine."""
        return (not self.arches or host.machine in self.arches) and (self.when is None or self.when(host))
