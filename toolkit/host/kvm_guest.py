"""Does KVM work? Found out by running a small 64-bit guest, since a host can create VMs in which no Linux boots.

The guest (`kvm_code`) runs in a process of its own (`kvm_child`) under a time limit: a broken KVM hangs, kills the
process or stops with an internal error, and each of these is told apart.
"""

from __future__ import annotations

import json
import platform
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import run
from ..errors import ToolError
from . import kvm_code as code

KVM_API_VERSION = 12  # the only one since Linux 2.6.22
GUEST_SECONDS = 2.0
_X86 = ("x86_64", "amd64")

# Exit reasons and internal errors: linux/kvm.h.
_HLT, _INTERNAL_ERROR = 5, 17
_EXITS = {
    0: "stopped for a reason unknown to KVM",
    1: "was stopped by an exception",
    6: "used memory that it does not have",
    _HLT: "halted too early",
    8: "shut down (triple fault)",
    9: "could not be entered by the processor",
    24: "sent a system event",
}
_INTERNAL_ERRORS = {
    1: "an instruction could not be emulated",
    2: "two exceptions at once",
    3: "an event could not be delivered",
    4: "an exit that KVM does not expect",
}
_EXCEPTIONS = {0: "#DE", 6: "#UD", 7: "#NM", 8: "#DF", 10: "#TS", 11: "#NP", 12: "#SS", 13: "#GP", 14: "#PF"}


@dataclass(frozen=True, slots=True)
class KvmVerdict:
    """Whether guests run under KVM here, and in words what happened.

    ``kind``: "runs", "created" (a VM was made but no guest is tried on this architecture), or why not: "absent",
    "denied", "busy", "refused", "broken", "hangs", "killed". ``ipa_bits``: on arm64, of a guest's physical addresses;
    0: the kernel knows only 40; None: not asked.
    """

    ok: bool
    detail: str
    kind: str
    ipa_bits: int | None = None


def kvm_usable(timeout_s: float = GUEST_SECONDS) -> KvmVerdict:
    """Try KVM, in well under 0.1 s where it works; after ``timeout_s`` seconds it counts as hanging."""
    runs_guest = platform.machine() in _X86
    arguments = ["run", json.dumps(_layout())] if runs_guest else ["create"]
    child = Path(__file__).with_name("kvm_child.py")
    try:
        process = run.spawn(
            # -I -S: neither the user's environment nor site-packages; nothing but the standard library is needed.
            [sys.executable, "-I", "-S", str(child), *arguments],
            stdin=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
    except ToolError as error:
        return KvmVerdict(False, f"could not be tried: {error}", "refused")
    hangs = False
    with process:
        try:
            output, _ = process.communicate(code.guest_memory() if runs_guest else b"", timeout=timeout_s)
        except subprocess.TimeoutExpired:
            run.stop(process)
            output, hangs = process.communicate()[0], True
        finally:
            run.stop(process)
    events = _events(output)
    if hangs:
        return KvmVerdict(False, f"{_place(events)} hangs: no answer within {timeout_s:g} s", "hangs")
    return judge(events, process.returncode)


def _layout() -> dict[str, int]:
    return {
        "code": code.CODE,
        "code_selector": code.CODE_SELECTOR,
        "cr3": code.PML4,
        "data_selector": code.DATA_SELECTOR,
        "gdt": code.GDT,
        "gdt_limit": 8 * code.GDT_ENTRIES - 1,
        "idt": code.IDT,
        "idt_limit": 16 * code.IDT_ENTRIES - 1,
        "stack": code.STACK,
        "tss": code.TSS,
        "tss_selector": code.TSS_SELECTOR,
    }


def _events(output: bytes) -> list[dict[str, Any]]:
    """The whole lines of the child's report; what it was writing when it died is left out."""
    return [json.loads(line) for line in output.splitlines(keepends=True) if line.endswith(b"\n")]


def judge(events: Sequence[dict[str, Any]], status: int) -> KvmVerdict:
    """What the child's report (`kvm_child.say`) and exit status (negative: a signal) mean."""
    if status:
        how = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"failed with {status}"
        return KvmVerdict(False, f"the process that ran {_place(events)} {how}", "killed")
    for event in events:
        if event["event"] == "refused":
            return _refused(event)
        if event["event"] == "version" and event["number"] != KVM_API_VERSION:
            return KvmVerdict(False, f"KVM speaks version {event['number']}, not {KVM_API_VERSION}", "refused")
    last = events[-1] if events else {"event": "nothing"}
    if last["event"] == "created":
        bits = next((e["bits"] for e in events if e["event"] == "ipa"), None)
        return KvmVerdict(True, "a VM was created; no guest is tried on this architecture", "created", bits)
    if last["event"] != "exit":
        return KvmVerdict(False, f"{_place(events)} does not end", "broken")
    return _ended(events, last)


def _refused(event: dict[str, Any]) -> KvmVerdict:
    if event["doing"] == "open":
        if event["errno"] in ("ENOENT", "ENXIO", "ENODEV"):
            return KvmVerdict(False, f"/dev/kvm: {event['text']}", "absent")
        if event["errno"] in ("EACCES", "EPERM"):
            return KvmVerdict(False, f"/dev/kvm: {event['text']}", "denied")
    if event["doing"] == "create a VM" and event["errno"] == "EBUSY":
        return KvmVerdict(False, "another hypervisor uses the processor's virtualisation", "busy")
    return KvmVerdict(False, f"KVM refuses to {event['doing']}: {event['text']}", "refused")


def _ended(events: Sequence[dict[str, Any]], last: dict[str, Any]) -> KvmVerdict:
    writes = [(e["port"], e["value"], e["size"]) for e in events if e["event"] == "io"]
    if last["reason"] == _HLT and writes[-1:] == [(code.STEP_PORT, code.MAGIC, 4)]:
        xsave = any(e["event"] == "cpuid" and e["xsave"] for e in events)
        used = [name for name in code.STEPS if xsave or name != "XRSTOR"]
        return KvmVerdict(True, f"a guest ran: {', '.join(used)}", "runs")
    place = _place(events)
    if writes and writes[-1][0] == code.WRONG_PORT:
        return KvmVerdict(False, f"{place} gives a wrong result", "broken")
    if writes and writes[-1][0] == code.EXCEPTION_PORT:
        vector = writes[-1][1]
        return KvmVerdict(False, f"{place} raises exception {vector} {_EXCEPTIONS.get(vector, '')}".rstrip(), "broken")
    if last["reason"] == _INTERNAL_ERROR:
        why = _INTERNAL_ERRORS.get(last["details"][0], f"number {last['details'][0]}")
        return KvmVerdict(False, f"{place} ends in a KVM internal error: {why}", "broken")
    how = _EXITS.get(last["reason"], f"ended with KVM exit reason {last['reason']}")
    return KvmVerdict(False, f"{place} {how}", "broken")


def _place(events: Sequence[dict[str, Any]]) -> str:
    """How far the guest came: it was at the step after the last one it reported."""
    if not any(e["event"] == "created" for e in events):
        return "KVM"
    reached = [e["value"] for e in events if e["event"] == "io" and e["port"] == code.STEP_PORT and e["size"] == 1]
    step = reached[-1] if reached else 0
    return f"the guest, at {code.STEPS[step]}," if step < len(code.STEPS) else "the guest, at its end,"
