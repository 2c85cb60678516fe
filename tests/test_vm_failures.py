"""A guest that does not come up: panic, silence, a guest that stops and a failing QEMU are told apart."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest
from kata_toolkit.errors import CheckError, KataToolkitError, ToolError
from kata_toolkit.vm import failures, qemu
from kata_toolkit.vm.built_set import Guest
from kata_toolkit.vm.vmm import Vmm
from vm_guests import CMDLINE, stub_guest

pytestmark = pytest.mark.vm


@pytest.fixture(scope="module")
def stub(built_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Guest:
    """A guest whose init does what the kernel's command line says."""
    return stub_guest(built_set, tmp_path_factory.mktemp("stub"))


def explain(guest: Guest, act: str, seconds: float) -> KataToolkitError:
    """Boot, wait until QEMU ends or the time is up, and ask why."""
    with Vmm(qemu.Machine(guest, f"{CMDLINE} {act}", memory_mib=128)) as vmm:
        vmm.wait(seconds)
        return failures.explain(vmm, accel="tcg", limit_seconds=seconds, waiting_for="its agent answered")


def test_a_panic_is_shown_with_its_last_lines(stub: Guest) -> None:
    error = explain(stub, "-- die", 30)
    assert type(error) is failures.GuestPanic
    assert "Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000300" in str(error)
    assert "stub init: die" in str(error)


def test_a_kernel_without_an_init_panics_with_advice(stub: Guest) -> None:
    error = explain(stub, "rdinit=/nope root=/dev/nope", 30)
    assert type(error) is failures.GuestPanic
    assert "Unable to mount root fs" in str(error)
    assert "the kernel found no root file system" in (error.problems[0].hint or "")


def test_a_guest_that_switches_itself_off_or_restarts_is_no_panic(stub: Guest) -> None:
    assert "switched itself off before its agent answered" in str(explain(stub, "-- off", 30))
    error = explain(stub, "-- restart", 30)
    assert type(error) is failures.GuestStopped
    assert "restarted itself" in str(error)


def test_a_silent_agent_is_told_from_a_silent_guest(stub: Guest, tmp_path: Path) -> None:
    error = explain(stub, "-- sleep", 4)
    assert type(error) is failures.AgentUnanswered
    assert "4 s went by before its agent answered" in str(error)
    assert "stub init: sleep" in str(error)
    assert "memory" not in (error.problems[0].hint or "")
    # The firmware finds nothing to start in this boot sector: QEMU runs on, and no kernel ever shows itself.
    (tmp_path / "hang").write_bytes(_halting_kernel())
    silent = explain(replace(stub, kernel=tmp_path / "hang"), "", 2)
    assert type(silent) is failures.BootTimeout
    assert "no sign of life within 2 s (accelerator tcg)" in str(silent)
    assert issubclass(failures.BootTimeout, CheckError)


def _halting_kernel() -> bytes:
    """A multiboot kernel of one loop: header (magic, flags with addresses, checksum), load addresses, then `jmp .`."""
    base, flags = 0x100000, 1 << 16
    words = [0x1BADB002, flags, -(0x1BADB002 + flags) & 0xFFFFFFFF, base, base, base + 64, base + 64, base + 32]
    return b"".join(word.to_bytes(4, "little") for word in words) + b"\xeb\xfe" + bytes(30)


def test_a_silent_guest_with_little_memory_may_lack_it(stub: Guest) -> None:
    with Vmm(qemu.Machine(stub, f"{CMDLINE} -- sleep", memory_mib=32)) as vmm:
        vmm.wait(1)
        error = failures.explain(vmm, accel="tcg", limit_seconds=1, waiting_for="its agent answered")
    assert "its 32 MiB of memory may be too little" in (error.problems[0].hint or "")


def test_qemus_own_failure_carries_its_words(stub: Guest, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("this is not a kernel")
    error = explain(replace(stub, kernel=tmp_path / "text"), "", 10)
    assert type(error) is failures.VmmFailed
    assert "qemu-system-x86_64 failed (1)" in str(error)
    assert isinstance(error, ToolError)


def test_a_killed_qemu_is_named_as_such(stub: Guest) -> None:
    with Vmm(qemu.Machine(stub, f"{CMDLINE} -- sleep", memory_mib=128)) as vmm:
        os.kill(vmm.process.pid, signal.SIGKILL)
        error = failures.explain(vmm, accel="tcg", limit_seconds=1, waiting_for="its agent answered")
    assert type(error) is failures.VmmFailed
    assert "was killed by SIGKILL" in str(error)


def test_a_missing_qemu_says_how_to_get_it(stub: Guest) -> None:
    with pytest.raises(ToolError, match="qemu-nowhere is not installed") as raised:
        Vmm(qemu.Machine(stub, CMDLINE, binary="qemu-nowhere"))
    assert raised.value.problems[0].hint == "apt-get install qemu-system-x86"


def test_a_guest_that_floods_its_console_neither_blocks_nor_fills_memory(stub: Guest) -> None:
    with Vmm(qemu.Machine(stub, f"{CMDLINE} -- flood", memory_mib=128)) as vmm:
        deadline = time.monotonic() + 30
        while vmm.console.written < 3 << 19 and time.monotonic() < deadline:
            time.sleep(0.1)
        assert vmm.console.written > 1 << 20
        assert len(vmm.console.text) <= 1 << 20
        assert vmm.status() is None
    assert subprocess.run(["kill", "-0", str(vmm.process.pid)], check=False, capture_output=True).returncode != 0


def test_closing_twice_and_closing_a_dead_one_is_fine(stub: Guest) -> None:
    vmm = Vmm(qemu.Machine(stub, f"{CMDLINE} -- sleep", memory_mib=128))
    vmm.kill()
    vmm.wait(5)
    vmm.close()
    vmm.close()
