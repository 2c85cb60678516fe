"""``kata-toolkit density``: what one more guest costs, and where each MiB goes."""

from __future__ import annotations

import json as json_module
import re
from pathlib import Path
from typing import Any

import typer

from . import live
from .boot import Accel

_MIB = 1024
_MOST = 200  # guests at the same time


def density(
    target: Path = typer.Argument(..., metavar="SPEC|DIR", help="A built set, or the spec it was built from."),
    vms: str = typer.Option("1,5,20", "--vms", metavar="N,N…", help="Numbers of guests that run at the same time."),
    way: list[str] = typer.Option(
        [], "--way", metavar="WAY", help="dax, virtio-blk, initrd or clone; can be repeated (default: all)."
    ),
    rounds: int = typer.Option(5, "--rounds", "-n", min=0, max=1000, help="Timed pairs of a cold boot and a clone."),
    burst: int = typer.Option(20, "--burst", min=0, max=200, help="Guests that are started at once; 0: none."),
    memory: int = typer.Option(256, min=32, metavar="MIB", help="Memory of each guest."),
    read: bool = typer.Option(False, "--read", help="Each guest first reads every file of its root, as if at work."),
    shared: bool = typer.Option(
        False, "--shared-memory", help="Memory of booted guests as virtio-fs needs it, without huge pages."
    ),
    accel: Accel = typer.Option("auto", help="KVM where it truly works, else TCG; or one of them."),
    json: bool = typer.Option(False, "--json", help="One JSON document on stdout."),
) -> None:
    """Measure how many guests fit: memory of 1, 5, 20 of them, booted and cloned, and the parts it is made of.

    Memory is shared between guests: PSS counts each page by its share, so it adds up. Times are this host's; under
    TCG only their ratios mean something. Can be interrupted at any time: no guest stays behind.
    """
    from ..vm.density import Density, Request
    from .boot_guest import find_set

    request = Request(_counts(vms), _ways(way), rounds, burst, accel.value, memory, read, shared)
    built = find_set(target)
    with live.telling(live=not json) as telling:
        found = Density(built, request, telling, live.note).measure()
    _keep(built.folder, found)
    if json:
        typer.echo(json_module.dumps(found, indent=2))
    else:
        _print(found)


def _keep(folder: Path, found: dict[str, Any]) -> None:
    """Put what was measured into the set's report, where that can be written."""
    from ..errors import ToolError
    from ..report.files import DENSITY, folder_of
    from ..report.save import renew, write

    try:
        write(folder_of(folder) / DENSITY, (json_module.dumps(found, indent=1) + "\n").encode())
        renew(folder)
    except ToolError as error:
        live.note(f"not kept in the report: {error.problems[0].message}")


def _counts(text: str) -> tuple[int, ...]:
    from ..errors import InputError

    words = [word.strip() for word in text.split(",")]
    if not all(re.fullmatch("[0-9]{1,3}", word) and 1 <= int(word) <= _MOST for word in words):
        raise InputError(f"--vms {text}: numbers from 1 to {_MOST} with commas between are wanted", hint="--vms 1,5,20")
    return tuple(sorted({int(word) for word in words}))


def _ways(names: list[str]) -> tuple[str, ...]:
    from ..errors import InputError
    from ..vm.density import WAYS

    unknown = [name for name in names if name not in WAYS]
    if unknown:
        raise InputError(f"--way {unknown[0]}: there is no such way", hint=f"there are: {', '.join(WAYS)}")
    return tuple(way for way in WAYS if way in names or not names)


def _print(found: dict[str, Any]) -> None:
    how = "KVM" if found["accel"] == "kvm" else f"TCG (emulation, {found['tb_mib']} MiB of translated code)"
    files = "; each has read all of its files" if found["read"] else ""
    typer.echo(f"{found['set']}: guests of {found['memory_mib']} MiB under {how}; memory in MiB{files}\n")
    typer.echo(f"{'guests':<12}{'number':>7}{'PSS':>9}{'RSS':>9}{'shared':>9}{'the last: PSS':>15}{'own':>8}")
    for way, measured in found["ways"].items():
        for row in measured["vms"]:
            total, last = row["total"], row["last"]
            typer.echo(
                f"{way:<12}{row['count']:>7}{_mib(total['pss_kib']):>9}{_mib(total['rss_kib']):>9}"
                f"{_mib(total['shared_kib']):>9}{_mib(last['pss_kib']):>15}{_mib(last['private_kib']):>8}"
            )
    for way, reason in found["skipped"].items():
        typer.echo(f"{way:<12}not measured: {reason}")
    _print_parts(found)
    _print_pods(found)
    _print_times(found)


def _print_parts(found: dict[str, Any]) -> None:
    ways = found["ways"]
    if ways:
        most = max(row["count"] for row in next(iter(ways.values()))["vms"])
        typer.echo(f"\n{f'guest {most} by part, PSS':<26}" + "".join(f"{way:>12}" for way in ways))
        lasts = [measured["vms"][-1]["last_parts_kib"] for measured in ways.values()]
        for part in lasts[0]:
            typer.echo(f"{part:<26}" + "".join(f"{_mib(last[part]):>12}" for last in lasts))
    parts = found["guest"]["parts_kib"]
    if parts:
        typer.echo(f"\ninside a guest of {found['guest']['memory_mib']} MiB")
        for part, kib in parts.items():
            typer.echo(f"{part:<26}{_mib(kib):>12}")


def _print_pods(found: dict[str, Any]) -> None:
    typer.echo(f"\n{'a pod, a container run':<26}{'guest':>9}{'VMM':>9}{'virtiofsd':>11}{'in all':>9}")
    for pod in found["pods"]:
        daemon = "-" if pod["virtiofsd_kib"] is None else _mib(pod["virtiofsd_kib"])
        typer.echo(
            f"{pod['memory_mib']:>6} MiB{'':<16}{_mib(pod['guest_kib']):>9}{_mib(pod['vmm_kib']):>9}{daemon:>11}"
            f"{pod['total_mib']:>9.1f}"
        )
    upstream = ", ".join(f"{mib} MiB ({name})" for name, mib in found["upstream_mib"].items())
    typer.echo(f"upstream's RuntimeClasses reserve {upstream}")


def _print_times(found: dict[str, Any]) -> None:
    template, burst = found["template"], found["burst"]
    if template and "rounds" in template:
        typer.echo(
            f"\nfrom start to ready: cold {template['cold_seconds']:.3f} s, clone {template['clone_seconds']:.3f} s, "
            f"ratio {template['clone_to_cold']:.3f} (median of {template['rounds']} pairs)"
        )
    for kind in ("cold", "clone"):
        if burst and kind in burst:
            row = burst[kind]
            typer.echo(
                f"{burst['vms']} guests at once, {kind}: first output of a container after {row['p50_seconds']:.2f} s "
                f"(p50), {row['p99_seconds']:.2f} s (p99)"
            )


def _mib(kib: int) -> str:
    return f"{kib / _MIB:.1f}"
