"""Whatever is killed, and whenever: nothing is left behind, and the next run works."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from kata_toolkit import warden
from kata_toolkit.checks import FAIL, PASS, SKIP, Check, Verdict
from kata_toolkit.vm import evidence
from kata_toolkit.vm.built_set import BuiltSet
from kata_toolkit.vm.options import Options
from kata_toolkit.vm.proof import prove
from vm_guests import wait_for

pytestmark = pytest.mark.vm

SEED = int(os.environ.get("KATA_TOOLKIT_TEST_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 30)
SHM = Path("/dev/shm")
# What to run; the words @set@ and @memory@ stand for the set, and a folder on a tmpfs.
VERBS = {
    "boot": ("boot", "@set@", "--accel=tcg", "--run", "sleep", "1000"),
    "shares": ("verify", "@set@", "--accel=tcg", "--only", "boots", "--only", "share-*"),
    "share-9p": ("verify", "@set@", "--accel=tcg", "--only", "share-9p"),
    "verify": ("verify", "@set@", "--accel=tcg", "--only", "*"),
    "template": ("template", "create", "@set@", "--accel=tcg", "-o", "@memory@/made"),
    "density": ("density", "@set@", "--accel=tcg", "--vms=1,2", "-n", "1", "--burst=2", "--json"),
    "bench": ("bench", "@copy@", "-n", "1", "--accel=tcg", "--json"),
}
OURSELVES = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@dataclass
class World:
    """Where a run has its temporary files and its memory, and by what its processes are known: a folder of $PATH."""

    tool: Path
    built: Path
    folder: Path
    memory: Path

    @property
    def temporary(self) -> Path:
        return self.folder / "tmp"

    @property
    def env(self) -> dict[str, str]:
        path = f"{os.environ['PATH']}:{self.folder}/marker"
        return {**os.environ, "PATH": path, "TMPDIR": str(self.temporary), "XDG_RUNTIME_DIR": str(self.memory)}

    def words(self, verb: str) -> list[str]:
        known = {"@set@": str(self.built), "@copy@": str(self.folder / "set"), "@memory@": str(self.memory)}
        words = list(VERBS[verb])
        for name, value in known.items():
            words = [word.replace(name, value) for word in words]
        return [str(self.tool), *words]

    def start(self, verb: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            self.words(verb),
            env=self.env,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def processes(self) -> dict[int, str]:
        """All that were started in this world and run, whoever their parents are: by number, their programs."""
        mark = f"{self.folder}/marker".encode()
        found = {}
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                # One that is being made is still a copy of the test; a dead one has no environment.
                if mark in (entry / "environ").read_bytes():
                    found[int(entry.name)] = (entry / "comm").read_text().strip()
        return found

    def running(self, program: str) -> list[int]:
        """Those whose program's name begins so."""
        return [pid for pid, name in self.processes().items() if name.startswith(program)]

    def left(self) -> list[str]:
        """What is left, other than a template that is whole."""
        files = [str(path) for path in self.temporary.iterdir()]
        files += [str(path) for path in self.memory.iterdir() if not (path / "template.json").is_file()]
        sockets = [line for line in Path("/proc/net/unix").read_text().splitlines() if str(self.folder) in line]
        return [*map(str, self.processes().items()), *files, *sockets]

    def require_clean(self, what: str) -> None:
        deadline = time.monotonic() + 10
        while (left := self.left()) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not left, f"{what} (seed {SEED}): left behind: {left}"


@pytest.fixture
def world(tool: Path, built_set: Path, tmp_path: Path) -> Iterator[World]:
    memory = Path(tempfile.mkdtemp(prefix="kata-toolkit-test-", dir=SHM))
    made = World(tool, built_set, tmp_path, memory)
    made.temporary.mkdir()
    yield made
    for pid in made.processes():  # of a test that failed
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    shutil.rmtree(memory)


def ended(process: subprocess.Popen[bytes], what: str) -> bytes:
    try:
        output, _ = process.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        process.kill()
        raise AssertionError(f"{what} (seed {SEED}): it did not end") from None
    assert b"Traceback" not in output, f"{what} (seed {SEED}): {output.decode()}"
    return output


def fault(world: World, verb: str, victim: str, seconds: float, signum: int = signal.SIGKILL) -> None:
    """Run, kill after that time, and see what is left. ``victim``: ourselves, or the start of a program's name."""
    what = f"{verb}: {victim} got {signal.Signals(signum).name} after {seconds:.2f} s"
    process = world.start(verb)
    time.sleep(seconds)
    if victim == "ourselves":
        os.kill(process.pid, signum)
    else:
        for pid in wait_for(lambda: world.running(victim), 30):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signum)
        if verb == "verify":  # it goes on with the next guest; enough is seen
            time.sleep(0.5)
            os.kill(process.pid, signal.SIGTERM)
    ended(process, what)
    world.require_clean(what)


def works(world: World) -> None:
    words = [str(world.tool), "boot", str(world.built), "--accel=tcg", "--run", "/bin/echo", "fine"]
    done = subprocess.run(words, env=world.env, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stdout) == (0, "fine\n"), done.stderr
    world.require_clean("a run that ended well")


@pytest.mark.parametrize(
    ("verb", "victim", "latest", "signum"),
    [
        ("boot", "ourselves", 1.5, signal.SIGKILL),
        ("shares", "ourselves", 3.0, signal.SIGKILL),
        ("shares", "ourselves", 3.0, signal.SIGHUP),
        ("shares", "virtiofsd", 0.5, signal.SIGKILL),
        ("template", "ourselves", 2.0, signal.SIGKILL),
        ("boot", "qemu", 0.8, signal.SIGKILL),
    ],
)
def test_nothing_is_left(world: World, verb: str, victim: str, latest: float, signum: int) -> None:
    moment = random.Random(f"{SEED} {verb} {victim} {signum}").uniform(0.1, latest)
    fault(world, verb, victim, moment, signum)


@pytest.mark.full
def test_nothing_is_left_at_twenty_random_points_and_the_next_run_works(world: World) -> None:
    random_ = random.Random(SEED)
    shutil.copytree(world.built, world.folder / "set", symlinks=True)
    for point in range(20):
        verb = (*VERBS,)[point % len(VERBS)]
        victim = ("ourselves", "ourselves", "qemu", "virtiofsd")[random_.randrange(4 if verb == "shares" else 3)]
        signum = random_.choice(OURSELVES) if victim == "ourselves" else signal.SIGKILL
        print(f"point {point}: {verb} {victim} {signum}")
        fault(world, verb, victim, random_.uniform(0.05, 6.0 if victim == "ourselves" else 1.0), signum)
    works(world)


def test_signals_by_the_dozen_do_not_keep_us_from_clearing_up(world: World) -> None:
    process = world.start("shares")
    wait_for(lambda: list(world.temporary.iterdir()), 30)
    for signum in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT) * 4:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signum)
        time.sleep(0.01)
    ended(process, "many signals")
    # One that comes when Python itself has begun to end means again what it means to any program.
    assert process.returncode in (130, -signal.SIGHUP, -signal.SIGTERM, -signal.SIGINT)
    world.require_clean("many signals")


def test_a_reader_that_goes_away_leaves_nothing(world: World) -> None:
    process = world.start("shares")
    assert process.stdout is not None
    process.stdout.close()
    process.wait(timeout=60)
    world.require_clean("stdout was closed")


@pytest.mark.full
def test_runs_beside_each_other_do_not_collide(world: World) -> None:
    running = [world.start("shares") for _ in range(2)]
    outputs = [ended(process, "two proofs at once") for process in running]
    assert [process.returncode for process in running] == [0, 0], outputs
    world.require_clean("two proofs at once")


def test_a_guest_that_is_stopped_is_told_in_time_and_leaves_nothing(world: World) -> None:
    words = [str(world.tool), "verify", str(world.built), "--accel=tcg", "--timeout=4", "--only", "boots", "--json"]
    process = subprocess.Popen(words, env=world.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    (qemu,) = wait_for(lambda: world.running("qemu"), 30)
    os.kill(qemu, signal.SIGSTOP)
    output, _ = process.communicate(timeout=30)
    (boots,) = json.loads(output)["checks"]
    assert boots["status"] == "fail"
    assert "within 4 s" in boots["detail"] or "4 s went by" in boots["detail"]
    world.require_clean("a stopped guest")


def test_a_guest_that_hangs_in_the_middle_is_shown_with_its_console_and_used_no_more(
    built_set: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evidence, "_ANSWER_SECONDS", 1.0)

    def hang(one: evidence.Evidence) -> Verdict:
        session = one.guest("console")
        os.kill(session.vmm.process.pid, signal.SIGSTOP)
        session.agent.check(0.5)
        return Verdict(PASS, "it answers")

    def after(one: evidence.Evidence) -> Verdict:
        return Verdict(PASS, str(one.guest("console").seconds_to_agent))

    def failing(one: evidence.Evidence) -> Verdict:
        one.boot("console")
        return Verdict(FAIL, "something else")

    table = [Check("before", "", failing), Check("hang", "", hang), Check("after", "", after)]
    with evidence.Evidence(BuiltSet.load(built_set), Options(accel="tcg"), note=lambda text: None) as one:
        begin = time.monotonic()
        found = {check.id: verdict for check, verdict in prove(one, starting=lambda check: None, checks=table)}
    assert found["before"].detail == "something else"  # it answers: nothing is said of it
    assert found["hang"].status == FAIL
    assert "1 s went by before its agent answered again" in found["hang"].detail
    assert "its console" in found["hang"].detail
    assert (found["after"].status, found["after"].detail) == (SKIP, "the guest hung before")
    assert time.monotonic() - begin < 30


@pytest.mark.parametrize("options", ["ro", "size=64k,mode=1777"])
def test_a_folder_for_temporary_files_that_is_none_is_said(world: World, options: str) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can mount")
    script = f"mount -t tmpfs -o {options} none {world.temporary} && exec {' '.join(world.words('share-9p'))}"
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script], env=world.env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 3, done.stdout
    assert "temporary folder can be made" in done.stdout or "is full" in done.stdout
    world.require_clean(options)


_KEEPER = """
import os, signal, sys, time
from pathlib import Path
from kata_toolkit import run, warden

process = run.spawn(["sh", "-c", "sleep 1234 & exec sleep 1234"])
(pipe,) = warden._pipes
ends = f"pipe:[{os.fstat(pipe).st_ino}]"
for entry in Path("/proc").glob("[0-9]*/fd/0") if sys.argv[2] == "yes" else ():
    try:
        if os.readlink(entry) == ends:
            os.kill(int(entry.parts[2]), signal.SIGKILL)
            print("killed", end=" ")
    except OSError:
        pass
time.sleep(0.1)
with warden.temporary_folder("test", Path(sys.argv[1])) as folder:
    (folder / "a b").mkdir()
    (folder / "a b" / "c").touch()
    (folder / "a b").chmod(0)
    print(process.pid, flush=True)
    time.sleep(100)
"""


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("warden_killed", ["no", "yes"])
def test_the_warden_ends_whole_groups(tmp_path: Path, signum: int, warden_killed: str) -> None:
    """Grandchildren, too, and folders that cannot be entered. Another one takes the place of one that was killed."""
    strange = tmp_path / "a\\ strange\n"
    strange.mkdir()
    process = subprocess.Popen([sys.executable, "-c", _KEEPER, strange, warden_killed], stdout=subprocess.PIPE)
    assert process.stdout is not None
    *killed, group = process.stdout.readline().split()
    assert killed == ([b"killed"] if warden_killed == "yes" else [])
    assert len(list(strange.iterdir())) == 1
    process.send_signal(signum)
    process.communicate()
    wait_for(lambda: not list(strange.iterdir()))
    wait_for(lambda: not _alive(int(group)))


def _alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_what_a_killed_run_left_goes_with_the_next(tmp_path: Path) -> None:
    """When the warden was killed too. What is in use, young or somebody's of another kind stays."""
    with warden.temporary_folder("old", tmp_path) as used:
        abandoned, young, other = (tmp_path / name for name in ("kata-toolkit-old-abcdefgh", *_OTHERS))
        for folder in (abandoned, young, other):
            (folder / "inside").mkdir(parents=True)
        for folder in (used, abandoned, other):
            os.utime(folder, (0, 0))
        with warden.temporary_folder("old", tmp_path):
            assert [folder.exists() for folder in (used, abandoned, young, other)] == [True, False, True, True]


_OTHERS = ("kata-toolkit-old-12345678", "kata-toolkit-0")
