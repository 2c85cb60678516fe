"""How many guests fit: what one more costs, by the way its root comes in and whether it is a clone; and why.

Each way is measured with guests whose agents have just answered, nothing else in them. All guests of a way stay
until their number is reached: what the 20th adds is not what the first takes, for they share what they map.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field, replace
from statistics import median
from typing import Any

from .. import warden
from ..checks import Skipped
from ..errors import CheckError, KataToolkitError
from . import memory, other_roots, sharing
from .agent_client import AgentError
from .built_set import BuiltSet, Guest
from .burst import Burst, burst
from .guests import kernel_config
from .oci import Process
from .options import Options
from .session import Session
from .template import Template, temporary

WAYS: Mapping[str, str] = {
    "dax": "booted, the image on an NVDIMM that the guest reads directly",
    "virtio-blk": "booted, the image on a disk that the guest reads into its memory",
    "initrd": "booted, the root in the guest's memory",
    "clone": "cloned from a template",
}
"""How guests are made, in the order they are measured."""

COUNTS = (1, 5, 20)
MEMORY_MIB, LARGE_MIB = 256, 2048
TB_MIB = 16  # of translated code: QEMU's own choice under TCG, a GiB, would be measured instead of the guest
UPSTREAM_MIB: Mapping[str, int] = {"qemu": 320, "clh": 130}
"""What the RuntimeClasses of kata-deploy reserve for a pod's overhead."""

_SHARED = "memory-backend-memfd,share=on"
_READ_ALL = 'find / -xdev -type f | while read -r file; do cat "$file"; done > /dev/null'

Telling = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Request:
    """What to measure. ``rounds``: timed pairs of a cold boot and a clone; ``burst``: guests of it, 0 for none.

    ``read``: each guest first reads every file of its root, as one that is at work would. ``shared``: the memory of
    booted guests is as it is for virtio-fs, which the daemon maps too; without it QEMU asks for huge pages, of which a
    guest seldom uses all.
    """

    counts: Sequence[int] = COUNTS
    ways: Sequence[str] = tuple(WAYS)
    rounds: int = 5
    burst: int = 20
    accel: str = "auto"
    memory_mib: int = MEMORY_MIB
    read: bool = False
    shared: bool = False


@dataclass
class Density:
    """One measuring. ``telling`` hears what is at hand, ``note`` what a person should know."""

    built: BuiltSet
    request: Request
    telling: Telling
    note: Telling
    skipped: dict[str, str] = field(default_factory=dict)

    def measure(self) -> dict[str, Any]:
        """The document (schemas/density.schema.json). Raises what booting the set raises."""
        guest = self.built.bootable()
        options = Options(accel=self.request.accel, memory_mib=self.request.memory_mib, tb_mib=TB_MIB)
        with ExitStack() as undo:
            self.telling("the first guest")
            with Session.boot(guest, options, note=self.note) as session:
                options = replace(options, accel=session.accel)
                inside = _inside(session, self.request.memory_mib)
            template = self._template(options, undo)
            if self.request.shared:
                options = replace(options, memory_backend=_SHARED)
            ways = self._ways(guest, options, undo)
            document: dict[str, Any] = {
                "version": 1,
                "set": self.built.name,
                "accel": options.accel,
                "memory_mib": self.request.memory_mib,
                "tb_mib": TB_MIB if options.accel == "tcg" else None,
                "read": self.request.read,
                "shared_memory": self.request.shared,
                "guest": inside,
                "ways": {},
            }
            for way in self.request.ways:
                start = self._clones(template) if way == "clone" else ways.get(way)
                if start:
                    document["ways"][way] = self._way(way, start)
            document["pods"] = [self._pod(guest, options, mib, undo) for mib in (self.request.memory_mib, LARGE_MIB)]
            document["upstream_mib"] = dict(UPSTREAM_MIB)
            document["template"] = self._times(guest, options, template) if template else None
            document["burst"] = self._bursts(guest, options, template) if self.request.burst else None
        document["skipped"] = self.skipped
        return document

    def _ways(self, guest: Guest, options: Options, undo: ExitStack) -> dict[str, Callable[[], Session]]:
        """How a guest of each way is booted, for those that the set's kernel can be booted in."""
        folder = undo.enter_context(warden.temporary_folder("density"))
        found: dict[str, Callable[[], Session]] = {}
        for way, driver in (("dax", "nvdimm"), ("virtio-blk", "virtio-blk"), ("initrd", None)):
            if way not in self.request.ways:
                continue
            try:
                other = guest if driver else other_roots.initrd(guest, folder)
                if driver and guest.boot != "image":
                    raise Skipped("the set boots an initrd, and no image")
            except (Skipped, KataToolkitError) as reason:
                self.skipped[way] = str(reason)
                continue
            found[way] = self._booting(other, replace(options, rootfs_driver=driver))
        return found

    def _booting(self, guest: Guest, options: Options) -> Callable[[], Session]:
        return lambda: Session.boot(guest, options, note=self.note)

    def _template(self, options: Options, undo: ExitStack) -> Template | None:
        if "clone" not in self.request.ways:
            return None
        self.telling("a template")
        return undo.enter_context(temporary(self.built, options, note=self.note))

    def _clones(self, template: Template | None) -> Callable[[], Session] | None:
        return (lambda: template.clone(note=self.note)) if template else None

    def _way(self, way: str, start: Callable[[], Session]) -> dict[str, Any]:
        """Guests of one way, as many as asked for, all at once."""
        rows, most = [], max(self.request.counts)
        with ExitStack() as undo:
            sessions: list[Session] = []
            for number in range(1, most + 1):
                self.telling(f"{way}: guest {number} of {most}")
                sessions.append(undo.enter_context(start()))
                if self.request.read:
                    _read_all(sessions[-1])
                if number in self.request.counts:
                    rows.append(_row(sessions))
        return {"about": WAYS[way], "vms": rows}

    def _times(self, guest: Guest, options: Options, template: Template) -> dict[str, Any]:
        """Cold boots and clones in turn, so that a busy host slows both."""
        pairs = []
        for number in range(self.request.rounds):
            self.telling(f"a cold boot and a clone, {number + 1} of {self.request.rounds}")
            pairs.append((_seconds(self._booting(guest, options)), _seconds(lambda: template.clone(note=self.note))))
        if not pairs:
            return {"bytes": template.sizes()}
        return {
            "bytes": template.sizes(),
            "rounds": len(pairs),
            "cold_seconds": round(median(cold for cold, _ in pairs), 3),
            "clone_seconds": round(median(clone for _, clone in pairs), 3),
            "clone_to_cold": round(median(clone / cold for cold, clone in pairs), 3),
        }

    def _bursts(self, guest: Guest, options: Options, template: Template | None) -> dict[str, Any]:
        count = self.request.burst
        found: dict[str, Any] = {"vms": count}
        for name, one in (("cold", options), ("clone", template.options() if template else None)):
            if one is None:
                continue
            self.telling(f"{count} guests at once, {name}")
            patient = replace(one, timeout_seconds=one.timeout_seconds * max(1, count // 4))
            try:
                found[name] = _burst_row(burst(guest, [patient] * count, options.accel))
            except AgentError as error:
                self.skipped[f"burst {name}"] = str(error)
        return found

    def _pod(self, guest: Guest, options: Options, memory_mib: int, undo: ExitStack) -> dict[str, Any]:
        """One guest with a shared folder, as a pod has it: what guest, VMM and virtiofsd take, a container run."""
        self.telling(f"a pod of {memory_mib} MiB")
        with ExitStack() as ended:
            sized = replace(options, memory_mib=memory_mib)
            with suppress(Skipped):
                sized, _ = sharing.share(sized, kernel_config(guest), ended)
            session = ended.enter_context(Session.boot(guest, sized, note=self.note))
            with suppress(KataToolkitError):  # a guest without shell tools runs none
                session.run(("/bin/echo", "ready"))
            parts = _parts(session)
            daemons = [memory.footprint(pid).pss_kib for pid in memory.descendants("virtiofsd")]
            available = session.figures().get("guest_overhead_mib")
        inside = sum(parts[name].pss_kib for name in ("guest memory", "image"))
        whole = sum(part.pss_kib for part in parts.values())
        return {
            "memory_mib": memory_mib,
            "guest_kib": inside,
            "vmm_kib": whole - inside,
            "virtiofsd_kib": sum(daemons) if daemons else None,
            "total_mib": round((whole + sum(daemons)) / 1024, 1),
            "guest_overhead_mib": available,
        }


def _seconds(start: Callable[[], Session]) -> float:
    begin = time.monotonic()
    session = start()
    seconds = time.monotonic() - begin
    session.close()
    return seconds


def _row(sessions: Sequence[Session]) -> dict[str, Any]:
    """All guests that run now, and the last one by its parts."""
    each = [memory.footprint(session.vmm.process.pid) for session in sessions]
    total = sum(each, memory.Footprint())
    parts = _parts(sessions[-1])
    return {
        "count": len(sessions),
        "total": asdict(total),
        "median_pss_kib": round(median(one.pss_kib for one in each)),
        "last": asdict(each[-1]),
        "last_parts_kib": {name: part.pss_kib for name, part in parts.items()},
        "last_image_rss_kib": parts["image"].rss_kib,
    }


def _parts(session: Session) -> dict[str, memory.Footprint]:
    machine = session.machine
    guest = machine.guest
    backend = machine.memory_backend.partition("mem-path=")[2].rpartition(",")[0]
    files = memory.Files(
        machine.memory_mib,
        memory=backend.replace(",,", ","),
        image=str(guest.image.absolute()) if guest.image else "",
        kernel=str(guest.kernel.absolute()),
    )
    return memory.by_part(session.vmm.process.pid, files)


def _inside(session: Session, memory_mib: int) -> dict[str, Any]:
    """Where the guest's own memory goes, as its kernel tells a container that may ask."""
    try:
        info = _cat(session, "cat", "/proc/meminfo")
        messages = _cat(session, "dmesg")
    except (KataToolkitError, AgentError):
        return {"memory_mib": memory_mib, "parts_kib": None}  # no tools in this guest
    return {
        "memory_mib": memory_mib,
        "parts_kib": memory.guest_parts(memory_mib, memory.meminfo(info), messages),
    }


def _read_all(session: Session) -> None:
    """Raises CheckError when the guest has no tools for it."""
    done = session.agent.run_container(("sh", "-c", _READ_ALL))
    if done.status:
        raise CheckError(f"reading the guest's files failed ({done.status}): {done.stderr.decode(errors='replace')}")


def _cat(session: Session, *command: str) -> str:
    process = Process(command, capabilities=None)  # all: the kernel's messages are not for everybody
    return session.agent.run_container(command, process=process).stdout.decode(errors="replace")


def _burst_row(found: Burst) -> dict[str, float]:
    return {"p50_seconds": round(found.percentile(50), 3), "p99_seconds": round(found.percentile(99), 3)}
