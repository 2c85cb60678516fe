"""What runs in a booted guest for a check: shell tools in containers, whichever agent and root file system there is."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..checks import Skipped
from ..errors import CheckError
from . import host_root
from .agent_client import AgentError, AgentSilent, Container, Finished, Running
from .oci import Mount, Process
from .qmp import Qmp
from .session import Session

RUN_SECONDS = 60.0
_KILL_SECONDS = 10.0
_BIND = Mount(host_root.GUEST, "/", "bind", ("bind", "ro"))


@dataclass(frozen=True, slots=True)
class Inside:
    """A session, and where containers see the guest's root: ``/`` when the shell tools are its own, else beside ours.

    ``tools``: which of `host_root.TOOLS` there are.
    """

    session: Session
    root: str
    tools: frozenset[str] = field(default_factory=frozenset)

    @property
    def whose_tools(self) -> str:
        """For a verdict's words: empty, or that the tools were not the guest's own."""
        return ", with this host's busybox" if self.root == host_root.GUEST else ""

    @property
    def qmp(self) -> Qmp:
        """The monitor of its QEMU."""
        return self.session.vmm.qmp

    def needs_tools(self, *tools: str) -> None:
        """Raises Skipped when containers lack one of these programs."""
        lacking = [tool for tool in tools if tool not in self.tools]
        if lacking:
            raise Skipped(f"the guest has no {', '.join(lacking)}")

    def run(
        self,
        *command: str,
        stdin: bytes = b"",
        started: Callable[[Running], None] | None = None,
        mounts: Sequence[Mount] = (),
    ) -> Finished:
        """Run a shell tool in a container to its end."""
        return self.session.container(
            Process(command), stdin=stdin, started=started, timeout_seconds=RUN_SECONDS, mounts=self.mounts(mounts)
        )

    def read(self, path: str) -> bytes:
        """The bytes of a file as a container sees it. Raises CheckError when it cannot be read."""
        done = self.run("cat", path)
        if done.status:
            raise CheckError(f"reading {path} in a container failed ({done.status}): {text(done.stderr)}")
        return done.stdout

    def mounts(self, more: Sequence[Mount] = ()) -> tuple[Mount, ...]:
        """A container's mounts on top of the usual ones: the guest's root where the tools are ours."""
        return (*(() if self.root == "/" else (_BIND,)), *more)

    @contextlib.contextmanager
    def container(
        self,
        process: Process,
        *,
        mounts: Sequence[Mount] = (),
        adjust: Callable[[Any], None] | None = None,
        storages: Sequence[Any] = (),
        devices: Sequence[Any] = (),
        **spec: Any,
    ) -> Iterator[Container]:
        """A container that was created and not started; it is removed in the end.

        ``adjust`` may change the OCI specification; ``spec`` as `oci.container_spec` takes it.
        """
        container = self.session.create(
            process, mounts=self.mounts(mounts), adjust=adjust, storages=storages, devices=devices, **spec
        )
        try:
            yield container
        finally:
            with contextlib.suppress(AgentError, AgentSilent):
                container.remove()

    def finished(
        self,
        process: Process,
        *,
        stdin: bytes = b"",
        started: Callable[[Running], None] | None = None,
        **container: Any,
    ) -> Finished:
        """Run a program to its end in a container as `container` makes it, which is removed whatever happens."""
        with self.container(process, **container) as made:
            running = made.start()
            if started:
                started(running)
            try:
                return running.communicate(stdin, timeout_seconds=RUN_SECONDS)
            except AgentSilent:
                # Nothing that a check runs takes so long. The next check gets a new guest, and waits for none of this.
                self.session.vmm.kill()
                self.session.vmm.wait(_KILL_SECONDS)
                raise

    def sh(
        self, script: str, *, stdin: bytes = b"", process: Mapping[str, Any] | None = None, **container: Any
    ) -> Finished:
        """Run a script; ``process``: further fields of `oci.Process`."""
        return self.finished(Process(("sh", "-c", script), **(process or {})), stdin=stdin, **container)

    def lines(self, script: str, **container: Any) -> list[str]:
        """The output of a script that must succeed. Raises CheckError when it does not."""
        done = self.sh(script, **container)
        if done.status:
            raise CheckError(f"`{script}` in a container failed ({done.status}): {text(done.stderr or done.stdout)}")
        return done.stdout.decode(errors="replace").splitlines()


def text(data: bytes) -> str:
    """Bytes from a guest as a short line for a person."""
    return "".join(c if c.isprintable() else " " for c in data.decode(errors="replace")).strip()[:200]
