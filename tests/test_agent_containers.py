"""Groups of processes, containers next to each other, what is refused, and the guest as a whole."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from agent_guest import MIB, booted, lines, run_spec, sh, sleeping
from kata_toolkit.vm import agent_pb2 as pb
from kata_toolkit.vm.agent_client import AgentClient, AgentError, AgentSilent, Container, Running
from kata_toolkit.vm.oci import Mount, Process, container_spec

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


# ---- limits of groups of processes ----


def test_memory_limit_kills_and_is_reported(agent: AgentClient) -> None:
    spec = container_spec(Process(["/bin/sh", "-c", "tail /dev/zero; exit $?"]))
    spec.linux.resources.memory.limit = 16 * MIB
    waiting = agent.begin("GetOOMEvent", pb.Empty())
    container = agent.create_container(spec)
    assert container.start().wait(30) == 137
    assert agent.finish(waiting, pb.OomEvent, 10).container_id == container.id
    container.remove()


def test_pids_limit(agent: AgentClient) -> None:
    spec = container_spec(Process(["/bin/sh", "-c", "for i in 1 2 3 4 5 6; do sleep 9 & done; echo no"]))
    spec.linux.resources.pids.limit = 4
    done = run_spec(agent, spec)
    assert done.status != 0
    assert b"can't fork" in done.stderr


def test_cpu_limits_show_in_the_cgroup(agent: AgentClient) -> None:
    spec = container_spec(Process(["/bin/cat", "/sys/fs/cgroup/cpu.max", "/sys/fs/cgroup/cpu.weight"]))
    cpu = spec.linux.resources.cpu
    cpu.quota, cpu.period, cpu.shares = 20000, 50000, 1024
    done = run_spec(agent, spec)
    assert done.stdout.split() == [b"20000", b"50000", b"39"]


def drain(running: Running) -> None:
    """Read what is there, until nothing comes for a while."""
    with contextlib.suppress(AgentSilent):
        while running.read_stdout(timeout_seconds=0.3):
            pass


def test_stats_pause_resume_and_update(sleeper: tuple[Container, Running]) -> None:
    container, _ = sleeper
    agent, named = container.agent, pb.ContainerRequest(container_id=container.id)
    ticking = container.execute(Process(["/bin/sh", "-c", "while :; do echo; sleep 0.05; done"]), "ticks")
    assert ticking.read_stdout()
    agent.call("PauseContainer", named)
    drain(ticking)
    with pytest.raises(AgentSilent):
        ticking.read_stdout(timeout_seconds=0.7)
    agent.call("ResumeContainer", named)
    assert ticking.read_stdout(timeout_seconds=10)
    update = pb.UpdateContainerRequest(container_id=container.id)
    update.resources.memory.limit = 32 * MIB
    agent.call("UpdateContainer", update)
    stats = agent.call("StatsContainer", named, pb.StatsContainerResponse).cgroup_stats
    assert stats.memory_stats.usage.limit == 32 * MIB
    assert stats.memory_stats.usage.usage > 0
    assert stats.cpu_stats.cpu_usage.total_usage > 0
    assert stats.pids_stats.current >= 2


# ---- processes together ----


def test_the_first_process_is_pid_1_and_sees_only_its_own(agent: AgentClient) -> None:
    assert lines(sh(agent, "echo $$; set -- /proc/[0-9]*; echo $*")) == ["1", "/proc/1"]


def test_orphans_do_not_stay_as_zombies(agent: AgentClient) -> None:
    before = agent.metrics()["kata_guest_tasks"]
    for _ in range(3):
        sh(agent, "for i in 1 2 3 4 5; do (sleep 0.01 &); done")
    time.sleep(0.5)
    assert agent.metrics()["kata_guest_tasks"] <= before + 2


def test_the_end_of_the_first_process_ends_the_others(agent: AgentClient) -> None:
    container = agent.create_container(container_spec(Process(["/bin/sleep", "0.7"])))
    first = container.start()
    second = container.execute(Process(["/bin/sleep", "99"]), "second")
    assert (first.wait(10), second.wait(10)) == (0, 137)
    container.remove()


def test_an_exec_shares_the_containers_surroundings(agent: AgentClient) -> None:
    spec = container_spec(Process(["/bin/sh", "-c", "echo > /tmp/mark; exec sleep 99"]))
    container = agent.create_container(spec)
    container.start()
    time.sleep(0.3)
    script = "ls /tmp; cat /proc/1/comm; id -u; ulimit -n; hostname"
    process = Process(["/bin/sh", "-c", script], user=(5, 5), rlimits={"RLIMIT_NOFILE": (50, 50)})
    done = container.execute(process, "look").communicate()
    assert done.stdout.decode().split() == ["mark", "sleep", "5", "50", "pod"]
    terminal = container.execute(Process(["/usr/bin/tty"], terminal=True), "tty").communicate()
    assert terminal.stdout == b"/dev/pts/0\r\n"
    container.remove()


def test_containers_of_a_sandbox_share_ipc_names_and_network_not_files(agent: AgentClient) -> None:
    script = "for n in ipc uts net mnt pid; do readlink /proc/self/ns/$n; done"
    container = agent.create_container(container_spec(Process(["/bin/sh", "-c", f"{script}; sleep 99"])))
    running = container.start()
    output = b""
    while output.count(b"\n") < 5:
        output += running.read_stdout()
    first = output.decode().splitlines()
    second = lines(sh(agent, script))
    container.remove()
    assert first[:3] == second[:3]
    assert not set(first[3:]) & set(second[3:])
    assert lines(sh(agent, "hostname")) == ["pod"]


def test_a_network_namespace_of_its_own_has_no_way_out(agent: AgentClient) -> None:
    own = lines(sh(agent, "readlink /proc/self/ns/net", namespaces=("pid", "mount", "network")))
    assert own != lines(sh(agent, "readlink /proc/self/ns/net"))


def test_twenty_programs_at_once(agent: AgentClient) -> None:
    container = agent.create_container(container_spec(Process(["/bin/sleep", "99"])))
    container.start()
    running = [container.execute(Process(["/bin/sh", "-c", f"echo {n}; exit {n}"]), f"p{n}") for n in range(20)]
    assert [r.read_stdout() for r in running] == [f"{n}\n".encode() for n in range(20)]
    assert [r.wait(10) for r in running] == list(range(20))
    container.remove()


# ---- refusals ----


def refused(agent: AgentClient, change: object, match: str, status: str = "INVALID_ARGUMENT") -> None:
    spec = container_spec(Process(["/bin/true"]))
    change(spec)  # type: ignore[operator] -- a function of the spec
    with pytest.raises(AgentError, match=match) as caught:
        agent.create_container(spec)
    assert caught.value.status == status


def test_what_cannot_be_honoured_is_refused(agent: AgentClient) -> None:
    refused(agent, lambda s: s.process.args.pop(), "the process has no arguments")
    refused(agent, lambda s: s.ClearField("root"), "the root's path is not absolute")
    refused(agent, lambda s: s.linux.uid_mappings.add(size=1), "user namespaces are not supported")
    refused(agent, lambda s: setattr(s.process, "selinux_label", "a:b:c:d"), "SELinux labels are not supported")
    refused(agent, lambda s: s.hooks.prestart.add(path="/x"), "hooks are not supported")
    no_such_type = "the namespace type 'time' is not supported"
    refused(agent, lambda s: s.linux.namespaces.add(type="time"), no_such_type, "INTERNAL")
    refused(agent, lambda s: setattr(s.root, "path", "/no/such"), "root /no/such: No such file", "INTERNAL")


@pytest.mark.parametrize("name", ["", "x", "-ab", "a/b", "a b", "..", "a" * 201])
def test_bad_container_ids(agent: AgentClient, name: str) -> None:
    request = pb.CreateContainerRequest(container_id=name, oci=container_spec(Process(["/bin/true"])))
    with pytest.raises(AgentError, match="the container id is not valid"):
        agent.call("CreateContainer", request)


def test_unknown_containers_and_processes(sleeper: tuple[Container, Running]) -> None:
    agent = sleeper[0].agent
    with pytest.raises(AgentError) as caught:
        Running(agent, "nobody", "nobody").wait(1)
    assert caught.value.status == "INVALID_ARGUMENT"
    with pytest.raises(AgentError) as caught:
        Running(agent, sleeper[0].id, "nobody").wait(1)
    assert caught.value.status == "NOT_FOUND"


def test_things_done_twice_are_refused(sleeper: tuple[Container, Running]) -> None:
    container, _ = sleeper
    with pytest.raises(AgentError, match="cannot be started now"):
        container.start()
    with pytest.raises(AgentError, match="there is a container"):
        container.agent.create_container(container_spec(Process(["/bin/true"])), container_id=container.id)
    container.execute(Process(["/bin/sleep", "9"]), "once")
    with pytest.raises(AgentError, match="there is a process 'once' already"):
        container.execute(Process(["/bin/sleep", "9"]), "once")
    with pytest.raises(AgentError, match="there is a sandbox already"):
        container.agent.create_sandbox()


def test_an_exec_that_fails_says_why_and_can_be_tried_again(sleeper: tuple[Container, Running]) -> None:
    for _ in range(2):
        with pytest.raises(AgentError, match="exec /no/such: No such file or directory"):
            sleeper[0].execute(Process(["/no/such"]), "same")


# ---- the guest ----


def test_clock_and_randomness_can_be_set(agent: AgentClient) -> None:
    agent.set_time(1234567890)
    assert int(lines(sh(agent, "date +%s"))[0]) - 1234567890 in range(20)
    agent.set_time(int(time.time()))
    agent.reseed(os.urandom(1000))
    with pytest.raises(AgentError):
        agent.reseed(b"")
    agent.online()


def test_details_and_figures(agent: AgentClient) -> None:
    details = agent.guest_details()
    assert details.init_daemon
    assert {"virtio-fs", "blk", "overlayfs"} <= set(details.storage_handlers)
    figures = agent.metrics()
    moments = [figures[f"kata_toolkit_{moment}_tsc"] for moment in ("main", "first_check", "first_output")]
    assert moments == sorted(set(moments))
    assert 0 < figures["kata_toolkit_first_check_mem_available_kib"] < figures["kata_toolkit_first_check_mem_total_kib"]
    assert figures["kata_agent_resident_pages"] < 256


def test_files_are_copied_in_pieces_and_only_below_the_shared_folder(agent: AgentClient) -> None:
    root = "/run/kata-containers/shared/containers/"
    data = os.urandom(300000)
    for at in range(0, len(data), 100000):
        agent.call("CopyFile", pb.CopyFileRequest(
            path=root + "new/folder/file", file_size=len(data), file_mode=0o100640, dir_mode=0o750, uid=3, gid=4,
            offset=at, data=data[at : at + 100000],
        ))  # fmt: skip
    mount = Mount("/mnt", root + "new", "bind", ("bind",))
    script = "stat -c '%a %u %g %s' /mnt/folder/file; stat -c %a /mnt/folder; cat /mnt/folder/file"
    done = sh(agent, script, mounts=[mount])
    assert done.stdout == b"640 3 4 300000\n750\n" + data
    for path in ("/etc/passwd", root + "../../../x", root, "relative"):
        with pytest.raises(AgentError, match="the path is not below"):
            agent.call("CopyFile", pb.CopyFileRequest(path=path, file_mode=0o100644))


def test_methods_and_services_that_are_not_there(agent: AgentClient) -> None:
    for method in ("ResizeVolume", "SetPolicy", "", "Nothing"):
        with pytest.raises(AgentError) as caught:
            agent.call(method, pb.Empty())
        assert caught.value.status == "UNIMPLEMENTED"


def test_nothing_is_left_behind_at_the_end(agent: AgentClient) -> None:
    figures = agent.metrics()
    assert (figures["kata_agent_containers"], figures["kata_agent_processes"]) == (0, 0)
    assert lines(sh(agent, "ls -d /sys/fs/cgroup/container-* 2>/dev/null | wc -l", standard_mounts=())) in ([], ["0"])
