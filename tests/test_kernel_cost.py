"""What features cost, on the small tree: which kernels are built, what is kept, what fails alone, and how it looks."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from kata_toolkit.cost.costs import Costs, Row
from kata_toolkit.cost.measuring import measure_costs
from kata_toolkit.errors import InputError, Where
from kata_toolkit.events import Note, Progress, Started
from kata_toolkit.pipeline.store import Store
from kata_toolkit.spec.load import load_spec
from kata_toolkit.spec.model import FeatureChanges, KernelOption, Spec
from kernel_harness import VERSION, Bench

pytest_plugins = ("kernel_fixtures",)
pytestmark = pytest.mark.tool

FEATURES = {
    "net": 'symbols: {CONFIG_NET: {value: y, why: "networking at all"}}',
    "vsock": 'needs: [net]\nsymbols: {CONFIG_VSOCKETS: {value: y, why: "the agent is there"}}',
    "tipc": 'symbols: {CONFIG_TIPC: {value: y, why: "conf knows that it wants NET, the library does not"}}',
    "many": 'symbols: {CONFIG_NR_CPUS: {value: 64, why: "room to grow into"}}',
    "few": 'conflicts: [many]\nsymbols: {CONFIG_NR_CPUS: {value: 2, why: "small tables"}}',
    "broken": 'symbols: {CONFIG_BROKEN: {value: y, why: "its code does not compile"}}',
    "foreign": 'arch: [arm64]\nsymbols: {CONFIG_NET: {value: y, why: "on another machine"}}',
    "future": 'kernel: ">=7.0"\nsymbols: {CONFIG_NET: {value: y, why: "in later kernels"}}',
    "lost": 'symbols: {CONFIG_TIPC: {value: y, why: "never to be had"}, CONFIG_NET: {value: n, why: "so it cannot"}}',
}
KCONFIG = """
config TIPC
	bool "TIPC"
	depends on NET

config BROKEN
	bool "Broken"
"""
# Objects that come and go with options, one of which does not compile; .text has two pages of padding.
MAKEFILE = r"""
on = $(shell grep -qx CONFIG_$(1)=y $(O)/.config && echo $(2))
MORE = $(call on,NET,net/core net/route) $(call on,VSOCKETS,net/vsock) $(call on,TIPC,net/tipc) $(call on,BROKEN,bad)
PARTS = $(foreach part,$(MORE),$(O)/$(part).o)
$(O)/net/%.o: init/main.c
	@mkdir -p $(dir $@)
	@echo '  CC      net/$*.o'
	@echo 'char part_$*[20000] = {1};' | $(CC) -x c -ffreestanding -c -o $@ -
$(O)/bad.o:
	@echo 'no C' | $(CC) -x c -c -o $@ -
$(O)/vmlinux: $(PARTS)
"""


@pytest.fixture
def spec(bench: Bench, tree: Path, tmp_path: Path) -> Spec:
    """A spec of the small tree, with a profile of features to measure."""
    folder = tmp_path / "kernel-configs" / "features"
    for name, text in FEATURES.items():
        (folder / f"{name}.yaml").write_text(f"feature: {name}\ntitle: The {name} feature\n{text}\n")
    profile = "profile: default\ntitle: A small one\nfeatures: [net, vsock, tipc, many]\n"
    (tmp_path / "kernel-configs" / "profiles" / "default.yaml").write_text(profile)
    (tree / "Kconfig").write_text((tree / "Kconfig").read_text() + KCONFIG)
    text = (tree / "Makefile").read_text() + MAKEFILE
    text = text.replace("-o $@ $<\n", "-o $@ $< $(PARTS)\n").replace(
        "ar cDPrT vmlinux.a init/main.o", ("ar cDPrT vmlinux.a init/main.o $(addsuffix .o,$(MORE))")
    )
    (tree / "Makefile").write_text(text)
    file = tmp_path / "small.yaml"
    file.write_text(f"version: 1\nname: small\nkernel:\n  source: {{kind: tree, path: {tree}}}\n")
    return load_spec(file)


def measured(spec: Spec, bench: Bench, *features: str, **options: Any) -> Costs:
    bench.events.clear()
    store = Store(bench.cache)
    with (bench.cache / "log").open("w") as log:
        return measure_costs(spec, store, bench.events.append, log, features=features, boot=False, jobs=2, **options)


def rows(costs: Costs) -> dict[str, Row]:
    return {row.feature: row for row in costs.rows}


def objects(row: Row) -> int | None:
    return row.cost.objects if row.cost else None


def test_each_feature_of_the_profile_is_measured(spec: Spec, bench: Bench) -> None:
    costs = measured(spec, bench)
    assert (costs.name, costs.profile, costs.kernel, costs.arch) == ("small", "default", VERSION, "x86_64")
    assert costs.base.objects == 5
    found = rows(costs)
    assert set(found) == {"net", "vsock", "tipc", "many"}
    assert {name: objects(row) for name, row in found.items()} == {"net": 4, "vsock": 1, "tipc": 1, "many": 0}
    net = found["net"].cost
    assert net is not None
    assert net.vmlinux is not None
    assert 80_000 < net.vmlinux < 90_000
    assert net.boot_minstr is None, "nothing was booted"


def test_what_needs_a_feature_goes_with_it(spec: Spec, bench: Bench) -> None:
    """vsock needs net by the library's word; that tipc does, only conf knows."""
    row = rows(measured(spec, bench, "net"))["net"]
    assert row.along == ("tipc", "vsock")
    assert row.problem is None


def test_an_added_feature_takes_the_place_of_those_it_excludes(spec: Spec, bench: Bench) -> None:
    row = rows(measured(spec, bench, "few"))["few"]
    assert row.added
    assert row.instead == ("many",)
    assert row.problem is None


def test_an_added_feature_brings_what_it_needs(spec: Spec, bench: Bench) -> None:
    profile = bench.cache.parent / "kernel-configs" / "profiles" / "default.yaml"
    profile.write_text(profile.read_text().replace("[net, vsock, tipc, many]", "[many]"))
    row = rows(measured(spec, bench, "vsock"))["vsock"]
    assert row.added
    assert row.along == ("net",)
    assert objects(row) == 3


def test_features_of_the_spec_itself_are_measured_like_the_profile_s(spec: Spec, bench: Bench) -> None:
    where = Where("small.yaml", 5, 3)
    profile = bench.cache.parent / "kernel-configs" / "profiles" / "default.yaml"
    profile.write_text(profile.read_text().replace("[net, vsock, tipc, many]", "[many, tipc, net]"))
    changes = FeatureChanges(add={"vsock": where}, drop={"tipc": where})
    changed = replace(spec, kernel=replace(spec.kernel, features=changes))
    found = rows(measured(changed, bench, "vsock", "tipc", "net"))
    assert (found["vsock"].added, objects(found["vsock"])) == (False, 1)
    assert (found["tipc"].added, objects(found["tipc"])) == (True, 1)
    assert found["net"].along == ("vsock",)
    assert objects(found["net"]) == 3


def test_all_measures_what_the_profile_lacks_as_well(spec: Spec, bench: Bench) -> None:
    found = rows(measured(spec, bench, every=True))
    assert set(found) == set(FEATURES) - {"foreign", "future"}
    assert {name for name, row in found.items() if row.added} == {"few", "broken", "lost"}


def test_what_fails_is_told_in_its_row_and_the_rest_goes_on(spec: Spec, bench: Bench) -> None:
    found = rows(measured(spec, bench, "broken", "lost", "vsock"))
    assert found["broken"].cost is None
    assert str(found["broken"].problem).startswith("make failed (2)")
    assert found["lost"].cost is None
    assert "CONFIG_NET" in str(found["lost"].problem), "features that contradict each other"
    assert objects(found["vsock"]) == 1
    assert found["vsock"].problem is None


def test_an_option_of_the_spec_that_needs_a_feature_is_told(spec: Spec, bench: Bench) -> None:
    """Only features can be left out as well: the spec's own options stay as they are."""
    option = KernelOption("CONFIG_VSOCKETS", "y", Where("small.yaml", 6, 3))
    changed = replace(spec, kernel=replace(spec.kernel, options=(option,)))
    row = rows(measured(changed, bench, "net"))["net"]
    assert row.cost is None
    assert "CONFIG_VSOCKETS" in str(row.problem)


def test_a_feature_whose_absence_changes_nothing_costs_nothing_and_builds_nothing(spec: Spec, bench: Bench) -> None:
    option = KernelOption("CONFIG_TIPC", "y", Where("small.yaml", 6, 3))
    changed = replace(spec, kernel=replace(spec.kernel, options=(option,)))
    row = rows(measured(changed, bench, "tipc"))["tipc"]
    assert row.cost is not None
    assert set(row.cost.as_json().values()) <= {0, None}
    assert row.compiled is None


def test_what_was_measured_is_kept(spec: Spec, bench: Bench) -> None:
    first = measured(spec, bench, "vsock", "tipc")
    assert [row.compiled is not None for row in first.rows] == [True, True]
    again = measured(spec, bench, "vsock", "tipc")
    assert [e.stage for e in bench.events if isinstance(e, Started)] == ["kernel_cost"]
    assert [row.compiled for row in again.rows] == [None, None]
    assert [row.cost for row in again.rows] == [row.cost for row in first.rows]
    more = measured(spec, bench, "vsock", "tipc", "net")
    assert [row.compiled is not None for row in more.rows] == [False, False, True]


def test_collecting_garbage_keeps_what_was_measured(spec: Spec, bench: Bench) -> None:
    measured(spec, bench, "vsock", "tipc")
    Store(bench.cache).collect(scratch=True)
    assert [row.compiled for row in measured(spec, bench, "vsock", "tipc").rows] == [None, None]


def test_progress_is_told(spec: Spec, bench: Bench) -> None:
    measured(spec, bench, "vsock", "broken")
    told = [e for e in bench.events if e.stage == "kernel_cost"]
    assert [(e.done, e.total, e.what) for e in told if isinstance(e, Progress)] == [
        (0, 2, "without vsock"),
        (1, 2, "with broken"),
    ]
    notes = [e.text for e in told if isinstance(e, Note)]
    assert re.fullmatch(r"vsock: bzImage \+\d+ KiB, \d+ objects compiled in [\d.]+ s", notes[0])
    assert notes[1].startswith("broken: not measured: make failed (2)")


@pytest.mark.parametrize(
    ("name", "message", "hint"),
    [
        ("vsok", 'there is no kernel feature "vsok"', 'did you mean "vsock"?'),
        ("xyzzy", 'there is no kernel feature "xyzzy"', "there are: broken, few, foreign, future, lost, many, net, "),
        ("foreign", 'the feature "foreign" is for arm64, not for x86_64', None),
        ("future", f'the feature "future" is for kernels >=7.0; this one is {VERSION}', None),
        ("", 'there is no kernel feature ""', "there are: "),
    ],
)
def test_a_wrong_name_is_an_error_before_anything_is_built(
    spec: Spec, bench: Bench, name: str, message: str, hint: str | None
) -> None:
    with pytest.raises(InputError) as caught:
        measured(spec, bench, "vsock", name)
    problem = caught.value.problems[0]
    assert problem.message == message
    assert (problem.hint or "").startswith(hint or "")
    assert not list((bench.cache / "objects").glob("kernel/*"))


def test_a_base_that_does_not_resolve_is_the_caller_s_error(spec: Spec, bench: Bench) -> None:
    option = KernelOption("CONFIG_NETT", "y", Where("small.yaml", 6, 3))
    with pytest.raises(InputError, match="CONFIG_NETT"):
        measured(replace(spec, kernel=replace(spec.kernel, options=(option,))), bench, "vsock")


def test_an_unknown_profile_is_an_error(spec: Spec, bench: Bench) -> None:
    with pytest.raises(InputError, match='there is no kernel profile "smal"'):
        measured(replace(spec, kernel=replace(spec.kernel, profile="smal")), bench, "vsock")


SCRIPT = """
import signal
import sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs inherit that it is ignored
sys.path.insert(0, {tests!r})
from pathlib import Path
from kata_toolkit import resources
real = resources.resource
resources.resource = lambda *p: Path({library!r}) if p == ("kernel-configs",) else real(*p)
from kata_toolkit.cost.measuring import measure_costs
from kata_toolkit.pipeline.store import Store
from kata_toolkit.spec.load import load_spec
from pathlib import Path
with open({log!r}, "w") as log:
    measure_costs(load_spec(Path({spec!r})), Store(Path({cache!r})), lambda e: None, log, boot=False)
"""


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGINT])
def test_after_a_kill_the_next_run_goes_on_with_what_is_missing(
    spec: Spec, bench: Bench, tree: Path, tmp_path: Path, signum: int
) -> None:
    """Killed while the second kernel compiles: the first is not built again, and nothing half-made is used."""
    whole = measured(spec, bench)
    cache, reached, go = tmp_path / "killed", tmp_path / "reached", tmp_path / "go"
    wait = f"grep -q CONFIG_TIPC=y $(O)/.config || test -e {go} || {{ touch {reached}; sleep 60; }}"
    makefile = tree / "Makefile"
    makefile.write_text(makefile.read_text() + f"\n$(O)/main.o: slow\n.PHONY: slow\nslow:\n\t@{wait}\n")
    library = str(tmp_path / "kernel-configs")
    names = {"tests": str(Path(__file__).parent), "library": library, "log": str(tmp_path / "l")}
    script = SCRIPT.format(**names, spec=str(spec.file), cache=str(cache))
    process = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.DEVNULL)
    for _ in range(600):
        if reached.exists() or process.poll() is not None:
            break
        time.sleep(0.05)
    assert process.poll() is None
    process.send_signal(signum)
    process.wait()
    assert not (cache / "last" / f"{spec.key}-cost-many.json").exists(), "it was to be killed before the last one"
    done = {path.name for path in (cache / "objects" / "kernel").iterdir()}
    assert done
    go.touch()
    resumed = measured(spec, replace(bench, cache=cache))
    assert {path.name for path in (cache / "objects" / "kernel").iterdir()} > done
    assert sum(row.compiled is None for row in resumed.rows) == len(done) - 1, "all but the base were cached"
    assert [row.cost for row in resumed.rows] == [row.cost for row in whole.rows]
