"""What the checks of a proof share: the set, its booted guest, the figures; each obtained when first asked for.

The guest is booted once for the checks that look inside it, and once more, counting instructions, for the figures.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self

from ..checks import Skipped
from ..errors import CheckError, KataToolkitError
from . import vsock
from .agent_client import Finished, Running
from .built_set import BuiltSet, Guest
from .measure import Figures, measure
from .oci import Process
from .options import Options, needs_vsock
from .session import CommandNotStarted, Session

_RUN_SECONDS = 60.0


@dataclass
class Evidence:
    """Use as a context manager; leaving it ends the guest. ``note`` is told about choices made for the user."""

    built: BuiltSet
    options: Options
    note: Callable[[str], None]
    measurements: dict[str, Any] = field(default_factory=dict)
    _session: Session | None = None
    _boot_error: KataToolkitError | Skipped | None = None
    _figures: Figures | KataToolkitError | None = None

    def configuration(self) -> Guest:
        """What the set boots. Raises Skipped for a partial set."""
        if self.built.guest is None:
            raise Skipped("the set is partial: it holds nothing that boots")
        return self.built.guest

    def boot(self) -> Session:
        """The running guest. Raises what booting it raised, every time."""
        if self._boot_error is not None:
            raise self._boot_error
        if self._session is None:
            try:
                self._session = self._start()
            except (KataToolkitError, Skipped) as error:
                self._boot_error = error
                raise
        return self._session

    def _start(self) -> Session:
        guest = self.built.bootable()
        if needs_vsock(guest):
            reason = vsock.unusable()
            if reason:
                raise Skipped(f"this agent is reached over vsock only, and {reason}", vsock.HINT)
        return Session.boot(guest, self.options, note=self.note)

    def guest(self) -> Session:
        """The running guest, for checks that only make sense in one. Raises Skipped when it did not come up."""
        try:
            return self.boot()
        except KataToolkitError as error:
            raise Skipped("the guest did not boot") from error

    def run(self, *command: str, stdin: bytes = b"", started: Callable[[Running], None] | None = None) -> Finished:
        """Run a command in a container whose root is the guest's own. Raises Skipped, CheckError."""
        session = self.guest()
        try:
            return session.container(Process(command), stdin=stdin, started=started, timeout_seconds=_RUN_SECONDS)
        except CommandNotStarted as error:
            raise Skipped(f"the guest's root file system has no {command[0]}") from error

    def read(self, path: str) -> bytes:
        """The bytes of a file of the guest. Raises Skipped when nothing in the guest can read it out."""
        done = self.run("cat", path)
        if done.status:
            raise CheckError(f"reading {path} in a container failed ({done.status}): {text(done.stderr)}")
        return done.stdout

    def figures(self) -> Figures:
        """The figures under instruction counting. Raises Skipped when the guest does not boot at all."""
        self.guest()
        if self._figures is None:
            try:
                self._figures = measure(self.built.bootable())
            except KataToolkitError as error:
                self._figures = error
        if isinstance(self._figures, KataToolkitError):
            raise self._figures
        return self._figures

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *unused: object) -> None:
        if self._session is not None:
            self._session.close()


def text(data: bytes) -> str:
    """Bytes from a guest as a short line for a person."""
    return "".join(c if c.isprintable() else " " for c in data.decode(errors="replace")).strip()[:200]
