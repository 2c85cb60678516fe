"""Sets measured side by side: what is counted once for each, what is timed in turn, so that a busy host slows all."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..figures import KINDS
from ..vm.built_set import BuiltSet, Guest
from ..vm.measure import first_output, measure
from ..vm.options import Options
from ..vm.session import Session
from ..vm.throughput import throughput as measured_throughput
from .machine import machine

_MIB = 1 << 20


@dataclass
class Measured:
    """One set with its figures, by name; `KINDS` says what each is."""

    name: str
    folder: Path
    built: BuiltSet
    figures: dict[str, float] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)


def bench(
    folders: Sequence[Path],
    *,
    rounds: int,
    accel: str,
    telling: Callable[[str], None],
    note: Callable[[str], None],
    throughput: bool = False,
) -> dict[str, Any]:
    """Measure every set; the document of schemas/bench.schema.json.

    ``rounds``: how often each is booted for its times, all of them in turn; the medians count. ``throughput``: also how
    fast containers read and write. ``telling`` is told
    what is done. Raises InputError for what is no set or does not boot by itself, and what booting raises.
    """
    sets = [_open(folder) for folder in folders]
    for each in sets:
        guest = each.built.bootable()
        telling(f"{each.name}: counting instructions")
        each.figures.update(measure(guest, large=True).as_json())
        each.figures.update(_sizes(guest))
    for each in sets if throughput else ():
        figures, each.missing = measured_throughput(each.built, accel, telling, note)
        each.figures.update(figures)
    used = _time(sets, rounds, accel, telling, note) if rounds else "tcg"
    return {
        "version": 1,
        "machine": machine(used),
        "figures": [name for name in KINDS if any(name in each.figures for each in sets)],
        "kinds": {name: kind for name, kind in KINDS.items() if any(name in each.figures for each in sets)},
        "sets": [
            {"name": each.name, "folder": str(each.folder), "figures": each.figures, **_missing(each)} for each in sets
        ],
    }


def _missing(measured: Measured) -> dict[str, dict[str, str]]:
    return {"missing": measured.missing} if measured.missing else {}


def _open(folder: Path) -> Measured:
    built = BuiltSet.load(folder)
    if built.guest is None:
        hint = None if built.elsewhere else "build it whole, without --only"
        raise InputError(f"{folder} {built.why_no_guest()}", hint=hint)
    return Measured(built.name, folder, built)


def _sizes(guest: Guest) -> dict[str, float]:
    found = {"vmlinux_mib": guest.kernel.stat().st_size / _MIB}
    for name, path in (("image_mib", guest.image), ("initrd_mib", guest.initrd)):
        if path and path.is_file():
            found[name] = path.stat().st_blocks * 512 / _MIB
    return {name: round(value, 3) for name, value in found.items()}


def _time(
    sets: Sequence[Measured],
    rounds: int,
    accel: str,
    telling: Callable[[str], None],
    note: Callable[[str], None],
) -> str:
    """Boot all in turn; the accelerator that was used."""
    times: dict[tuple[int, str], list[float]] = {}
    used = accel
    for turn in range(rounds):
        for number, each in enumerate(sets):
            telling(f"{each.name}: timing, {turn + 1} of {rounds}")
            with Session.boot(each.built.bootable(), Options(accel=accel), note=_nothing if times else note) as session:
                used = session.accel
                times.setdefault((number, "seconds_to_agent"), []).append(session.seconds_to_agent)
                first_output(session)
                times.setdefault((number, "seconds_to_output"), []).append(time.monotonic() - session.vmm.started)
    for (number, name), values in times.items():
        sets[number].figures[name] = round(statistics.median(values), 3)
    return used


def _nothing(text: str) -> None:
    """Said once is enough."""
