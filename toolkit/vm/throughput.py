"""How fast a container reads and writes: shared folders, a disk, the root under DAX, the network to the host.

Sequential, with dd, timed by the guest's own clock. Under TCG the figures are those of an emulated processor; what
they show is how one way compares with another.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ..checks import Skipped
from ..errors import CheckError
from . import agent_pb2 as pb
from . import sharing
from .agent_client import AgentError
from .built_set import BuiltSet
from .evidence import Evidence
from .inside import Inside
from .oci import CAPABILITIES, Mount
from .options import Options
from .qmp import QmpError

_MIB = 1 << 20
_SIZE_MIB = 64
_AT = "/run/share"
_BUS, _BUS_PATH, _DISK_AT, _CARD_AT = "pci-bridge-0", "02", "04", "05"
_MAC = "52:54:00:6b:74:02"
_TICK = 0.01  # seconds: how finely /proc/uptime tells
_AGAIN = 32  # times that a file of the root is read: it is small, and under DAX each time comes from the host

Figures = dict[str, float]


def throughput(
    built: BuiltSet, accel: str, telling: Callable[[str], None], note: Callable[[str], None]
) -> tuple[Figures, dict[str, str]]:
    """Figures in MiB a second by name, and why others are missing. Raises what booting the set raises."""
    found: Figures = {}
    missing: dict[str, str] = {}
    ways: Mapping[str, Callable[[Evidence], Figures]] = {
        "virtio_fs": lambda evidence: _shared(evidence, sharing.VIRTIO_FS, "virtio_fs"),
        "9p": lambda evidence: _shared(evidence, sharing.NINE_P, "9p"),
        "root": _root,
        "blk": _disk,
        "network": _network,
    }
    with Evidence(built, Options(accel=accel), note=note) as evidence:
        for name, measured in ways.items():
            telling(f"{built.name}: throughput of {name}")
            try:
                found.update(measured(evidence))
            except (Skipped, CheckError) as reason:
                missing[name] = str(reason)
    return found, missing


def _shared(evidence: Evidence, way: str, name: str) -> Figures:
    """Written to a folder of the host, and a file of the host's read for the first time."""
    inside = evidence.inside("sharing")
    shares = evidence.plan("sharing").shares
    if way in shares.missing:
        raise shares.missing[way]
    (shares.folders[way] / "speed").write_bytes(bytes(_SIZE_MIB * _MIB))
    kind, options = sharing.FILE_SYSTEMS[way]
    at = f"/run/kata-containers/shared/speed-{name}"
    storage = pb.Storage(driver=way, source=sharing.TAGS[way], fstype=kind, options=options, mount_point=at)
    wish = {"storages": (storage,), "mounts": (Mount(_AT, at, "bind", ("rbind", "rw")),)}
    return {
        f"{name}_read_mibs": _dd(inside, f"if={_AT}/speed of=/dev/null", **wish),
        f"{name}_write_mibs": _dd(inside, f"if=/dev/zero of={_AT}/written count={_SIZE_MIB} conv=fsync", **wish),
    }


def _root(evidence: Evidence) -> Figures:
    """The largest program of the root file system, as a container reads it."""
    inside = evidence.inside()
    root = inside.root.rstrip("/")
    find = f"find {root}/bin {root}/usr/bin {root}/sbin -type f -exec ls -S {{}} + 2>/dev/null | head -n 1"
    name = inside.lines(f"file=$({find}); echo $file; stat -c %s $file")
    script = f"n=0; while [ $((n=n+1)) -le {_AGAIN} ]; do dd bs=1M if={name[0]} of=/dev/null 2>/dev/null; done"
    return {"root_read_mibs": _rate(inside, script, size=int(name[1]) * _AGAIN)}


def _disk(evidence: Evidence) -> Figures:
    """A virtio-blk disk, given to a container by its place on Kata's bridge."""
    inside, qmp = evidence.inside("hot-plug"), evidence.inside("hot-plug").qmp
    path = evidence.scratch() / "speed.raw"
    path.write_bytes(bytes(_SIZE_MIB * _MIB))
    qmp.execute("blockdev-add", {"node-name": "drive-speed", "driver": "raw", "file": _file(path)})
    where = {"bus": _BUS, "addr": _DISK_AT, "share-rw": True, "config-wce": False}
    qmp.execute("device_add", where, driver="virtio-blk-pci", id="virtio-drive-speed", drive="drive-speed")
    given = pb.Device(id=f"{_BUS_PATH}/{_DISK_AT}", type="blk", container_path="/dev/speed")

    def adjust(spec: Any) -> None:
        # The numbers are the agent's to fill in, who finds the device by its place.
        spec.linux.devices.add(path="/dev/speed", type="b", major=254, minor=250, file_mode=0o660)

    wish = {"adjust": adjust, "devices": (given,)}
    return {
        "blk_read_mibs": _dd(inside, "if=/dev/speed of=/dev/null", **wish),
        "blk_write_mibs": _dd(inside, f"if=/dev/zero of=/dev/speed count={_SIZE_MIB} conv=fsync", **wish),
    }


def _file(path: Path) -> dict[str, str]:
    return {"driver": "file", "filename": str(path)}


def _network(evidence: Evidence) -> Figures:
    """Bytes from a server on this host, through virtio-net and QEMU's own network."""
    inside = evidence.inside("hot-plug")
    inside.needs_tools("ip")
    qmp = inside.qmp
    try:
        qmp.execute("netdev_add", type="user", id="network-speed")
    except QmpError as error:
        raise Skipped(f"this QEMU has no network of its own: {error.text}") from error
    where = {"bus": _BUS, "addr": _CARD_AT}
    qmp.execute("device_add", where, driver="virtio-net-pci", id="virtio-speed", netdev="network-speed", mac=_MAC)
    inside.lines(
        f"until name=$(grep -ls {_MAC} /sys/class/net/*/address); do sleep 0.1; done; "
        "name=${name%/address}; name=${name##*/}; "
        "ip addr add 10.0.2.15/24 dev $name && ip link set $name up",
        process={"capabilities": (*CAPABILITIES, "CAP_NET_ADMIN")},
    )
    with _server() as port:
        return {"network_read_mibs": _rate(inside, f"nc 10.0.2.2 {port} </dev/null >/dev/null")}


@contextmanager
def _server() -> Iterator[int]:
    """The port of a server on 127.0.0.1 that sends what there is to read to the first that asks, and ends."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(30)

        def serve() -> None:
            with suppress(OSError):
                connection, _ = listening.accept()
                with connection:
                    connection.sendall(bytes(_SIZE_MIB * _MIB))

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield int(listening.getsockname()[1])


def _dd(inside: Inside, words: str, **container: Any) -> float:
    return _rate(inside, f"dd bs=1M {words} 2>/dev/null", **container)


def _rate(inside: Inside, script: str, *, size: int = _SIZE_MIB * _MIB, **container: Any) -> float:
    """MiB a second, by the guest's clock; ``size``: the bytes that it moves. Raises CheckError when it fails."""
    clock = "rest </proc/uptime"
    timed = f"read begin {clock}; {script}; status=$?; read end {clock}; echo $begin $end; exit $status"
    try:
        begin, end = inside.lines(timed, **container)[-1].split()
    except AgentError as error:
        raise CheckError(f"`{script}` was not started: {error.text}") from error
    return round(size / _MIB / max(float(end) - float(begin), _TICK), 1)
