"""Templates: a guest booted once, paused, and cloned as often as wanted, each clone ready in a tenth of a boot's time.

As Kata's runtime does it: the template's memory is a file on a tmpfs, mapped shared; its devices' state is another
(`device_state.py`). A clone maps the memory privately, so that clones share every page that none of them has written.
What a clone may not have in common with its siblings it gets before it is handed out: random numbers, the time of
day, an id on vsock, a UUID. Network cards are plugged into clones (as the runtime does), each with its own address.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

from .. import warden
from ..errors import InputError, ToolError, relative
from ..kconfig.config import read_config
from . import device_state, machines, memory_files
from .agent_client import AgentClient
from .built_set import MANIFEST, BuiltSet, Guest
from .options import Options
from .session import Session
from .vmm import Vmm

RECORD, MEMORY, STATE = "template.json", "memory", "state"
VERSION = 1
SEED_BYTES = 64  # a ChaCha20 key and what goes with it is less

_SETTLE_SECONDS = 5.0
_TICK_SECONDS = 0.05
_IDLE_TICKS = 3
_IDLE_SHARE = 0.25  # of a tick: the kernel counts processor time in hundredths of a second
_SETTINGS = ("accel", "memory_mib", "vcpus", "rootfs_driver", "machine", "tb_mib")


@dataclass(frozen=True, slots=True)
class Template:
    """A template in its folder. ``settings``: the options of `Options` that it was made with."""

    folder: Path
    built: BuiltSet
    settings: dict[str, Any]
    seconds_to_agent: float

    @property
    def accel(self) -> str:
        """What runs it: a state of KVM is none for TCG."""
        return str(self.settings["accel"])

    def sizes(self) -> dict[str, int]:
        """Bytes that its files take on the tmpfs."""
        return {name: (self.folder / name).stat().st_blocks * 512 for name in (MEMORY, STATE)}

    @classmethod
    def load(cls, folder: Path) -> Template:
        """Read a template's folder. Raises InputError when it is none, or its set has been built anew since."""
        try:
            record = json.loads((folder / RECORD).read_bytes())
            known = record["version"] == VERSION
            place, digest, seconds = Path(record["set"]), record["manifest_sha256"], float(record["seconds_to_agent"])
            settings = {name: record["settings"][name] for name in _SETTINGS}
        except OSError as error:
            raise InputError(f"{relative(folder)} is no template: {error.strerror}", hint=_HINT) from error
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{relative(folder)} is no template: its {RECORD} is damaged", hint=_HINT) from error
        if not known:
            raise InputError(f"{relative(folder)} was made by another version of kata-toolkit", hint=_HINT)
        if not (place / MANIFEST).is_file() or digest != _digest(place):
            raise InputError(f"the set {relative(place)} is not the one the template was made from", hint=_HINT)
        for name in (MEMORY, STATE):
            if not (folder / name).is_file():
                raise InputError(f"the template {relative(folder)} lacks its file {name}", hint=_HINT)
        return cls(folder, BuiltSet.load(place), settings, seconds)

    def options(self, timeout_seconds: float = 60.0) -> Options:
        """How a clone is started; what runs then is not unique yet (`make_unique`)."""
        found = _options(self.built.bootable(), self.settings, self.folder / MEMORY, timeout_seconds, share="off")
        return replace(found, restore=self.folder / STATE)

    def clone(
        self,
        *,
        note: Callable[[str], None] = lambda text: None,
        sink: Callable[[bytes], None] | None = None,
        timeout_seconds: float = 60.0,
    ) -> Session:
        """A running clone, whose random numbers and time are its own. To be closed by the caller.

        Raises what `Session.boot` raises.
        """
        session = Session.boot(self.built.bootable(), self.options(timeout_seconds), note=note, sink=sink)
        try:
            make_unique(session.agent)
        except BaseException:
            session.close()
            raise
        return session


_HINT = "make one with: kata-toolkit template create SET"


def make_unique(agent: AgentClient) -> None:
    """Give a clone random numbers of its own, and the time of now. Raises AgentError, AgentSilent.

    The virtual machine generation id does the first by itself, but a moment later than the guest runs on.
    """
    agent.reseed(secrets.token_bytes(SEED_BYTES))
    now = time.time_ns() // 1000
    agent.set_time(now // 1_000_000, now % 1_000_000)


def create(
    built: BuiltSet, options: Options, folder: Path | None = None, *, note: Callable[[str], None] = lambda text: None
) -> Template:
    """Boot a set, pause it and save it into ``folder`` (None: `default_folder`), in place of a template there.

    The folder appears when all is there. Of the options, those of ``_SETTINGS`` and the time limit count. Raises
    InputError for a folder of something else, ToolError when the tmpfs is too small, and what `Session.boot` raises.
    """
    guest = built.bootable()
    folder = folder or default_folder(built.name)
    memory_mib = options.memory_mib or guest.memory_mib
    memory_files.require_place(folder, RECORD, memory_mib, note)
    with memory_files.beside(folder) as work:
        settings = {name: getattr(options, name) for name in _SETTINGS} | {"memory_mib": memory_mib}
        memory_files.reserve(work / MEMORY, memory_mib)
        shared = _options(guest, settings, work / MEMORY, options.timeout_seconds, share="on")
        with Session.boot(guest, shared, note=note) as session:
            settings["accel"] = session.accel
            # The agent does what can wait after its first answer: the clones need not do it again.
            _settle(session.vmm)
            session.agent.close()  # a clone has another connection
            _settle(session.vmm)
            device_state.save(session.vmm, work / STATE)
        record = {
            "version": VERSION,
            "set": str(built.folder.absolute()),
            "manifest_sha256": _digest(built.folder),
            "seconds_to_agent": round(session.seconds_to_agent, 3),
            "settings": settings,
        }
        (work / RECORD).write_text(json.dumps(record, indent=2) + "\n")
    return Template(folder, built, settings, session.seconds_to_agent)


def remove(folder: Path) -> None:
    """Remove a template. Raises InputError when the folder is none: nothing else is ever removed."""
    if not (folder / RECORD).is_file():
        raise InputError(f"{relative(folder)} is no template: there is no {RECORD} in it")
    strange = {path.name for path in folder.iterdir()} - {RECORD, MEMORY, STATE}
    if strange:
        raise InputError(f"{relative(folder)} holds what is not of a template: {', '.join(sorted(strange))}")
    shutil.rmtree(folder)


@contextlib.contextmanager
def temporary(
    built: BuiltSet, options: Options, *, note: Callable[[str], None] = lambda text: None
) -> Iterator[Template]:
    """A template for as long as the block runs."""
    with warden.temporary_folder("template", memory_files.tmpfs()) as parent:
        yield create(built, options, parent / "template", note=note)


def default_folder(name: str) -> Path:
    """Where the template of a set lies unless it is told: on a tmpfs, in a folder of the user's own."""
    return memory_files.own_folder() / name


def _options(guest: Guest, settings: dict[str, Any], memory: Path, timeout: float, *, share: str) -> Options:
    path = str(memory.absolute()).replace(",", ",,")
    extra = ["-uuid", str(uuid4())]
    if _knows_generation(guest) and machines.kind_for(guest, settings["machine"]).name == "q35":
        extra += ["-device", "vmgenid,guid=auto,id=vmgenid0"]
    return Options(
        **settings,
        timeout_seconds=timeout,
        memory_backend=f"memory-backend-file,mem-path={path},share={share}",
        shared_image=True,
        extra=tuple(extra),
    )


def _knows_generation(guest: Guest) -> bool:
    """The kernel reseeds itself when it finds that it runs in another clone (CONFIG_VMGENID)."""
    try:
        return guest.kernel_config is not None and (
            read_config(guest.kernel_config.read_text(errors="replace")).get("CONFIG_VMGENID") == "y"
        )
    except OSError:
        return False


def _settle(vmm: Vmm) -> None:
    """Wait until the guest has nothing left to do, which its VMM's processor time tells; but not for long."""
    until = time.monotonic() + _SETTLE_SECONDS
    idle, before = 0, _cpu_seconds(vmm.process.pid)
    while idle < _IDLE_TICKS and time.monotonic() < until:
        time.sleep(_TICK_SECONDS)
        now = _cpu_seconds(vmm.process.pid)
        idle = idle + 1 if now - before <= _IDLE_SHARE * _TICK_SECONDS else 0
        before = now


def _cpu_seconds(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError as error:
        raise ToolError("QEMU ended while its guest was to become a template") from error
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _digest(folder: Path) -> str:
    return hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest()
