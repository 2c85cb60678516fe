"""Root file systems and volumes from outside the guest: block devices, 9p, virtio-fs, overlays."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from agent_machine import machine
from kata_toolkit.vm import agent_pb2 as pb
from kata_toolkit.vm.agent_client import AgentClient, AgentError, Container, Finished
from kata_toolkit.vm.oci import Mount, Process, container_spec

pytestmark = pytest.mark.vm

SHARED = "/run/kata-containers/shared/containers"
VIRTIOFSD = next((p for p in map(Path, ("/usr/lib/qemu/virtiofsd", "/usr/libexec/virtiofsd")) if p.exists()), None)


def busybox_root(folder: Path) -> Path:
    """A container's root file system: only busybox, and a mark to know it by."""
    busybox = shutil.which("busybox")
    assert busybox
    for name in ("bin", "proc", "dev", "sys", "tmp", "run", "mnt"):
        (folder / name).mkdir(parents=True)
    shutil.copy(busybox, folder / "bin" / "busybox")
    for applet in ("sh", "cat", "ls", "stat", "id", "echo", "sleep", "wc", "head", "dd", "grep"):
        (folder / "bin" / applet).symlink_to("busybox")
    (folder / "mark").write_text("not the guest's root\n")
    return folder


@pytest.fixture(scope="module")
def shares(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shares")
    busybox_root(folder / "root")
    (folder / "root" / "kata").mkdir()
    (folder / "nine").mkdir()
    (folder / "nine" / "file").write_text("over 9p\n")
    for name in ("plain", "behind"):
        (folder / name).mkdir()
        (folder / name / "file").write_text(f"{name} disk\n")
        subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", folder / name, folder / f"{name}.img", "8M"], check=True)
    return folder


@pytest.fixture(scope="module")
def agent(built_set: Path, shares: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentClient]:
    devices = [
        "-drive", f"if=none,id=plain,format=raw,file={shares / 'plain.img'}",
        "-device", "virtio-blk-pci,drive=plain,addr=07.0",
        "-device", "pcie-root-port,id=rp,addr=08.0,chassis=1,slot=1",
        "-drive", f"if=none,id=behind,format=raw,file={shares / 'behind.img'}",
        "-device", "virtio-blk-pci,drive=behind,bus=rp",
        "-fsdev", f"local,id=root,path={shares / 'root'},security_model=none",
        "-device", "virtio-9p-pci,fsdev=root,mount_tag=kataShared",
        "-fsdev", f"local,id=nine,path={shares / 'nine'},security_model=none",
        "-device", "virtio-9p-pci,fsdev=nine,mount_tag=nine",
    ]  # fmt: skip
    folder = tmp_path_factory.mktemp("guest")
    with machine(built_set, folder, "agent.hotplug_timeout=1", devices) as guest, guest.agent() as agent:
        share = pb.Storage(driver="9p", source="kataShared", fstype="9p", mount_point=SHARED,
                           options=["trans=virtio", "version=9p2000.L", "cache=mmap"])  # fmt: skip
        agent.create_sandbox(hostname="pod", storages=[share])
        yield agent


def run(agent: AgentClient, script: str, storages: list[pb.Storage] | None = None, **spec: object) -> Finished:
    process = Process(["/bin/sh", "-c", script])
    return agent.run_container([], process=process, storages=storages or [], timeout_seconds=20, **spec)


def test_a_root_that_the_host_shares(agent: AgentClient, shares: Path) -> None:
    done = run(agent, "cat /mark; echo written > /from-guest; ls /", rootfs=SHARED, read_only=False)
    assert done.stdout.startswith(b"not the guest's root\n"), done
    assert (shares / "root" / "from-guest").read_text() == "written\n"


def test_a_shared_root_can_be_read_only(agent: AgentClient) -> None:
    done = run(agent, "echo > /nope; cat /mark", rootfs=SHARED)
    assert b"Read-only" in done.stderr
    assert done.stdout == b"not the guest's root\n"


@pytest.mark.parametrize(
    ("source", "content"),
    [("/dev/vdb", b"plain disk\n"), ("07", b"plain disk\n"), ("07.0", b"plain disk\n"), ("08/00", b"behind disk\n")],
)
def test_block_devices(agent: AgentClient, source: str, content: bytes) -> None:
    where = "/run/kata-containers/sandbox/disk"
    storage = pb.Storage(driver="blk", source=source, fstype="ext4", mount_point=where, options=["ro"])
    mount = Mount("/mnt", where, "bind", ("rbind",))
    done = run(agent, "cat /mnt/file; grep ' /mnt ' /proc/mounts", [storage], mounts=[mount])
    assert done.stdout.startswith(content), done
    assert b" ext4 ro," in done.stdout


def test_a_device_that_does_not_appear_is_waited_for_and_named(agent: AgentClient) -> None:
    for source in ("1f/00", "09", "zz", "/dev/../etc/passwd", "/etc/passwd"):
        storage = pb.Storage(driver="blk", source=source, fstype="ext4", mount_point="/run/none")
        with pytest.raises(AgentError, match=f"the device {source} did not appear"):
            run(agent, "true", [storage])


def test_a_volume_over_9p_next_to_another_root(agent: AgentClient, shares: Path) -> None:
    where = "/run/kata-containers/sandbox/nine"
    storage = pb.Storage(
        driver="9p", source="nine", fstype="9p", mount_point=where, options=["trans=virtio", "version=9p2000.L"]
    )
    mount = Mount("/mnt", where, "bind", ("rbind", "rw"))
    done = run(agent, "cat /mnt/file; echo back > /mnt/answer", [storage], mounts=[mount])
    assert (done.status, done.stdout) == (0, b"over 9p\n"), done
    assert (shares / "nine" / "answer").read_text() == "back\n"


def test_an_overlay_as_root(agent: AgentClient, shares: Path) -> None:
    """What a container writes stays in the guest; the shared layer below is untouched."""
    base = "/run/kata-containers/overlay"
    options = [f"lowerdir={SHARED}", f"upperdir={base}/upper", f"workdir={base}/work"]
    root = f"{base}/merged"
    storage = pb.Storage(driver="overlayfs", source="overlay", fstype="overlay", mount_point=root, options=options)
    done = run(agent, "cat /mark; echo > /only-above; ls /only-above", [storage], rootfs=root, read_only=False)
    assert done.stdout == b"not the guest's root\n/only-above\n", done
    assert not (shares / "root" / "only-above").exists()


def test_a_block_device_inside_a_container(agent: AgentClient) -> None:
    """The host's device numbers mean nothing in the guest: the agent finds its own."""
    spec = container_spec(Process(["/bin/sh", "-c", "dd if=/dev/data bs=1 skip=1080 count=2 2>/dev/null"]))
    spec.linux.devices.add(path="/dev/data", type="b", major=259, minor=77, file_mode=0o660)
    device = pb.Device(id="07", type="blk", vm_path="/dev/vdb", container_path="/dev/data")
    request = pb.CreateContainerRequest(container_id="with-disk", oci=spec, devices=[device])
    agent.call("CreateContainer", request)
    container = Container(agent, "with-disk")
    done = container.start().communicate()
    container.remove()
    assert done.stdout == b"\x53\xef", done  # ext4's magic number
    floppy = pb.Device(type="floppy", vm_path="/dev/fd0", container_path="/dev/data")
    request = pb.CreateContainerRequest(container_id="floppy", oci=spec, devices=[floppy])
    with pytest.raises(AgentError, match="there is no device driver of that name"):
        agent.call("CreateContainer", request)


def test_ownership_is_kept_over_the_share(agent: AgentClient, shares: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root's QEMU can give files away")
    done = run(agent, "echo > /owned", rootfs=SHARED, read_only=False)
    assert done.status == 0
    process = Process(["/bin/sh", "-c", "echo mine > /tmp/x; id -u > /dev/null; cat /mark"], user=(1234, 1234))
    assert agent.run_container([], process=process, rootfs=SHARED).status == 0
    info = (shares / "root" / "owned").stat()
    assert (info.st_uid, info.st_gid) == (0, 0)


@pytest.mark.skipif(VIRTIOFSD is None or os.geteuid() != 0, reason="virtiofsd of QEMU 7.2 wants root")
def test_virtio_fs(built_set: Path, tmp_path: Path) -> None:
    root = busybox_root(tmp_path / "root")
    path = tmp_path / "fs.sock"
    argv = [str(VIRTIOFSD), f"--socket-path={path}", "-o", f"source={root}"]
    daemon = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    devices = ["-chardev", f"socket,id=fs,path={path}", "-device", "vhost-user-fs-pci,chardev=fs,tag=kataShared"]
    memory = ["-object", "memory-backend-memfd,id=ram0,size=256M,share=on"]
    try:
        with machine(built_set, tmp_path, devices=devices, memory=memory) as guest, guest.agent() as agent:
            share = pb.Storage(driver="virtio-fs", source="kataShared", fstype="virtiofs", mount_point=SHARED + "/")
            agent.create_sandbox(storages=[share])
            done = run(agent, "cat /mark; echo back > /answer", rootfs=SHARED, read_only=False)
            assert (done.status, done.stdout) == (0, b"not the guest's root\n"), done
            assert (root / "answer").read_text() == "back\n"
    finally:
        daemon.kill()
        daemon.wait()
