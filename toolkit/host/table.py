"""The host checks, in the order they are made and shown."""

from __future__ import annotations

from dataclasses import replace

from ..checks import Report
from . import (
    arm,
    cgroups,
    conf_file,
    confidential,
    cpu,
    cpu_safety,
    devices,
    installed,
    kernel,
    kvm,
    leftovers,
    managers,
    memory,
    nesting,
    passthrough,
    program_data,
    programs,
    purposes,
    rules,
    security,
)
from .entry import HostCheck
from .host import Host

SUBJECTS = (
    "processor",
    "KVM",
    "devices",
    "kernel",
    "memory",
    "cgroups",
    "passthrough",
    "confidential",
    "programs",
    "managers",
    "security",
    "installed",
)

_OF_GUESTS = ("processor", "KVM", "devices", "memory", "passthrough", "confidential")

_ALL = (
    *cpu.CHECKS,
    *cpu_safety.CHECKS,
    *kvm.CHECKS,
    *nesting.CHECKS,
    *arm.CHECKS,
    *devices.CHECKS,
    *kernel.CHECKS,
    *memory.CHECKS,
    *cgroups.CHECKS,
    *passthrough.CHECKS,
    *confidential.CHECKS,
    *programs.CHECKS,
    *managers.CHECKS,
    *conf_file.CHECKS,
    *security.CHECKS,
    *installed.CHECKS,
    *leftovers.CHECKS,
    *rules.checks(),
)

CHECKS: tuple[HostCheck, ...] = tuple(sorted(_ALL, key=lambda entry: SUBJECTS.index(entry.subject)))


def checks_for(host: Host) -> tuple[HostCheck, ...]:
    """Those that are made here: all but what belongs to other architectures, or to guests that run elsewhere."""
    left_out = _OF_GUESTS if host.wanted.elsewhere else ()
    purpose = purposes.purposes().get(host.wanted.purpose or "")
    unasked = purpose.left_out if purpose else ()
    entries = (entry for entry in CHECKS if entry.subject not in left_out and entry.id not in unasked)
    return tuple(entry for entry in entries if entry.applies(host))


def check(host: Host) -> Report:
    """Make every check, in well under 1.5 s. Changes nothing on the host."""
    host.measurements["processors"] = len(host.processors)
    program_data.ask_ahead(host)
    entries = checks_for(host)
    host.noted()  # what deciding that took is no check's
    purpose = purposes.purposes().get(host.wanted.purpose or "")
    verdicts = {}
    for entry in entries:
        verdict = entry.verdict(host)
        counts = purpose.judged(entry.id, verdict) if purpose else verdict
        verdicts[entry.id] = replace(counts, read=host.noted())
    return Report(verdicts, dict(host.measurements), why={entry.id: entry.why for entry in entries})
