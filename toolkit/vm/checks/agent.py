"""The agent, and what it does for the guest as a whole: who it is, clock, random numbers, debug console, garbage."""

from __future__ import annotations

import contextlib
import re
import time

from ...checks import FAIL, PASS, Check, Skipped, Verdict
from .. import vsock
from ..agent_client import AgentError
from ..evidence import MAIN, Evidence, text
from ..inside import Inside
from ..session import Session

_CLOCK_SECONDS = 2.0
_YEAR_2001 = 978_307_200
_SHELL_SECONDS = 10.0
_GARBAGE = (
    b"\x00" * 64, b"\xff" * 512, b"GET / HTTP/1.1\r\n\r\n", bytes(range(256)) * 8,
    b"\x00\x00\x00\x05\x00\x00\x00\x01\x01\x00junk!",
)  # fmt: skip


def health(evidence: Evidence) -> Verdict:
    """The agent answers its health check, and says which protocol and version it is."""
    agent = evidence.guest().agent
    agent.check()
    version = agent.version()
    return Verdict(PASS, f"agent {version.agent_version}, protocol {version.grpc_version}")


def details(evidence: Evidence) -> Verdict:
    """The agent tells what the guest can do: how large a block of memory is, which devices and storages it handles."""
    found = evidence.guest().agent.guest_details()
    if not found.agent_version or not found.storage_handlers:
        return Verdict(FAIL, f"version {found.agent_version!r}, storages {', '.join(found.storage_handlers) or 'none'}")
    if evidence.config.get("CONFIG_MEMORY_HOTPLUG") == "y" and not found.memory_block:
        return Verdict(FAIL, "memory can be added to this kernel, and the agent does not tell the size of its blocks")
    return Verdict(
        PASS, f"memory blocks of {found.memory_block >> 20} MiB, storages {', '.join(found.storage_handlers)}"
    )


def clock(evidence: Evidence) -> Verdict:
    """The host sets the guest's clock, to another time and back to its own; containers see it."""
    inside = evidence.inside()
    agent = inside.session.agent
    agent.set_time(_YEAR_2001)
    other = int(inside.lines("date +%s")[0])
    now = time.time()
    agent.set_time(int(now), int(now % 1 * 1e6))
    guest, host = int(inside.lines("date +%s")[0]), time.time()
    if not _YEAR_2001 <= other < _YEAR_2001 + 60:
        return Verdict(FAIL, f"set to {_YEAR_2001} s since 1970, containers see {other}")
    off = guest - host
    return Verdict(PASS if abs(off) <= _CLOCK_SECONDS else FAIL, f"{off:+.1f} s from the host's")


def entropy(evidence: Evidence) -> Verdict:
    """The kernel's random numbers are ready when the agent answers: reading /dev/random does not wait, and two guests
    of the same set read different bytes."""
    script = "head -c 16 /dev/random | sha256sum; cat /proc/sys/kernel/random/boot_id"
    inside = evidence.inside("console")
    begin = time.monotonic()
    first = inside.lines(script)
    seconds = time.monotonic() - begin
    second = evidence.inside(MAIN).lines(script)
    if set(first) & set(second):
        return Verdict(FAIL, "two guests have the same random bytes or boot id")
    if _before_init(inside):
        return Verdict(
            PASS, f"ready before the kernel started the first process; /dev/random was read in {seconds:.2f} s"
        )
    return Verdict(PASS, f"/dev/random was read in {seconds:.2f} s, with no wait")


def _before_init(inside: Inside) -> bool:
    """Whether the kernel's messages say that it had random numbers before it started its init."""
    if inside.root != "/":
        return False
    messages = _shell(inside.session, "dmesg")
    ready, init = messages.find("crng init done"), messages.find(" as init process")
    return 0 <= ready < init


def reseed(evidence: Evidence) -> Verdict:
    """The host gives the guest random bytes (as after cloning it); the agent refuses none."""
    inside = evidence.inside()
    agent = inside.session.agent
    before = inside.lines("head -c 16 /dev/urandom | sha256sum")
    agent.reseed(bytes(range(64)))
    after = inside.lines("head -c 16 /dev/urandom | sha256sum")
    try:
        agent.reseed(b"")
    except AgentError:
        refused = True
    else:
        refused = False
    if before == after or not refused:
        return Verdict(FAIL, "nothing at all is taken for random bytes" if not refused else "the same bytes twice")
    return Verdict(PASS, "64 bytes taken, none refused")


def sandbox(evidence: Evidence) -> Verdict:
    """A guest has one sandbox: a second one is refused. That it ends with the guest is `power-off`."""
    inside = evidence.inside()
    inside.lines("true")  # the first container brought it
    try:
        inside.session.agent.create_sandbox()
    except AgentError as error:
        return Verdict(PASS, f"there is one; a second is refused: {error.text}")
    return Verdict(FAIL, "a second sandbox could be made in a guest that has one")


def debug_console(evidence: Evidence) -> Verdict:
    """With the agent's debug console switched on there is a shell on the guest's own root, as process of root."""
    inside = evidence.inside("console")
    if inside.root != "/":
        raise Skipped("the guest has no shell for its debug console")
    asked = "echo uid:$(id -u):; readlink /proc/self/ns/pid; readlink /proc/1/ns/pid"
    said = _shell(inside.session, asked)
    pids = re.findall(r"pid:\[\d+\]", said)
    if "uid:0:" not in said or len(pids) != 2 or pids[0] != pids[1]:
        return Verdict(FAIL, f"the shell says: {text(said.encode())}")
    return Verdict(PASS, "a shell of root among the guest's own processes")


def _shell(session: Session, command: str) -> str:
    """What a command says on the debug console. Raises ToolError when that cannot be reached."""
    mark = "proof" + str(time.monotonic_ns())
    end = session.debug_console()
    end.settimeout(_SHELL_SECONDS)
    # The echo of what is typed has the mark in two pieces.
    end.sendall(f"stty cols 1000 2>/dev/null; {command}; echo {mark[:5]}''{mark[5:]}\n".encode())
    said = b""
    with contextlib.suppress(TimeoutError):  # what it did say shows what is wrong
        while mark.encode() not in said and (data := end.recv(65536)):
            said += data
    return said.decode(errors="replace").replace("\r", "").split(mark)[0]


def garbage(evidence: Evidence) -> Verdict:
    """Bytes that are no request are survived: the agent answers the next one. Over vsock on connections of their own;
    over a serial port on the one there is, as from a host that died in the middle of a sentence."""
    session = evidence.guest("console")
    cid = session.machine.guest_cid
    for junk in _GARBAGE:
        if cid is not None:
            until = time.monotonic() + _SHELL_SECONDS
            end = vsock.connect(cid, vsock.AGENT_PORT, until=until, gone=lambda: session.vmm.status() is not None)
            if end is None:
                return Verdict(FAIL, "the agent takes no further connection")
            with end:
                end.sendall(junk)
        else:
            session.agent.send_raw(junk)
    session.agent.check(timeout_seconds=_SHELL_SECONDS)
    return Verdict(PASS, f"{sum(map(len, _GARBAGE))} bytes that are no requests, then an answer")


CHECKS: tuple[Check[Evidence], ...] = (
    Check("agent-health", "the agent says who it is", health),
    Check("agent-details", "the agent tells what the guest can do", details),
    Check("agent-sandbox", "there is one sandbox", sandbox),
    Check("clock", "the host sets the clock", clock),
    Check("random-reseed", "the host adds random bytes", reseed),
)
CONSOLE: tuple[Check[Evidence], ...] = (
    Check("random-ready", "random numbers are ready before the agent", entropy),
    Check("debug-console", "the debug console works", debug_console),
    Check("agent-garbage", "the agent survives garbage", garbage),
)
"""In a guest with the debug console."""
