"""What the checks of a proof share: the set, its booted guests, the figures; each obtained when first asked for.

The guest ``main`` stays until the end; of the others (`guests.py`) one is there at a time. A guest without shell tools
is booted again with a root for containers that the host shares (see `host_root.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from .. import warden
from ..checks import Skipped
from ..errors import CheckError, KataToolkitError
from . import failures, host_root, vsock
from .agent_client import AgentError, AgentGone, AgentSilent, Finished, Running
from .built_set import BuiltSet, Guest
from .guests import GUESTS, MAIN, Basis, Plan, kernel_config
from .inside import Inside, text
from .measure import Figures, measure
from .oci import Mount
from .options import Options, needs_vsock
from .session import MISSING, CommandNotStarted, Session

__all__ = ["MAIN", "Evidence", "text"]

_ANSWER_SECONDS = 10.0
_LARGE = "guest_overhead_2048_mib"  # costs another boot: measured where there is a budget for it
_ALL_TOOLS = frozenset((*host_root.TOOLS, *host_root.RARE_TOOLS))


@dataclass
class _Booted:
    session: Session
    plan: Plan
    ended: bool = False  # on purpose

    def close(self) -> None:
        self.session.close()
        self.plan.undo.close()


@dataclass
class Evidence:
    """Use as a context manager; leaving it ends the guests. ``note`` is told about choices made for the user."""

    built: BuiltSet
    options: Options
    note: Callable[[str], None]
    measurements: dict[str, Any] = field(default_factory=dict)
    _guests: dict[str, _Booted] = field(default_factory=dict)
    _errors: dict[str, KataToolkitError | Skipped] = field(default_factory=dict)
    _figures: Figures | KataToolkitError | None = None
    _tools: tuple[str, frozenset[str]] | KataToolkitError | Skipped | None = None
    _scratch: Path | None = None
    _undo: ExitStack = field(default_factory=ExitStack)

    def configuration(self) -> Guest:
        """What the set boots. Raises Skipped for a partial set, and for one that QEMU does not boot."""
        if self.built.guest is None:
            raise Skipped(f"the set {self.built.why_no_guest()}")
        return self.built.guest

    @property
    def config(self) -> Mapping[str, str]:
        """The recorded configuration of the set's kernel; empty when there is none. Raises as `configuration`."""
        return kernel_config(self.configuration())

    def boot(self, name: str = MAIN) -> Session:
        """The running guest of that name (see `guests.GUESTS`), booted anew when it has died since.

        Raises what booting it raised, every time; Skipped when the set does not promise such a guest.
        """
        if name in self._errors:
            raise self._errors[name]
        found = self._guests.get(name)
        if found and not found.ended and found.session.vmm.status() is not None:
            self._guests.pop(name).close()
            found = None
        if found is None:
            try:
                found = self._guests[name] = self._start(name)
            except (KataToolkitError, Skipped) as error:
                self._errors[name] = error
                raise
        return found.session

    def _start(self, name: str) -> _Booted:
        self.configuration()
        guest = self.built.bootable()
        reason = vsock.unusable()
        if reason and needs_vsock(guest):
            raise Skipped(f"this agent is reached over vsock only, and {reason}", vsock.HINT)
        if not reason and self.options.channel == "auto" and self.config.get("CONFIG_VIRTIO_VSOCKETS") in ("y", "m"):
            # As Kata itself does; virtio-serial is for hosts without.
            self.options = replace(self.options, channel="vsock")
        for other in [other for other in self._guests if other != MAIN]:
            self.close(other)  # two guests at a time are enough
        # What runs the first guest runs the others too: nothing is tried, or told, twice.
        options = self.options if name == MAIN else replace(self.options, accel=self.boot().accel)
        plan = GUESTS[name].plan(Basis(guest, options, self.scratch))
        try:
            return _Booted(Session.boot(plan.guest, plan.options, note=self.note), plan)
        except BaseException:
            plan.undo.close()
            raise

    def scratch(self) -> Path:
        """A folder for files that are needed until the end of the proof."""
        if self._scratch is None:
            self._scratch = self._undo.enter_context(warden.temporary_folder("proof"))
        return self._scratch

    def plan(self, name: str) -> Plan:
        """What a guest was booted from. Raises as `guest` does."""
        self.guest(name)
        return self._guests[name].plan

    def close(self, name: str) -> None:
        """End a guest that is not needed any more."""
        found = self._guests.pop(name, None)
        if found:
            found.close()

    def ending(self, name: str = MAIN) -> Session:
        """The running guest, for a check that ends it: it is not booted again."""
        session = self.guest(name)
        self._guests[name].ended = True
        return session

    def hung(self) -> str | None:
        """Ask the guests that run whether they still answer, as after a check that failed: with the first that does
        not, what it showed last. It is ended and not booted again, so that a proof of it comes to an end."""
        for name, found in list(self._guests.items()):
            if found.ended or found.session.vmm.status() is not None:
                continue
            try:
                found.session.agent.check(_ANSWER_SECONDS)
            except (AgentError, AgentGone):
                continue
            except AgentSilent:
                why = failures.explain(
                    found.session.vmm,
                    accel=found.session.accel,
                    limit_seconds=_ANSWER_SECONDS,
                    waiting_for="its agent answered again",
                )
                self.close(name)
                self._errors[name] = Skipped("the guest hung before")
                return why.problems[0].message
        return None

    def guest(self, name: str = MAIN) -> Session:
        """The running guest, for checks that only make sense in one. Raises Skipped when it did not come up."""
        try:
            return self.boot(name)
        except KataToolkitError as error:
            raise Skipped("the guest did not boot") from error

    def inside(self, name: str = MAIN) -> Inside:
        """The inside of a guest. Raises as `guest_root`; for other guests than ``main``, what booting them raised,
        the first time, and Skipped from then on."""
        root = self.guest_root()
        assert isinstance(self._tools, tuple)  # noqa: S101 -- guest_root raises otherwise
        session = self.guest(name) if name == MAIN or name in self._errors else self.boot(name)
        return Inside(session, root, self._tools[1])

    def guest_root(self) -> str:
        """Where containers see the guest's root: / when it has shell tools of its own, else a folder beside ours.

        Raises Skipped when no container can be given shell tools, CheckError when the guest's own cannot be started.
        """
        if self._tools is None:
            try:
                found = self._probe_tools()
                if found is not None and found.issuperset(host_root.TOOLS):
                    self._tools = ("/", found)
                else:
                    self._tools = (self._lend_tools(has_shell=found is not None), _ALL_TOOLS)
            except (KataToolkitError, Skipped) as error:
                self._tools = error
        if not isinstance(self._tools, tuple):
            raise self._tools
        return self._tools[0]

    @property
    def whose_tools(self) -> str:
        """For a verdict's words: empty, or that the tools were not the guest's own."""
        return self.inside().whose_tools

    def _probe_tools(self) -> frozenset[str] | None:
        """The tools that the guest has, None when a shell was not found."""
        probe = f"for t in {' '.join(sorted(_ALL_TOOLS))}; do command -v $t >/dev/null && echo $t; done; true"
        try:
            return frozenset(Inside(self.guest(), "/").run("sh", "-c", probe).stdout.decode().split())
        except CommandNotStarted as error:
            if error.exit_code != MISSING:
                raise
            return None

    def _lend_tools(self, *, has_shell: bool) -> str:
        """Boot anew, with tools of this host for containers, as all guests are booted from then on."""
        folder = self._undo.enter_context(host_root.folder())
        accel = self.guest().accel
        self.close(MAIN)
        self.options = replace(self.options, share=folder, accel=accel)
        try:
            shell = Inside(self.boot(), host_root.GUEST).run("sh", "-c", host_root.FIND_SHELL)
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
        """Run a shell tool in a container of the guest ``main``. Raises as `guest_root` does."""
        return self.inside().run(*command, stdin=stdin, started=started, mounts=mounts)

    def read(self, path: str) -> bytes:
        """The bytes of a file as a container sees it. Raises Skipped when nothing in the guest can read it out."""
        return self.inside().read(path)

    def figures(self) -> Figures:
        """The figures under instruction counting. Raises Skipped when the guest does not boot at all."""
        self.guest()
        if self._figures is None:
            try:
                self._figures = measure(self.built.bootable(), large=_LARGE in self.built.limits)
            except KataToolkitError as error:
                self._figures = error
        if isinstance(self._figures, KataToolkitError):
            raise self._figures
        return self._figures

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *unused: object) -> None:
        for name in list(self._guests):
            self.close(name)
        self._undo.close()
