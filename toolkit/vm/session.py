"""A guest that is up and whose agent answers: boot, use, power off.

The way there may fail in several ways; each becomes one clear error (see ``failures.py``), and a KVM that does not
hold what it promised is replaced by TCG, with a note.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self

from ..errors import CheckError, KataToolkitError, ToolError
from . import accel as accel_module
from . import device_state, failures, qemu, vsock
from .agent_client import AgentClient, AgentError, AgentGone, AgentSilent, Container, Finished, Running, Sink, Stdin
from .built_set import Guest
from .oci import Mount, Process, container_spec
from .options import Options, machine_for, needs_vsock
from .vmm import Vmm

_POWER_OFF_SECONDS = 15.0
_CONSOLE_SECONDS = 5.0
_SHARES = "/run/kata-containers/shared"

# The built-in agent's gauges (metrics.c): CLOCK_MONOTONIC at its main(), MemAvailable at its first answer.
MAIN_NS = "kata_toolkit_main_monotonic_ns"
CHECK_AVAILABLE_KIB = "kata_toolkit_first_check_mem_available_kib"


MISSING, NOT_EXECUTABLE = 127, 126
"""The exit codes of a shell for a command that there is not, and for one that cannot be executed."""


class CommandNotStarted(CheckError):  # noqa: N818 -- named for what happened
    """The guest has no such command, or may not run it; the exit code is a shell's, 127 or 126."""

    def __init__(self, command: str, text: str, status: int) -> None:
        super().__init__(f"{command} cannot be started in the guest: {text}")
        self.exit_code = status


@dataclass(frozen=True, slots=True)
class PowerOff:
    """How a guest ended: ``clean`` when it switched itself off, QEMU exited 0 and no panic was seen."""

    clean: bool
    detail: str
    seconds: float


class Session:
    """A booted guest. Use as a context manager; leaving it ends the virtual machine."""

    def __init__(self, vmm: Vmm, agent: AgentClient, machine: qemu.Machine, limit_seconds: float) -> None:
        self.vmm = vmm
        self.agent = agent
        self.machine = machine
        self.seconds_to_agent = time.monotonic() - vmm.started
        self._limit = limit_seconds
        self._has_sandbox = False
        self._root = _shared_root() if machine.share else ((), {})

    @property
    def accel(self) -> str:
        """What runs the guest: kvm or tcg."""
        return self.machine.accel

    @classmethod
    def boot(
        cls,
        guest: Guest,
        options: Options,
        *,
        note: Callable[[str], None],
        sink: Callable[[bytes], None] | None = None,
    ) -> Session:
        """Start the guest and wait until its agent answers.

        ``note`` is told about a choice made for the user, ``sink`` gets the console's bytes. Raises InputError for
        a missing file, ToolError when QEMU or KVM fails, and the CheckErrors of ``failures.py``.
        """
        guest.require()
        machine_for(guest, options, "tcg")  # whether the machine fits is told before KVM is tried
        plan = accel_module.plan("tcg" if options.icount else options.accel, guest.arch)
        if plan.note:
            note(plan.note)
        for accel in plan.accels:
            try:
                return cls._attempt(guest, options, accel, sink)
            except _KvmFault as fault:
                if accel == plan.accels[-1]:
                    raise ToolError(
                        f"KVM does not work for this guest: {fault}", hint="--accel tcg boots without it"
                    ) from fault
                note(f"KVM failed ({fault}): starting again under TCG, which is slower")
        raise AssertionError("a plan has at least one accelerator")

    @classmethod
    def _attempt(cls, guest: Guest, options: Options, accel: str, sink: Callable[[bytes], None] | None) -> Session:
        use_vsock = options.channel == "vsock" or (options.channel == "auto" and needs_vsock(guest))
        with contextlib.ExitStack() as undo:
            cid = undo.enter_context(contextlib.closing(vsock.take_cid())) if use_vsock else None
            machine = machine_for(guest, options, accel, cid.cid if cid else None)
            vmm = undo.enter_context(
                Vmm(
                    machine,
                    vhost_vsock=cid.fd if cid else None,
                    debug_console=options.debug_console,
                    sink=sink,
                    # A guest that goes on from a saved state opens nothing anew, and so gives no sign.
                    silence_seconds=accel_module.SILENCE_SECONDS if accel == "kvm" and not options.restore else None,
                )
            )
            if options.restore:
                device_state.restore(vmm, options.restore)
            agent = _answering(vmm, accel, options.timeout_seconds, cid.cid if cid else None)
            session = cls(vmm, agent, machine, options.timeout_seconds)
            undo.pop_all()
            if cid:
                cid.close()
            return session

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *unused: object) -> None:
        self.close()

    def run(self, command: Sequence[str], *, stdin: bytes = b"", timeout_seconds: float = 60.0) -> Finished:
        """Run a command in a container to its end; its output is in the result.

        Raises CommandNotStarted when there is no such command, AgentError, AgentSilent when it takes longer, and
        what `failures.explain` says when the guest is gone.
        """
        return self.container(Process(command), stdin=stdin, timeout_seconds=timeout_seconds)

    def container(
        self,
        process: Process,
        *,
        stdin: Stdin = None,
        stdout: Sink | None = None,
        stderr: Sink | None = None,
        started: Callable[[Running], None] | None = None,
        timeout_seconds: float | None = None,
        mounts: Sequence[Mount] = (),
    ) -> Finished:
        """Run a container to its end. Its root is the shared folder, if there is one, or the guest's own, read-only.

        ``stdin``, ``stdout`` and ``stderr`` as `Running.communicate` takes them; ``started`` gets the running
        program; ``mounts`` come on top of the usual ones. Raises CommandNotStarted, and as `run` does.
        """
        try:
            container = self.create(process, mounts=mounts)
            running = _started(container, process)
            if started:
                started(running)
            done = running.communicate(stdin, stdout, stderr, timeout_seconds)
            # Only when all went well: whoever gives up on a container throws its guest away.
            container.remove()
        except AgentGone as gone:
            raise self._lost("the container ended") or gone from gone
        return done

    def create(
        self,
        process: Process,
        *,
        mounts: Sequence[Mount] = (),
        adjust: Callable[[Any], None] | None = None,
        storages: Sequence[Any] = (),
        devices: Sequence[Any] = (),
        **spec: Any,
    ) -> Container:
        """Make a container without starting it; the sandbox first, if there is none yet.

        ``adjust`` may change the OCI specification; ``spec`` as `oci.container_spec` takes it.
        """
        if not self._has_sandbox:
            self.agent.create_sandbox()
            self._has_sandbox = True
        shared, root = self._root
        message = container_spec(process, mounts=mounts, **{**root, **spec})
        if adjust:
            adjust(message)
        return self.agent.create_container(message, storages=(*shared, *storages), devices=devices)

    def figures(self) -> dict[str, float]:
        """How the boot went, in seconds and MiB: of this host and this moment, unlike what ``measure.py`` counts."""
        found = {"seconds_to_agent": round(self.seconds_to_agent, 3)}
        with contextlib.suppress(AgentError):  # an agent need not have metrics
            gauges = self.agent.metrics()
            if gauges.get(MAIN_NS):
                found["seconds_of_kernel"] = round(gauges[MAIN_NS] / 1e9, 3)
            if gauges.get(CHECK_AVAILABLE_KIB):
                found["guest_overhead_mib"] = round(self.machine.memory_mib - gauges[CHECK_AVAILABLE_KIB] / 1024, 2)
        return found

    def debug_console(self) -> socket.socket:
        """A connection to the shell that the agent offers with ``Options.debug_console``. Raises ToolError."""
        end = self.vmm.debug_socket
        if self.machine.guest_cid is not None:
            end = vsock.connect(
                self.machine.guest_cid,
                vsock.DEBUG_CONSOLE_PORT,
                until=time.monotonic() + _CONSOLE_SECONDS,
                gone=lambda: self.vmm.status() is not None,
            )
        if end is None:
            raise ToolError("the guest's debug console cannot be reached")
        return end

    def _lost(self, waiting_for: str) -> KataToolkitError | None:
        """Why the agent's connection ended, when that is because its guest is gone."""
        if self.vmm.wait(0.5) is None and not self.vmm.console.panic():
            return None
        return failures.explain(self.vmm, accel=self.accel, limit_seconds=self._limit, waiting_for=waiting_for)

    def power_off(self, patience: float = _POWER_OFF_SECONDS) -> PowerOff:
        """Destroy the sandbox and see the guest switch itself off. Never raises for a guest that does not."""
        from .agent_pb2 import DestroySandboxRequest

        begin = time.monotonic()
        with contextlib.suppress(AgentError, AgentSilent):  # the guest may be off before it can answer
            self.agent.call("DestroySandbox", DestroySandboxRequest(), timeout_seconds=patience)
        status = self.vmm.wait(patience)
        seconds = time.monotonic() - begin
        panic, reason = self.vmm.console.panic(), self.vmm.signs.shutdown
        if panic:
            return PowerOff(False, f"the kernel panicked: {panic}", seconds)
        if status is None:
            return PowerOff(False, f"the guest still ran {patience:g} s after DestroySandbox", seconds)
        if status != 0:
            return PowerOff(False, str(failures.vmm_failed(self.vmm, status)), seconds)
        if reason not in self.machine.kind.ends:
            return PowerOff(False, f"the guest ended by {reason or 'an unknown cause'}, not by powering off", seconds)
        return PowerOff(True, f"powered off {seconds:.1f} s after DestroySandbox, QEMU exited 0", seconds)

    def close(self) -> None:
        """End the virtual machine. Safe to call twice."""
        self.agent.close()
        self.vmm.close()


def _shared_root() -> tuple[tuple[Any, ...], dict[str, Any]]:
    """What to mount, and where the container's root is then, when it is the folder that the host shares by 9p.

    The folder is read-only to the guest, and may lack the mount points a container needs: what is written lies in
    the guest's memory, over it.
    """
    from .agent_pb2 import Storage

    lower, root = f"{_SHARES}/lower", f"{_SHARES}/root"
    share = Storage(
        driver="9p",
        source=qemu.SHARE_TAG,
        fstype="9p",
        options=("trans=virtio", "version=9p2000.L", "cache=mmap", "msize=524288", "ro"),
        mount_point=lower,
    )
    layers = (f"lowerdir={lower}", f"upperdir={_SHARES}/upper", f"workdir={_SHARES}/work")
    over = Storage(driver="overlayfs", source="overlay", fstype="overlay", options=layers, mount_point=root)
    return (share, over), {"rootfs": root, "read_only": False}


def _started(container: Container, process: Process) -> Running:
    try:
        return container.start()
    except AgentError as error:
        # What execve said travels as text only.
        missing = os.strerror(errno.ENOENT) in error.text
        if missing or os.strerror(errno.EACCES) in error.text:
            raise CommandNotStarted(process.args[0], error.text, MISSING if missing else NOT_EXECUTABLE) from error
        raise


class _KvmFault(Exception):  # noqa: N818 -- caught in this file
    """KVM's fault, not the guest's."""


def _answering(vmm: Vmm, accel: str, limit: float, cid: int | None) -> AgentClient:
    """The agent's client once it has answered a health check; otherwise the error that tells why not."""
    until = vmm.started + limit
    end = vmm.agent_socket
    if cid is not None:
        end = vsock.connect(cid, vsock.AGENT_PORT, until=until, gone=lambda: vmm.status() is not None)
    if end is not None:
        client = AgentClient(end)
        try:
            # One question, asked at once: it waits in the channel until the agent opens it, so nothing is polled
            # and the moment of the answer depends on the guest alone.
            client.check(timeout_seconds=limit)
        except (AgentError, AgentSilent):
            client.close()
        except BaseException:
            client.close()
            raise
        else:
            return client
    status = vmm.wait(0.3)
    if accel == "kvm":
        fault = accel_module.kvm_fault(vmm.signs, status, vmm.console, vmm.stderr)
        if fault:
            raise _KvmFault(fault)
    raise failures.explain(vmm, accel=accel, limit_seconds=limit, waiting_for="its agent answered")
