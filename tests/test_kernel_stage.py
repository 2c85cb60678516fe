"""From a tree to a kernel, on a small tree with a make of its own: outputs, caching, failures, bytes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from image_parts import AGENT, Given
from kata_toolkit.errors import InputError, ToolError, Where
from kata_toolkit.events import Progress
from kata_toolkit.rootfs.tar import open_tar
from kata_toolkit.spec.model import KernelOption, MinimalRootfs, OverlayEntry, TreeKernel
from kata_toolkit.stages.rootfs import RootfsStage
from kernel_harness import FILES, VERSION, Bench, fake_library, kernel_stages, later_make

pytest_plugins = ("kernel_fixtures",)
pytestmark = pytest.mark.tool

SPEC = Where("my.yaml", 9, 12)


def option(symbol: str, value: str) -> KernelOption:
    return KernelOption(symbol, value, SPEC)


def test_a_kernel_comes_out_with_all_its_files(bench: Bench, tree: Path) -> None:
    entries = bench.build(kernel_stages(TreeKernel(tree)))
    kernel = entries["kernel"]
    assert sorted(kernel.files) == ["System.map", "config", "objects", "release", "vmlinux", "vmlinuz"]
    assert kernel.path("objects").read_text() == "init/main.o\n"
    assert kernel.path("release").read_text() == f"{VERSION}\n"
    assert kernel.path("vmlinux").read_bytes().startswith(b"\x7fELF")
    assert "_start" in kernel.path("System.map").read_text()
    assert b"_start" not in kernel.path("vmlinux").read_bytes(), "vmlinux is not stripped"
    assert kernel.path("config").read_bytes() == entries["kernel_config"].path("config").read_bytes()
    assert b"kata-toolkit@kata-toolkit) Thu Jan  1 00:00:00 UTC 1970" in kernel.path("vmlinux").read_bytes()


def test_modules_of_the_configuration_go_where_the_overlay_wants_them(bench: Bench, tree: Path, tmp_path: Path) -> None:
    overlay = (OverlayEntry("modules", "", SPEC),)
    root = RootfsStage(MinimalRootfs(busybox=False, overlay=overlay))
    modular = (option("CONFIG_MODULES", "y"), option("CONFIG_EXTRA", "m"))
    kernel = kernel_stages(TreeKernel(tree), options=modular)
    entries = bench.build([*kernel, Given("agent", {"init": AGENT}), root])
    folder = f"lib/modules/{VERSION}".encode()
    with open_tar(entries["rootfs"].path("rootfs.tar")) as tar:
        made = tar.tree()
        module = made.get(folder + b"/kernel/lib/extra.ko")
        assert module is not None
        assert (module.uid, module.mode, module.mtime) == (0, 0o644, 0)
        dep = made.get(folder + b"/modules.dep")
        assert dep is not None
        assert dep.content is not None
        assert dep.content.read(0, dep.size) == b"kernel/lib/extra.ko:\n"
    again = Bench(tmp_path / "other").build(kernel, "kernel")["kernel"]
    assert again.files["modules.tar"].sha256 == entries["kernel"].files["modules.tar"].sha256
    with pytest.raises(InputError, match="the kernel has no modules") as caught:
        bench.build([*kernel_stages(TreeKernel(tree)), Given("agent", {"init": AGENT}), root])
    assert caught.value.problems[0].where == SPEC


def test_the_tree_is_not_written_to(bench: Bench, tree: Path) -> None:
    for path in [tree, *tree.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        bench.build(kernel_stages(TreeKernel(tree)))
        assert {str(p.relative_to(tree)) for p in tree.rglob("*") if p.is_file()} == FILES.keys()
    finally:
        for path in [tree, *tree.rglob("*")]:
            path.chmod(0o755 if path.is_dir() else 0o644)


def test_a_build_with_nothing_to_do_runs_nothing(bench: Bench, tree: Path) -> None:
    stages = kernel_stages(TreeKernel(tree))
    bench.build(stages)
    assert bench.ran == ["kernel_source", "kernel_config", "kernel"]
    bench.build(stages)
    assert bench.ran == []


def test_a_reworded_reason_never_compiles(bench: Bench, tree: Path) -> None:
    """The report must change with the reason, the kernel must not."""
    stages = kernel_stages(TreeKernel(tree))
    bench.build(stages)
    feature = bench.cache.parent / "kernel-configs" / "features" / "net.yaml"
    feature.write_text(feature.read_text().replace("the agent listens there", "the agent is reached by it"))
    entries = bench.build(stages)
    assert bench.ran == ["kernel_config"]
    assert "is reached by it" in entries["kernel_config"].path("kernel-config.json").read_text()


def test_an_option_recompiles_and_is_told_as_the_reason(bench: Bench, tree: Path) -> None:
    before = bench.build(kernel_stages(TreeKernel(tree)))["kernel"].path("vmlinux").read_bytes()
    entries = bench.build(kernel_stages(TreeKernel(tree), options=(option("CONFIG_NR_CPUS", "8"),)))
    assert bench.ran == ["kernel_config", "kernel"]
    assert entries["kernel"].path("vmlinux").read_bytes() != before
    reason = next(e.as_json()["reason"] for e in bench.events if e.stage == "kernel_config")
    assert reason.startswith("option CONFIG_NR_CPUS changed: (unset) → 8")


def test_objects_kept_from_another_configuration_do_not_show(bench: Bench, tree: Path, tmp_path: Path) -> None:
    """A kept build folder saves time only if its bytes are those of a build from nothing."""
    stages = kernel_stages(TreeKernel(tree), options=(option("CONFIG_NR_CPUS", "8"),))
    bench.build(kernel_stages(TreeKernel(tree)))
    kept = bench.build(stages)["kernel"].path("vmlinux").read_bytes()
    fresh = Bench(tmp_path / "other").build(stages)["kernel"].path("vmlinux").read_bytes()
    assert kept == fresh


def test_who_asked_and_why_is_reported(bench: Bench, tree: Path) -> None:
    entries = bench.build(kernel_stages(TreeKernel(tree), options=(option("CONFIG_NR_CPUS", "8"),)), "kernel_config")
    report = json.loads(entries["kernel_config"].path("kernel-config.json").read_bytes())
    assert (report["version"], report["kernel"], report["profile"]) == (1, VERSION, "default")
    assert report["features"] == ["net"]
    assert report["options_on"] == 2
    by_symbol = {r["symbol"]: r for r in report["requests"]}
    assert by_symbol["CONFIG_VSOCKETS"] == {
        "symbol": "CONFIG_VSOCKETS",
        "value": "y",
        "result": "y",
        "asked_by": ["net"],
        "why": "the agent listens there",
    }
    assert by_symbol["CONFIG_NR_CPUS"]["asked_by"] == ["spec"]


@pytest.mark.parametrize(
    ("symbol", "value", "message", "hint"),
    [
        (
            "CONFIG_NETT",
            "y",
            "CONFIG_NETT: this kernel has no such symbol",
            "did you mean CONFIG_NET? (tried: it works)",
        ),
        ("CONFIG_XYZZY", "y", "CONFIG_XYZZY: this kernel has no such symbol", None),
        (
            "CONFIG_NET",
            "n",
            "CONFIG_NET=n: feature net cannot have what it asks for",
            "leave CONFIG_NET out (tried: it works), or do without these features (tried: it works): drop: [net]",
        ),
    ],
)
def test_an_unmet_request_is_explained(
    bench: Bench, tree: Path, symbol: str, value: str, message: str, hint: str | None
) -> None:
    with pytest.raises(InputError) as caught:
        bench.build(kernel_stages(TreeKernel(tree), options=(option(symbol, value),)))
    (problem,) = caught.value.problems
    assert (problem.message, problem.hint) == (message, hint)
    assert problem.where is not None
    assert problem.where == SPEC or problem.where.file.endswith("features/net.yaml")


def test_a_request_may_be_allowed_to_stay_unmet(bench: Bench, tree: Path) -> None:
    library = fake_library(bench.cache.parent / "kernel-configs")
    feature = library / "features" / "net.yaml"
    feature.write_text(
        feature.read_text()
        + '  CONFIG_OLD_NAME: {value: y, why: "for kernels before 6.0"}\n'
        + "allow_missing:\n  - {symbol: CONFIG_OLD_NAME, reason: renamed in 6.0}\n"
    )
    entries = bench.build(kernel_stages(TreeKernel(tree)), "kernel_config")
    report = json.loads(entries["kernel_config"].path("kernel-config.json").read_bytes())
    (request,) = [r for r in report["requests"] if r["symbol"] == "CONFIG_OLD_NAME"]
    assert (request["result"], request["allowed_missing"]) == ("n", "renamed in 6.0")


@pytest.mark.parametrize(
    ("symbol", "range_", "message"),
    [
        (
            "CONFIG_VSOCKETS",
            ">=6.1",
            "net.yaml:7:5: CONFIG_VSOCKETS (feature net): allow_missing is stale: Linux 6.12.9 meets the request",
        ),
        (
            "CONFIG_OLD_NAME",
            "<6.12",
            "CONFIG_OLD_NAME (feature net): this kernel has no such symbol; the allowance at ",
        ),
    ],
)
def test_an_allowance_that_no_longer_fits_is_an_error(
    bench: Bench, tree: Path, symbol: str, range_: str, message: str
) -> None:
    """One for a request that is met, and one whose version range ended too early."""
    library = fake_library(bench.cache.parent / "kernel-configs")
    feature = library / "features" / "net.yaml"
    old = '  CONFIG_OLD_NAME: {value: y, why: "for kernels before 6.0"}\n' if symbol == "CONFIG_OLD_NAME" else ""
    entry = f'  - {{symbol: {symbol}, reason: renamed in 6.0, kernel: "{range_}"}}\n'
    feature.write_text(feature.read_text() + old + "allow_missing:\n" + entry)
    with pytest.raises(InputError) as caught:
        bench.build(kernel_stages(TreeKernel(tree)), "kernel_config")
    (problem,) = caught.value.problems
    assert message in str(problem)


def test_objects_are_counted_and_the_count_is_remembered(bench: Bench, tree: Path) -> None:
    stages = kernel_stages(TreeKernel(tree))
    bench.build(stages)
    (first,) = [e for e in bench.events if isinstance(e, Progress) and e.unit == "objects"]
    assert (first.done, first.total, first.what) == (1, 0, "init/main.o"), "a total nobody knows is not made up"
    known = json.loads((bench.cache / "kernel-objects.json").read_text())
    assert list(known.values()) == [1]


def test_a_compile_error_is_shown_once_and_leaves_nothing_trusted(bench: Bench, tree: Path) -> None:
    stages = kernel_stages(TreeKernel(tree))
    (tree / "init" / "main.c").write_text("this is no C\n")
    with pytest.raises(ToolError) as caught:
        bench.build(stages)
    (problem,) = caught.value.problems
    assert "unknown type name" in problem.message
    assert problem.hint is not None
    assert problem.hint.startswith("to repeat: ")
    (tree / "init" / "main.c").write_text(FILES["init/main.c"])
    bench.build(stages)
    assert bench.ran == ["kernel_source", "kernel_config", "kernel"]


def test_a_missing_compiler_is_named_with_its_package(
    bench: Bench, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = tmp_path / "bin"
    bare.mkdir()
    for tool in ("make", "ld", "sh", "python3", "bc", "gzip", "flex", "bison"):
        (bare / tool).symlink_to(f"/usr/bin/{tool}")
    from kata_toolkit import run

    monkeypatch.setattr(run, "environment", lambda extra=None: {"PATH": str(bare), **(extra or {})})
    with pytest.raises(ToolError, match="gcc is not installed") as caught:
        bench.build(kernel_stages(TreeKernel(tree)))
    assert caught.value.problems[0].hint == "apt-get install gcc"


def test_a_missing_header_is_named_with_its_package(bench: Bench, tree: Path) -> None:
    (tree / "init" / "main.c").write_text("#include <gelf.h-is-not-here/gelf.h>\n")
    with pytest.raises(ToolError) as caught:
        bench.build(kernel_stages(TreeKernel(tree)))
    assert caught.value.problems[0].hint == "apt-get install libelf-dev"


def test_a_tree_that_changes_meanwhile_is_noticed(bench: Bench, tree: Path) -> None:
    """Otherwise the store would keep a kernel of a source that nobody can name."""
    makefile = tree / "Makefile"
    makefile.write_text(
        makefile.read_text() + f"$(O)/main.o: touch\n.PHONY: touch\ntouch:\n\t@echo >> {tree}/Kconfig\n"
    )
    with pytest.raises(ToolError, match="changed while it was used"):
        bench.build(kernel_stages(TreeKernel(tree)))


def test_a_path_that_make_cannot_use_is_refused(bench: Bench, tree: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot work in a path with a space or a colon") as caught:
        Bench(tmp_path / "my cache").build(kernel_stages(TreeKernel(tree)))
    assert "KATA_TOOLKIT_CACHE" in (caught.value.problems[0].hint or "")


BUILD = """
import os, sys, time
from pathlib import Path
sys.path.insert(0, {tests!r})
from kata_toolkit import resources
from kata_toolkit.spec.model import TreeKernel
from kernel_harness import Bench, kernel_stages
real = resources.resource
resources.resource = lambda *p: Path({library!r}) if p == ("kernel-configs",) else real(*p)
os.umask({umask})
entry = Bench(Path({cache!r}), jobs={jobs}).build(kernel_stages(TreeKernel(Path({tree!r}))))["kernel"]
print(entry.id, *(entry.files[n].sha256 for n in sorted(entry.files)))
"""


def build_elsewhere(
    bench: Bench, tree: Path, cache: Path, umask: int = 0o022, jobs: int = 2, **environment: str
) -> list[str]:
    """Build in a process of its own; the stage's id and its files' digests."""
    script = BUILD.format(
        tests=str(Path(__file__).parent),
        library=str(bench.cache.parent / "kernel-configs"),
        umask=umask,
        jobs=jobs,
        cache=str(cache),
        tree=str(tree),
    )
    env = {**os.environ, **environment}
    result = subprocess.run(
        [sys.executable, "-c", script], cwd=cache.parent, env=env, capture_output=True, text=True, check=True
    )
    return result.stdout.split()


def test_bytes_and_ids_do_not_depend_on_where_when_and_by_whom(bench: Bench, tree: Path, tmp_path: Path) -> None:
    if shutil.which("faketime") is None:
        pytest.skip("faketime is not installed")
    first = build_elsewhere(bench, tree, tmp_path / "one")
    other = tmp_path / "a-very-different" / "place"
    other.parent.mkdir()
    moved = tree.rename(tmp_path / "moved")
    second = build_elsewhere(
        bench,
        moved,
        other,
        umask=0o077,
        jobs=1,
        PATH=f"{later_make(tmp_path / 'bin')}:{os.environ['PATH']}",
        TZ="Pacific/Auckland",
        LC_ALL="C",
        LANG="de_DE.UTF-8",
        USER="somebody",
        HOSTNAME="elsewhere",
        KBUILD_BUILD_TIMESTAMP="now",
        CCACHE_DISABLE="1",
        KCFLAGS="-O1",
        MAKEFLAGS="-k",
        ARCH="arm64",
    )
    assert first == second


def test_killed_at_once_or_later_the_next_build_just_works(bench: Bench, tree: Path, tmp_path: Path) -> None:
    """SIGKILL in the middle of make: no child goes on, and nothing half-made is used."""
    cache = tmp_path / "killed"
    pid_file = tmp_path / "pid"
    makefile = tree / "Makefile"
    wait = f"test -e {tmp_path}/go || {{ echo $$$$ > {pid_file}; sleep 60; }}"
    makefile.write_text(makefile.read_text() + f"\n$(O)/main.o: slow\n.PHONY: slow\nslow:\n\t@{wait}\n")
    script = BUILD.format(
        tests=str(Path(__file__).parent),
        library=str(bench.cache.parent / "kernel-configs"),
        umask=0o022,
        jobs=2,
        cache=str(cache),
        tree=str(tree),
    )
    process = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.DEVNULL)
    wait_for(pid_file.exists)
    time.sleep(0.1)
    child = int(pid_file.read_text())
    process.send_signal(signal.SIGKILL)
    process.wait()
    wait_for(lambda: not Path(f"/proc/{child}").exists() or is_zombie(child) or not parent_alive(child, process.pid))
    assert list((cache / "scratch").glob("kernel-build-*/main.o")) == []
    assert not list((cache / "scratch").glob("kernel-build-*.clean")), "a killed build's folder must not look clean"
    (tmp_path / "go").touch()
    assert len(build_elsewhere(bench, tree, cache)) == 7


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_no_process_stays_behind(bench: Bench, tree: Path, tmp_path: Path, signum: int) -> None:
    pid_file = tmp_path / "pid"
    makefile = tree / "Makefile"
    makefile.write_text(
        makefile.read_text() + f"\n$(O)/main.o: slow\n.PHONY: slow\nslow:\n\t@echo $$$$ > {pid_file}; exec sleep 60\n"
    )
    script = BUILD.format(
        tests=str(Path(__file__).parent),
        library=str(bench.cache.parent / "kernel-configs"),
        umask=0o022,
        jobs=2,
        cache=str(tmp_path / "cache2"),
        tree=str(tree),
    )
    # A shell's background jobs inherit that SIGINT is ignored.
    handled = "\n".join(f"signal.signal(signal.{name}, signal.default_int_handler)" for name in ("SIGTERM", "SIGINT"))
    script = f"import signal\n{handled}\n{script}"
    process = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.DEVNULL)
    wait_for(pid_file.exists)
    time.sleep(0.1)
    child = int(pid_file.read_text())
    process.send_signal(signum)
    process.wait(timeout=20)
    wait_for(lambda: not Path(f"/proc/{child}").exists() or is_zombie(child))


def wait_for(holds: object, seconds: float = 30.0) -> None:
    """Wait until a condition holds, and fail when it never does."""
    assert callable(holds)
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.02)


def is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


def parent_alive(pid: int, builder: int) -> bool:
    """Whether the process that was killed still counts as alive."""
    return Path(f"/proc/{builder}").exists() and not is_zombie(builder) and pid > 0
