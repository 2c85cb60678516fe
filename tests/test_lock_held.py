"""Held to a lock, in the small: what is answered, refused and told; and the walk that finds it out beforehand."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
from kata_toolkit.errors import InputError, ToolError
from kata_toolkit.events import Started, ignore
from kata_toolkit.lock.changes import changes
from kata_toolkit.lock.held import HeldTo, WhereItFits
from kata_toolkit.lock.model import Lock, Locked
from kata_toolkit.lock.prepare import prepare
from kata_toolkit.lock.resolve import Recorder
from kata_toolkit.lock.survey import Survey
from kata_toolkit.lock.text import lock_text
from kata_toolkit.pipeline.engine import Engine
from kata_toolkit.pipeline.inputs import BuildInputs
from kata_toolkit.pipeline.stage import Inputs, Lookup, Missing, Recipe, Stage, Work
from kata_toolkit.pipeline.store import Store

SPEC = Path("s.yaml")
KEY = "rootfs.packages"


def packages(**versions: str) -> dict[str, Any]:
    return {"packages": [{"name": name, "version": version} for name, version in versions.items()]}


TODAY = packages(bread="2", salt="2")


@dataclass(frozen=True)
class Larder(Stage):
    """What comes over the network: as many things as ``wish`` has words."""

    name: ClassVar[str] = "larder"
    title: ClassVar[str] = "provisions"
    fetches: ClassVar[bool] = True
    checkers: ClassVar[frozenset[str]] = frozenset({"nose"})

    wish: tuple[str, ...] = ("bread", "salt")
    piecemeal: bool = True

    def plan(self, inputs: Inputs) -> Recipe:
        found = inputs.resolved(
            Lookup(KEY, {"wish": self.wish}, lambda: TODAY, self._renew if self.piecemeal else None)
        )
        return Recipe(options=found, tools={"spoon": "spoon 1", "nose": "nose 1"})

    def _renew(self, before: Any, names: frozenset[str]) -> Any:
        versions = {p["name"]: "2" if p["name"] in names else p["version"] for p in before["packages"]}
        return packages(**versions)

    def missing(self, recipe: Recipe, inputs: Inputs) -> Iterable[Missing]:
        return [Missing(f"{p['name']} {p['version']}", "a" * 64, 1234) for p in recipe.options["packages"]]

    def run(self, work: Work) -> None:
        (work.out / "food").write_text(str(work.recipe.options))


@dataclass(frozen=True)
class Oven(Stage):
    """Must read what the larder has before it can tell what it does."""

    name: ClassVar[str] = "oven"
    title: ClassVar[str] = "a meal"

    def plan(self, inputs: Inputs) -> Recipe:
        inputs.path("larder", "food").read_text()
        return Recipe(inputs={"larder/food": inputs.digest("larder", "food")}, tools=self.known_tools(inputs))

    def known_tools(self, inputs: Inputs) -> Mapping[str, str]:
        return {"fire": "fire 1"}

    def run(self, work: Work) -> None:
        (work.out / "meal").write_text("warm")


@dataclass(frozen=True)
class Table(Stage):
    """Needs nothing but digests."""

    name: ClassVar[str] = "table"
    title: ClassVar[str] = "a table that is laid"

    def plan(self, inputs: Inputs) -> Recipe:
        return Recipe(inputs={"oven/meal": inputs.digest("oven", "meal")}, tools={"plate": "plate 1"})

    def run(self, work: Work) -> None:
        (work.out / "table").write_text("laid")


@dataclass(frozen=True)
class Garden(Stage):
    """Nothing of a meal; it can never be asked."""

    name: ClassVar[str] = "garden"
    title: ClassVar[str] = "flowers"

    def plan(self, inputs: Inputs) -> Recipe:
        raise ToolError("it is winter")

    def run(self, work: Work) -> None:
        raise AssertionError


STAGES = (Larder(), Oven(), Table(), Garden())


def lock(answer: dict[str, Any] = TODAY, wish: tuple[str, ...] = ("bread", "salt"), **tools: str) -> Lock:
    known = {"spoon": "spoon 1", "fire": "fire 1", "plate": "plate 1", **tools}
    return Lock("1", {KEY: Locked({"wish": list(wish)}, answer)}, known)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cache")


@pytest.fixture
def held(tmp_path: Path) -> Callable[..., HeldTo]:
    """Makes what holds a build to a lock that lies in a file."""

    def make(written: Lock, *, strict: bool = False, tell: Callable[[str], None] = lambda _: None) -> HeldTo:
        spec, file = tmp_path / "s.yaml", tmp_path / "s.lock.json"
        spec.write_text("version: 1\nname: s\nrootfs:\n  kind: debian\n  packages: [bread, salt]\n")
        file.write_text(lock_text(written))
        return HeldTo(Lock(written.toolkit, written.inputs, written.tools, str(file)), spec, strict=strict, tell=tell)

    return make


# ---- the walk ----


def test_the_walk_builds_nothing_and_asks_only_what_is_needed(store: Store) -> None:
    seen = Survey(STAGES, BuildInputs(store)).walk(["table"])
    assert seen.tools == {"spoon": "spoon 1", "fire": "fire 1", "plate": "plate 1"}, "but none that only looks"
    assert [m.what for m in seen.missing] == ["bread 2", "salt 2"]
    assert not seen.failed
    assert not list(store.entries())


def test_the_walk_goes_on_where_a_stage_cannot_be_asked(store: Store) -> None:
    seen = Survey(STAGES, BuildInputs(store)).walk(["garden", "table"])
    assert [p.message for p in seen.problems] == ["it is winter"]
    assert seen.tools.keys() == {"spoon", "fire", "plate"}


def test_what_is_in_the_store_need_not_be_fetched(store: Store) -> None:
    Engine("x", STAGES, store, BuildInputs(store), ignore, io.StringIO(), 1).build(["table"])
    assert Survey(STAGES, BuildInputs(store), stored=True).walk(["table"]).missing == []
    empty = Survey(STAGES, BuildInputs(store)).walk(["table"])
    assert len(empty.missing) == 2, "a lock does not depend on what the store has"
    other = (Larder(("cake",)), *STAGES[1:])
    held_back = BuildInputs(store, lock=WhereItFits(lock(packages(cake="3"), ("cake",))))
    assert [m.what for m in Survey(other, held_back, stored=True).walk(["table"]).missing] == ["cake 3"]


# ---- being held ----


def test_the_locks_answer_is_what_is_built(store: Store, held: Callable[..., HeldTo]) -> None:
    old = packages(bread="1", salt="1")
    inputs = BuildInputs(store, lock=held(lock(old)))
    entries = Engine("x", STAGES, store, inputs, ignore, io.StringIO(), 1).build(["table"])
    assert entries["larder"].path("food").read_text() == str(old)


def test_another_wish_than_the_locks_is_refused_with_the_difference(store: Store, held: Callable[..., HeldTo]) -> None:
    inputs = BuildInputs(store, lock=held(lock(wish=("bread", "pepper"))))
    with pytest.raises(InputError, match=r"wish: \+salt, -pepper") as caught:
        Larder().plan(inputs)
    where = caught.value.problems[0].where
    assert where is not None
    assert (Path(where.file).name, where.line) == ("s.yaml", 5)
    with pytest.raises(InputError, match="in another order"):
        Larder(("salt", "bread")).plan(BuildInputs(store, lock=held(lock())))


def test_a_build_stops_before_anything_is_made(store: Store, held: Callable[..., HeldTo]) -> None:
    strict = held(lock(fire="fire 0", plate="plate 0"), strict=True)
    with pytest.raises(InputError) as caught:
        prepare(SPEC, STAGES, ["table"], BuildInputs(store, lock=strict), strict, whole=True)
    messages = [p.message for p in caught.value.problems]
    assert messages == [
        'fire is "fire 1" here, and "fire 0" in s.lock.json',
        'plate is "plate 1" here, and "plate 0" in s.lock.json',
    ]
    assert not list(store.entries())


def test_a_tool_that_was_not_known_beforehand_is_held_to_the_lock_as_well(
    store: Store, held: Callable[..., HeldTo]
) -> None:
    inputs = BuildInputs(store, lock=held(lock(plate="plate 0"), strict=True))
    events: list[Any] = []
    with pytest.raises(InputError, match="plate 0"):
        Engine("x", STAGES, store, inputs, events.append, io.StringIO(), 1).build(["table"])
    assert [e.stage for e in events if isinstance(e, Started)] == ["larder", "oven"]


def test_another_tool_is_told_once(store: Store, held: Callable[..., HeldTo]) -> None:
    told: list[str] = []
    lax = held(lock(fire="fire 0"), tell=told.append)
    inputs = BuildInputs(store, lock=lax)
    prepare(SPEC, STAGES, ["table"], inputs, lax, whole=True)
    Engine("x", STAGES, store, inputs, ignore, io.StringIO(), 1).build(["table"])
    assert told == ['fire is "fire 1" here, and "fire 0" in s.lock.json: the bytes may differ']


def test_offline_all_that_is_missing_is_told_with_digest_and_size(store: Store) -> None:
    inputs = BuildInputs(store, offline=True)
    with pytest.raises(ToolError) as caught:
        prepare(SPEC, STAGES, ["table"], inputs, None, whole=True)
    assert caught.value.problems[-1].hint == "on a machine with a network: kata-toolkit fetch s.yaml"
    assert [p.message for p in caught.value.problems] == [
        f"offline, and this is not in the cache: {what} 2 (sha256 {'a' * 64}, 1,234 bytes)"
        for what in ("bread", "salt")
    ]


def test_a_question_is_answered_by_the_lock_only_where_it_fits() -> None:
    lax = WhereItFits(lock(packages(bread="1")))
    assert lax.answer(KEY, {"wish": ("bread", "salt")}, lambda: "today") == packages(bread="1")
    assert lax.answer(KEY, {"wish": ("cake",)}, lambda: "today") == "today"
    assert lax.answer("kernel.source", {}, lambda: "today") == "today"


# ---- finding anew ----


def renewed(store: Store, old: Lock | None, update: frozenset[str] | None, stage: Larder | None = None) -> Any:
    recorder = Recorder(store, old, update)
    (stage or Larder()).plan(recorder)
    return recorder.found[KEY].answer


@pytest.mark.parametrize(
    ("update", "expected"),
    [
        (None, packages(bread="1", salt="1")),
        (frozenset(), TODAY),
        (frozenset({KEY}), TODAY),
        (frozenset({"salt"}), packages(bread="1", salt="2")),
        (frozenset({"kernel.source"}), packages(bread="1", salt="1")),
    ],
)
def test_what_is_found_anew(store: Store, update: frozenset[str] | None, expected: Any) -> None:
    assert renewed(store, lock(packages(bread="1", salt="1")), update) == expected


def test_an_answer_to_another_wish_is_not_kept(store: Store) -> None:
    assert renewed(store, lock(packages(bread="1"), ("bread",)), None) == TODAY
    assert renewed(store, None, None) == TODAY


def test_what_can_only_be_found_as_a_whole_says_so(store: Store) -> None:
    with pytest.raises(InputError, match="only be found anew as a whole"):
        renewed(store, lock(packages(bread="1", salt="1")), frozenset({"salt"}), Larder(piecemeal=False))


def test_changes_are_told_by_name() -> None:
    old, new = lock(packages(bread="1", ham="1"), spoon="spoon 0"), lock(packages(bread="2", salt="1"))
    assert [(c.key, c.name, c.old, c.new) for c in changes(old, new)] == [
        (KEY, "bread", "1", "2"),
        (KEY, "ham", "1", None),
        (KEY, "salt", None, "1"),
        ("tools", "spoon", "spoon 0", "spoon 1"),
    ]
    assert changes(new, new) == []
    assert len(changes(None, new)) == 5


def test_the_same_version_in_another_file_is_a_change() -> None:
    answers = [{"packages": [{"name": "bread", "version": "1", "sha256": digit * 64}]} for digit in "ab"]
    (change,) = changes(lock(answers[0]), lock(answers[1]))
    assert (change.old, change.new) == ("1 (aaaaaaaaaaaa)", "1 (bbbbbbbbbbbb)")
