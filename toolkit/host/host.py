"""What can be read of a host, below a root folder: the real one, or a tree that a test laid out.

Reading is all that happens: no module is loaded, no daemon started, no device but ``/dev/kvm`` opened.
"""

from __future__ import annotations

import os
import platform
import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from .arches import ARCHES
from .ask import ask
from .kvm_guest import KvmVerdict, kvm_usable
from .wanted import Wanted

TOOL_SECONDS = 1.0  # for one program to say its version
ALL_TOOLS_SECONDS = 1.2  # for all of them: the whole check is over in 1.5 s
_FOLDERS = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")

MOST_NOTED = 160  # characters of a value that the report shows

_FIRST_PID_NAMESPACE = "pid:[4026531836]"  # PROC_PID_INIT_INO of linux/proc_ns.h
_CONTAINER_MARKS = ("/.dockerenv", "/run/.containerenv", "/run/systemd/container")
_RELEASE = re.compile(r"[0-9]+\.[0-9A-Za-z._+~-]{0,80}", re.ASCII)
_NUMBER = re.compile(r"-?[0-9]{1,19}", re.ASCII)

LOADED, BUILTIN, AVAILABLE, MISSING, UNKNOWN = "loaded", "built in", "not loaded", "missing", "not to be seen"
"""Where a kernel module is; UNKNOWN: the kernel's lists are not installed here (a container, a custom kernel)."""


@dataclass
class Host:
    """One host. ``machine`` is as ``uname -m`` says it; ``kvm`` tries KVM, and can be replaced with the root.

    ``wanted``: what it is asked for. ``uid``: the user whose rights count.
    """

    root: Path = Path("/")
    machine: str = field(default_factory=platform.machine)
    kvm: Callable[[], KvmVerdict] = kvm_usable
    wanted: Wanted = field(default_factory=Wanted)
    uid: int = field(default_factory=os.geteuid)
    measurements: dict[str, float | str | bool] = field(default_factory=dict)
    _answers: dict[tuple[str, ...], str | None] = field(default_factory=dict)
    _patience: float = ALL_TOOLS_SECONDS
    _read: dict[str, str] = field(default_factory=dict)

    def note(self, path: str, value: str) -> None:
        """Keep account of what was found somewhere. Reading through the other methods does this by itself."""
        self._read[path] = value if len(value) <= MOST_NOTED else value[: MOST_NOTED - 1] + "…"

    def noted(self) -> tuple[tuple[str, str], ...]:
        """What was read since the last call, and where."""
        read, self._read = self._read, {}
        return tuple(read.items())

    def at(self, name: str) -> Path:
        """Where a file of the host lies for us."""
        return self.root / name.lstrip("/")

    def text(self, name: str) -> str | None:
        """A file's text without the last newline; None when it cannot be read."""
        try:
            text = self.at(name).read_text(encoding="utf-8", errors="replace").rstrip("\n\0")
        except OSError as error:
            self.note(name, (error.strerror or "cannot be read").lower())
            return None
        first, _, more = text.partition("\n")
        self.note(name, f"{first} …" if more else first)
        return text

    def words(self, name: str) -> tuple[str, ...]:
        """The words of a file; none when it cannot be read."""
        return tuple((self.text(name) or "").split())

    def number(self, name: str) -> int | None:
        """The whole number that a file holds; None when it cannot be read, or is none."""
        text = self.text(name)
        return int(text) if text is not None and _NUMBER.fullmatch(text) else None

    def names(self, folder: str) -> tuple[str, ...]:
        """What is in a folder, in order; nothing when it cannot be read."""
        try:
            found = tuple(sorted(entry.name for entry in self.at(folder).iterdir()))
        except OSError as error:
            self.note(folder, (error.strerror or "cannot be read").lower())
            return ()
        self.note(folder, " ".join(found) or "empty")
        return found

    def link(self, name: str) -> str | None:
        """The last part of what a symbolic link points to; None when there is none."""
        try:
            return self.at(name).readlink().name
        except OSError:
            return None

    def exists(self, name: str) -> bool:
        """Whether there is such a file; one that may not be looked at counts as none."""
        try:
            found = self.at(name).exists()
        except OSError:
            found = False
        self.note(name, "there" if found else "absent")
        return found

    def may_use(self, device: str) -> bool:
        """Whether we may read and write a device, found out without opening it (that could load a module)."""
        may = os.access(self.at(device), os.R_OK | os.W_OK, effective_ids=os.access in os.supports_effective_ids)
        self.note(device, "may be used" if may else "may not be used")
        return may

    def which(self, tool: str, *more_folders: str) -> str | None:
        """A program's path on the host: from PATH (only on the real root), the usual folders, and others given."""
        path = os.environ.get("PATH", "").split(":") if self.root == Path("/") else []
        for folder in (*path, *_FOLDERS, *more_folders):
            name = f"{folder}/{tool}"
            # Before is_file(), which raises for folders that we may not enter.
            if folder.startswith("/") and os.access(self.at(name), os.X_OK) and self.at(name).is_file():
                return name
        return None

    def is_program(self, name: str) -> bool:
        """Whether a path is an executable file."""
        may = os.access(self.at(name), os.X_OK) and self.at(name).is_file()
        self.note(name, "a program" if may else "no program")
        return may

    def ask(self, calls: Iterable[tuple[str, ...]]) -> None:
        """Have several programs answer at once, for `output` to tell later."""
        wanted = [call for call in dict.fromkeys(calls) if call not in self._answers]
        start = time.monotonic()
        told = ask([[str(self.at(call[0])), *call[1:]] for call in wanted], TOOL_SECONDS, self._patience)
        self._patience -= time.monotonic() - start
        self._answers.update(zip(wanted, told, strict=True))

    def output(self, program: str, *arguments: str) -> str | None:
        """What a program prints; None when it does not end in time, with success."""
        call = (program, *arguments)
        self.ask([call])
        answer = self._answers[call]
        self.note(" ".join(call), "failed" if answer is None else answer.strip().partition("\n")[0])
        return answer

    @cached_property
    def mounts(self) -> tuple[tuple[str, str, str], ...]:
        """Place, kind and options of each mounted file system, in the order they were mounted."""
        lines = (line.split(" ") for line in (self.text("/proc/self/mounts") or "").splitlines())
        return tuple((words[1], words[2], words[3]) for words in lines if len(words) > 3)

    @cached_property
    def processors(self) -> tuple[dict[str, str], ...]:
        """The blocks of /proc/cpuinfo, one a processor."""
        blocks = (self.text("/proc/cpuinfo") or "").split("\n\n")
        fields = ([line.partition(":") for line in block.splitlines() if ":" in line] for block in blocks)
        return tuple({key.strip(): value.strip() for key, _, value in block} for block in fields if block)

    @cached_property
    def cpu_flags(self) -> frozenset[str]:
        """The flags that every processor has. (arm64 calls them Features, s390x features.)"""
        words = [
            frozenset(block[name].split())
            for block in self.processors
            for name in ("flags", "Features", "features")
            if name in block
        ]
        return frozenset.intersection(*words) if words else frozenset()

    def argument(self, name: str) -> str | None:
        """What the kernel's command line says of a parameter: its last value, empty for one without; None: nothing."""
        found = None
        for word in self.words("/proc/cmdline"):
            key, _, value = word.partition("=")
            if key.replace("-", "_") == name.replace("-", "_"):
                found = value
        self.note("/proc/cmdline", f"no {name}" if found is None else f"{name}={found}")
        return found

    @cached_property
    def kernel_release(self) -> str:
        """As ``uname -r`` says it; empty when a tree has none, or one that is no release."""
        told = self.text("/proc/sys/kernel/osrelease")
        if told is None and self.root == Path("/"):  # hidden, as some containers have it
            told = platform.release()
            self.note("uname -r", told)
        found = _RELEASE.fullmatch(told or "")
        return found[0] if found else ""

    def module(self, name: str) -> str:
        """Where a kernel module is: one of LOADED, BUILTIN, AVAILABLE, MISSING, UNKNOWN.

        A built-in module need not have an entry in /sys/module, so that folder alone does not tell.
        """
        if self.exists(f"/sys/module/{name}"):
            return LOADED
        state = self._modules.get(name, MISSING) if self._modules else UNKNOWN
        self.note(f"/lib/modules/{self.kernel_release or 'RELEASE'}", f"{name}: {state}")
        return state

    @cached_property
    def kvm_module(self) -> str | None:
        """The module that gives /dev/kvm on this processor; None when nothing says which, or that there is one."""
        arch = ARCHES.get(self.machine)
        if arch is None:
            return None
        if len(arch.modules) == 1:
            return next(iter(arch.modules))
        by_flag = (module for module, flag in arch.modules.items() if flag in self.cpu_flags)
        loaded = (module for module in arch.modules if self.exists(f"/sys/module/{module}"))
        return next(by_flag, None) or next(loaded, None)

    @cached_property
    def _modules(self) -> dict[str, str]:
        """Name → BUILTIN or AVAILABLE, from the kernel's own lists; empty where they are not installed."""
        states: dict[str, str] = {}
        if not self.kernel_release:
            return states
        for file, state in (("modules.dep", AVAILABLE), ("modules.builtin", BUILTIN)):
            for line in (self.text(f"/lib/modules/{self.kernel_release}/{file}") or "").splitlines():
                # kernel/arch/x86/kvm/kvm-amd.ko.xz: … is the module kvm_amd
                stem = line.partition(":")[0].rpartition("/")[2].partition(".")[0]
                states[stem.replace("-", "_")] = state
        return states

    @cached_property
    def in_container(self) -> bool:
        """Whether we are in a container, as its manager marks it; devices must then be passed in.

        A VM whose file system was a container's image still carries the mark, but has the first PID namespace.
        """
        try:
            if str(self.at("/proc/self/ns/pid").readlink()) == _FIRST_PID_NAMESPACE:
                return False
        except OSError:
            pass  # no /proc: only the marks are left
        # Kubernetes leaves no mark, but what a container has as its root is an overlay.
        overlay = any(place == "/" and kind == "overlay" for place, kind, _ in self.mounts)
        return overlay or any(self.exists(mark) for mark in _CONTAINER_MARKS)

    @cached_property
    def is_vm(self) -> bool:
        """Whether a hypervisor runs below us. Only x86 says it in its flags."""
        return "hypervisor" in self.cpu_flags

    @cached_property
    def vendor(self) -> str:
        """Who made the machine, or the hypervisor that plays one: the DMI strings, empty where there are none."""
        names = (self.text(f"/sys/class/dmi/id/{name}") for name in ("sys_vendor", "product_name"))
        return " ".join(name for name in names if name)

    @cached_property
    def kvm_verdict(self) -> KvmVerdict:
        """KVM tried, once."""
        start = time.monotonic()
        verdict = self.kvm()
        self.measurements["kvm_probe_ms"] = round((time.monotonic() - start) * 1000, 1)
        return verdict
