"""Containers as the agent makes them, in a booted guest: each test is one behaviour a program can rely on."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from kata_toolkit.vm import agent_pb2 as pb
from kata_toolkit.vm.agent_client import (
    AgentClient,
    AgentError,
    AgentSilent,
    Container,
    Finished,
    Running,
)
from kata_toolkit.vm.built_set import BuiltSet
from kata_toolkit.vm.oci import Mount, Process, container_spec
from kata_toolkit.vm.session import Options, Session

pytestmark = pytest.mark.vm

MIB = 1 << 20


@pytest.fixture(scope="module")
def agent(built_set: Path) -> Iterator[AgentClient]:
    """One guest for all tests of this file, with a sandbox in it."""
    guest = BuiltSet.load(built_set).bootable()
    with Session.boot(guest, Options(accel="tcg"), note=print) as session:
        session.agent.create_sandbox(hostname="pod")
        yield session.agent


def sh(agent: AgentClient, script: str, *, stdin: bytes | None = None, **spec: object) -> Finished:
    """Run a script in a container of its own. Words for the process and for the container may be mixed."""
    words = {name: spec.pop(name) for name in list(spec) if name in Process.__dataclass_fields__}
    process = Process(["/bin/sh", "-c", script], **words)  # type: ignore[arg-type] -- the tests' own words
    return agent.run_container([], process=process, stdin=stdin, timeout_seconds=20, **spec)


def lines(done: Finished) -> list[str]:
    assert done.status == 0, done
    return done.stdout.decode().splitlines()


@pytest.fixture
def sleeper(agent: AgentClient) -> Iterator[tuple[Container, Running]]:
    """A container whose own program sleeps and catches no signal."""
    container = agent.create_container(container_spec(Process(["/bin/sleep", "1000"])))
    yield container, container.start()
    container.remove(10)


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
    container = agent.create_container(spec)
    done = container.start().communicate()
    container.remove()
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


def device_rules(agent: AgentClient, *rules: tuple[bool, str, int, int, str]) -> Finished:
    """Makes a node of the root disk in /dev, and reads from it and from the standard nodes."""
    script = (
        "read _ _ maj_min _ < /proc/self/mountinfo; mknod /dev/root b ${maj_min%:*} ${maj_min#*:} && echo made; "
        "head -c 4 /dev/root | wc -c; head -c 4 /dev/zero | wc -c; echo > /dev/null && tty < /dev/ptmx; echo end"
    )
    spec = container_spec(Process(["/bin/sh", "-c", script]))
    for allow, kind, major, minor, access in rules:
        spec.linux.resources.devices.add(allow=allow, type=kind, major=major, minor=minor, access=access)
    container = agent.create_container(spec)
    done = container.start().communicate()
    container.remove()
    return done


def test_device_rules(agent: AgentClient) -> None:
    """As engines send them: everything denied, then some allowed; the root disk is never among those."""
    done = device_rules(agent, (False, "", 0, 0, "rwm"), (True, "c", 10, 229, "rwm"))
    assert done.stdout.split() == [b"made", b"0", b"4", b"/dev/pts/ptmx", b"end"], done
    assert b"/dev/root: Operation not permitted" in done.stderr
    assert done.stderr.count(b"not permitted") == 1, done
    done = device_rules(agent, (False, "a", -1, -1, "rwm"), (True, "a", -1, -1, "rwm"))
    assert done.stdout.split()[:3] == [b"made", b"4", b"4"], done
    done = device_rules(agent, (False, "a", -1, -1, "rwm"), (True, "b", -1, -1, "r"), (False, "b", -1, -1, "rw"))
    assert b"/dev/root: Operation not permitted" in done.stderr
    done = device_rules(agent, (False, "a", -1, -1, "rwm"), (True, "b", -1, -1, "r"))
    assert done.stdout.split()[:3] == [b"made", b"4", b"4"], done


# ---- file trees ----


def test_a_read_only_root_and_a_writable_tmp(agent: AgentClient) -> None:
    done = sh(agent, "echo > /x; echo kept > /tmp/x; cat /tmp/x")
    assert done.stdout == b"kept\n"
    assert b"Read-only file system" in done.stderr


def test_mount_options_hold(agent: AgentClient) -> None:
    data = Mount("/mnt", "tmpfs", "tmpfs", ("nosuid", "nodev", "noexec", "noatime", "ro", "size=1m", "mode=711"))
    mounted = lines(sh(agent, "grep ' /mnt ' /proc/mounts; stat -c %a /mnt", mounts=[data]))
    assert mounted[0].split()[3].split(",") == ["ro", "nosuid", "nodev", "noexec", "noatime", "size=1024k", "mode=711"]
    assert mounted[1] == "711"


def test_bind_mounts_of_files_and_folders(agent: AgentClient) -> None:
    binds = [
        Mount("/mnt", "/etc", "bind", ("rbind", "ro")),
        Mount("/tmp/deep/file", "/etc/passwd", "bind", ("bind", "ro")),
    ]
    done = sh(agent, "head -1 /mnt/passwd; head -1 /tmp/deep/file; echo x > /tmp/deep/file", mounts=binds)
    assert done.stdout.splitlines() == [b"root:x:0:0:root:/root:/bin/sh"] * 2
    assert b"Read-only" in done.stderr
    with pytest.raises(AgentError, match="source /no/such: No such file or directory"):
        sh(agent, "true", mounts=[Mount("/mnt", "/no/such", "bind", ("bind",))])
    with pytest.raises(AgentError, match="a bind mount has no option 'size=1m'"):
        sh(agent, "true", mounts=[Mount("/mnt", "/etc", "bind", ("bind", "size=1m"))])


@pytest.mark.parametrize("destination", ["/", "relative", "/a/../../b", ""])
def test_mounts_stay_below_the_root(agent: AgentClient, destination: str) -> None:
    with pytest.raises(AgentError, match="is not an absolute path below the root"):
        sh(agent, "true", mounts=[Mount(destination, "tmpfs", "tmpfs")])


def test_links_in_a_root_cannot_lead_a_mount_out_of_it(agent: AgentClient) -> None:
    """The mount lands where the link leads inside the container, never in the guest's own tree."""
    root = "/run/kata-containers/shared/containers/evil"
    for path, mode, data in (
        (root, 0o040755, b""),
        (f"{root}/etc", 0o040755, b""),
        (f"{root}/way-out", 0o120777, b"/etc"),
        (f"{root}/bin", 0o040755, b""),
    ):
        agent.call("CopyFile", pb.CopyFileRequest(path=path, file_mode=mode, file_size=len(data), data=data))
    mounts = [Mount("/way-out", "tmpfs", "tmpfs"), Mount("/bin", "/bin", "bind", ("bind",))]
    done = agent.run_container(["/bin/ls", "/etc"], rootfs=root, mounts=mounts)
    assert done == Finished(0)
    assert lines(sh(agent, "wc -c < /etc/passwd"))[0] != "0"


def test_standard_devices_work(agent: AgentClient) -> None:
    script = "echo x > /dev/null && head -c 3 /dev/zero | wc -c && head -c 3 /dev/urandom | wc -c && ls -l /dev/full"
    output = lines(sh(agent, script))
    assert output[:2] == ["3", "3"]
    assert output[2].startswith("crw-rw-rw-")


def test_masked_and_read_only_paths(agent: AgentClient) -> None:
    assert lines(sh(agent, "cat /proc/keys; ls /sys/firmware")) == []
    assert b"Read-only" in sh(agent, "echo 1 > /proc/sys/kernel/panic").stderr


def test_a_listed_device_is_made(agent: AgentClient) -> None:
    spec = container_spec(Process(["/bin/ls", "-ln", "/dev/mine"]))
    spec.linux.devices.add(path="/dev/mine", type="c", major=1, minor=3, file_mode=0o640, uid=7, gid=8)
    container = agent.create_container(spec)
    done = container.start().communicate()
    container.remove()
    assert done.stdout.split()[:6] == [b"crw-r-----", b"1", b"7", b"8", b"1,", b"3"]


def test_sysctls_of_the_containers_namespaces(agent: AgentClient) -> None:
    spec = container_spec(Process(["/bin/cat", "/proc/sys/kernel/domainname"]))
    spec.linux.sysctl.add(key="kernel.domainname", value="example.org")
    container = agent.create_container(spec)
    assert container.start().communicate().stdout == b"example.org\n"
    container.remove()
    assert lines(sh(agent, "true")) == []


# ---- storages ----


def test_storages_are_mounted_shared_and_unmounted(agent: AgentClient) -> None:
    storage = pb.Storage(
        driver="ephemeral", source="tmpfs", fstype="tmpfs", mount_point="/run/kata-containers/sandbox/e",
        options=["size=1m"], fs_group=pb.FsGroup(group_id=123),
    )  # fmt: skip
    mount = Mount("/mnt", storage.mount_point, "bind", ("rbind", "rw"))
    first = agent.create_container(container_spec(Process(["/bin/sleep", "99"]), mounts=[mount]), storages=[storage])
    first.start()
    assert lines(sh(agent, "stat -c %g /mnt; echo shared > /mnt/f", mounts=[mount], storages=[storage])) == ["123"]
    reader = first.execute(Process(["/bin/cat", "/mnt/f"]), "reader")
    assert reader.communicate().stdout == b"shared\n"
    first.remove()
    with pytest.raises(AgentError, match="No such file or directory"):
        sh(agent, "true", mounts=[mount])


def test_a_storage_that_fails_leaves_nothing_behind(agent: AgentClient) -> None:
    good = pb.Storage(driver="ephemeral", fstype="tmpfs", mount_point="/run/kata-containers/sandbox/g")
    bad = pb.Storage(driver="blk", source="/dev/nothing", fstype="ext4", mount_point="/run/kata-containers/sandbox/b")
    with pytest.raises(AgentError, match="the device /dev/nothing did not appear"):
        agent.create_container(container_spec(Process(["true"])), container_id="st-1", storages=[good, bad])
    with pytest.raises(AgentError, match="there is no storage driver of that name"):
        agent.create_container(container_spec(Process(["true"])), storages=[pb.Storage(driver="punch-cards")])
    assert sh(agent, "true").status == 0
    agent.create_container(container_spec(Process(["true"])), container_id="st-1").remove()


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
    container = agent.create_container(spec)
    done = container.start().communicate()
    container.remove()
    assert done.status != 0
    assert b"can't fork" in done.stderr


def test_cpu_limits_show_in_the_cgroup(agent: AgentClient) -> None:
    spec = container_spec(Process(["/bin/cat", "/sys/fs/cgroup/cpu.max", "/sys/fs/cgroup/cpu.weight"]))
    cpu = spec.linux.resources.cpu
    cpu.quota, cpu.period, cpu.shares = 20000, 50000, 1024
    container = agent.create_container(spec)
    done = container.start().communicate()
    container.remove()
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
