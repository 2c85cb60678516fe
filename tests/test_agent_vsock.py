"""The agent over vsock, as the runtimes reach it: its port, the debug console's, the log's."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from agent_machine import Machine, machine
from kata_toolkit.vm import agent_pb2 as pb
from kata_toolkit.vm.agent_client import AgentClient, AgentGone
from kata_toolkit.vm.oci import Process, container_spec
from vhost_user_vsock import VsockDevice

pytestmark = pytest.mark.vm

MEMORY = ("-object", "memory-backend-memfd,id=ram0,size=256M,share=on")


@contextlib.contextmanager
def guest_with_vsock(built_set: Path, folder: Path, params: str) -> Iterator[tuple[Machine, VsockDevice]]:
    path = folder / "vsock"
    device = VsockDevice(path)
    devices = ("-chardev", f"socket,id=vs,path={path}", "-device", "vhost-user-vsock-pci,chardev=vs")
    try:
        with machine(built_set, folder, params, devices, MEMORY) as guest:
            with guest.agent() as agent:  # up, by the other way in
                agent.guest_details()
            yield guest, device
    finally:
        device.close()


@pytest.fixture(scope="module")
def connect(built_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[int], socket.socket]]:
    params = "agent.debug_console agent.debug_console_vport=1026 agent.log_vport=1025 agent.log=debug"
    opened: list[socket.socket] = []
    with guest_with_vsock(built_set, tmp_path_factory.mktemp("v"), params) as (_, device):

        def connect(port: int) -> socket.socket:
            opened.append(device.connect(port))
            opened[-1].settimeout(20)
            return opened[-1]

        yield connect
        for end in opened:
            end.close()


@contextlib.contextmanager
def client(connect: Callable[[int], socket.socket]) -> Iterator[AgentClient]:
    with contextlib.closing(AgentClient(connect(1024), serial=False)) as found:
        yield found


def test_the_agent_answers_several_hosts_at_once(connect: Callable[[int], socket.socket]) -> None:
    with client(connect) as first, client(connect) as second:
        assert first.version() == second.version()
        first.check(10)


def test_containers_and_megabytes(connect: Callable[[int], socket.socket]) -> None:
    data = os.urandom(1 << 20)
    with client(connect) as agent:
        done = agent.run_container(["/bin/cat"], stdin=data, timeout_seconds=60)
    assert (done.status, done.stdout == data) == (0, True)


def test_a_host_that_hangs_up_frees_what_waited(connect: Callable[[int], socket.socket]) -> None:
    with client(connect) as agent:
        container = agent.create_container(container_spec(Process(["/bin/cat"])), container_id="waits")
        container.start()
        agent.begin("ReadStdout", pb.ReadStreamRequest(container_id="waits", exec_id="waits", len=9))
    with client(connect) as agent:
        named = {"container_id": "waits", "exec_id": "waits"}
        time.sleep(0.3)
        agent.call("WriteStdin", pb.WriteStreamRequest(data=b"mine", **named), pb.WriteStreamResponse)
        assert agent.call("ReadStdout", pb.ReadStreamRequest(len=9, **named), pb.ReadStreamResponse, 5).data == b"mine"
        agent.call("RemoveContainer", pb.RemoveContainerRequest(container_id="waits"))


def test_many_connections_one_after_another_and_at_once(connect: Callable[[int], socket.socket]) -> None:
    for _ in range(30):
        with client(connect) as agent:
            agent.check(10)
    idle = [connect(1024) for _ in range(80)]
    with client(connect) as agent:
        agent.check(10)
    for end in idle:
        end.close()


def test_the_debug_console_has_its_own_port(connect: Callable[[int], socket.socket]) -> None:
    end = connect(1026)
    end.sendall(b"stty -echo; echo sum $((40 + 2)); exit\n")
    data = b""
    while b"sum 42" not in data:
        piece = end.recv(1000)
        assert piece, data
        data += piece


def test_the_log_port_tells_what_was_and_what_comes(connect: Callable[[int], socket.socket]) -> None:
    end = connect(1025)
    data = end.recv(10000)
    assert b"kata-agent: debug: grpc.Health/Check\n" in data
    with client(connect) as agent:
        agent.version()
    while b"grpc.Health/Version" not in data:
        data += end.recv(10000)


def test_a_port_nobody_serves_refuses(connect: Callable[[int], socket.socket]) -> None:
    with contextlib.closing(AgentClient(connect(1027), serial=False)) as agent, pytest.raises(AgentGone):
        agent.check(10)


def test_another_address_can_be_asked_for(built_set: Path, tmp_path: Path) -> None:
    with guest_with_vsock(built_set, tmp_path, "agent.server_addr=vsock://-1:2222") as (guest, device):
        with contextlib.closing(AgentClient(device.connect(2222), serial=False)) as agent:
            agent.check(10)
            agent.destroy_sandbox()
        assert guest.process.wait(15) == 0
