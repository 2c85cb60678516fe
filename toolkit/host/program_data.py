"""The programs that the checks know (``schemas/host-programs.json``), and their versions."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from .. import resources
from .arches import ARCHES
from .host import Host

UNKNOWN_VERSION = "version unknown"
_VERSION = re.compile(r"[0-9]{1,6}\.[0-9]{1,6}(?:\.[0-9]{1,6}){0,2}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Known:
    """A program: its names, further folders where it lies, the ``least`` version that Kata can use, and why.

    ``hypervisors``: Kata's names of the hypervisor that it is.
    """

    id: str
    title: str
    programs: tuple[str, ...]
    folders: tuple[str, ...]
    least: str
    why: str
    remedy: str
    hypervisors: tuple[str, ...] = ()

    def is_older(self, version: str) -> bool:
        """Whether that is known to be too old; an unknown version is not."""
        return bool(self.least) and bool(as_number(version)) and as_number(version) < as_number(self.least)


@lru_cache(maxsize=1)
def data() -> dict[str, Any]:
    """The whole file."""
    loaded: dict[str, Any] = json.loads(resources.resource("schemas", "host-programs.json").read_bytes())
    return loaded


def managers() -> tuple[Known, ...]:
    """The container managers."""
    return tuple(_known(entry) for entry in data()["managers"])


def vmms(machine: str) -> tuple[Known, ...]:
    """The virtual machine monitors; on an unknown architecture QEMU has no name."""
    arch = ARCHES.get(machine)
    names = {"qemu-system-ARCH": arch.qemu if arch else "qemu", "PACKAGE": arch.package if arch else "qemu-system"}

    def filled(text: str) -> str:
        for placeholder, name in names.items():
            text = text.replace(placeholder, name)
        return text

    entries = data()["vmms"]
    return tuple(
        _known({**e, "programs": [filled(p) for p in e["programs"]], "remedy": filled(e["remedy"])}) for e in entries
    )


def _known(entry: dict[str, Any]) -> Known:
    return Known(
        entry["id"],
        entry["title"],
        tuple(entry["programs"]),
        tuple(entry["folders"]),
        entry["least"],
        entry["why"],
        entry["remedy"],
        tuple(entry.get("hypervisors", ())),
    )


def as_number(version: str) -> tuple[int, ...]:
    """The first version in a text, to be compared; empty where there is none."""
    found = _VERSION.search(version)
    return tuple(map(int, found[0].split("."))) if found else ()


def version_of(host: Host, program: str) -> str:
    """The version a program prints, or what is wrong with it in words."""
    text = host.output(program, "--version")
    if text is None:
        return f"{UNKNOWN_VERSION}: it failed, or took too long"
    found = _VERSION.search(text)
    return found[0] if found else UNKNOWN_VERSION


def silent(host: Host, program: str) -> bool:
    """Whether a program does not even say its version, so that nothing is known of it but that it is there."""
    return host.output(program, "--version") is None


def number(host: Host, program: str) -> tuple[int, ...]:
    """The version a program prints, to be compared; empty where it is unknown."""
    return as_number(version_of(host, program))


def find(host: Host, known: Known) -> str | None:
    """Where a program lies."""
    return next((path for name in known.programs if (path := host.which(name, *known.folders))), None)


def virtiofsd_path(host: Host) -> str | None:
    """Where a daemon for virtio-fs lies: Kata's own first, as its configuration names it."""
    return host.which("virtiofsd", *data()["virtiofsd"]["folders"])


def ask_ahead(host: Host) -> None:
    """Have all programs answer at once what the checks will ask them: one after the other takes too long."""
    host.ask(_questions(host))


def _questions(host: Host) -> Iterator[tuple[str, ...]]:
    for known in vmms(host.machine):
        program = find(host, known)
        if program:
            yield program, "--version"
        if program and known.id == "qemu":
            yield from ((program, f"-{what}", "help") for what in ("device", "machine", "accel"))
            if host.wanted.confidential:
                yield program, "-object", "help"
    for manager in managers():
        program = find(host, manager)
        if program:
            yield program, "--version"
    daemon = virtiofsd_path(host)
    if daemon:
        yield from ((daemon, option) for option in ("--version", "--help"))
