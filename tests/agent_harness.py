"""Compiles the agent's sources into what the tests drive on the host: its server, and the fuzzer."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
AGENT = ROOT / "agent"
FUZZ = ROOT / "tests" / "fuzz"
SANITIZED = ("clang", "-g", "-O1", "-fno-sanitize-recover=undefined")
WARNINGS = ("-std=c11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Wshadow", "-Wstrict-prototypes", "-Werror")

# The fuzzer's stand-ins replace these; see fuzz/stubs.c.
REPLACED = {
    "boot.c", "cgroup.c", "child.c", "child_identity.c", "child_root.c", "child_terminal.c", "cmdline.c", "console.c",
    "device_filter.c", "guest.c", "listen.c", "main.c", "mountapi.c", "signals.c", "spawn.c",
}  # fmt: skip
WRAPPED = ("kill", "mount", "umount2", "rmdir")


def generate(folder: Path) -> Path:
    """The protobuf-c code; the C file."""
    folder.mkdir(exist_ok=True)
    subprocess.run(["protoc-c", f"--proto_path={AGENT / 'proto'}", f"--c_out={folder}", "agent.proto"], check=True)
    return folder / "agent.pb-c.c"


def compile_agent(
    target: Path,
    command: Sequence[str],
    sources: Sequence[Path],
    flags: Sequence[str] = (),
) -> Path:
    """Compile and link sources together with the generated code."""
    with tempfile.TemporaryDirectory() as folder:
        _compile(target, command, sources, flags, generate(Path(folder)))
    return target


def _compile(
    target: Path, command: Sequence[str], sources: Sequence[Path], flags: Sequence[str], generated: Path
) -> None:
    # Not our code: no warnings from it stop us, and what it calls in protobuf-c's library goes with its own functions.
    machine = generated.with_suffix(".o")
    plain = [word for word in command if not word.startswith("-fsanitize")]
    quiet = ("-std=c11", "-w", "-ffunction-sections", "-c")
    subprocess.run([*plain, *quiet, f"-I{generated.parent}", "-o", machine, generated], check=True)
    include = (f"-I{generated.parent}", "-iquote", str(AGENT), "-iquote", str(FUZZ))
    subprocess.run(
        [*command, *WARNINGS, *include, "-o", target, *sources, machine, "-Wl,--gc-sections", *flags], check=True
    )


def build_agent(target: Path) -> Path:
    """The agent itself, static, as a guest's init."""
    return compile_agent(target, ("gcc", "-Os"), sorted(AGENT.glob("*.c")), ("-static", "-s"))


def build_server(folder: Path) -> Path:
    """The server on a socket of the host, with sanitizers."""
    sources = [p for p in sorted(AGENT.glob("*.c")) if p.name != "main.c"]
    command = (*SANITIZED, "-fsanitize=address,undefined")
    return compile_agent(folder / "server", command, [FUZZ / "host.c", *sources])


def build_fuzzer(folder: Path) -> Path:
    """The libFuzzer program."""
    sources = [p for p in sorted(AGENT.glob("*.c")) if p.name not in REPLACED]
    command = (*SANITIZED, "-fsanitize=fuzzer,address,undefined")
    wraps = [f"-Wl,--wrap={name}" for name in WRAPPED]
    return compile_agent(folder / "fuzzer", command, [FUZZ / "fuzz_agent.c", FUZZ / "stubs.c", *sources], wraps)
