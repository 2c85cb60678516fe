"""What containers do, through the agent's protocol: the table of `container_table.py`, what takes more steps, and what
is between several of them (`container_groups.py`)."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

from ...checks import FAIL, PASS, Check, Verdict
from ...errors import CheckError
from .. import agent_pb2 as pb
from ..agent_client import AgentError, AgentSilent, Container, Running
from ..evidence import Evidence, text
from ..inside import RUN_SECONDS
from ..oci import Process
from .common import expect, needs
from .container_groups import STEPS
from .container_table import CASES, Case

_EXIT_CODES = (0, 1, 3, 42, 255)
_SIGNALLED = 128
_KILL, _TERM = 9, 15
_MIB = 1 << 20
_MANY_LINES = 150_000  # 1 MiB of output
_QUIET_SECONDS = 0.5
_SLEEP = Process(("sleep", "1000"))


def _case(case: Case) -> Callable[[Evidence], Verdict]:
    def check(evidence: Evidence) -> Verdict:
        needs(evidence, *case.needs)
        inside = evidence.inside()
        inside.needs_tools(*case.tools)
        process = Process(**{"args": ("sh", "-c", case.script), **case.process})
        done = inside.finished(process, stdin=case.stdin, adjust=case.adjust, **case.container)
        out, err = (data.decode(errors="replace").replace("\r", "").strip() for data in (done.stdout, done.stderr))
        right = done.status == case.status and re.fullmatch(case.out, out, re.DOTALL)
        if right and (case.err is None or re.fullmatch(case.err, err, re.DOTALL)):
            return Verdict(PASS, text((out or err or f"exit code {done.status}").encode()) + inside.whose_tools)
        return Verdict(FAIL, f"exit code {done.status}, output {_short(out)}, errors {_short(err)}")

    check.__doc__ = case.title
    return check


def _short(said: str) -> str:
    return repr(said if len(said) < 120 else said[:100] + "…")


# ---- the program and its streams ----


def exit_codes(evidence: Evidence) -> Verdict:
    """Exit codes come back as they are; a death by signal as 128 + its number."""
    wrong = []
    for code in _EXIT_CODES:
        done = evidence.run("sh", "-c", f"exit {code}")
        if done.status != code:
            wrong.append(f"`exit {code}` gave {done.status}")
    # From outside: a container's first process does not die of what it sends itself.
    killed = evidence.run("sleep", "1000", started=lambda program: program.signal(_KILL)).status
    if killed != _SIGNALLED + _KILL:
        wrong.append(f"death by SIGKILL gave {killed}")
    if wrong:
        return Verdict(FAIL, "; ".join(wrong))
    return Verdict(PASS, ", ".join(str(code) for code in (*_EXIT_CODES, _SIGNALLED + _KILL)))


def stdin(evidence: Evidence) -> Verdict:
    """What is written to a container's stdin comes back through it, byte for byte, and its end is seen."""
    data = bytes(range(256)) * 256
    done = evidence.run("cat", stdin=data)
    if done.status == 0 and done.stdout == data:
        return Verdict(PASS, f"{len(data)} bytes there and back")
    return Verdict(FAIL, f"{len(done.stdout)} of {len(data)} bytes came back, exit code {done.status}")


def large_output(evidence: Evidence) -> Verdict:
    """Output that is much larger than any buffer on its way comes back whole and in order."""
    # By the shell, of whose programs some shells have no files.
    done = evidence.run("sh", "-c", f"seq 1 {_MANY_LINES}")
    expected = "".join(f"{number}\n" for number in range(1, _MANY_LINES + 1)).encode()
    if done.stdout == expected:
        return Verdict(PASS, f"{len(expected)} bytes, in order")
    return Verdict(FAIL, f"{len(done.stdout)} bytes of {len(expected)}, and not the ones that were written")


def resize(evidence: Evidence) -> Verdict:
    """A terminal takes another size while a program runs on it."""
    process = Process(("sh", "-c", "read x; stty size"), terminal=True, size=(24, 80))
    done = evidence.inside().finished(process, stdin=b"\n", started=lambda running: running.resize(50, 120))
    return expect(text(done.stdout), "50 120")


def signals(evidence: Evidence) -> Verdict:
    """A program that catches SIGTERM gets it, and its own exit code comes back."""
    script = "trap 'echo caught; exit 7' TERM; echo ready; sleep 1000 & wait"

    def when_ready(running: Running) -> None:
        if running.read_stdout(timeout_seconds=RUN_SECONDS) != b"ready\n":
            raise CheckError("the program did not start as it should")
        running.signal(_TERM)

    done = evidence.inside().sh(script, started=when_ready)
    return expect(f"{text(done.stdout)} {done.status}", "caught 7")


def no_such_program(evidence: Evidence) -> Verdict:
    """A program that there is not is an error of its start, which names the reason; the agent lives on."""
    inside = evidence.inside()
    try:
        inside.finished(Process(("/nonexistent/program",)))
    except AgentError as error:
        inside.session.agent.check()
        return Verdict(PASS, f"refused: {error.text[:120]}")
    return Verdict(FAIL, "a container with a program that there is not was started")


# ---- its root ----


def read_only_root(evidence: Evidence) -> Verdict:
    """A root that is to be read-only cannot be written; the same root can, where it is not. It is an overlay, as
    containers' roots often are, over the guest's own."""
    needs(evidence, "CONFIG_OVERLAY_FS")
    inside = evidence.inside()
    found = []
    for read_only in (False, True):
        given: dict[str, Any] = {"read_only": read_only}
        if inside.root == "/":  # a root that the host lends is such an overlay already
            at = f"/run/kata-containers/proof/{read_only}"
            layers = ("lowerdir=/", f"upperdir={at}/upper", f"workdir={at}/work")
            over = pb.Storage(
                driver="overlayfs", source="overlay", fstype="overlay", options=layers, mount_point=f"{at}/root"
            )
            given |= {"rootfs": f"{at}/root", "storages": (over,)}
        done = inside.sh("touch /x", **given)
        found.append((done.status, text(done.stderr)))
    (writable, why), (refused, said) = found
    if writable:
        return Verdict(FAIL, f"a root that may be written cannot be: {why}")
    if not refused or "read-only" not in said.lower():
        return Verdict(FAIL, f"a read-only root: exit code {refused}, {said or 'written without an error'}")
    return Verdict(PASS, said)


# ---- limits, as they work ----


def oom(evidence: Evidence) -> Verdict:
    """A container that takes more memory than it may is killed, and the host is told whose it was."""
    needs(evidence, "CONFIG_MEMCG")
    inside = evidence.inside()
    agent = inside.session.agent

    def limit(spec: Any) -> None:
        spec.linux.resources.memory.limit = 24 * _MIB

    waiting = agent.begin("GetOOMEvent", pb.Empty())
    script = "exec dd if=/dev/zero of=/dev/shm/f bs=1048576 count=60"
    with inside.container(Process(("sh", "-c", script)), adjust=limit) as container:
        status = container.start().wait(RUN_SECONDS)
        try:
            told = agent.finish(waiting, pb.OomEvent, 10).container_id
        except (AgentError, AgentSilent) as error:
            return Verdict(FAIL, f"ended with {status}, and the host was not told: {error}")
    if (status, told) == (_SIGNALLED + _KILL, container.id):
        return Verdict(PASS, f"killed ({status}) at 24 MiB, and GetOOMEvent named it")
    return Verdict(FAIL, f"ended with {status}; GetOOMEvent named {told}, it is {container.id}")


def update(evidence: Evidence) -> Verdict:
    """A limit is changed while a container runs."""
    needs(evidence, "CONFIG_MEMCG")
    with evidence.inside().container(_SLEEP) as container:
        container.start()
        request = pb.UpdateContainerRequest(container_id=container.id)
        request.resources.memory.limit = 48 * _MIB
        container.agent.call("UpdateContainer", request)
        process = Process(("cat", "/sys/fs/cgroup/memory.max"))
        done = container.execute(process, "look").communicate(timeout_seconds=RUN_SECONDS)
    return expect(text(done.stdout), str(48 * _MIB))


def stats(evidence: Evidence) -> Verdict:
    """What a container uses is told: processor time, memory, processes."""
    with evidence.inside().container(
        Process(("sh", "-c", "seq 1 20000 >/dev/null; sleep 1000 & echo done; wait"))
    ) as container:
        container.start().read_stdout(timeout_seconds=RUN_SECONDS)
        found = container.agent.call("StatsContainer", _named(container), pb.StatsContainerResponse).cgroup_stats
    cpu, memory = found.cpu_stats.cpu_usage.total_usage, found.memory_stats.usage.usage
    pids = found.pids_stats.current
    said = f"{cpu / 1e6:.1f} ms of processor time, {memory / 1024:.0f} KiB, {pids} processes"
    return Verdict(PASS if cpu and memory and pids == 2 else FAIL, said)


def pause(evidence: Evidence) -> Verdict:
    """A paused container does nothing at all until it is resumed."""
    with evidence.inside().container(Process(("sh", "-c", "while :; do echo; sleep 0.05; done"))) as container:
        running = container.start()
        if not running.read_stdout(timeout_seconds=RUN_SECONDS):
            raise CheckError("the container wrote nothing")
        container.agent.call("PauseContainer", _named(container))
        paused = _falls_silent(running)
        container.agent.call("ResumeContainer", _named(container))
        resumed = bool(running.read_stdout(timeout_seconds=RUN_SECONDS))
        running.signal(_KILL)
    if paused and resumed:
        return Verdict(PASS, "silent while paused, and on again when resumed")
    return Verdict(
        FAIL, f"{'silent' if paused else 'not silent'} while paused, {'on' if resumed else 'off'} afterwards"
    )


def _falls_silent(running: Running) -> bool:
    """Whether its output ends: what it wrote before is read, then nothing comes for a while."""
    until = time.monotonic() + 5
    while time.monotonic() < until:
        try:
            running.read_stdout(timeout_seconds=_QUIET_SECONDS)
        except AgentSilent:
            return True
    return False


def _named(container: Container) -> object:
    return pb.ContainerRequest(container_id=container.id)


_STEPS: tuple[tuple[str, str, Callable[[Evidence], Verdict]], ...] = (
    ("exit-codes", "a container's exit code comes back", exit_codes),
    ("stdin", "a container's input arrives", stdin),
    ("large-output", "large output comes back whole", large_output),
    ("terminal-resize", "a terminal can be resized", resize),
    ("signals", "signals reach the program", signals),
    ("no-such-program", "a program that there is not is told", no_such_program),
    ("read-only-root", "a read-only root cannot be written", read_only_root),
    ("oom", "a container out of memory is killed, and told", oom),
    ("update", "limits change while it runs", update),
    ("stats", "what it uses is told", stats),
    ("pause", "a container can be paused", pause),
)

CHECKS: tuple[Check[Evidence], ...] = (
    *(Check(f"container-{case.name}", case.title, _case(case)) for case in CASES),
    *(Check(f"container-{name}", title, run) for name, title, run in (*_STEPS, *STEPS)),
)
