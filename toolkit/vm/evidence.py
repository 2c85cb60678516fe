"""What the checks of a proof share: the set, its booted guest, the figures; each obtained when first asked for.

The guest is booted once for the checks that look inside it, and once more, counting instructions, for the figures.
A guest without shell tools is booted again with a root for containers that the host shares (see `host_root.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any, Self

from ..checks import Skipped
from ..errors import CheckError, KataToolkitError
from . import host_root, vsock
from .agent_client import AgentError, Finished, Running
from .built_set import BuiltSet, Guest
from .measure import Figures, measure
from .oci import Mount, Process
from .options import Options, needs_vsock
from .session import MISSING, CommandNotStarted, Session

_RUN_SECONDS = 60.0
_BIND = Mount(host_root.GUEST, "/", "bind", ("bind", "ro"))


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
    _tools: str | KataToolkitError | Skipped | None = None
    _undo: ExitStack = field(default_factory=ExitStack)

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
        self.configuration()
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

    def guest_root(self) -> str:
        """Where containers see the guest's root: / when it has shell tools of its own, else a folder beside ours.

        Raises Skipped when no container can be given shell tools, CheckError when the guest's own cannot be started.
        """
        if self._tools is None:
            try:
                status = self._probe_tools()
                self._tools = "/" if status == 0 else self._lend_tools(has_shell=status is not None)
            except (KataToolkitError, Skipped) as error:
                self._tools = error
        if not isinstance(self._tools, str):
            raise self._tools
        return self._tools

    @property
    def whose_tools(self) -> str:
        """For a verdict's words: empty, or that the tools were not the guest's own."""
        return ", with this host's busybox" if self._tools == host_root.GUEST else ""

    def _probe_tools(self) -> int | None:
        """0 when the guest has all tools, None when a shell was not found."""
        probe = f"for t in {' '.join(host_root.TOOLS)}; do command -v $t || exit 1; done"
        try:
            return self._container("/", "sh", "-c", probe).status
        except CommandNotStarted as error:
            if error.exit_code != MISSING:
                raise
            return None

    def _lend_tools(self, *, has_shell: bool) -> str:
        """Boot anew, with tools of this host for containers."""
        folder = self._undo.enter_context(host_root.folder())
        before = self.guest()
        before.close()
        self._session = None
        options = replace(self.options, share=folder, accel=before.accel)
        self._session = Session.boot(self.built.bootable(), options, note=self.note)
        try:
            shell = self._container(host_root.GUEST, "sh", "-c", host_root.FIND_SHELL)
        except AgentError as error:
            # The two file systems by which a folder is shared are no part of every kernel.
            if host_root.UNKNOWN_FILE_SYSTEM in error.text:
                raise Skipped(
                    f"the guest has no shell tools, and its kernel cannot be lent any: {error.text}"
                ) from error
            raise
        if shell.status == 0 and not has_shell:
            raise CheckError(f"the guest has {text(shell.stdout)}, but shell tools cannot be started in a container")
        return host_root.GUEST

    def run(
        self,
        *command: str,
        stdin: bytes = b"",
        started: Callable[[Running], None] | None = None,
        mounts: Sequence[Mount] = (),
    ) -> Finished:
        """Run a shell tool in a container, which sees the guest's root at ``guest_root``. Raises as that does."""
        return self._container(self.guest_root(), *command, stdin=stdin, started=started, mounts=mounts)

    def _container(
        self,
        root: str,
        *command: str,
        stdin: bytes = b"",
        started: Callable[[Running], None] | None = None,
        mounts: Sequence[Mount] = (),
    ) -> Finished:
        return self.guest().container(
            Process(command),
            stdin=stdin,
            started=started,
            timeout_seconds=_RUN_SECONDS,
            mounts=(*(() if root == "/" else (_BIND,)), *mounts),
        )

    def read(self, path: str) -> bytes:
        """The bytes of a file as a container sees it. Raises Skipped when nothing in the guest can read it out."""
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
        self._undo.close()


def text(data: bytes) -> str:
    """Bytes from a guest as a short line for a person."""
    return "".join(c if c.isprintable() else " " for c in data.decode(errors="replace")).strip()[:200]
