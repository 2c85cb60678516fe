"""``kata-toolkit size``: what VM a container or a pod becomes."""

from __future__ import annotations

import json as json_module
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from ..kata.size import Machine
    from ..kata.size_settings import Settings
    from ..kata.size_workload import Workload

_MIB = 1 << 20


def size(
    files: list[Path] = typer.Argument(
        ..., metavar="FILE…", readable=False, help="OCI config.json, or pods' YAML; -: a pipe."
    ),
    config: list[Path] = typer.Option([], "--config", metavar="TOML", readable=False, help="A Kata configuration."),
    built: Path = typer.Option(None, "--set", metavar="DIR", readable=False, help="A set's configurations."),
    spec: Path = typer.Option(None, "--spec", metavar="SPEC", readable=False, help="The configurations of a spec."),
    flavour: str = typer.Option("qemu", "--hypervisor", metavar="NAME", help="Whose stock settings, if no others."),
    json: bool = typer.Option(False, "--json", help="One JSON document on stdout."),
) -> None:
    """Show what VM a container or a pod becomes, in each runtime as it really does it.

    FILE is an OCI config.json, or a manifest with pods or what makes them (Deployment, Job, …). Without --config, --set
    or --spec, the settings are Kata's own. Exits with 1 when a runtime would refuse it.
    """
    from ..kata.size import size as machine_of
    from ..kata.size_read import read_files

    settings = _settings(config, built, spec, flavour)
    workloads = read_files(files)
    found = [(workload, [machine_of(workload, one) for one in settings]) for workload in workloads]
    if json:
        document = {"version": 1, "workloads": [_document(workload, machines) for workload, machines in found]}
        typer.echo(json_module.dumps(document, indent=2, ensure_ascii=False))
    else:
        for number, (workload, machines) in enumerate(found):
            typer.echo("\n" if number else "", nl=False)
            _print(workload, machines)
    if any(machine.fails for _, machines in found for machine in machines):
        raise typer.Exit(1)


def _settings(config: list[Path], built: Path | None, spec: Path | None, flavour: str) -> list[Settings]:
    from ..kata.size_settings import of_config, of_set, of_spec, stock
    from ..spec.load import load_spec

    found = [of_config(file) for file in config]
    found += of_set(built) if built else []
    found += of_spec(load_spec(spec)) if spec else []
    return found or stock(flavour)


def _document(workload: Workload, machines: list[Machine]) -> dict[str, object]:
    overhead = workload.overhead
    return {
        "name": workload.name,
        "kind": workload.kind,
        "file": workload.where.file,
        "line": workload.where.line or None,
        "column": workload.where.column or None,
        "runtime_class": workload.runtime_class,
        "overhead": {"memory": overhead.memory, "cpus": float(overhead.cpus)} if overhead else None,
        "containers": [{"name": c.name, "role": c.role, **c.limits.as_json()} for c in workload.containers],
        "total": workload.total.as_json(),
        "notes": list(workload.notes),
        "machines": [machine.as_json() for machine in machines],
    }


def _print(workload: Workload, machines: list[Machine]) -> None:
    typer.echo(_clean(f"{workload.kind} {workload.name} ({workload.where})"))
    rows: list[tuple[str, ...]] = [("container", "CPUs", "memory")]
    for container in workload.containers:
        limits = container.limits
        role = "" if container.role == "container" else f" ({container.role})"
        rows.append((container.name + role, _cpus(limits.cpus), f"{limits.mib} MiB" if limits.memory else "no limit"))
    if len(workload.containers) > 1:
        total = workload.total
        rows.append(("together", _cpus(total.cpus), f"{total.mib} MiB" if total.memory else "no limit"))
    _table(rows)
    if workload.overhead:
        overhead = workload.overhead
        typer.echo(f"  overhead of the RuntimeClass: {float(overhead.cpus):g} CPU, {overhead.memory / _MIB:g} MiB")
    for note in workload.notes:
        typer.echo(_clean(f"  note: {note}"))
    labels = {machine.settings.label for machine in machines}
    for label in sorted(labels) if len(labels) == 1 else []:
        typer.echo(_clean(f"\n  with {label}"))
    rows = [("runtime", "boots with", "becomes", "slots")]
    rows += [_row(machine) for machine in machines]
    typer.echo("")
    _table(rows)
    for machine in machines:
        lines = [*machine.steps, *(f"warning: {text}" for text in machine.warnings)]
        lines += [f"fails: {machine.fails}"] if machine.fails else []
        where = f", {machine.settings.label}" if len(labels) > 1 else ""
        typer.echo(_clean(f"\n  {_title(machine)}{where}"))
        for line in lines:
            typer.echo(_clean(f"    {line}"))


def _row(machine: Machine) -> tuple[str, str, str, str]:
    slots = f"{machine.slots[0]} of {machine.slots[1]}" if machine.slots else ""
    if machine.fails:
        return _title(machine), "", "does not start", slots
    return (
        _title(machine),
        f"{machine.boot_vcpus} vCPU, {machine.boot_memory} MiB",
        f"{machine.vcpus} vCPU, {machine.memory} MiB",
        slots,
    )


def _title(machine: Machine) -> str:
    return f"{machine.settings.title}, {machine.settings.hypervisor}, {machine.mode}"


def _cpus(cpus: float) -> str:
    return f"{round(cpus, 3):g}" if cpus else "no limit"


def _table(rows: list[tuple[str, ...]]) -> None:
    widths = [max(len(_clean(row[column])) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = (f"{_clean(cell):<{width}}" for cell, width in zip(row, widths, strict=True))
        typer.echo(f"  {'  '.join(cells)}".rstrip())


def _clean(text: str) -> str:
    """Without what would do something to a terminal: names come from files that anybody may have written."""
    return "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text)
