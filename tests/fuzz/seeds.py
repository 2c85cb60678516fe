"""Writes the fuzzer's seed corpus: conversations that a host may have with the agent, good and bad.

python seeds.py FOLDER
"""

from __future__ import annotations

import re
import struct
import sys
from pathlib import Path
from typing import Any

from kata_toolkit.vm import agent_pb2 as pb
from kata_toolkit.vm.oci import Mount, Process, container_spec

SOCKET, SERIAL = b"\0", b"\1"
PAUSE, RECONNECT, HALF_CLOSE = (b"\xff\xfe\xfd" + step for step in (b"0", b"1", b"2"))
AGENT = "grpc.AgentService"

# In the order of the agent's own table.
METHODS = re.findall(r'{"(\w+)",', (Path(__file__).parents[2] / "agent" / "rpc_agent.c").read_text())


class Host:
    """Frames of one host, with rising stream ids."""

    def __init__(self) -> None:
        self.stream = 1

    def call(self, method: str, message: Any = None, service: str = AGENT, **request: Any) -> bytes:
        """A framed call."""
        payload = message.SerializeToString() if message is not None else b""
        body = pb.Request(service=service, method=method, payload=payload, **request).SerializeToString()
        frame = struct.pack(">IIBB", len(body), self.stream, 1, 0) + body
        self.stream += 2
        return frame


class Caller(Host):
    """The same calls for the harness to frame: a method's number and the message."""

    def call(self, method: str, message: Any = None, service: str = AGENT, **request: Any) -> bytes:
        if method not in METHODS or service != AGENT:
            return b""
        payload: bytes = message.SerializeToString() if message is not None else b""
        return bytes([METHODS.index(method)]) + payload + PAUSE


def conversations() -> dict[str, bytes]:
    """Name → what a host sends."""
    found: dict[str, bytes] = {}
    for name, kind in (("socket", SOCKET), ("serial", SERIAL)):
        found[f"{name}-check"] = kind + Host().call("Check", service="grpc.Health")
        found[f"{name}-life"] = kind + _life(Host())
        found[f"{name}-refusals"] = kind + _refusals(Host())
        found[f"{name}-broken"] = kind + _broken(Host())
        found[f"{name}-guest"] = kind + _guest(Host())
        found[f"{name}-reconnect"] = kind + _reconnect()
    for name, kind in (("socket", b"\2"), ("serial", b"\3")):
        for conversation in (_life, _refusals, _guest):
            found[f"{name}-calls{conversation.__name__}"] = kind + conversation(Caller())
    return found


def _spec(*args: str, terminal: bool = False) -> Any:
    return container_spec(Process(args, user=(1, 2, 3), terminal=terminal, rlimits={"RLIMIT_NOFILE": (1, 2)}))


def _life(host: Host) -> bytes:
    named = {"container_id": "ct", "exec_id": "ct"}
    sandbox = pb.CreateSandboxRequest(hostname="h", dns=["nameserver 1.1.1.1"], sandbox_pidns=True)
    out = host.call("CreateSandbox", sandbox)
    storage = pb.Storage(driver="ephemeral", mount_point="/run/x", options=["size=1m"])
    spec = _spec("out", terminal=False)
    spec.linux.resources.memory.limit = 1
    out += host.call("CreateContainer", pb.CreateContainerRequest(container_id="ct", oci=spec, storages=[storage]))
    out += PAUSE + host.call("StartContainer", pb.StartContainerRequest(container_id="ct"))
    out += host.call("WaitProcess", pb.WaitProcessRequest(**named), timeout_nano=1)
    out += host.call("ReadStdout", pb.ReadStreamRequest(len=100, **named))
    out += host.call("ReadStdout", pb.ReadStreamRequest(len=100, **named), timeout_nano=10**15)
    out += host.call("ReadStderr", pb.ReadStreamRequest(len=1 << 30, **named))
    out += host.call("WriteStdin", pb.WriteStreamRequest(data=b"x" * 99, **named)) + PAUSE
    out += host.call("CloseStdin", pb.CloseStdinRequest(**named))
    process = Process(["run"], terminal=True, size=(3, 4)).message()
    out += host.call("ExecProcess", pb.ExecProcessRequest(container_id="ct", exec_id="e", process=process)) + PAUSE
    out += host.call("TtyWinResize", pb.TtyWinResizeRequest(container_id="ct", exec_id="e", row=1, column=2))
    process = Process(["fail"]).message()
    out += host.call("ExecProcess", pb.ExecProcessRequest(container_id="ct", exec_id="f", process=process))
    for method in ("StatsContainer", "PauseContainer", "ResumeContainer"):
        out += host.call(method, pb.ContainerRequest(container_id="ct"))
    out += host.call("UpdateContainer", pb.UpdateContainerRequest(container_id="ct")) + host.call("GetOOMEvent")
    out += host.call("SignalProcess", pb.SignalProcessRequest(container_id="ct", exec_id="e", signal=15)) + PAUSE
    out += host.call("WaitProcess", pb.WaitProcessRequest(container_id="ct", exec_id="e"))
    out += host.call("RemoveContainer", pb.RemoveContainerRequest(container_id="ct", timeout=1)) + PAUSE
    return out + host.call("GetMetrics") + host.call("DestroySandbox")


def _refusals(host: Host) -> bytes:
    out = b""
    for args in (["fail"], ["mute"], [""], []):
        out += host.call("CreateContainer", pb.CreateContainerRequest(container_id="ct", oci=_spec(*args))) + PAUSE
    changed = _spec("run")
    changed.linux.uid_mappings.add(size=1)
    changed.hooks.prestart.add(path="/x")
    changed.linux.seccomp.default_action = "SCMP_ACT_ERRNO"
    changed.linux.seccomp.syscalls.add(names=["read"], action="SCMP_ACT_ALLOW").args.add(index=1, op="SCMP_CMP_EQ")
    changed.linux.namespaces.add(type="pid", path="/proc/self/ns/pid")
    out += host.call("CreateContainer", pb.CreateContainerRequest(container_id="ct", oci=changed))
    mounts = [Mount("/../x", "a", "bind", ("bind", "ro", "rshared", "size=" + "9" * 300))]
    odd = container_spec(Process(["run"]), mounts=mounts)
    storages = [pb.Storage(driver=d, mount_point="/m") for d in ("blk", "local", "nothing")]
    out += host.call("CreateContainer", pb.CreateContainerRequest(container_id="c2", oci=odd, storages=storages))
    for method in ("StartContainer", "WaitProcess", "SignalProcess", "RemoveContainer", "Nothing", ""):
        out += host.call(method, pb.WaitProcessRequest(container_id="no", exec_id="no"))
    return out + host.call("Check", service="grpc.Nothing")


def _broken(host: Host) -> bytes:
    good = host.call("Check", service="grpc.Health")
    out = good + struct.pack(">IIBB", 3, 2, 1, 0) + b"abc"  # an even stream
    out += struct.pack(">IIBB", 3, 9, 1, 0) + b"\xff\xff\xff"  # no protobuf
    out += struct.pack(">IIBB", 0, 11, 1, 0) + struct.pack(">IIBB", 2, 13, 2, 0) + b"zz"
    out += struct.pack(">IIBB", 4, 15, 3, 1) + b"data" + struct.pack(">IIBB", 1, 17, 1, 2) + b"s"
    out += good + good[:7] + PAUSE + good[7:] + HALF_CLOSE
    return out + struct.pack(">IIBB", 1 << 23, 19, 1, 0) + b"oversize"


def _guest(host: Host) -> bytes:
    out = host.call("Version", service="grpc.Health")
    out += host.call("GetGuestDetails", pb.GuestDetailsRequest(mem_block_size=True, mem_hotplug_probe=True))
    out += host.call("SetGuestDateTime", pb.SetGuestDateTimeRequest(sec=1, usec=2))
    out += host.call("ReseedRandomDev", pb.ReseedRandomDevRequest(data=b"random"))
    out += host.call("OnlineCPUMem", pb.OnlineCpuMemRequest(nb_cpus=1))
    return out + host.call("CopyFile", pb.CopyFileRequest(path="/run/kata-containers/x", data=b"d", offset=1))


def _reconnect() -> bytes:
    first, second = Host(), Host()
    metadata = [pb.KeyValue(key="connection", value="a")]
    out = first.call("GetOOMEvent", metadata=metadata) + first.call("Check", service="grpc.Health")[:20] + RECONNECT
    metadata = [pb.KeyValue(key="connection", value="b")]
    return out + second.call("Check", service="grpc.Health", metadata=metadata) + RECONNECT


def main(folder: Path) -> None:
    """Write the corpus."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in conversations().items():
        (folder / name).write_bytes(data)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
