"""What the checks of a proof share: the set, its booted guest, the figures; each obtained when first asked for.

The guest is booted once for the checks that look inside it, and once more, counting instructions, for the figures.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self

from ..errors import CheckError, KataToolkitError
from . import vsock
from .agent_client import Finished
from .built_set import BuiltSet, Guest
from .checks import Skipped
from .measure import Figures, measure
from .session import Options, Session, needs_vsock


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

    def run(self, *command: str) -> Finished:
        """Run a command in a container whose root is the guest's own. Raises Skipped, CheckError."""
        return self.guest().run(command)

    def read(self, path: str) -> bytes:
        """The bytes of a file of the guest. Raises Skipped when nothing in the guest can read it out."""
        done = self.run("/bin/cat", path)
        if done.status == 127 or (b"No such file" in done.stderr and b"/bin/cat" in done.stderr):
            raise Skipped("the guest has no /bin/cat: its root file system holds no shell tools")
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
