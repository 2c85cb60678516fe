"""`kata-toolkit boot` as a user starts it: the command's own streams and exit code, and nothing left behind."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import termios
import time
from pathlib import Path
from typing import Any

import pytest
from kata_toolkit.vm import vsock
from vm_guests import altered_set, children, wait_for

pytestmark = pytest.mark.vm


def boot(tool: Path, *words: str | Path, stdin: bytes = b"", timeout: float = 60) -> subprocess.CompletedProcess[bytes]:
    """Run the tool to its end."""
    argv = [tool, "boot", *words]
    return subprocess.run(argv, input=stdin, capture_output=True, timeout=timeout, check=False)


def start(tool: Path, *words: str | Path) -> subprocess.Popen[bytes]:
    """Start the tool, in a process group of its own as a shell would."""
    return subprocess.Popen(
        [tool, "boot", *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        process_group=0,
    )


def test_streams_are_the_commands_own(tool: Path, built_set: Path) -> None:
    script = "cat; echo err >&2; exit 3"
    done = boot(tool, built_set, "--accel", "tcg", "--run", "/bin/sh", "-c", script, stdin=b"in\0\xff")
    assert (done.stdout, done.stderr, done.returncode) == (b"in\0\xff", b"err\n", 3)


def test_quiet_leaves_even_stderr_to_the_command(tool: Path, built_set: Path) -> None:
    done = boot(tool, built_set, "-q", "--run", "/bin/sh", "-c", "exit 137")
    assert (done.stdout, done.stderr, done.returncode) == (b"", b"", 137)


def test_words_after_run_belong_to_the_command(tool: Path, built_set: Path) -> None:
    done = boot(tool, built_set, "--accel=tcg", "--", "/bin/echo", "--json", "--help", "--run", "", "a  b")
    assert (done.stdout, done.returncode) == (b"--json --help --run  a  b\n", 0)


def test_dashes_after_run_are_dropped_once(tool: Path, built_set: Path) -> None:
    done = boot(tool, built_set, "--accel=tcg", "--run", "--", "/bin/echo", "--", "-q")
    assert (done.stdout, done.returncode) == (b"-- -q\n", 0)


def test_no_note_of_ours_is_in_a_stderr_that_goes_to_a_file(tool: Path, built_set: Path) -> None:
    done = boot(tool, built_set, "--run", "/bin/sh", "-c", "echo err >&2")
    assert done.stderr == b"err\n"


def test_a_guest_that_fails_is_told_from_a_command_that_does(tool: Path, built_set: Path, tmp_path: Path) -> None:
    panics = altered_set(built_set, tmp_path, kernel_params=["init=/nope"])
    for words in ((panics,), (built_set, "--timeout", "0.2")):
        assert boot(tool, *words, "--accel=tcg").returncode == 1
        assert boot(tool, *words, "--accel=tcg", "--run", "true").returncode == 125
        assert boot(tool, *words, "--accel=tcg", "--json", "--run", "true").returncode == 125


def test_a_megabyte_goes_through_a_pipe_whole(tool: Path, built_set: Path) -> None:
    data = os.urandom(1 << 20)
    done = boot(tool, built_set, "--accel=tcg", "--run", "cat", stdin=data)
    assert done.stdout == data
    assert done.returncode == 0


def test_a_reader_that_has_seen_enough_ends_the_command(tool: Path, built_set: Path) -> None:
    shell = f"{tool} boot {built_set} -q --run yes | head -n 1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", shell], capture_output=True, timeout=30, check=False)
    assert done.stdout == b"y\n141\n", done.stderr


def test_a_terminal_is_the_commands_terminal(tool: Path, built_set: Path) -> None:
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (33, 77))
    before = termios.tcgetattr(theirs)
    script = "stty size; read word; echo got $word; exit 5"
    argv = [tool, "boot", built_set, "-q", "--run", "sh", "-c", script]
    with subprocess.Popen(argv, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        seen = b""
        while b"33 77" not in seen:
            seen += os.read(ours, 4096)
        os.write(ours, b"hello\r")
        while b"got hello" not in seen:
            seen += os.read(ours, 4096)
        assert process.wait(20) == 5
    assert termios.tcgetattr(theirs) == before
    os.close(ours)
    os.close(theirs)


@pytest.mark.parametrize(("command", "code"), [("/no/such/program", 127), ("/etc", 126)])
def test_a_command_that_cannot_start_is_what_a_shell_says(tool: Path, built_set: Path, command: str, code: int) -> None:
    done = boot(tool, built_set, "-q", "--run", command)
    assert (done.returncode, done.stdout) == (code, b"")
    assert f"{command} cannot be started in the guest".encode() in done.stderr


def test_json_is_one_document_with_the_output_inside(tool: Path, built_set: Path) -> None:
    done = boot(tool, built_set, "--json", "--run", "/bin/sh", "-c", "echo hi; exit 4")
    document = json.loads(done.stdout)
    assert (document["exit_code"], document["stdout"], done.returncode) == (4, "hi\n", 4)
    assert document["accel"] in ("kvm", "tcg")
    assert document["power_off"]["clean"] is True


def test_a_root_on_virtio_blk_boots_and_has_no_dax(tool: Path, built_set: Path) -> None:
    done = boot(tool, built_set, "--rootfs-driver", "virtio-blk", "--run", "cat", "/proc/mounts")
    root = next(line for line in done.stdout.decode().splitlines() if line.split()[1] == "/")
    assert "dax" not in root


def test_without_a_command_it_says_how_the_boot_went(tool: Path, built_set: Path) -> None:
    done = boot(tool, built_set)
    assert done.returncode == 0
    assert b"the agent answered after" in done.stdout
    assert b"power-off  clean" in done.stdout


def test_a_host_folder_can_be_the_containers_root(tool: Path, built_set: Path, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    busybox = subprocess.run(["which", "busybox"], capture_output=True, text=True, check=True).stdout.strip()
    (tmp_path / "bin" / "busybox").write_bytes(Path(busybox).read_bytes())
    (tmp_path / "bin" / "busybox").chmod(0o755)
    (tmp_path / "mark").write_text("from the host\n")
    done = boot(tool, built_set, "--rootfs", tmp_path, "--run", "/bin/busybox", "cat", "/mark")
    assert (done.stdout, done.returncode) == (b"from the host\n", 0), done.stderr


def test_the_console_is_streamed_to_stderr_only(tool: Path, built_set: Path) -> None:
    done = boot(tool, built_set, "--console", "--run", "/bin/true")
    assert b"as init process" in done.stderr
    assert done.stdout == b""


def test_the_debug_shell_is_there_only_when_asked_for(tool: Path, built_set: Path) -> None:
    done = boot(tool, built_set, "-q", "--debug-shell", stdin=b"echo $((6 * 7)); cat /proc/cmdline\nexit\n")
    assert done.returncode == 0
    assert b"42" in done.stdout
    assert b"agent.debug_console agent.debug_console_vport=1026" in done.stdout
    assert boot(tool, built_set, "--debug-shell", "--json").returncode == 2


def test_a_missing_init_is_a_panic_with_its_last_lines(tool: Path, built_set: Path, tmp_path: Path) -> None:
    done = boot(tool, altered_set(built_set, tmp_path, kernel_params=["init=/nope"]))
    assert done.returncode == 1
    assert b"the guest's kernel panicked before its agent answered" in done.stderr
    assert b"Requested init /nope failed" in done.stderr


def test_a_silent_agent_a_timeout_and_a_missing_kernel_differ(tool: Path, built_set: Path, tmp_path: Path) -> None:
    silent = altered_set(built_set, tmp_path / "1", kernel_params=["init=/bin/sleep", "--", "1000"])
    done = boot(tool, silent, "--timeout", "5", "--accel=tcg")
    assert done.returncode == 1
    assert b"the guest's kernel runs" in done.stderr
    done = boot(tool, built_set, "--timeout", "0.2", "--accel=tcg")
    assert done.returncode == 1
    assert b"no sign of life within 0.2 s" in done.stderr
    done = boot(tool, altered_set(built_set, tmp_path / "2", without="kernel"))
    assert done.returncode == 2
    assert b"is missing" in done.stderr


def test_an_agent_behind_vsock_is_refused_where_there_is_none(tool: Path, built_set: Path, tmp_path: Path) -> None:
    if vsock.unusable() is None:
        pytest.skip("this host has vhost-vsock")
    done = boot(tool, altered_set(built_set, tmp_path, agent_kind="binary"))
    assert done.returncode == 3
    assert b"no vsock for the guest: this host has no /dev/vhost-vsock" in done.stderr


def test_wrong_arguments_are_the_users_mistake(tool: Path, built_set: Path, tmp_path: Path) -> None:
    for words, message in (
        ((built_set, "--run"), b"--run needs a command"),
        ((built_set, "--run", "--"), b"--run needs a command"),
        ((built_set, "--run", ""), b"the name of this one is empty"),
        ((built_set, "--"), b"--run needs a command"),
        ((built_set, "--rootfs", tmp_path), b"it needs --run"),
        ((built_set, "--rootfs", tmp_path / "no", "--run", "x"), b"does not exist"),
        ((tmp_path / "nowhere",), b"does not exist"),
        ((tmp_path,), b"is not a built set"),
    ):
        done = boot(tool, *words)
        assert (done.returncode, done.stdout) == (2, b""), words
        assert message in done.stderr


def test_a_killed_qemu_ends_the_command_with_an_error(tool: Path, built_set: Path) -> None:
    process = start(tool, built_set, "--accel=tcg", "--run", "/bin/sh", "-c", "echo up; sleep 1000")
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"
    for child in children(process.pid):
        os.kill(child, signal.SIGKILL)
    _, stderr = process.communicate(timeout=20)
    assert process.returncode == 125
    assert b"qemu-system-x86_64 was killed by SIGKILL" in stderr


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 130), (signal.SIGKILL, -9)])
@pytest.mark.parametrize("when", ["booting", "running"])
def test_whatever_ends_us_ends_qemu(tool: Path, built_set: Path, signum: int, code: int, when: str) -> None:
    process = start(tool, built_set, "--accel=tcg", "--run", "/bin/sh", "-c", "echo up; sleep 1000")
    if when == "running":
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
    qemu = wait_for(lambda: children(process.pid))
    os.killpg(process.pid, signum)
    _, stderr = process.communicate(timeout=20)
    assert process.returncode == code, stderr
    assert b"Traceback" not in stderr
    wait_for(lambda: not any(Path(f"/proc/{child}").exists() for child in qemu))


def test_parallel_boots_do_not_collide(tool: Path, built_set: Path) -> None:
    running = [start(tool, built_set, "--run", "/bin/echo", str(n)) for n in range(3)]
    results: list[Any] = [process.communicate(timeout=60)[0] for process in running]
    assert results == [b"0\n", b"1\n", b"2\n"]


def test_nothing_is_left_in_the_temporary_folder(tool: Path, built_set: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    process = subprocess.Popen([tool, "boot", built_set, "--accel=tcg", "--run", "sleep", "1000"], env=environment)
    wait_for(lambda: children(process.pid))
    time.sleep(0.5)
    process.kill()
    process.wait()
    assert list(tmp_path.iterdir()) == []
