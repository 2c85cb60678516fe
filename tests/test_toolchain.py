"""Which compiler builds what: the exact commands for each architecture, and what is said when a tool is missing."""

from __future__ import annotations

import platform
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from kata_toolkit import kbuild, run
from kata_toolkit.arch import arch_of, arches
from kata_toolkit.errors import InputError, ToolError
from kata_toolkit.pipeline.inputs import BuildInputs
from kata_toolkit.pipeline.packages import install_hint
from kata_toolkit.pipeline.stage import fill
from kata_toolkit.pipeline.store import Store
from kata_toolkit.spec.load import load_spec
from kata_toolkit.spec.model import BuiltinAgent, TreeKernel
from kata_toolkit.stages.agent import AgentStage
from kata_toolkit.toolchain import KINDS, Toolchain
from kernel_harness import Bench, kernel_stages

pytest_plugins = ("kernel_fixtures",)

SNAPSHOT = Path(__file__).parent / "snapshots" / "kernel-commands.txt"


@pytest.fixture
def on_x86_64(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is native decides what is crossed to."""
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")


def commands() -> str:
    """Of each architecture and toolchain: the configuration, the build, and the compiler behind @cc@."""
    lines = []
    for name, arch in arches().items():
        for kind in KINDS:
            toolchain = Toolchain.of(name, kind)
            compiler = kbuild.places(toolchain, Path("/t"), Path("/b"), compiles=False)["cc"]
            lines += [f"== {name}, {kind}", f"@cc@ is {compiler}"]
            for words in (("allnoconfig",), ("-j@jobs@", *arch.targets)):
                argv = kbuild.make(toolchain, *words).argv
                lines.append(
                    " ".join(word for word in argv if not word.startswith(("KBUILD_", "PAHOLE", "RUSTC", "BIND")))
                )
    return "\n".join(lines) + "\n"


def test_the_commands_for_each_architecture(on_x86_64: None) -> None:
    assert commands() == SNAPSHOT.read_text()


def test_a_machine_is_crossed_to_from_any_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    assert Toolchain.of("arm64").compiler == "gcc"
    assert Toolchain.of("x86_64").compiler == "x86_64-linux-gnu-gcc"
    assert Toolchain.of("x86_64").variables == ("CROSS_COMPILE=x86_64-linux-gnu-",)
    assert Toolchain.of("x86_64", "clang").variables == ("LLVM=1",)


def test_ccache_stands_before_whichever_compiler(on_x86_64: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "which", lambda tool: Path("/usr/bin") / tool)
    monkeypatch.delenv("CCACHE_DISABLE", raising=False)
    for kind, compiler in (("gcc", "aarch64-linux-gnu-gcc"), ("clang", "clang")):
        places = kbuild.places(Toolchain.of("arm64", kind), Path("/t"), Path("/b"), compiles=True)
        assert fill("CC=@cc@", places) == f"CC=ccache {compiler}"


@pytest.mark.parametrize(
    ("arch", "kind", "tool", "line"),
    [
        ("arm64", "gcc", "aarch64-linux-gnu-gcc", "apt-get install gcc-aarch64-linux-gnu libc6-dev-arm64-cross"),
        ("riscv64", "gcc", "riscv64-linux-gnu-ld", "apt-get install gcc-riscv64-linux-gnu libc6-dev-riscv64-cross"),
        ("x86_64", "gcc", "gcc", "apt-get install gcc"),
        ("arm64", "clang", "clang", "apt-get install clang"),
        ("x86_64", "clang", "ld.lld", "apt-get install lld"),
        ("x86_64", "clang", "llvm-strip", "apt-get install llvm"),
    ],
)
def test_a_missing_tool_and_the_line_that_installs_it(
    arch: str, kind: str, tool: str, line: str, on_x86_64: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # All others are there, as far as anybody looks.
    present = shutil.which("make")
    assert present is not None
    monkeypatch.setattr(run, "which", lambda name: None if name == tool else Path(present))
    with pytest.raises(ToolError) as caught:
        Toolchain.of(arch, kind).identities(BuildInputs(Store(tmp_path)))
    problem = caught.value.problems[0]
    assert (problem.message, problem.hint) == (f"{tool} is not installed", line)


def test_the_agent_names_a_missing_cross_compiler_too(
    on_x86_64: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    real = run.which
    monkeypatch.setattr(run, "which", lambda name: None if name.startswith("riscv64-") else real(name))
    with pytest.raises(ToolError) as caught:
        AgentStage(BuiltinAgent(), "riscv64").plan(BuildInputs(Store(tmp_path)))
    assert "riscv64-linux-gnu-gcc is not installed" in str(caught.value)
    assert caught.value.problems[0].hint == install_hint("riscv64-linux-gnu-gcc")


def test_the_emulators_packages() -> None:
    assert install_hint("qemu-system-aarch64") == "apt-get install qemu-system-arm"
    assert install_hint("qemu-system-riscv64") == "apt-get install qemu-system-misc"
    assert install_hint("no-such-tool") is None


@pytest.mark.kernel
def test_the_same_tools_answer_kconfig_and_compile(bench: Bench, tree: Path) -> None:
    """And they are in both recipes, so another compiler is another kernel."""
    bench.build(kernel_stages(TreeKernel(tree)))
    store = Store(bench.cache)
    tools = {}
    for stage in ("kernel_config", "kernel"):
        (entry,) = (bench.cache / "objects" / stage).iterdir()
        recipe = store.recipe(stage, entry.name)
        assert recipe is not None
        tools[stage] = recipe["tools"]
    for tool in ("gcc", "ld", "make"):
        assert tools["kernel_config"][tool] == tools["kernel"][tool]


@pytest.mark.kernel
def test_a_kernel_that_is_only_configured_is_refused_before_anything_runs(bench: Bench, tree: Path) -> None:
    stages = [
        replace(stage, arch="s390x") if hasattr(stage, "arch") else stage  # type: ignore[type-var] # stages are dataclasses
        for stage in kernel_stages(TreeKernel(tree))
    ]
    with pytest.raises(InputError) as caught:
        bench.build(stages, "kernel")
    assert "s390x is configured, but not built here" in str(caught.value)
    assert bench.ran == []


def test_the_spec_says_which(tmp_path: Path) -> None:
    spec = tmp_path / "guest.yaml"
    spec.write_text("version: 1\nname: guest\narch: arm64\nkernel: {toolchain: clang}\n")
    read = load_spec(spec)
    assert (read.arch, read.kernel.toolchain) == ("arm64", "clang")
    assert arch_of(read.arch).uname == "aarch64"
