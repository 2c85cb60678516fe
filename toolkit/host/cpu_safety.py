"""Checks of what lets guests read each other's data through the processor, and of its threads."""

from __future__ import annotations

import re

from ..checks import FAIL, PASS, WARN, Skipped, Verdict
from .entry import HostCheck
from .host import Host

_CPUS = "/sys/devices/system/cpu"
_VULNERABILITIES = f"{_CPUS}/vulnerabilities"
_POWER = re.compile(r"POWER([0-9]+)", re.ASCII)
_LAST_POWER_WITHOUT_THREADS = 8  # from POWER9 on, KVM runs guests while the host uses all threads


def threads(host: Host) -> Verdict:
    """Whether cores run several threads. POWER8 cannot run guests so; elsewhere it is a matter of trust."""
    active = _threads_used(host)
    found = next((_POWER.search(block.get("cpu", "")) for block in host.processors), None)
    power = int(found[1]) if found else None
    if host.machine == "ppc64le" and power is not None:
        host.note("/proc/cpuinfo", f"POWER{power}")
        if power <= _LAST_POWER_WITHOUT_THREADS:
            return _power8(active)
    if active is None:
        raise Skipped("the kernel does not say whether cores run several threads")
    return Verdict(PASS, "cores run several threads (SMT)" if active else "cores run one thread each")


def _power8(active: bool | None) -> Verdict:
    if active is None:
        raise Skipped("POWER8 runs guests with SMT off only, and the kernel does not say", "ppc64_cpu --smt")
    if active:
        return Verdict(FAIL, "SMT is on, and KVM on POWER8 needs it off", "sudo ppc64_cpu --smt=off")
    return Verdict(PASS, "SMT is off, as KVM on POWER8 needs it")


def _threads_used(host: Host) -> bool | None:
    if (active := host.text(f"{_CPUS}/smt/active")) in ("0", "1"):
        return active == "1"
    lists = [
        host.text(f"{_CPUS}/{name}/topology/thread_siblings_list")
        for name in host.names(_CPUS)
        if re.fullmatch(r"cpu[0-9]+", name)
    ]
    known = [text for text in lists if text]
    return any("," in text or "-" in text for text in known) if known else None


def vulnerabilities(host: Host) -> Verdict:
    """What the kernel says of the processor's weaknesses: none may be left open between guests."""
    names = host.names(_VULNERABILITIES)
    if not names:
        raise Skipped("the kernel does not list them", "a kernel of 4.15 or later")
    texts = {name: host.text(f"{_VULNERABILITIES}/{name}") or "" for name in names}
    open_ones = [name for name, text in texts.items() if text.removeprefix("KVM: ").startswith("Vulnerable")]
    by_threads = [name for name, text in texts.items() if "SMT vulnerable" in text and name not in open_ones]
    if open_ones:
        return Verdict(
            WARN,
            f"open: {', '.join(open_ones)}",
            "sudo apt-get install intel-microcode amd64-microcode, remove mitigations=off from the kernel's command "
            "line, then restart (in a VM: on the host below)",
        )
    if by_threads:
        return Verdict(
            WARN,
            f"between two threads of a core: {', '.join(by_threads)}",
            "where guests do not trust each other: echo off | sudo tee /sys/devices/system/cpu/smt/control",
        )
    return Verdict(PASS, f"none of {len(names)} is open")


CHECKS = (
    HostCheck(
        "smt",
        "threads of a core",
        threads,
        "KVM on POWER8 runs guests only with SMT off; elsewhere two guests on one core share its caches.",
        "processor",
        (f"{_CPUS}/smt/active", f"{_CPUS}/cpuN/topology/thread_siblings_list", "/proc/cpuinfo"),
        "sudo ppc64_cpu --smt=off",
    ),
    HostCheck(
        "cpu-vulnerabilities",
        "processor vulnerabilities",
        vulnerabilities,
        "An open one lets a guest read the memory of others, which is what its VM is there against.",
        "processor",
        (f"{_VULNERABILITIES}/*",),
        "sudo apt-get install intel-microcode amd64-microcode, then restart",
    ),
)
