"""The agent's ways in, in a real guest: a port that hangs up and calls again, the debug console, settings, the end."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from agent_harness import build_agent
from agent_machine import Machine, machine
from kata_toolkit.vm import agent_pb2 as pb
from kata_toolkit.vm.agent_client import AgentClient, AgentGone, AgentSilent
from kata_toolkit.vm.oci import Process, container_spec
from kata_toolkit.vm.ttrpc import HEADER

pytestmark = pytest.mark.vm


@pytest.fixture(scope="module")
def guest(built_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    params = "agent.debug_console agent.log=debug agent.container_pipe_size=8192"
    with machine(built_set, tmp_path_factory.mktemp("guest"), params) as running:
        yield running


def read_until(end: socket.socket, mark: bytes) -> bytes:
    data = b""
    while mark not in data:
        piece = end.recv(4096)
        assert piece, data
        data += piece
    return data


# ---- the agent's port ----


def test_hosts_follow_each_other(guest: Machine) -> None:
    for _ in range(10):
        with guest.agent() as agent:
            assert agent.version().grpc_version == "0.0.1"


def test_a_host_that_hangs_up_in_the_middle_of_a_frame_disturbs_nobody(guest: Machine) -> None:
    for cut in (1, 9, 10, 11, 500):
        end = guest.connect()
        end.sendall((HEADER.pack(1000, 1, 1, 0) + bytes(1000))[:cut])
        end.close()
        with guest.agent() as agent:
            agent.check(10)


def test_a_host_that_sends_garbage_disturbs_nobody(guest: Machine) -> None:
    end = guest.connect()
    end.sendall(os.urandom(100_000))
    end.close()
    with guest.agent() as agent:
        agent.check(10)


def test_calls_of_a_host_that_is_gone_take_nothing_from_the_next(guest: Machine) -> None:
    """Its waiting read must not swallow the output, nor its answer reach the next host."""
    with guest.agent() as agent:
        container = agent.create_container(container_spec(Process(["/bin/cat"])), container_id="kept")
        container.start()
        for _ in range(5):
            agent.begin("ReadStdout", pb.ReadStreamRequest(container_id="kept", exec_id="kept", len=100))
    with guest.agent() as agent:
        named = {"container_id": "kept", "exec_id": "kept"}
        agent.call("WriteStdin", pb.WriteStreamRequest(data=b"for you", **named), pb.WriteStreamResponse)
        answer = agent.call("ReadStdout", pb.ReadStreamRequest(len=100, **named), pb.ReadStreamResponse, 5)
        assert answer.data == b"for you"
        agent.call("RemoveContainer", pb.RemoveContainerRequest(container_id="kept"))


def test_a_host_that_leaves_without_taking_its_answers_costs_nothing(guest: Machine) -> None:
    end = guest.connect()
    client = AgentClient(end)
    client.check(10)
    for _ in range(300):
        client.begin("GetMetrics", pb.GetMetricsRequest())
    client.close()
    with guest.agent() as agent:
        before = agent.metrics()["kata_agent_resident_pages"]
        assert before < 1500


def test_an_idle_guest_without_a_host_does_not_spin(guest: Machine) -> None:
    """A port nobody has opened says so whenever it is asked."""
    with guest.agent() as agent:
        agent.check(10)
    clock = Path(f"/proc/{guest.process.pid}/stat")
    time.sleep(0.5)
    before = sum(map(int, clock.read_text().rsplit(")", 1)[1].split()[11:13]))
    time.sleep(2)
    after = sum(map(int, clock.read_text().rsplit(")", 1)[1].split()[11:13]))
    assert after - before < 100  # hundredths of a second of CPU, of 200


def test_the_log_level_is_taken(guest: Machine) -> None:
    with guest.agent() as agent:
        agent.guest_details()
    assert b"kata-agent: debug: grpc.AgentService/GetGuestDetails" in guest.log.read_bytes()


def test_the_pipe_size_is_taken(guest: Machine) -> None:
    """More than fits into the pipe stays with the program until it is read."""
    with guest.agent() as agent:
        script = "(head -c 20000 /dev/zero; echo all >&2) & sleep 0.7; echo timer >&2; wait"
        container = agent.create_container(container_spec(Process(["/bin/sh", "-c", script])))
        running = container.start()
        assert running.read_stderr() == b"timer\n"
        assert len(running.read_stdout()) == 8192
        container.remove()


# ---- the debug console ----


def test_the_debug_console_is_a_shell_again_and_again(guest: Machine) -> None:
    for number in range(3):
        end = guest.connect("console")
        read_until(end, b"# ")  # without a key pressed
        end.sendall(b"tty; stty size; stty -echo; echo sum $((40 + %d))\n" % number)
        output = read_until(end, b"sum %d" % (40 + number))
        assert b"\r\n24 80\r\n" in output
        assert b"/dev/pts/" in output
        end.sendall(b"exit\n")
        end.close()
        time.sleep(0.3)


def test_hanging_up_ends_the_shell(guest: Machine) -> None:
    end = guest.connect("console")
    end.sendall(b"stty -echo; echo started; sleep 1234\n")
    read_until(end, b"started\r\n")
    end.close()
    time.sleep(1)
    end = guest.connect("console")
    end.sendall(b"stty -echo; ps | grep -c '[s]leep 1234'; echo end$?\n")
    assert b"\r\n0\r\nend1" in read_until(end, b"\r\nend")
    end.close()


def test_without_the_setting_there_is_no_debug_console(built_set: Path, tmp_path: Path) -> None:
    with machine(built_set, tmp_path) as guest, guest.agent() as agent:
        agent.guest_details()
        end = guest.connect("console")
        end.settimeout(1.5)
        end.sendall(b"echo hello\n")
        with pytest.raises(TimeoutError):
            end.recv(10)


# ---- another beginning ----


def test_the_agent_as_init_of_an_initramfs_with_nothing_but_a_shell(built_set: Path, tmp_path: Path) -> None:
    """No folder to mount anything on, and a root that cannot be pivoted away from."""
    root = tmp_path / "root"
    (root / "bin").mkdir(parents=True)
    build_agent(root / "init")
    shutil.copy(str(shutil.which("busybox")), root / "bin" / "busybox")
    for applet in ("sh", "cat", "grep", "ls"):
        (root / "bin" / applet).symlink_to("busybox")
    names = subprocess.run(["find", "."], cwd=root, capture_output=True, check=True).stdout
    argv = ["cpio", "-o", "-H", "newc", "--quiet"]
    archive = subprocess.run(argv, cwd=root, input=names, capture_output=True, check=True)
    (tmp_path / "initrd").write_bytes(archive.stdout)
    with machine(built_set, tmp_path, initrd=tmp_path / "initrd") as guest:
        with guest.agent() as agent:
            done = agent.run_container(["/bin/sh", "-c", "ls /; grep -c . /proc/self/mountinfo; echo > /x; exit 5"])
            assert done.status == 5
            assert done.stdout.split()[:3] == [b"bin", b"dev", b"init"], done
            assert b"Read-only" in done.stderr
            agent.destroy_sandbox()
        assert guest.process.wait(15) == 0


# ---- the end, and a bad beginning ----


def test_destroying_the_sandbox_powers_off_with_the_answer_sent(built_set: Path, tmp_path: Path) -> None:
    with machine(built_set, tmp_path) as guest:
        with guest.agent() as agent:
            container = agent.create_container(container_spec(Process(["/bin/sleep", "99"])))
            container.start()
            agent.destroy_sandbox()
        assert guest.process.wait(15) == 0


@pytest.mark.parametrize("command", ["poweroff", "reboot", "halt"])
def test_programs_can_end_the_guest(built_set: Path, tmp_path: Path, command: str) -> None:
    with machine(built_set, tmp_path, "agent.debug_console") as guest:
        with guest.agent() as agent:
            agent.guest_details()
        end = guest.connect("console")
        end.sendall(command.encode() + b"\n")
        assert guest.process.wait(15) == 0


def test_a_malformed_setting_stops_the_guest_and_is_named(built_set: Path, tmp_path: Path) -> None:
    with machine(built_set, tmp_path, "agent.log=loud") as guest:
        with contextlib.closing(AgentClient(guest.connect())) as client, pytest.raises((AgentGone, AgentSilent)):
            client.check(20)
        assert guest.process.wait(15) is not None
        text = guest.log.read_bytes()
        assert b"kata-agent: critical: agent.log: 'loud' is malformed" in text
        assert b"Attempted to kill init" in text
