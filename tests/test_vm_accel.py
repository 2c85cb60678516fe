"""KVM where it works, TCG otherwise and never in silence; the ways in which KVM fails are told from a guest's own."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest
from kata_toolkit.errors import ToolError
from kata_toolkit.host.kvm_guest import kvm_usable
from kata_toolkit.vm import accel, qemu
from kata_toolkit.vm.built_set import BuiltSet, Guest
from kata_toolkit.vm.console import Console
from kata_toolkit.vm.options import Options
from kata_toolkit.vm.session import Session
from kata_toolkit.vm.vmm import KVM_ERROR, Signs, Vmm


def stand_in(folder: Path, script: str, silence: float | None = None) -> Vmm:
    """A Vmm whose QEMU is a shell script; what it does before the guest runs is what the script does."""
    program = folder / "qemu"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    guest = Guest(kernel=folder / "none", boot="initrd", initrd=folder / "none")
    return Vmm(qemu.Machine(guest, "", accel="kvm", binary=str(program)), silence_seconds=silence)


def fault(vmm: Vmm, seconds: float = 10) -> str | None:
    """What is KVM's fault once the script has ended or was ended."""
    return accel.kvm_fault(vmm.signs, vmm.wait(seconds), vmm.console, vmm.stderr)


def test_the_plan_follows_what_was_really_tried() -> None:
    assert accel.plan("tcg") == accel.Plan(("tcg",))
    verdict = kvm_usable(accel.PROBE_SECONDS)
    plan = accel.plan("auto")
    if verdict.ok:
        assert plan == accel.Plan(("kvm", "tcg"))
        assert accel.plan("kvm").accels == ("kvm",)
    else:
        assert plan.accels == ("tcg",)
        assert verdict.detail in (plan.note or "")
        with pytest.raises(ToolError, match="KVM does not work on this host"):
            accel.plan("kvm")


def test_an_internal_error_ends_the_wait_at_once(tmp_path: Path) -> None:
    begin = time.monotonic()
    with stand_in(tmp_path, "echo 'KVM internal error. Suberror: 1' >&2; exec sleep 60") as vmm:
        assert fault(vmm) == f"{KVM_ERROR}: the guest was stopped"
    assert time.monotonic() - begin < 5


def test_silence_ends_the_wait_after_its_limit(tmp_path: Path) -> None:
    with stand_in(tmp_path, "exec sleep 60", silence=0.5) as vmm:
        assert fault(vmm) == "the guest gave no sign of life within 0.5 s"


def test_an_abort_is_kvms_fault_with_qemus_words(tmp_path: Path) -> None:
    with stand_in(tmp_path, "echo 'warning: x' >&2; echo 'kvm_buf_set_msrs: failed' >&2; kill -6 $$") as vmm:
        assert fault(vmm) == "QEMU ended with -6: kvm_buf_set_msrs: failed"


def test_a_guest_that_ran_is_not_kvms_fault() -> None:
    booted = Signs(console_opened=0.5)
    assert accel.kvm_fault(booted, 0, Console(), "") is None
    assert accel.kvm_fault(booted, 1, Console(), "disk error") is None
    assert accel.kvm_fault(Signs(shutdown="guest-reset"), 0, Console(), "") is None


@pytest.mark.vm
def test_a_kvm_that_fails_with_a_real_guest_is_replaced(built_set: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # As on a host where the probe passes and the guest then does not: here QEMU really tries KVM.
    monkeypatch.setattr(accel, "plan", lambda wanted, arch: accel.Plan(("kvm", "tcg")))
    notes: list[str] = []
    with Session.boot(BuiltSet.load(built_set).bootable(), Options(), note=notes.append) as session:
        assert session.run(["/bin/echo", "up"]).stdout == b"up\n"
        if session.accel == "kvm":
            assert notes == []
        else:
            assert len(notes) == 1
            assert notes[0].startswith("KVM failed (")
            assert notes[0].endswith("starting again under TCG, which is slower")


@pytest.mark.vm
def test_insisting_on_kvm_where_it_does_not_work_is_an_error(tool: Path, built_set: Path) -> None:
    if kvm_usable(accel.PROBE_SECONDS).ok:
        pytest.skip("KVM works on this host")
    done = subprocess.run([tool, "boot", built_set, "--accel", "kvm"], capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert "KVM does not work on this host" in done.stderr
    assert "--accel tcg boots without it" in done.stderr
