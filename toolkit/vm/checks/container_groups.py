"""What several programs in a container, and several containers in a sandbox, share and do not share."""

from __future__ import annotations

from collections.abc import Callable

from ...checks import FAIL, PASS, Verdict
from ...errors import CheckError
from .. import agent_pb2 as pb
from ..agent_client import AgentError
from ..evidence import Evidence, text
from ..inside import RUN_SECONDS, Inside
from ..oci import Mount, Process
from .common import expect

_KILL = 9
_KILLED = 128 + _KILL
_SLEEP = Process(("sleep", "1000"))
_PEER = "/run/peer"  # where containers mount what they share


def execute(evidence: Evidence) -> Verdict:
    """A further program in a running container shares its processes, its files and its host name; its exit code, user,
    environment and directory are its own."""
    inside = evidence.inside()
    with inside.container(Process(("sh", "-c", "echo here >/tmp/mark; sleep 1000; :")), hostname="box") as container:
        first = container.start()
        waits = "until cat /tmp/mark; do sleep 0.1; done 2>/dev/null"
        script = f"{waits}; cat /proc/1/comm; hostname; id -u; pwd; echo $V; exit 5"
        process = Process(("sh", "-c", script), user=(77, 77), cwd="/proc", env={"V": "own"})
        done = container.execute(process, "second").communicate(timeout_seconds=RUN_SECONDS)
        first.signal(_KILL)
        ended = first.wait(RUN_SECONDS)
    found = f"{text(done.stdout)}; {done.status} {ended}"
    return expect(found, f"here sh box 77 /proc own; 5 {_KILLED}")


def exec_streams(evidence: Evidence) -> Verdict:
    """Several further programs at a time each have streams of their own."""
    with evidence.inside().container(_SLEEP) as container:
        container.start()
        running = [container.execute(Process(("cat",)), f"cat-{number}") for number in range(4)]
        for number, program in enumerate(running):
            program.write_stdin(f"number {number}".encode())
        for program in running:
            program.close_stdin()
        found = [program.communicate(timeout_seconds=RUN_SECONDS).stdout for program in running]
    wrong = [number for number, data in enumerate(found) if data != f"number {number}".encode()]
    return Verdict(FAIL, f"got {found}") if wrong else Verdict(PASS, f"{len(found)} programs, none got another's input")


def end_of_all(evidence: Evidence) -> Verdict:
    """When a container's first program ends, so does all that still runs in it."""
    with evidence.inside().container(Process(("sh", "-c", "read x"))) as container:
        first = container.start()
        second = container.execute(_SLEEP, "second")
        first.close_stdin()
        found = (first.wait(RUN_SECONDS), second.wait(RUN_SECONDS))
    return expect(str(found), str((1, _KILLED)))


def removed(evidence: Evidence) -> Verdict:
    """A removed container is gone, with its daemons: no process of it is left in the guest, and its name is free."""
    inside = evidence.inside()
    with inside.container(Process(("sh", "-c", "(sleep 98765 &); (sleep 98765 &); echo up; sleep 98765"))) as container:
        if container.start().read_stdout(timeout_seconds=RUN_SECONDS) != b"up\n":
            raise CheckError("the container did not start as it should")
        if _running(inside, "98765") < 3:
            raise CheckError("its processes cannot be seen from a container with the guest's process ids")
    left = _running(inside, "98765")
    try:
        container.start()
    except AgentError as error:
        gone = error.status
    else:
        return Verdict(FAIL, "a container that was removed can be started")
    return (
        Verdict(PASS, f"no process is left; asked for again: {gone}") if not left else Verdict(FAIL, f"{left} are left")
    )


def _running(inside: Inside, word: str) -> int:
    """How many processes of the guest have a word among their arguments."""
    # The pattern is not in its own command line.
    script = f"grep -las '{word[0]}[{word[1]}]{word[2:]}' /proc/[0-9]*/cmdline | wc -l"
    return int(inside.lines(script, namespaces=("mount", "uts", "ipc", "cgroup"))[0])


def zombies(evidence: Evidence) -> Verdict:
    """Processes that lose their parent do not stay behind as zombies, neither in the guest nor of further programs."""
    inside = evidence.inside()
    for _ in range(3):
        inside.lines("for i in 1 2 3 4 5; do (sleep 0.01 &); done")
    with inside.container(_SLEEP) as container:
        container.start()
        script = "for i in 1 2 3; do (sleep 0.01 &); done"
        for number in range(3):
            container.execute(Process(("sh", "-c", script)), f"e{number}").communicate(timeout_seconds=RUN_SECONDS)
    script = "sleep 0.3; grep -ls '^State:.Z' /proc/[0-9]*/status | wc -l"
    count = int(inside.lines(script, namespaces=("mount", "uts", "ipc", "cgroup"))[0])
    return Verdict(FAIL, f"{count} zombies in the guest") if count else Verdict(PASS, "none in the guest")


def together(evidence: Evidence) -> Verdict:
    """Two containers of a sandbox share its network and its memory segments, and neither files nor processes."""
    inside = evidence.inside()
    namespaces = "for n in net ipc pid mnt; do readlink /proc/self/ns/$n; done"
    script = f"echo secret >/tmp/own; {namespaces}; cat"
    with inside.container(Process(("sh", "-c", script))) as one:
        first = one.start()
        own = first.read_stdout(timeout_seconds=RUN_SECONDS).split()
        while len(own) < 4:
            own += first.read_stdout(timeout_seconds=RUN_SECONDS).split()
        *other, files = [*(line.encode() for line in inside.lines(f"{namespaces}; ls /tmp")), b""][:5]
    same = [left == right for left, right in zip(own, other, strict=True)]
    if same == [True, True, False, False] and not files:
        return Verdict(PASS, f"both in {text(own[0])} and {text(own[1])}, with files and processes of their own")
    names = ("network", "ipc", "pid", "mount")
    told = ", ".join(
        f"{'the same' if is_same else 'another'} {name}" for is_same, name in zip(same, names, strict=True)
    )
    return Verdict(FAIL, f"{told}; in its /tmp: {text(files) or 'nothing'}")


def talk(evidence: Evidence) -> Verdict:
    """Two containers of a sandbox reach each other on its loopback interface."""
    inside = evidence.inside()
    inside.needs_tools("nc")
    with inside.container(Process(("sh", "-c", "echo hello | nc -l -p 7777 -w 20"))) as server:
        running = server.start()
        asks = "i=0; until nc -w 5 127.0.0.1 7777 </dev/null || [ $i -gt 50 ]; do i=$((i+1)); sleep 0.1; done"
        found = inside.lines(asks)
        running.signal(_KILL)
    return expect(" ".join(found), "hello")


def shared_folder(evidence: Evidence) -> Verdict:
    """A folder of the guest that two containers mount: what one writes the other reads, and cannot write if its own
    mount is read-only."""
    inside = evidence.inside()
    inside.lines(f"mkdir {_PEER}/proof", mounts=(Mount(_PEER, "/run", "bind", ("rbind", "rw")),))
    mounts = [Mount(_PEER, "/run/proof", "bind", ("rbind", mode)) for mode in ("rw", "ro")]
    inside.lines(f"echo shared >{_PEER}/file", mounts=(mounts[0],))
    done = inside.sh(f"cat {_PEER}/file; touch {_PEER}/other 2>/dev/null && echo written", mounts=(mounts[1],))
    return expect(text(done.stdout), "shared")


def volume(evidence: Evidence) -> Verdict:
    """A volume in the guest's memory (emptyDir with medium Memory) is shared by the containers that are given it."""
    inside = evidence.inside()
    path = "/run/kata-containers/sandbox/ephemeral/proof"
    storage = pb.Storage(driver="ephemeral", source="tmpfs", fstype="tmpfs", mount_point=path, options=("size=8m",))
    mount = Mount(_PEER, path, "bind", ("rbind", "rw"))
    with inside.container(_SLEEP, storages=(storage,), mounts=(mount,)) as holder:
        holder.start()
        script = f"echo kept >{_PEER}/file"
        holder.execute(Process(("sh", "-c", script)), "write").communicate(timeout_seconds=RUN_SECONDS)
        found = inside.lines(f"cat {_PEER}/file; grep ' {_PEER} ' /proc/mounts | cut -d' ' -f3", mounts=(mount,))
    return expect(" ".join(found), "kept tmpfs")


STEPS: tuple[tuple[str, str, Callable[[Evidence], Verdict]], ...] = (
    ("exec", "further programs run in a container", execute),
    ("exec-streams", "further programs have their own streams", exec_streams),
    ("end-of-all", "the end of the first program ends the others", end_of_all),
    ("removed", "a removed container leaves nothing behind", removed),
    ("zombies", "no zombies are left", zombies),
    ("two-namespaces", "two containers share network and ipc only", together),
    ("two-network", "two containers reach each other", talk),
    ("bind-mount", "a folder can be shared, or read only", shared_folder),
    ("memory-volume", "a volume in memory is shared", volume),
)
"""Name, title and check, as `containers.py` makes them checks."""
