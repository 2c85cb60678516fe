"""The checks that need no logic: ``schemas/host-checks.json``, one entry a check, read when the table is made."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from .. import resources
from ..checks import PASS, SKIP, Verdict
from . import devices
from .entry import HostCheck
from .host import Host

Rule = Mapping[str, Any]


def checks() -> tuple[HostCheck, ...]:
    """An entry of the table for each entry of the data."""
    data = json.loads(resources.resource("schemas", "host-checks.json").read_bytes())
    return tuple(_check(entry) for entry in data["checks"])


def _check(entry: Rule) -> HostCheck:
    rule = entry["rule"]
    judge, reads = _KINDS[rule["kind"]]

    def run(host: Host) -> Verdict:
        verdict = judge(host, rule)
        if verdict.status == PASS:
            return verdict
        remedy = verdict.remedy or (None if verdict.status == SKIP else entry["remedy"])
        if remedy and "or_else" in entry:
            remedy = f"{remedy}; {entry['or_else']}"
        return Verdict(verdict.status, verdict.detail, remedy)

    return HostCheck(
        entry["id"],
        entry["title"],
        run,
        entry["why"],
        entry["subject"],
        reads(rule),
        entry["remedy"],
        tuple(entry.get("arches", ())),
        _condition(entry),
    )


def _condition(entry: Rule) -> Callable[[Host], bool] | None:
    module, when = entry.get("module"), entry.get("when")
    if module:
        return lambda host: host.kvm_module == module
    if when:
        return lambda host: bool(getattr(host.wanted, when))
    return None


def _value(host: Host, rule: Rule) -> Verdict:
    text = host.text(rule["file"])
    if text is not None and rule.get("bracketed"):
        text = text.partition("[")[2].partition("]")[0] or text
    verdicts = {**rule["verdicts"], **(rule.get("in_vm", {}) if host.is_vm else {})}
    return _said(verdicts, text)


def _argument(host: Host, rule: Rule) -> Verdict:
    return _said(rule["verdicts"], host.argument(rule["argument"]))


def _said(verdicts: Mapping[str, list[str]], value: str | None) -> Verdict:
    unknown = [SKIP, "{value}: what that means is not known"]
    status, detail = verdicts["absent"] if not value else verdicts.get(value, verdicts.get("*", unknown))
    return Verdict(status, detail.replace("{value}", value or ""))


def _least(host: Host, rule: Rule) -> Verdict:
    number = host.number(rule["file"])
    if number is None:
        return Verdict(SKIP, rule["absent"])
    status, detail = (PASS, rule["good"]) if number >= rule["least"] else rule["bad"]
    return Verdict(status, detail.replace("{value}", str(number)).replace("{least}", str(rule["least"])))


def _device(host: Host, rule: Rule) -> Verdict:
    return devices.device(host, rule["device"], rule["module"], rule["option"], rule["status"])


def _modules(host: Host, rule: Rule) -> Verdict:
    return devices.modules(host, rule["modules"], rule["status"])


def _file(rule: Rule) -> tuple[str, ...]:
    return (rule["file"],)


_KINDS: Mapping[str, tuple[Callable[[Host, Rule], Verdict], Callable[[Rule], tuple[str, ...]]]] = {
    "value": (_value, _file),
    "argument": (_argument, lambda rule: (f"/proc/cmdline: {rule['argument']}",)),
    "least": (_least, _file),
    "device": (_device, lambda rule: (rule["device"], f"/sys/module/{rule['module']}", "/lib/modules/RELEASE")),
    "modules": (_modules, lambda rule: (*(f"/sys/module/{m}" for m in rule["modules"]), "/lib/modules/RELEASE")),
}
"""By kind of rule: what judges it, and what it reads."""
