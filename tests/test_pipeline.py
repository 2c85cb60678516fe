"""The store, the engine and the output tree, with toy stages: what is cached, found damaged, left behind."""

from __future__ import annotations

import hashlib
import io
import json
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
from kata_toolkit.errors import InputError, InternalError, ToolError
from kata_toolkit.events import Cached, Event, Started, ignore
from kata_toolkit.pipeline.engine import Engine
from kata_toolkit.pipeline.inputs import BuildInputs
from kata_toolkit.pipeline.layout import Artifact, Generated
from kata_toolkit.pipeline.output import Assembled, assemble
from kata_toolkit.pipeline.plan import plan
from kata_toolkit.pipeline.stage import Command, Inputs, Recipe, Stage, Work
from kata_toolkit.pipeline.store import DamagedError, Entry, Store


@dataclass(frozen=True)
class Flour(Stage):
    name: ClassVar[str] = "flour"
    title: ClassVar[str] = "ground grain"
    grain: str = "rye"

    def plan(self, inputs: Inputs) -> Recipe:
        return Recipe(options={"grain": {"CONFIG_GRAIN": self.grain}}, tools={"sh": inputs.tool("bash")})

    def run(self, work: Work) -> None:
        (work.out / "flour").write_text(self.grain[:3])


@dataclass(frozen=True)
class Bread(Stage):
    name: ClassVar[str] = "bread"
    title: ClassVar[str] = "a loaf"
    seconds: float = 0.0

    def plan(self, inputs: Inputs) -> Recipe:
        return Recipe(
            commands=[Command("cp", "@flour@", "@out@/bread")], inputs={"flour/flour": inputs.digest("flour", "flour")}
        )

    def run(self, work: Work) -> None:
        time.sleep(self.seconds)
        work.run(work.recipe.commands[0], flour=work.inputs.path("flour", "flour"))
        (work.out / "bread").chmod(0o755)


class Bakery:
    """A store and an engine over the toy stages that keeps the events of each build."""

    def __init__(self, cache: Path) -> None:
        self.store = Store(cache)
        self.events: list[Event] = []

    def build(self, *stages: Stage) -> dict[str, str]:
        self.events.clear()
        inputs = BuildInputs(self.store)
        engine = Engine("loaf", stages or (Flour(), Bread()), self.store, inputs, self.events.append, io.StringIO(), 2)
        return {name: entry.id for name, entry in engine.build(["bread"]).items()}

    def ran(self) -> list[str]:
        return [e.stage for e in self.events if isinstance(e, Started)]

    def reasons(self) -> dict[str, str]:
        return {e.stage: e.reason for e in self.events if isinstance(e, Started)}


@pytest.fixture
def bakery(tmp_path: Path) -> Bakery:
    return Bakery(tmp_path / "cache")


def test_the_second_build_runs_nothing(bakery: Bakery) -> None:
    first = bakery.build()
    assert bakery.ran() == ["flour", "bread"]
    assert bakery.build() == first
    assert bakery.ran() == []
    assert [type(e) for e in bakery.events] == [Cached, Cached]


def test_the_same_bytes_from_another_recipe_stop_the_change(bakery: Bakery) -> None:
    """Stages are keyed by the digests of what they read, not by how it was made."""
    bakery.build(Flour("rye"), Bread())
    bakery.build(Flour("rye bread flour"), Bread())
    assert bakery.ran() == ["flour"]
    assert bakery.reasons()["flour"] == "option CONFIG_GRAIN changed: rye → rye bread flour"


def test_changed_bytes_go_through(bakery: Bakery) -> None:
    bakery.build(Flour("rye"), Bread())
    bakery.build(Flour("oat"), Bread())
    assert bakery.ran() == ["flour", "bread"]
    assert bakery.reasons()["bread"] == "input flour/flour changed"


def test_plan_builds_nothing_and_says_what_waits(bakery: Bakery) -> None:
    steps = plan("loaf", (Flour(), Bread()), bakery.store, BuildInputs(bakery.store))
    assert [(s.stage, s.cached, s.reasons, s.waits_for) for s in steps] == [
        ("flour", False, ("never built",), None),
        ("bread", False, (), "flour"),
    ]
    assert list(bakery.store.entries()) == []
    bakery.build()
    steps = plan("loaf", (Flour("oat"), Bread()), bakery.store, BuildInputs(bakery.store))
    assert steps[0].reasons == ("option CONFIG_GRAIN changed: rye → oat",)
    steps = plan("loaf", (Flour(), Bread()), bakery.store, BuildInputs(bakery.store))
    assert [s.cached for s in steps] == [True, True]
    assert steps[1].as_json()["commands"] == ["cp @flour@ @out@/bread"]


def _damage(path: Path, data: bytes) -> None:
    path.chmod(0o644)
    path.write_bytes(data)


@pytest.mark.parametrize(
    "harm",
    [
        lambda p: _damage(p, b"rot"),  # same size, other bytes
        lambda p: _damage(p, b""),
        lambda p: p.unlink(),
        lambda p: (p.parent.parent / "index.json").write_text("{"),
        lambda p: (p.parent.parent / "index.json").unlink(),
    ],
)
def test_a_damaged_entry_is_found_and_built_again(bakery: Bakery, harm: object) -> None:
    ids = bakery.build()
    path = bakery.store.get("flour", ids["flour"]).path("flour")  # type: ignore[union-attr]  # it was just built
    harm(path)  # type: ignore[operator]
    assert bakery.build() == ids
    assert bakery.ran() == ["flour"]
    assert path.read_bytes() == b"rye"


def test_a_touched_entry_is_not_damaged(bakery: Bakery) -> None:
    """A cache restored from an archive has other inodes and times; only its bytes count."""
    ids = bakery.build()
    entry = bakery.store.get("flour", ids["flour"])
    assert entry
    os.utime(entry.path("flour"), (1, 1))
    bakery.build()
    assert bakery.ran() == []


def _artifacts(bakery: Bakery) -> tuple[list[Artifact], dict[str, object]]:
    ids = bakery.build()
    entries = {stage: bakery.store.get(stage, id_) for stage, id_ in ids.items()}
    return [Artifact("bin/bread", "bread", "bread", "food"), Artifact("share/flour", "flour", "flour", "food")], entries


RYE = hashlib.sha256(b"rye").hexdigest()
MANIFEST = json.dumps(
    {"artifacts": [{"path": p, "sha256": RYE} for p in ("about.txt", "bin/bread", "share/flour")]}
).encode()


class Said:
    """What is derived from the entries: one file, beside what stages made."""

    listed = (Generated("about.txt", "food", 3, RYE),)

    def texts(self) -> dict[str, bytes]:
        return {"about.txt": b"rye"}


def _put_out(bakery: Bakery, target: Path) -> Assembled:
    artifacts, entries = _artifacts(bakery)
    return assemble(bakery.store, target, MANIFEST, artifacts, Said(), entries, target.parent / "aside")  # type: ignore[arg-type]


def test_the_output_appears_whole_and_once(bakery: Bakery, tmp_path: Path) -> None:
    target = tmp_path / "deep" / "out"
    before = os.umask(0o077)
    try:
        assert _put_out(bakery, target).changed
    finally:
        os.umask(before)
    assert (target / "bin/bread").stat().st_mode & 0o777 == 0o755
    assert (target / "share/flour").stat().st_mode & 0o777 == 0o644
    assert (target / "share").stat().st_mode & 0o777 == 0o755
    assert not _put_out(bakery, target).changed
    assert sorted(p.name for p in target.parent.iterdir()) == ["out"]


def test_what_a_person_put_into_the_output_is_kept_aside(bakery: Bakery, tmp_path: Path) -> None:
    target = tmp_path / "out"
    _put_out(bakery, target)
    (target / "share/flour").write_text("my own mix")
    (target / "stray").write_text("notes")
    (target / "link").symlink_to("stray")
    assert _put_out(bakery, target) == Assembled(changed=True, kept=("link", "share/flour", "stray"))
    assert (target / "share/flour").read_text() == "rye"
    assert not (target / "stray").exists()
    assert (tmp_path / "aside/share/flour").read_text() == "my own mix"
    assert (tmp_path / "aside/stray").read_text() == "notes"


def test_an_output_folder_with_other_peoples_files_is_refused(bakery: Bakery, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.txt").write_text("precious")
    with pytest.raises(InputError, match="holds files that kata-toolkit did not make"):
        _put_out(bakery, tmp_path / "home")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is not a folder"):
        _put_out(bakery, tmp_path / "file")
    assert (tmp_path / "home" / "thesis.txt").read_text() == "precious"


def test_bytes_that_rot_behind_a_faithful_stat_are_found_when_copied(bakery: Bakery, tmp_path: Path) -> None:
    """A disk can change bytes without touching inode or times: the digest is taken while they are copied."""
    artifacts, entries = _artifacts(bakery)
    entry: Entry = entries["flour"]  # type: ignore[assignment]
    _damage(entry.path("flour"), b"rot")
    with pytest.raises(DamagedError):
        assemble(bakery.store, tmp_path / "out", MANIFEST, artifacts, Said(), entries, tmp_path / "a")  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()
    assert bakery.store.get("flour", entry.id) is None


def test_damage_is_found_by_digesting_everything_and_told_as_the_reason(bakery: Bakery) -> None:
    ids = bakery.build()
    entry = bakery.store.get("flour", ids["flour"])
    assert entry
    _damage(entry.path("flour"), b"rot")
    assert [bakery.store.check(e) for e in bakery.store.entries()] == [[], ["flour"]]
    bakery.build()
    assert bakery.reasons() == {"flour": "its bytes are no longer in the store"}


def _build_slowly(cache: Path) -> None:
    Bakery(cache).build(Flour(), Bread(seconds=60))


@pytest.fixture
def slow_build(tmp_path: Path) -> Iterator[multiprocessing.Process]:
    process = multiprocessing.get_context("fork").Process(target=_build_slowly, args=(tmp_path / "cache",))
    process.start()
    deadline = time.monotonic() + 20
    while (
        not list((tmp_path / "cache" / "tmp").glob("*/scratch"))
        or len(list((tmp_path / "cache/objects").glob("*/*"))) < 1
    ):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    yield process
    if process.is_alive():
        process.kill()
    process.join()


def test_after_kill_9_the_next_build_just_works(slow_build: multiprocessing.Process, tmp_path: Path) -> None:
    assert slow_build.pid
    os.kill(slow_build.pid, signal.SIGKILL)
    slow_build.join()
    bakery = Bakery(tmp_path / "cache")
    assert list((tmp_path / "cache/tmp").iterdir())
    bakery.store.sweep()
    assert list((tmp_path / "cache/tmp").iterdir()) == []
    bakery.build()
    assert bakery.ran() == ["bread"]


def test_sweeping_leaves_a_running_build_alone(slow_build: multiprocessing.Process, tmp_path: Path) -> None:
    Store(tmp_path / "cache").sweep()
    assert list((tmp_path / "cache/tmp").glob("*/scratch"))


def _build_and_tell(cache: Path, queue: multiprocessing.Queue[list[str]]) -> None:
    bakery = Bakery(cache)
    bakery.build(Flour(), Bread(seconds=0.3))
    queue.put(bakery.ran())


def test_two_builds_at_once_share_the_work(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    builds = [context.Process(target=_build_and_tell, args=(tmp_path / "cache", queue)) for _ in range(4)]
    for process in builds:
        process.start()
    ran = [queue.get(timeout=60) for _ in builds]
    for process in builds:
        process.join()
        assert process.exitcode == 0
    assert sorted(stage for stages in ran for stage in stages) == ["bread", "flour"]


def test_gc_keeps_what_the_last_builds_used(bakery: Bakery) -> None:
    bakery.build(Flour("rye"), Bread())
    last = bakery.build(Flour("oat"), Bread())
    assert bakery.store.collect(scratch=True) == 6
    assert {(e.stage, e.id) for e in bakery.store.entries()} == set(last.items())


def test_a_stage_that_makes_nothing_is_our_bug(bakery: Bakery) -> None:
    @dataclass(frozen=True)
    class Lazy(Stage):
        name: ClassVar[str] = "bread"
        title: ClassVar[str] = "nothing"

        def plan(self, inputs: Inputs) -> Recipe:
            return Recipe()

        def run(self, work: Work) -> None:
            """Make nothing."""

    with pytest.raises(InternalError, match="made nothing"):
        bakery.build(Lazy())
    assert list(bakery.store.entries()) == []


def test_a_failing_command_names_itself_and_leaves_nothing(bakery: Bakery) -> None:
    @dataclass(frozen=True)
    class Burnt(Stage):
        name: ClassVar[str] = "bread"
        title: ClassVar[str] = "burnt"

        def plan(self, inputs: Inputs) -> Recipe:
            return Recipe(commands=[Command("sh", "-c", "echo too hot; exit 7")])

        def run(self, work: Work) -> None:
            work.run(work.recipe.commands[0])

    with pytest.raises(ToolError, match=r"sh failed \(7\):\n  too hot") as caught:
        bakery.build(Burnt())
    assert caught.value.problems[0].hint
    assert "sh -c 'echo too hot; exit 7'" in caught.value.problems[0].hint
    assert list((bakery.store.cache / "tmp").iterdir()) == []


def test_an_unusable_cache_folder_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ToolError, match=r"cannot use the cache folder .*Not a directory"):
        Store(tmp_path / "file" / "cache")


def test_a_missing_tool_says_what_to_install(bakery: Bakery, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("kata_toolkit.run.which", lambda tool: None)
    with pytest.raises(ToolError, match="musl-gcc is not installed") as caught:
        BuildInputs(bakery.store).tool("musl-gcc")
    assert caught.value.problems[0].hint == "apt-get install musl-tools"
    ignore(Cached("x", "y"))


def test_what_is_not_there_is_not_removed_by_who_looks_for_it(bakery: Bakery, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another build's entry may appear at any moment, also just after it was looked for."""
    removed: list[Path] = []
    monkeypatch.setattr(Store, "_discard", lambda self, folder: removed.append(folder))
    assert bakery.store.get("flour", "0" * 32) is None
    assert removed == []
