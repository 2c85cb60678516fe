"""The KVM probe: its guest is sound (proven under TCG), and each way in which KVM can fail is told apart."""

from __future__ import annotations

import importlib
import json
import os
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from kata_toolkit.host import kvm_code, kvm_guest
from kata_toolkit.host.kvm_guest import judge, kvm_usable

STUB = 0xE000
BROKEN_OFF = '{"event": "exi'
VERSION: dict[str, Any] = {"event": "version", "number": 12}
STARTED: list[dict[str, Any]] = [VERSION, {"event": "created"}, {"event": "cpuid", "xsave": True}]


def step(number: int) -> dict[str, Any]:
    return {"event": "io", "port": 0x10, "value": number, "size": 1}


def exit_(reason: int, *details: int) -> dict[str, Any]:
    return {"event": "exit", "reason": reason, "details": list(details) or [0, 0], "rip": 0x9000}


MAGIC = {"event": "io", "port": 0x10, "value": kvm_code.MAGIC, "size": 4}
STEPS = [step(1), step(2), step(3), step(4)]


def boot_stub() -> bytes:
    """16-bit code that does what the probe does with KVM_SET_SREGS, for a machine that starts in real mode."""
    tables = STUB + 0x80
    return b"".join(
        [
            b"\xfa",  # cli
            b"\x2e\x66\x0f\x01\x16" + struct.pack("<H", tables),  # lgdt cs:[tables]
            b"\x2e\x66\x0f\x01\x1e" + struct.pack("<H", tables + 8),  # lidt cs:[tables + 8]
            b"\x66\xb8\x20\x06\x04\x00\x0f\x22\xe0",  # mov eax, OSXSAVE|OSXMMEXCPT|OSFXSR|PAE; mov cr4, eax
            b"\x66\xb8" + struct.pack("<I", kvm_code.PML4) + b"\x0f\x22\xd8",  # mov eax, PML4; mov cr3, eax
            b"\x66\xb9\x80\x00\x00\xc0\x66\xb8\x00\x01\x00\x00\x66\x31\xd2\x0f\x30",  # EFER = LME
            b"\x66\xbc" + struct.pack("<I", kvm_code.STACK),  # mov esp, STACK
            b"\x66\xb8\x33\x00\x01\x80\x0f\x22\xc0",  # mov eax, PG|WP|NE|ET|MP|PE; mov cr0, eax
            b"\x66\xea" + struct.pack("<IH", kvm_code.CODE, kvm_code.CODE_SELECTOR),  # jmp far CODE
        ]
    ).ljust(0x80, b"\x90") + struct.pack("<HIHHI", 39, kvm_code.GDT, 0, 511, kvm_code.IDT)


@pytest.mark.vm
def test_the_guest_is_sound_where_every_instruction_is_emulated(tmp_path: Path) -> None:
    """Under TCG the same bytes must reach the end: then a failure under KVM is KVM's."""
    memory = bytearray(kvm_code.guest_memory())
    stub = boot_stub()
    memory[STUB : STUB + len(stub)] = stub
    (tmp_path / "memory").write_bytes(memory)
    firmware = bytearray(0x10000)
    firmware[0xFFF0:0xFFF5] = b"\xea" + struct.pack("<HH", STUB, 0)  # jmp far 0:STUB
    (tmp_path / "firmware").write_bytes(firmware)
    argv: list[str | Path] = ["qemu-system-x86_64", "-machine", "pc", "-accel", "tcg", "-cpu", "max", "-m", "16"]
    argv += ["-display", "none", "-nodefaults", "-bios", tmp_path / "firmware", "-monitor", "stdio"]
    argv += ["-device", f"loader,file={tmp_path / 'memory'},addr=0,force-raw=on"]
    ports = {0x10: tmp_path / "steps", 0x11: tmp_path / "wrong", 0x12: tmp_path / "exceptions"}
    for port, file in ports.items():
        argv += ["-chardev", f"file,id=p{port},path={file}", "-device", f"isa-debugcon,iobase={port},chardev=p{port}"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as qemu:
        try:
            deadline = time.monotonic() + 30
            while not (ports[0x10].exists() and ports[0x10].read_bytes().endswith(b"\x04")):
                said = {port: file.read_bytes() if file.exists() else b"" for port, file in ports.items()}
                assert qemu.poll() is None, said
                assert time.monotonic() < deadline, said
                time.sleep(0.01)
            # The console takes bytes only: that the magic number comes, and then the halt, is seen in the registers.
            registers, _ = qemu.communicate("info registers\nquit\n", timeout=20)
        finally:
            qemu.kill()
    assert [file.read_bytes() for file in ports.values()] == [b"\x01\x02\x03\x04", b"", b""]
    assert f"RAX=00000000{kvm_code.MAGIC:08x}" in registers
    assert "HLT=1" in registers


def test_each_outcome_is_told_apart() -> None:
    refused = {"event": "refused", "doing": "open", "errno": "ENOENT", "text": "No such file or directory"}
    cases: list[tuple[list[dict[str, Any]], int, str, str]] = [
        ([*STARTED, *STEPS, MAGIC, exit_(5)], 0, "runs", "a guest ran: 64-bit code, cmpxchg16b, XRSTOR, int3"),
        ([VERSION, {"event": "created"}], 0, "created", "a VM was created; no guest is tried on this architecture"),
        ([refused], 0, "absent", "/dev/kvm: No such file or directory"),
        ([{**refused, "errno": "ENODEV", "text": "No such device"}], 0, "absent", "/dev/kvm: No such device"),
        ([{**refused, "errno": "EACCES", "text": "Permission denied"}], 0, "denied", "/dev/kvm: Permission denied"),
        ([{**VERSION, "number": 11}, {"event": "created"}], 0, "refused", "KVM speaks version 11, not 12"),
        (
            [VERSION, {**refused, "doing": "create a VM", "errno": "EBUSY", "text": "Device or resource busy"}],
            0,
            "busy",
            "another hypervisor uses the processor's virtualisation",
        ),
        (
            [*STARTED, {**refused, "doing": "set up 64-bit mode", "errno": "EINVAL", "text": "Invalid argument"}],
            0,
            "refused",
            "KVM refuses to set up 64-bit mode: Invalid argument",
        ),
        (
            [*STARTED, step(1), exit_(17, 1, 8)],
            0,
            "broken",
            "the guest, at cmpxchg16b, ends in a KVM internal error: an instruction could not be emulated",
        ),
        (
            [*STARTED, *STEPS[:2], exit_(17, 3, 0)],
            0,
            "broken",
            "the guest, at XRSTOR, ends in a KVM internal error: an event could not be delivered",
        ),
        (
            [*STARTED, *STEPS[:3], {"event": "io", "port": 0x12, "value": 6, "size": 1}, exit_(5)],
            0,
            "broken",
            "the guest, at int3, raises exception 6 #UD",
        ),
        (
            [*STARTED, step(1), {"event": "io", "port": 0x11, "value": 0, "size": 1}, exit_(5)],
            0,
            "broken",
            "the guest, at cmpxchg16b, gives a wrong result",
        ),
        ([*STARTED, exit_(9)], 0, "broken", "the guest, at 64-bit code, could not be entered by the processor"),
        ([*STARTED, step(1), exit_(8)], 0, "broken", "the guest, at cmpxchg16b, shut down (triple fault)"),
        ([*STARTED, *STEPS, exit_(5)], 0, "broken", "the guest, at its end, halted too early"),
        ([*STARTED, *STEPS, {"event": "endless"}], 0, "broken", "the guest, at its end, does not end"),
        (STARTED, -9, "killed", "the process that ran the guest, at 64-bit code, was killed by SIGKILL"),
        ([], 1, "killed", "the process that ran KVM failed with 1"),
        ([], 0, "broken", "KVM does not end"),
    ]
    for events, status, kind, detail in cases:
        verdict = judge(events, status)
        assert (verdict.kind, verdict.detail) == (kind, detail), events
        assert verdict.ok == (kind in ("runs", "created"))


def test_a_processor_without_xsave_is_not_said_to_have_run_xrstor() -> None:
    events = [*STARTED[:2], {"event": "cpuid", "xsave": False}, *STEPS, MAGIC, exit_(5)]
    assert judge(events, 0).detail == "a guest ran: 64-bit code, cmpxchg16b, int3"


def test_the_time_limit_holds_and_leaves_no_process() -> None:
    start = time.monotonic()
    verdict = kvm_usable(0.0)
    assert time.monotonic() - start < 1.5
    assert (verdict.ok, verdict.kind) == (False, "hangs")
    for children in Path("/proc/self/task").glob("*/children"):
        for pid in children.read_text().split():
            assert b"kvm_child" not in Path("/proc", pid, "cmdline").read_bytes()


def test_a_report_that_breaks_off_in_a_line_still_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The child may be killed while it writes: a stand-in dies so."""
    report = "".join(json.dumps(e) + "\n" for e in [*STARTED, step(1)])
    (tmp_path / "kvm_child.py").write_text(
        f"import os, sys\nsys.stdout.write({report + BROKEN_OFF!r})\nsys.stdout.flush()\nos.abort()\n"
    )
    monkeypatch.setattr(kvm_guest, "__file__", str(tmp_path / "kvm_guest.py"))
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    verdict = kvm_usable()
    assert verdict.detail == "the process that ran the guest, at cmpxchg16b, was killed by SIGABRT"


def test_the_child_needs_only_the_standard_library(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-S", Path(kvm_guest.__file__).with_name("kvm_child.py"), "create"],
        cwd=tmp_path,
        env={},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout.splitlines()[0])["event"] in ("version", "refused")


def test_this_machine_gets_a_plain_answer() -> None:
    """Whatever it is: it comes fast, and where /dev/kvm opens a guest was really started."""
    start = time.monotonic()
    verdict = kvm_usable()
    assert time.monotonic() - start < 2.5
    assert "failed with" not in verdict.detail  # that would be a mistake in the child
    if os.access("/dev/kvm", os.R_OK | os.W_OK):
        assert verdict.kind in ("runs", "broken", "hangs", "killed", "created", "refused", "busy")
    else:
        assert verdict.kind in ("absent", "denied")


def test_on_power_the_requests_have_another_direction(monkeypatch: pytest.MonkeyPatch) -> None:
    """_IO() encodes "no data" as a bit there, so that the plain numbers are unknown to its KVM."""
    from kata_toolkit.host import kvm_child

    names = ("KVM_GET_API_VERSION", "KVM_CREATE_VM", "KVM_CHECK_EXTENSION")
    try:
        for machine, base in (("x86_64", 0), ("aarch64", 0), ("s390x", 0), ("riscv64", 0), ("ppc64le", 0x20000000)):
            with monkeypatch.context() as patch:
                patch.setattr(os, "uname", lambda machine=machine: os.uname_result(("Linux", "", "", "", machine)))
                child = importlib.reload(kvm_child)
            assert [getattr(child, name) - base for name in names] == [0xAE00, 0xAE01, 0xAE03]
    finally:
        importlib.reload(kvm_child)


def test_on_arm64_the_bits_of_addresses_are_told() -> None:
    events = [VERSION, {"event": "ipa", "bits": 44}, {"event": "created"}]
    assert judge(events, 0).ipa_bits == 44
    assert judge([VERSION, {"event": "created"}], 0).ipa_bits is None
