"""What is added to a running guest, and taken away: with the commands of QEMU's monitor that Kata's runtime gives.

Each thing is seen in the guest, used there, and gone in the end. The order matters: QEMU 7.2 aborts when memory is
added after a CPU was taken away.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ...checks import FAIL, PASS, Check, Skipped, Verdict
from ...errors import CheckError
from .. import agent_pb2 as pb
from ..evidence import Evidence, text
from ..inside import Inside
from ..oci import CAPABILITIES
from ..qmp import QmpError, QmpSilent

_GUEST = "hot-plug"
_BUS, _BUS_PATH = "pci-bridge-0", "02"  # the bridge that Kata plugs into, and its place on the root bus
_MIB = 1 << 20
_MEMORY_MIB = 128  # a memory block of x86_64, the smallest that can be added
_MOST_LOST = 0.05  # of added memory, for what describes it
_APPEAR_SECONDS = 15.0
_PAUSE_SECONDS = 0.1
_DISK_MIB = 8
_MAC = "02:00:ca:fe:00:01"
_EJECTING, _IN_PROGRESS = 3, 0x84  # _OST of the ACPI specification: on whose behalf, and a status


def _plugged(evidence: Evidence, needs: Mapping[str, str]) -> Inside:
    """The guest to plug into. Raises Skipped when the kernel does not promise what is to be plugged."""
    config = evidence.config
    for symbol, what in needs.items():
        if config.get(symbol) not in ("y", "m"):
            raise Skipped(f"the set's kernel is built without {symbol}: {what} is not promised")
    return evidence.inside(_GUEST)


def _until(what: str, found: Callable[[], bool]) -> float:
    """Seconds until it holds. Raises CheckError when it does not come to hold."""
    begin = time.monotonic()
    while not found():
        if time.monotonic() - begin > _APPEAR_SECONDS:
            raise CheckError(f"{what} within {_APPEAR_SECONDS:g} s")
        time.sleep(_PAUSE_SECONDS)
    return time.monotonic() - begin


def _unplug(inside: Inside, device: str) -> None:
    """Take a device away; the guest has to agree. Raises CheckError when it does not."""
    qmp = inside.qmp
    since = qmp.mark()
    qmp.execute("device_del", id=device)
    try:
        qmp.wait_event("DEVICE_DELETED", since=since, timeout_seconds=_APPEAR_SECONDS, device=device)
    except QmpSilent as silent:
        raise CheckError(f"the guest does not let go of {device}") from silent


def _memory_kib(inside: Inside) -> int:
    for line in inside.read("/proc/meminfo").decode().splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1])
    raise CheckError("/proc/meminfo has no MemTotal")


def _grows(inside: Inside, before: int) -> int:
    """By how many KiB memory has grown, once that is what was added. Raises CheckError when it does not.

    Where the kernel does not bring it online by itself the agent does, as soon as the kernel has seen it.
    """
    least = int(_MEMORY_MIB * 1024 * (1 - _MOST_LOST))

    def grown() -> bool:
        inside.session.agent.online()
        return _memory_kib(inside) - before >= least

    _until(f"MemTotal did not grow from {before} KiB by {least}", grown)
    return _memory_kib(inside) - before


def dimm(evidence: Evidence) -> Verdict:
    """A DIMM (pc-dimm) is added, as Kata with QEMU adds memory by default; the guest's memory grows by it. Kata's
    runtime never takes a DIMM away; it is tried, and the guest's answer told."""
    inside = _plugged(evidence, {"CONFIG_ACPI_HOTPLUG_MEMORY": "adding DIMMs"})
    _room_for_dimms(inside)
    before = _memory_kib(inside)
    qmp = inside.qmp
    qmp.execute("object-add", {"qom-type": "memory-backend-ram", "id": "mem0plugged", "size": _MEMORY_MIB * _MIB})
    qmp.execute("device_add", driver="pc-dimm", id="dimmmem0", memdev="mem0plugged")
    told = f"MemTotal grew by {_grows(inside, before) / 1024:.0f} MiB"
    since = qmp.mark()
    qmp.execute("device_del", id="dimmmem0")
    refused: list[int] = []
    with contextlib.suppress(CheckError):
        _until("no answer", lambda: _ejected(inside, since, refused))
    if qmp.events("DEVICE_DELETED", since):
        return Verdict(PASS, f"{told}, and it was taken away again")
    why = f"the guest uses it (ACPI status {refused[0]:#x})" if refused else "the guest does not answer"
    return Verdict(PASS, f"{told}; taken away it was not: {why}")


def _room_for_dimms(inside: Inside) -> None:
    """Raises Skipped where the DIMM would lie, right behind an image, on no boundary of the guest's memory blocks."""
    machine = inside.session.machine
    image = machine.guest.image
    if machine.root == "nvdimm" and image is not None and image.stat().st_size % (_MEMORY_MIB * _MIB):
        raise Skipped(
            f"the image does not end on a multiple of {_MEMORY_MIB} MiB: QEMU puts a DIMM right behind it, where the "
            "guest's kernel passes over it",
            f"enable_virtio_mem: true adds memory all the same; or image.align_mib: {_MEMORY_MIB}",
        )


def _ejected(inside: Inside, since: int, refused: list[int]) -> bool:
    """Whether the guest has said what became of a request to eject; a refusal's status is put into ``refused``."""
    said = [event.data["info"] for event in inside.qmp.events("ACPI_DEVICE_OST", since)]
    refused += [s["status"] for s in said if s["source"] == _EJECTING and s["status"] not in (0, _IN_PROGRESS)]
    return bool(refused or inside.qmp.events("DEVICE_DELETED", since))


def virtio_mem(evidence: Evidence) -> Verdict:
    """Memory grows and shrinks by virtio-mem (enable_virtio_mem)."""
    inside = _plugged(evidence, {"CONFIG_VIRTIO_MEM": "memory by virtio-mem"})
    qmp = inside.qmp
    backend = {"qom-type": "memory-backend-ram", "id": "virtiomem", "size": 4 * _MEMORY_MIB * _MIB}
    qmp.execute("object-add", backend)
    qmp.execute("device_add", driver="virtio-mem-pci", id="virtiomem0", memdev="virtiomem", bus=_BUS, addr="03")
    before = _memory_kib(inside)
    _request(inside, _MEMORY_MIB)
    grown = _grows(inside, before)
    _request(inside, 0)
    _until("the guest did not give the memory back", lambda: _memory_kib(inside) - before < grown // 2)
    left = _memory_kib(inside) - before
    return Verdict(PASS, f"MemTotal grew by {grown / 1024:.0f} MiB, and is {left / 1024:+.0f} MiB after giving back")


def _request(inside: Inside, mib: int) -> None:
    inside.qmp.execute("qom-set", path="virtiomem0", property="requested-size", value=mib * _MIB)


def disk(evidence: Evidence) -> Verdict:
    """A disk is added (virtio-blk, on Kata's bridge) and given to a container by its place on the bus: written there,
    read back there, found on the host; and taken away."""
    inside = _plugged(evidence, {"CONFIG_VIRTIO_BLK": "disks", "CONFIG_HOTPLUG_PCI_ACPI": "adding PCI devices"})
    qmp = inside.qmp
    with _scratch_disk(evidence) as path:
        file = {"driver": "file", "filename": str(path)}
        qmp.execute("blockdev-add", {"node-name": "drive-proof", "driver": "raw", "file": file})
        where = {"bus": _BUS, "addr": "01", "share-rw": True, "config-wce": False}
        qmp.execute("device_add", where, driver="virtio-blk-pci", id="virtio-drive-proof", drive="drive-proof")
        given = pb.Device(id=f"{_BUS_PATH}/01", type="blk", container_path="/dev/proof")

        def adjust(spec: Any) -> None:
            # The numbers are the agent's to fill in, who finds the device by its place.
            spec.linux.devices.add(path="/dev/proof", type="b", major=254, minor=250, file_mode=0o660)

        script = (
            "seq 1 100000 | dd of=/dev/proof bs=4096 seek=16 conv=fsync 2>/dev/null; dd if=/dev/proof bs=4096 skip=16"
        )
        done = inside.sh(f"{script} count=143 2>/dev/null | sha256sum", adjust=adjust, devices=(given,))
        _unplug(inside, "virtio-drive-proof")
        qmp.execute("blockdev-del", {"node-name": "drive-proof"})
        written = path.read_bytes()[16 * 4096 :]
    expected = "".join(f"{number}\n" for number in range(1, 100_001)).encode()
    read_back = text(done.stdout).split(" ")[0]
    return _disk_verdict(expected, written, read_back, text(done.stderr))


def _disk_verdict(expected: bytes, written: bytes, read_back: str, errors: str) -> Verdict:
    from hashlib import sha256

    if not written.startswith(expected):
        return Verdict(FAIL, f"the host does not find what the container wrote; it said: {errors or 'nothing'}")
    if read_back != sha256(written[: 143 * 4096]).hexdigest():
        return Verdict(FAIL, f"the container does not read back what it wrote: {read_back[:16]}")
    return Verdict(PASS, f"{len(expected)} bytes written in a container, read back, found on the host; taken away")


@contextlib.contextmanager
def _scratch_disk(evidence: Evidence) -> Iterator[Any]:
    path = evidence.scratch() / "disk.raw"
    with path.open("xb") as stream:
        stream.truncate(_DISK_MIB * _MIB)
    yield path
    path.unlink()


def network(evidence: Evidence) -> Verdict:
    """A network card is added (virtio-net, on Kata's bridge): it gets an address, and its gateway answers; and it is
    taken away. The gateway is QEMU's own, which reaches nothing else."""
    inside = _plugged(evidence, {"CONFIG_VIRTIO_NET": "network cards", "CONFIG_HOTPLUG_PCI_ACPI": "adding PCI devices"})
    inside.needs_tools("ip", "ping")
    qmp = inside.qmp
    try:
        qmp.execute("netdev_add", type="user", id="network-proof", restrict=True)
    except QmpError as error:
        raise Skipped(f"this QEMU has no network of its own: {error.text}") from error
    where = {"bus": _BUS, "addr": "02"}
    qmp.execute("device_add", where, driver="virtio-net-pci", id="virtio-proof", netdev="network-proof", mac=_MAC)
    seconds = _until("the network card did not appear", lambda: _card(inside) is not None)
    name = _card(inside)
    script = (
        f"ip addr add 10.0.2.15/24 dev {name} && ip link set {name} up && "
        f"until ping -c 1 -W 1 10.0.2.2 >/dev/null; do [ $((n=n+1)) -gt 10 ] && exit 9; done; "
        f"cat /sys/class/net/{name}/carrier"
    )
    process = {"capabilities": (*CAPABILITIES, "CAP_NET_ADMIN")}
    done = inside.sh(script, process=process)
    _unplug(inside, "virtio-proof")
    qmp.execute("netdev_del", id="network-proof")
    if (done.status, text(done.stdout)) != (0, "1"):
        return Verdict(FAIL, f"{name} appeared, but its gateway does not answer ({done.status}): {text(done.stderr)}")
    if _card(inside):
        return Verdict(FAIL, f"{name} was taken away, and is still there")
    return Verdict(PASS, f"{name} after {seconds:.1f} s, its gateway answered; taken away")


def _card(inside: Inside) -> str | None:
    """The name of the network card in the guest, or None."""
    done = inside.sh(f"grep -ls {_MAC} /sys/class/net/*/address")
    return text(done.stdout).split("/")[4] if done.stdout else None


def cpu(evidence: Evidence) -> Verdict:
    """A processor is added, the agent brings it online, a container runs on it alone; and it is taken away."""
    inside = _plugged(evidence, {"CONFIG_HOTPLUG_CPU": "adding CPUs", "CONFIG_ACPI_PROCESSOR": "adding CPUs"})
    if inside.session.accel != "kvm" and evidence.config.get("CONFIG_DMI") != "y":
        raise Skipped("without KVM a kernel built without CONFIG_DMI starts no CPU that comes later")
    qmp = inside.qmp
    slot = next((s for s in qmp.execute("query-hotpluggable-cpus") if "qom-path" not in s), None)
    if slot is None:
        raise Skipped("the machine has no room for another processor")
    qmp.execute("device_add", slot["props"], driver=slot["type"], id="cpu-proof")
    inside.session.agent.online(2, cpus_only=True)
    online = _online(inside)
    if online[:1] != ["0"] or len(online) != 2:
        return Verdict(FAIL, f"online are {','.join(online)}, expected 0 and one more")

    def adjust(spec: Any) -> None:
        spec.linux.resources.cpu.cpus = online[1]

    script = "seq 1 20000 >/dev/null; grep Cpus_allowed_list /proc/self/status; cut -d' ' -f39 /proc/self/stat"
    words = " ".join(inside.lines(script, adjust=adjust)).split()
    if words != ["Cpus_allowed_list:", online[1], online[1]]:
        return Verdict(FAIL, f"a container that may use processor {online[1]} alone says: {' '.join(words)}")
    qmp.execute("device_del", id="cpu-proof")  # QEMU tells of the end of its parts only
    _until("the guest did not let go of the processor", lambda: _online(inside) == ["0"])
    return Verdict(PASS, f"processor {online[1]} came, a container ran on it alone, and it was taken away")


def _online(inside: Inside) -> list[str]:
    """The numbers of the processors in use; the kernel lists two neighbours as a range."""
    listed = inside.lines("cat /sys/devices/system/cpu/online")[0]
    return ["0", "1"] if listed == "0-1" else listed.split(",")


CHECKS: tuple[Check[Evidence], ...] = (
    Check("hotplug-dimm", "memory is added as a DIMM", dimm),
    Check("hotplug-virtio-mem", "memory is added and taken away by virtio-mem", virtio_mem),
    Check("hotplug-disk", "a disk is added, used and taken away", disk),
    Check("hotplug-network", "a network card is added, used and taken away", network),
    Check("hotplug-cpu", "a processor is added, used and taken away", cpu),
)
