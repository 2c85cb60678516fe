"""Which hypervisor and which agent a configuration uses, and what is wrong with that choice."""

from __future__ import annotations

from collections.abc import Iterator

from ...spec.suggest import nearest
from .findings import Finding, Level, Place
from .merged import Merged
from .structure import Owner


def table_findings(merged: Merged) -> Iterator[Finding]:
    """What is wrong with the tables that have names of their own."""
    yield from _unknown_hypervisors(merged)
    if merged.lone:
        return
    if merged.known.dialect == "go":
        yield from _several(merged, "hypervisor", "several-hypervisors")
        yield from _several(merged, "agent", "several-agents")
        if not merged.owners("hypervisor"):
            does = "the Go runtime takes its built-in settings for QEMU"
            yield _found(merged, "no-hypervisor", "warning", "there is no hypervisor table", merged.top(), None, does)
    else:
        yield from _named_hypervisor(merged)
        yield from _named_agent(merged)


def _found(
    merged: Merged,
    rule: str,
    level: Level,
    message: str,
    where: Place,
    hint: str | None,
    does: str,
    related: tuple[tuple[Place, str], ...] = (),
) -> Finding:
    return Finding(rule, level, message, where, hint, does, merged.known.dialect, related)


def _unknown_hypervisors(merged: Merged) -> Iterator[Finding]:
    known = merged.known
    for name, owner in merged.owners("hypervisor").items():
        if name in known.hypervisors:
            continue
        told = f"the {known.title} knows no hypervisor {name}"
        if name.lower() in known.hypervisors:
            hint = f"write [hypervisor.{name.lower()}]: the name is case-sensitive"
        else:
            near = nearest({"cloud-hypervisor": "clh", "fc": "firecracker"}.get(name, name), known.hypervisors)
            listed = ", ".join(known.hypervisors)
            hint = f"did you mean [hypervisor.{near}]? There is: {listed}" if near else f"there is: {listed}"
        does = f"the {known.title} refuses the configuration"
        yield _found(merged, "unknown-hypervisor", "error", told, owner.where, hint, does)


def _several(merged: Merged, kind: str, rule: str) -> Iterator[Finding]:
    owners = list(merged.owners(kind).values())
    for owner in owners[1:]:
        told = f"[{kind}.{owner.name}] beside {_listed(owners, owner)}"
        does = f"the {merged.known.title} uses one of them, at random"
        related = tuple((other.where, f"[{kind}.{other.name}]") for other in owners if other is not owner)
        hint = f"keep one [{kind}.…] table in a file"
        yield _found(merged, rule, "error", told, owner.where, hint, does, related)


def _listed(owners: list[Owner], but: Owner) -> str:
    return " and ".join(f"[{owner.kind}.{owner.name}]" for owner in owners if owner is not but)


def _named_hypervisor(merged: Merged) -> Iterator[Finding]:
    owners = merged.owners("hypervisor")
    item = merged.runtime("hypervisor_name")
    does = "the Rust runtime finds no hypervisor and does not start"
    if item is None or item.value == "":
        where = item.value_where if item else merged.table("runtime")
        hint = f'write hypervisor_name = "{next(iter(owners), "qemu")}" in [runtime]'
        yield _found(merged, "no-hypervisor", "error", "runtime.hypervisor_name is missing", where, hint, does)
    elif isinstance(item.value, str) and item.value not in owners:
        told = f"runtime.hypervisor_name names {item.value}, and there is no [hypervisor.{item.value}]"
        near = nearest(item.value, owners) or next(iter(owners), None)
        hint = f'write "{near}", or add the table' if near else "add the table"
        yield _found(merged, "no-hypervisor", "error", told, item.value_where, hint, does)
    elif isinstance(item.value, str):
        for name, owner in owners.items():
            if name != item.value and name in merged.known.hypervisors:
                told = f"[hypervisor.{name}] is not in use: runtime.hypervisor_name is {item.value}"
                does = "the Rust runtime checks it, and refuses the configuration where it has no plugin for it"
                related = ((item.value_where, "the name"),)
                yield _found(merged, "unused-hypervisor", "note", told, owner.where, "remove it", does, related)


def _named_agent(merged: Merged) -> Iterator[Finding]:
    owners = merged.owners("agent")
    item = merged.runtime("agent_name")
    does = "the Rust runtime finds no agent and does not start"
    if item is None or item.value == "":
        where = item.value_where if item else merged.table("runtime")
        yield _found(
            merged, "agent-name", "error", "runtime.agent_name is missing", where, 'write agent_name = "kata"', does
        )
    elif isinstance(item.value, str) and item.value not in owners:
        told = f"runtime.agent_name names {item.value}, and there is no [agent.{item.value}]"
        yield _found(merged, "agent-name", "error", told, item.value_where, f"add [agent.{item.value}]", does)
