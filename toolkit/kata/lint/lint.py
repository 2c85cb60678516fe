"""Lints one configuration: for the runtime that reads it, every finding at once."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from ...spec.model import Dialect
from ..keys import DIALECTS, tables
from . import host as host_module
from .dialect import guess
from .files import Group
from .findings import Finding, Place, in_order
from .known import Known, known
from .merged import Merged, merge
from .names import known_key, stray, unknown_key
from .structure import Item
from .tables import table_findings
from .together import conflicts
from .values import Context, value_findings

Wanted = Literal["auto", "go", "rs", "both"]

_GUESSES = 200
"""Unknown keys for which the nearest known one is looked up: a file with more is another kind of file."""


@dataclass(frozen=True, slots=True)
class Options:
    """What a configuration is judged for.

    ``kata``: the version, None: the newest that the tables describe. ``arch``: Kata's name (``x86_64``), None: what
    the file itself tells. ``host``: look at this host's files, too.
    """

    dialect: Wanted = "auto"
    kata: str | None = None
    arch: str | None = None
    host: bool = False


@dataclass(frozen=True, slots=True)
class Report:
    """What was found in one configuration; ``because``: how the dialect was told."""

    file: str
    dialects: tuple[Dialect, ...]
    because: str
    drop_ins: tuple[str, ...]
    findings: tuple[Finding, ...]


def lint(group: Group, options: Options | None = None) -> Report:
    """Everything that is to be said about a configuration, in the order of its files and lines."""
    options = options or Options()
    dialects, because, findings = _dialects(group, options.dialect)
    findings = [f for document in group.documents for f in document.findings] + findings
    findings += [f for f in group.findings if f.dialect is None or f.dialect in dialects]
    versions = tables().dialects["kata"]["versions"]
    kata = options.kata or str(versions[-1])
    if ".".join(kata.split(".")[:2]) not in versions:
        told = f"the keys were read from Kata {', '.join(versions)}: what is different in {kata} is not known"
        findings.append(Finding("other-version", "note", told, Place(group.base.file, 1, 1, 1, 1)))
    if any(document.tree is not None for document in group.documents):
        for dialect in dialects:
            findings += _lint(group, known(dialect), kata, options)
    files = [document.file for document in group.documents]
    return Report(group.base.file, dialects, because, tuple(files[1:]), tuple(_by_file(findings, files)))


def _by_file(findings: Sequence[Finding], files: Sequence[str]) -> list[Finding]:
    rank = {file: number for number, file in enumerate(files)}
    return in_order(sorted(findings, key=lambda f: rank.get(f.where.file, len(files))))


def _dialects(group: Group, wanted: Wanted) -> tuple[tuple[Dialect, ...], str, list[Finding]]:
    if wanted == "both":
        return DIALECTS, "--dialect", []
    if wanted != "auto":
        return (wanted,), "--dialect", []
    because = ""
    for document in group.documents:
        dialect, because = guess(document.file, document.tree or {})
        if dialect:
            return (dialect,), because, []
    if group.base.tree is None:
        return DIALECTS, because, []
    where = Place(group.base.file, 1, 1, 1, 1)
    if group.base.drop_in:
        told = "nothing says which runtime reads this drop-in: it is held to both"
        return DIALECTS, because, [Finding("dialect-assumed", "note", told, where, "say so: --dialect go or rs")]
    told = "taken for a file of the Go runtime: it has no runtime.hypervisor_name, which the Rust runtime needs"
    found = Finding("dialect-assumed", "note", told, where, "say so: --dialect go or rs")
    return ("go",), "no runtime.hypervisor_name, which the Rust runtime needs", [found]


def _lint(group: Group, of: Known, kata: str, options: Options) -> Iterator[Finding]:
    merged, twice = merge(group, of)
    yield from twice
    for parts in merged.parts:
        for number, one in enumerate(parts.strays):
            yield stray(one, of, guess=number < _GUESSES)
    yield from table_findings(merged)
    arch = options.arch or _arch(merged)
    unusable: list[Item] = []
    unknown = [item for item in merged.items if item.match is None]
    guessed = {id(item) for item in unknown[:_GUESSES]}
    for item in merged.items:
        if item.match is None:
            yield unknown_key(item, of, guess=id(item) in guessed)
        else:
            yield from _item(item, merged, kata, arch, unusable)
    yield from _missing(merged, unusable)
    yield from conflicts(merged, arch, unusable, host=options.host)
    if options.host and not merged.lone:
        yield from host_module.host_findings(merged, unusable)


def _item(item: Item, merged: Merged, kata: str, arch: str | None, unusable: list[Item]) -> Iterator[Finding]:
    hypervisor = merged.hypervisor_of(item)
    yield from known_key(item, merged.known, hypervisor, kata)
    counts = merged.effective.get(item.identity, item) is item
    found = list(value_findings(item, Context(merged.known, hypervisor, arch, counts)))
    if item.key == "virtio_fs_cache" and merged.known.dialect == "rs" and not _shares(merged, item.owner):
        found = [_unchecked(finding) if finding.rule == "not-allowed" else finding for finding in found]
    yield from found
    if any(finding.level == "error" for finding in found):
        unusable.append(item)


def _shares(merged: Merged, hypervisor: str | None) -> bool:
    """Whether files are shared by virtio-fs in the Rust runtime; left out, ``shared_fs`` is none there."""
    item = merged.effective.get(("hypervisor", hypervisor, "shared_fs"))
    return item is not None and item.value != "none"


def _unchecked(finding: Finding) -> Finding:
    return replace(finding, level="warning", does="the Rust runtime looks at it only with shared_fs of virtio-fs")


def _missing(merged: Merged, unusable: list[Item]) -> Iterator[Finding]:
    """Elements of arrays of tables that lack what they need."""
    of = merged.known
    for item in merged.items:
        if not item.match or item.match.side.type != "tables" or not isinstance(item.value, list):
            continue
        keys = of.by_table.get(f"{item.table}.{item.match.side.key}", {})
        for index, element in enumerate(item.value):
            for key, match in keys.items() if isinstance(element, dict) else ():
                names = {name.lower() for name in element} if of.any_case else set(element)
                if match.side.required and key not in names:
                    where = item.document.value_place((*item.path, index))
                    told = f"an element of {item.key} has no {key}"
                    does = f"the {of.title} refuses to load the file"
                    unusable.append(item)
                    yield Finding("missing-key", "error", told, where, f"add {key} = …", does, of.dialect)


# What a file tells of the machine it is for.
_PROGRAMS = {"qemu-system-x86_64": "x86_64", "qemu-system-aarch64": "aarch64"}
_PROGRAMS |= {"qemu-system-s390x": "s390x", "qemu-system-ppc64": "ppc64le", "qemu-system-riscv64": "riscv64"}
_MACHINES = {"q35": "x86_64", "microvm": "x86_64", "pseries": "ppc64le", "s390-ccw-virtio": "s390x"}


def _arch(merged: Merged) -> str | None:
    """The architecture that the VMM's name or the machine type tells, or None."""
    for (table, _, key), item in merged.effective.items():
        if table == "hypervisor" and key == "path" and isinstance(item.value, str):
            for program, arch in _PROGRAMS.items():
                if item.value.rpartition("/")[2].startswith(program):
                    return arch
    for (table, _, key), item in merged.effective.items():
        if table == "hypervisor" and key == "machine_type" and isinstance(item.value, str):
            return _MACHINES.get(item.value)
    return None


def texts(group: Group) -> dict[str, str]:
    """The text of each file of a configuration, for showing lines of it: with no line breaks but TOML's own."""
    return {d.file: _ODD_BREAKS.sub("\ufffd", d.text.replace("\r\n", "\n")) for d in group.documents}


_ODD_BREAKS = re.compile("[\r\x85\u2028\u2029]")
