"""A file to translate: read as its own runtime reads it, and refused where that runtime would refuse it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path as File
from typing import Any

from ..errors import CheckError, InputError, Problem, Where
from ..spec.model import Dialect
from ..spec.suggest import did_you_mean
from .keys import tables
from .lint.dialect import guess
from .lint.document import Document
from .lint.files import Group, read_group, read_stdin
from .lint.findings import Finding, Place
from .lint.known import Known, known
from .lint.names import unknown_does, unknown_key
from .lint.positions import Path
from .lint.structure import Item, Parts, take_apart
from .lint.values import Context, value_findings
from .translate_values import Subject

_FATAL = ("wrong-type", "out-of-range", "not-finite")
_MACHINES = {"q35": "x86_64", "microvm": "x86_64", "virt": "aarch64", "s390-ccw-virtio": "s390x", "pseries": "ppc64le"}
_QEMU = re.compile(r"qemu-system-(x86_64|aarch64|s390x|ppc64)(?:le)?$")


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration as its runtime loads it: the documents with their parts, and its values by setting name.

    ``fragment``: a drop-in alone, which says only a part of what a runtime needs.
    """

    known: Known
    read: tuple[tuple[Document, Parts], ...]
    hypervisor: str
    facts: dict[str, Any]
    why_dialect: str
    fragment: bool


@dataclass(frozen=True, slots=True)
class Source:
    """What is to be translated: the documents with their parts, and what the translation is about."""

    subject: Subject
    known: Known
    read: tuple[tuple[Document, Parts], ...]
    why_dialect: str
    fragment: bool

    def items(self, index: int) -> dict[Path, Item]:
        """The keys of one document by path, those that the runtime does not know included."""
        return {item.path: item for item in self.read[index][1].items}


def load(
    group: Group, source: Dialect | None = None, target: Dialect | None = None, hypervisor: str | None = None
) -> Loaded:
    """What a runtime loads from a file and its drop-ins.

    ``source``: its dialect, ``target``: the other one, as far as the user gave them; ``hypervisor``: the table that
    counts. Raises InputError for what its runtime would not load.
    """
    _refuse(finding for document in group.documents for finding in document.findings)
    source, why = _dialect(group, source, target)
    _refuse(finding for finding in group.findings if finding.dialect in (None, source))
    own = known(source)
    read = tuple((document, take_apart(document, own)) for document in group.documents)
    _refuse(_mistakes(read, own))
    name = _hypervisor(read, own, hypervisor)
    return Loaded(own, read, name, _facts(read, name), why, group.base.drop_in)


def read_file(
    file: File | None,
    data: bytes | None,
    source: Dialect | None,
    target: Dialect | None,
    name: str | None,
    merged: bool,
) -> Source:
    """Read a file (or ``data`` from a pipe) that is to be translated; ``merged``: with the drop-ins beside it.

    Raises InputError as `load` does, CheckError for a VMM that the other runtime does not have.
    """
    group = read_stdin(data or b"") if file is None else read_group(file, drop_ins=merged)
    loaded = load(group, source, target, name)
    own, other, hypervisor = loaded.known, loaded.known.other, loaded.hypervisor
    if hypervisor not in known(other).hypervisors:
        where = next((_where(o.where) for _, p in loaded.read for o in p.owners if o.name == hypervisor), None)
        raise CheckError(
            f"the {tables().title(other)} has no {hypervisor}",
            where=where,
            hint=f"it has {', '.join(known(other).hypervisors)}",
        )
    subject = Subject(own.dialect, other, hypervisor, _arch(loaded.facts), loaded.facts)
    return Source(subject, own, loaded.read, loaded.why_dialect, loaded.fragment)


def _where(place: Place) -> Where:
    return Where(place.file, place.line, place.column)


def _refuse(findings: Iterator[Finding]) -> None:
    problems = [Problem(f.message, _where(f.where), f.hint) for f in findings if f.level == "error"]
    if problems:
        raise InputError.many(problems)


def _dialect(group: Group, source: Dialect | None, target: Dialect | None) -> tuple[Dialect, str]:
    base = group.base
    where = Where(base.file)
    if source:
        if source == target:
            raise InputError("--from and --to name the same dialect", hint="leave one of them out")
        return source, "said by --from"
    guessed, why = guess(base.file, base.tree or {})
    if guessed is None:
        if target:
            return known(target).other, "said by --to"
        raise InputError(
            "nothing in it tells which runtime it is for", where=where, hint="say so: --from go or --from rs"
        )
    if guessed == target:
        told = f"is in the dialect of the {tables().title(guessed)} already: it has {why}"
        raise InputError(told, where=where, hint=f"if it is not, give --from {known(guessed).other}")
    return guessed, why


def _mistakes(read: tuple[tuple[Document, Parts], ...], own: Known) -> Iterator[Finding]:
    """What makes the file's own runtime refuse it, so that it has no meaning to carry over."""
    for document, parts in read:
        for stray in parts.strays:
            if stray.expected:
                told = f"{stray.key} must be {stray.expected}"
                yield Finding("wrong-type", "error", told, stray.where)
        for owner in parts.owners:
            if owner.kind == "hypervisor" and owner.name not in own.hypervisors:
                told = f"the {own.title} knows no hypervisor {owner.name}, and refuses the file"
                hint = did_you_mean(owner.name, own.hypervisors) or f"it knows {', '.join(own.hypervisors)}"
                yield Finding("unknown-hypervisor", "error", told, owner.where, hint)
        for item in parts.items:
            if item.match:
                context = Context(own, item.owner, None)
                yield from (f for f in value_findings(item, context) if f.rule in _FATAL)
            elif unknown_does(own, item.table, drop_in=document.drop_in)[1]:
                yield replace(unknown_key(item, own), level="error")


def _hypervisor(read: tuple[tuple[Document, Parts], ...], own: Known, wanted: str | None) -> str:
    names = list(dict.fromkeys(o.name for _, parts in read for o in parts.owners if o.kind == "hypervisor"))
    base = Where(read[0][0].file)
    if wanted is not None:
        if names and wanted not in names:
            hint = did_you_mean(wanted, names) or f"it has {', '.join(names)}"
            raise InputError(f"has no table [hypervisor.{wanted}]", where=base, hint=hint)
        if wanted not in own.hypervisors:
            hint = did_you_mean(wanted, own.hypervisors) or f"it knows {', '.join(own.hypervisors)}"
            raise InputError(f"the {own.title} knows no hypervisor {wanted}", hint=hint)
        return wanted
    if not names:
        told = "has no [hypervisor.NAME] table, so nothing tells which VMM it is for"
        raise InputError(told, where=base, hint="say so: --hypervisor qemu")
    chosen = _named(read) if own.dialect == "rs" else None
    if chosen in names:
        return str(chosen)
    if chosen is not None:
        told = f"runtime.hypervisor_name is {chosen}, and there is no table [hypervisor.{chosen}]"
        raise InputError(told, where=base, hint=f"there is {', '.join(names)}")
    if len(names) > 1:
        does = "the Go runtime takes one of them at random" if own.dialect == "go" else "nothing says which one is used"
        told = f"has {len(names)} hypervisor tables, {', '.join(names)}; {does}"
        raise InputError(told, where=base, hint=f"say which one is meant: --hypervisor {names[0]}")
    return names[0]


def _named(read: tuple[tuple[Document, Parts], ...]) -> Any:
    items = [item for _, parts in read for item in parts.items if item.match]
    values = [i.value for i in items if i.match and i.match.setting.name == "runtime.hypervisor_name"]
    return values[-1] if values else None


def _facts(read: tuple[tuple[Document, Parts], ...], hypervisor: str) -> dict[str, Any]:
    """The file's values by setting name, drop-ins applied."""
    return {
        item.match.setting.name: item.value
        for _, parts in read
        for item in parts.items
        if item.match
        and not item.match.shadow
        and (not item.table.startswith("hypervisor") or item.owner == hypervisor)
    }


def _arch(facts: dict[str, Any]) -> str | None:
    machine = str(facts.get("machine_type") or "").lower()
    if machine in _MACHINES:
        return _MACHINES[machine]
    program = _QEMU.search(str(facts.get("path") or ""))
    return {"ppc64": "ppc64le"}.get(program.group(1), program.group(1)) if program else None
