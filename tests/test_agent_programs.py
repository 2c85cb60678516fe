"""Programs in containers: how they end, what goes in and out, terminals, who and where they are."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from agent_guest import MIB, booted, lines, run_spec, sh, sleeping
from kata_toolkit.vm.agent_client import AgentClient, AgentError, AgentSilent, Container, Running
from kata_toolkit.vm.oci import Process, container_spec

pytestmark = pytest.mark.vm


@pytest.fixture(scope="module")
def agent(built_set: Path) -> Iterator[AgentClient]:
    """One guest for all tests of this file."""
    with booted(built_set) as client:
        yield client


@pytest.fixture
def sleeper(agent: AgentClient) -> Iterator[tuple[Container, Running]]:
    """A container whose own program sleeps."""
    with sleeping(agent) as found:
        yield found


# ---- the end of a program ----


@pytest.mark.parametrize("status", [0, 1, 127, 255])
def test_exit_codes_come_back(agent: AgentClient, status: int) -> None:
    assert sh(agent, f"exit {status}").status == status


def test_sigkill_is_137(sleeper: tuple[Container, Running]) -> None:
    sleeper[1].signal(signal.SIGKILL)
    assert sleeper[1].wait(10) == 137


def test_sigterm_ends_a_first_process_that_does_not_catch_it(sleeper: tuple[Container, Running]) -> None:
    # The kernel would drop it: the first process of a pid namespace is immune to what it has no handler for.
    sleeper[1].signal(signal.SIGTERM)
    assert sleeper[1].wait(10) == 137


def test_sigterm_reaches_a_handler(agent: AgentClient) -> None:
    container = agent.create_container(
        container_spec(Process(["/bin/sh", "-c", "trap 'exit 9' TERM; echo up; while :; do sleep 0.1; done"]))
    )
    running = container.start()
    assert running.read_stdout() == b"up\n"
    running.signal(signal.SIGTERM)
    assert running.wait(10) == 9
    container.remove()


def test_other_signals_do_not_reach_a_first_process_without_a_handler(sleeper: tuple[Container, Running]) -> None:
    sleeper[1].signal(signal.SIGINT)
    with pytest.raises(AgentSilent, match=r"took longer than 0\.5 s"):
        sleeper[1].wait(0.5)


def test_a_child_killed_by_a_signal_shows_in_the_shells_code(agent: AgentClient) -> None:
    assert sh(agent, "sh -c 'kill -SEGV $$'; exit $?").status == 139


def test_a_killed_exec_is_128_and_the_signal(sleeper: tuple[Container, Running]) -> None:
    running = sleeper[0].execute(Process(["/bin/sh", "-c", "kill -USR1 $$"]), "dies")
    assert running.wait(10) == 128 + signal.SIGUSR1


def test_waiting_twice_gives_the_same_code(agent: AgentClient) -> None:
    container = agent.create_container(container_spec(Process(["/bin/sh", "-c", "exit 3"])))
    running = container.start()
    assert (running.wait(10), running.wait(10)) == (3, 3)
    container.remove()


# ---- streams ----


def test_streams_are_apart(agent: AgentClient) -> None:
    done = sh(agent, "echo out; echo err >&2")
    assert (done.stdout, done.stderr) == (b"out\n", b"err\n")


def test_megabytes_go_in_and_out_unchanged(agent: AgentClient) -> None:
    data = os.urandom(3 * MIB)
    assert sh(agent, "cat", stdin=data).stdout == data


def test_input_ends_when_it_is_closed(agent: AgentClient) -> None:
    assert sh(agent, "wc -c", stdin=b"").stdout.strip() == b"0"


def test_a_program_that_does_not_read_does_not_block_its_input(agent: AgentClient) -> None:
    assert sh(agent, "exit 4", stdin=bytes(2 * MIB)).status == 4


def test_output_of_a_program_that_has_ended_can_still_be_read(agent: AgentClient) -> None:
    container = agent.create_container(container_spec(Process(["/bin/echo", "late"])))
    running = container.start()
    assert running.wait(10) == 0
    assert (running.read_stdout(), running.read_stdout()) == (b"late\n", b"")
    container.remove()


def test_a_read_that_waits_too_long_loses_nothing(agent: AgentClient) -> None:
    container = agent.create_container(container_spec(Process(["/bin/cat"])))
    running = container.start()
    with pytest.raises(AgentSilent):
        running.read_stdout(timeout_seconds=0.2)
    running.write_stdin(b"kept")
    assert running.read_stdout(timeout_seconds=5) == b"kept"
    container.remove()


def test_a_user_can_open_its_own_streams_by_name(agent: AgentClient) -> None:
    done = sh(agent, "echo hi > /dev/stdout; echo ho > /dev/stderr", user=(1000, 1000))
    assert (done.status, done.stdout, done.stderr) == (0, b"hi\n", b"ho\n")


# ---- terminals ----


def test_a_terminal_has_the_size_it_was_given(agent: AgentClient) -> None:
    done = sh(agent, "tty; stty size; echo err >&2", terminal=True, size=(33, 111))
    assert done.stdout == b"/dev/pts/0\r\n33 111\r\nerr\r\n"


def test_a_terminal_can_be_resized_and_interrupts(agent: AgentClient) -> None:
    script = "trap 'stty size' WINCH; trap 'exit 6' INT; echo up; while :; do sleep 0.1; done"
    container = agent.create_container(container_spec(Process(["/bin/sh", "-c", script], terminal=True)))
    running = container.start()
    assert running.read_stdout() == b"up\r\n"
    running.resize(40, 100)
    assert running.read_stdout() == b"40 100\r\n"
    running.write_stdin(b"\x03")
    assert running.wait(10) == 6
    container.remove()


def test_only_terminals_can_be_resized(sleeper: tuple[Container, Running]) -> None:
    with pytest.raises(AgentError) as caught:
        sleeper[1].resize(1, 1)
    assert caught.value.status == "UNAVAILABLE"


def test_closing_a_terminals_input_is_an_end_of_file(agent: AgentClient) -> None:
    assert sh(agent, "cat; echo done", terminal=True, stdin=b"x\n").stdout.endswith(b"done\r\n")


# ---- who and where ----


def test_user_groups_and_home(agent: AgentClient) -> None:
    script = "id -u; id -g; id -G; echo $HOME; umask"
    assert lines(sh(agent, script, user=(1000, 1001, 5, 6))) == ["1000", "1001", "1001 5 6", "/", "0022"]
    assert lines(sh(agent, "echo $HOME")) == ["/root"]


def test_environment_and_arguments_are_exact(agent: AgentClient) -> None:
    process = Process(["/usr/bin/env"], env={"A": "b c", "PATH": "/x", "HOME": "/y"})
    done = agent.run_container([], process=process)
    assert sorted(done.stdout.decode().splitlines()) == ["A=b c", "HOME=/y", "PATH=/x"]
    words = ["", "a  b", "*", "$HOME", "\u00e9"]
    assert agent.run_container(["/usr/bin/printf", "%s|", *words]).stdout.decode() == "".join(f"{w}|" for w in words)


def test_a_program_is_found_along_its_path(agent: AgentClient) -> None:
    assert agent.run_container(["true"]).status == 0
    with pytest.raises(AgentError, match="exec true: No such file or directory"):
        agent.run_container([], process=Process(["true"], env={"PATH": "/nowhere"}))


def test_the_working_folder(agent: AgentClient) -> None:
    assert lines(sh(agent, "pwd", cwd="/usr/bin")) == ["/usr/bin"]
    assert lines(sh(agent, "pwd", cwd="/tmp/made/for/it")) == ["/tmp/made/for/it"]
    with pytest.raises(AgentError, match="working folder /etc/passwd: Not a directory"):
        sh(agent, "pwd", cwd="/etc/passwd")


def test_limits(agent: AgentClient) -> None:
    assert lines(sh(agent, "ulimit -Sn; ulimit -Hn", rlimits={"RLIMIT_NOFILE": (77, 99)})) == ["77", "99"]
    with pytest.raises(AgentError, match="there is no limit called 'RLIMIT_WISHES'"):
        sh(agent, "true", rlimits={"RLIMIT_WISHES": (1, 1)})


def status_of(agent: AgentClient, field: str, **words: object) -> str:
    return lines(sh(agent, f"grep ^{field}: /proc/self/status", **words))[0].split()[1]


def test_capabilities(agent: AgentClient) -> None:
    two = ("CAP_CHOWN", "CAP_NET_BIND_SERVICE")
    for field, expected in (("CapEff", 0x401), ("CapBnd", 0x401), ("CapPrm", 0x401), ("CapInh", 0), ("CapAmb", 0)):
        assert int(status_of(agent, field, capabilities=two), 16) == expected, field
    assert int(status_of(agent, "CapEff", user=(1000, 1000)), 16) == 0
    assert int(status_of(agent, "CapBnd", capabilities=()), 16) == 0
    assert int(status_of(agent, "CapEff", capabilities=None), 16) > 1 << 38
    with pytest.raises(AgentError, match="there is no capability called 'CAP_FLY'"):
        sh(agent, "true", capabilities=("CAP_FLY",))


def test_ambient_capabilities_survive_the_change_of_user(agent: AgentClient) -> None:
    spec = container_spec(Process(["/bin/grep", "^CapEff", "/proc/self/status"], user=(1000, 1000), capabilities=()))
    for name in ("bounding", "permitted", "effective", "inheritable", "ambient"):
        getattr(spec.process.capabilities, name).append("CAP_NET_RAW")
    done = run_spec(agent, spec)
    assert int(done.stdout.split()[1], 16) == 1 << 13


def test_no_new_privileges(agent: AgentClient) -> None:
    assert status_of(agent, "NoNewPrivs") == "1"
    assert status_of(agent, "NoNewPrivs", no_new_privileges=False) == "0"


def test_seccomp_holds_for_the_container_and_for_what_is_executed_in_it(agent: AgentClient) -> None:
    for promise in (True, False):
        process = Process(["/bin/sleep", "99"], user=(1000, 1000), no_new_privileges=promise)
        spec = container_spec(process)
        spec.linux.seccomp.default_action = "SCMP_ACT_ALLOW"
        spec.linux.seccomp.syscalls.add(names=["mkdir", "mkdirat"], action="SCMP_ACT_ERRNO", errno_value=errno.EXDEV)
        spec.linux.seccomp.syscalls.add(names=["sync"], action="SCMP_ACT_KILL_PROCESS")
        container = agent.create_container(spec)
        container.start()
        script = "grep ^Seccomp: /proc/self/status; mkdir /tmp/x; sync; echo $?"
        process = Process(["/bin/sh", "-c", script], no_new_privileges=promise)
        done = container.execute(process, "look").communicate()
        container.remove()
        assert done.stdout.split() == [b"Seccomp:", b"2", b"159"]  # a filter; 128 + SIGSYS
        assert os.strerror(errno.EXDEV).encode() in done.stderr


def test_seccomp_that_forbids_the_program_itself(agent: AgentClient) -> None:
    spec = container_spec(Process(["/bin/true"]))
    spec.linux.seccomp.default_action = "SCMP_ACT_ALLOW"
    spec.linux.seccomp.syscalls.add(names=["execve"], action="SCMP_ACT_ERRNO", errno_value=errno.EPERM)
    container = agent.create_container(spec)
    with pytest.raises(AgentError, match="exec /bin/true: Operation not permitted"):
        container.start()
    container.remove()
