"""What a container sees of files and devices, and what it must not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from agent_guest import booted, lines, run_spec, sh
from kata_toolkit.vm import agent_pb2 as pb
from kata_toolkit.vm.agent_client import AgentClient, AgentError, Finished
from kata_toolkit.vm.oci import Mount, Process, container_spec

pytestmark = pytest.mark.vm


@pytest.fixture(scope="module")
def agent(built_set: Path) -> Iterator[AgentClient]:
    """One guest for all tests of this file."""
    with booted(built_set) as client:
        yield client


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
    done = run_spec(agent, spec)
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


# ---- devices ----


def device_rules(agent: AgentClient, *rules: tuple[bool, str, int, int, str]) -> Finished:
    """Makes a node of the root disk in /dev, and reads from it and from the standard nodes."""
    script = (
        "read _ _ maj_min _ < /proc/self/mountinfo; mknod /dev/root b ${maj_min%:*} ${maj_min#*:} && echo made; "
        "head -c 4 /dev/root | wc -c; head -c 4 /dev/zero | wc -c; echo > /dev/null && tty < /dev/ptmx; echo end"
    )
    spec = container_spec(Process(["/bin/sh", "-c", script]))
    for allow, kind, major, minor, access in rules:
        spec.linux.resources.devices.add(allow=allow, type=kind, major=major, minor=minor, access=access)
    return run_spec(agent, spec)


def test_device_rules(agent: AgentClient) -> None:
    """As engines send them: everything denied, then some allowed; the root disk is never among those."""
    if not sh(agent, "zcat /proc/config.gz | grep CONFIG_CGROUP_BPF=y").stdout:
        # Then there are no device nodes but those the container was given.
        done = device_rules(agent, (False, "", 0, 0, "rwm"), (True, "c", 10, 229, "rwm"))
        assert done.stdout.split() == [b"0", b"4", b"/dev/pts/ptmx", b"end"], done
        assert b"mknod: /dev/root: Operation not permitted" in done.stderr
        return
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
