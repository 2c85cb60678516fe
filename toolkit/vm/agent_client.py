"""The agent of a booted guest, as a host uses it: ask, make containers, run programs in them."""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from . import agent_pb2 as pb
from .oci import Process, container_spec
from .running import READ_BYTES, Container, Finished, Running, Sink, Stdin
from .ttrpc import AgentError, AgentGone, AgentSilent, Connection, Pending

__all__ = [
    "AgentClient", "AgentError", "AgentGone", "AgentSilent", "Container", "Finished", "GuestDetails", "Running",
    "Sink", "Stdin", "Version",
]  # fmt: skip

CHECK_SECONDS = 30.0
CALL_SECONDS = 60.0  # as the Go runtime waits
_GRACE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Version:
    """What the agent says of itself."""

    grpc_version: str
    agent_version: str


@dataclass(frozen=True, slots=True)
class GuestDetails:
    """What the guest can do. ``memory_block`` in bytes; 0 when memory cannot be plugged in."""

    agent_version: str
    init_daemon: bool
    supports_seccomp: bool
    device_handlers: tuple[str, ...]
    storage_handlers: tuple[str, ...]
    memory_block: int


class AgentClient:
    """Calls to one agent over a connected socket, which it takes over.

    Every method raises AgentError when the agent refuses, AgentSilent when it does not answer in time, and AgentGone
    when the connection ends.
    """

    def __init__(self, end: socket.socket, *, serial: bool | None = None) -> None:
        self._connection = Connection(end, serial=serial)
        self._names = (f"ct-{os.getpid()}-{number}" for number in itertools.count(1))

    def close(self) -> None:
        """End the connection. Safe to call twice."""
        self._connection.close()

    def call(
        self, method: str, request: Any, response: Any = pb.Empty, timeout_seconds: float | None = CALL_SECONDS
    ) -> Any:
        """Call a method of grpc.AgentService; the answer is of the class ``response``."""
        body = request.SerializeToString()
        payload = self._connection.call("grpc.AgentService", method, body, timeout_seconds, _GRACE_SECONDS)
        return response.FromString(payload)

    def begin(self, method: str, request: Any) -> Pending:
        """Begin a call that may wait long, to be ended with ``finish``."""
        return self._connection.begin("grpc.AgentService", method, request.SerializeToString())

    def finish(self, pending: Pending, response: Any, timeout_seconds: float | None = None) -> Any:
        """Wait for the answer of a call that was begun."""
        return response.FromString(self._connection.finish(pending, timeout_seconds))

    def send_raw(self, data: bytes) -> None:
        """Send bytes that are no call, for a test of the agent."""
        self._connection.send_raw(data)

    # ---- the guest ----

    def check(self, timeout_seconds: float = CHECK_SECONDS) -> None:
        """Ask whether somebody is there; returns when the answer has come."""
        payload = self._connection.call("grpc.Health", "Check", b"", timeout_seconds)
        status = pb.HealthCheckResponse.FromString(payload).status
        if status != pb.HealthCheckResponse.SERVING:
            raise AgentError("grpc.Health/Check", 14, f"the agent answers, but does not serve (status {status})")

    def version(self, timeout_seconds: float = CHECK_SECONDS) -> Version:
        """The versions of the protocol and of the agent."""
        payload = self._connection.call("grpc.Health", "Version", b"", timeout_seconds)
        answer = pb.VersionCheckResponse.FromString(payload)
        return Version(answer.grpc_version, answer.agent_version)

    def guest_details(self) -> GuestDetails:
        """What the guest can do."""
        request = pb.GuestDetailsRequest(mem_block_size=True, mem_hotplug_probe=True)
        answer = self.call("GetGuestDetails", request, pb.GuestDetailsResponse)
        details = answer.agent_details
        return GuestDetails(
            details.version,
            details.init_daemon,
            details.supports_seccomp,
            tuple(details.device_handlers),
            tuple(details.storage_handlers),
            answer.mem_block_size_bytes,
        )

    def metrics(self) -> dict[str, float]:
        """The agent's metrics: name (with labels, if any, as written) → value."""
        text = self.call("GetMetrics", pb.GetMetricsRequest(), pb.Metrics).metrics
        return dict(_gauges(text))

    def create_sandbox(
        self, *, hostname: str = "", dns: Sequence[str] = (), storages: Sequence[Any] = (), share_pids: bool = False
    ) -> None:
        """Make the sandbox that containers live in; there is one in a guest."""
        request = pb.CreateSandboxRequest(
            hostname=hostname, dns=dns, storages=storages, sandbox_pidns=share_pids, sandbox_id="sandbox"
        )
        self.call("CreateSandbox", request)

    def destroy_sandbox(self) -> None:
        """End the sandbox; a guest whose init is the agent powers off."""
        self.call("DestroySandbox", pb.DestroySandboxRequest())

    def set_time(self, seconds: int, microseconds: int = 0) -> None:
        """Set the guest's clock, in seconds since the epoch."""
        self.call("SetGuestDateTime", pb.SetGuestDateTimeRequest(sec=seconds, usec=microseconds))

    def reseed(self, data: bytes) -> None:
        """Mix data into the guest's random state."""
        self.call("ReseedRandomDev", pb.ReseedRandomDevRequest(data=data))

    def online(self, cpus: int = 0, *, cpus_only: bool = False) -> None:
        """Bring plugged CPUs and memory online; waits for ``cpus`` CPUs in all."""
        self.call("OnlineCPUMem", pb.OnlineCpuMemRequest(wait=True, nb_cpus=cpus, cpu_only=cpus_only))

    # ---- containers ----

    def create_container(
        self, spec: Any, *, container_id: str = "", storages: Sequence[Any] = (), devices: Sequence[Any] = ()
    ) -> Container:
        """Make a container from an OCI specification (see `oci.container_spec`), without starting it."""
        name = container_id or next(self._names)
        request = pb.CreateContainerRequest(
            container_id=name, exec_id=name, oci=spec, storages=storages, devices=devices
        )
        self.call("CreateContainer", request)
        return Container(self, name, spec.process.terminal)

    def run_container(
        self,
        args: Sequence[str],
        *,
        process: Process | None = None,
        stdin: Stdin = None,
        stdout: Sink | None = None,
        stderr: Sink | None = None,
        storages: Sequence[Any] = (),
        started: Callable[[Running], None] | None = None,
        timeout_seconds: float | None = None,
        **spec: Any,
    ) -> Finished:
        """Run a program in a container of its own, to its end, and remove the container.

        ``process`` tells more about the program than its arguments do, ``spec`` about the container, as
        `oci.container_spec` takes it (default: the guest's own root, read-only). ``stdout`` and ``stderr`` get the
        output as it comes; without them it is in the result. ``started`` is called with the running program (to
        signal it, or to resize its terminal) before anything is waited for.
        """
        container = self.create_container(container_spec(process or Process(args), **spec), storages=storages)
        try:
            running = container.start()
            if started:
                started(running)
            return running.communicate(stdin, stdout, stderr, timeout_seconds)
        finally:
            with contextlib.suppress(AgentError, AgentSilent):
                container.remove()

    def run_at_once(self, args: Sequence[str]) -> Finished:
        """Make a sandbox and run a program in it, every call sent before any answer is waited for.

        For measuring: between the first call and the first output the guest never waits for its host.
        """
        name, spec = next(self._names), container_spec(Process(args))
        calls = [
            self.begin("CreateSandbox", pb.CreateSandboxRequest(sandbox_id="sandbox")),
            self.begin("CreateContainer", pb.CreateContainerRequest(container_id=name, exec_id=name, oci=spec)),
            self.begin("StartContainer", pb.StartContainerRequest(container_id=name)),
            self.begin("ReadStdout", pb.ReadStreamRequest(container_id=name, exec_id=name, len=READ_BYTES)),
        ]
        for call in calls[:3]:
            self.finish(call, pb.Empty, CALL_SECONDS)
        first: bytes = self.finish(calls[3], pb.ReadStreamResponse, CALL_SECONDS).data
        rest = Running(self, name, name).communicate()
        Container(self, name).remove()
        return Finished(rest.status, first + rest.stdout, rest.stderr)


def _gauges(text: str) -> Iterator[tuple[str, float]]:
    """The samples of a Prometheus text exposition."""
    for line in text.splitlines():
        name, _, value = line.strip().rpartition(" ")
        if name and not line.startswith("#"):
            with contextlib.suppress(ValueError):
                yield name, float(value)
