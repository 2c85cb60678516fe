"""The agent's stage with the real engine and compilers, its sources' warnings, and the generated protocol code."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
from agent_harness import AGENT, ROOT, compile_agent
from kata_toolkit.arch import arch_of, arches, native
from kata_toolkit.elf import read_program
from kata_toolkit.errors import InputError, KataToolkitError
from kata_toolkit.events import ignore
from kata_toolkit.pipeline.engine import Engine
from kata_toolkit.pipeline.inputs import BuildInputs
from kata_toolkit.pipeline.stage import Inputs, Recipe, Stage, Work
from kata_toolkit.pipeline.store import Entry, Store
from kata_toolkit.spec.model import Agent, BinaryAgent, BuiltinAgent, GivenFile
from kata_toolkit.stages.agent import AgentStage

pytestmark = pytest.mark.tool

ARCH = native().name


@dataclass(frozen=True)
class Fetched(Stage):
    """Stands where the stage that fetches urls is."""

    name: ClassVar[str] = "sources"
    title: ClassVar[str] = "sources"
    content: bytes = b""

    def plan(self, inputs: Inputs) -> Recipe:
        return Recipe(options={"content": self.content.hex()})

    def run(self, work: Work) -> None:
        (work.out / "agent").write_bytes(self.content)


def build(agent: Agent, cache: Path, *, arch: str = ARCH, fetched: bytes = b"") -> Entry:
    """Build the stage."""
    store = Store(cache)
    stages = [Fetched(fetched), AgentStage(agent, arch)]
    return Engine("toy", stages, store, BuildInputs(store), ignore, io.StringIO(), 1).build(["agent"])["agent"]


@pytest.fixture(scope="module")
def builtin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(BuiltinAgent(), tmp_path_factory.mktemp("cache")).path("init")


@pytest.fixture(scope="module")
def static_program(builtin: Path) -> bytes:
    """Any static program of this machine will do as somebody else's agent."""
    return builtin.read_bytes()


# ---- ours ----


def test_the_builtin_agent_is_small_static_and_names_no_path_of_the_machine(builtin: Path) -> None:
    program = read_program(builtin)
    assert (program.interpreter, program.arch) == (None, ARCH)
    limit = 200 << 10 if shutil.which("musl-gcc") else 1 << 20
    assert builtin.stat().st_size < limit
    data = builtin.read_bytes()
    assert str(ROOT).encode() not in data
    assert b"/tmp" not in data.replace(b"\0/tmp\0", b"")
    assert os.access(builtin, os.X_OK)


def test_the_bytes_do_not_depend_on_who_builds_where_and_when(builtin: Path, tmp_path: Path) -> None:
    """Another checkout, folder, umask, time zone, locale and user's name: the same bytes."""
    copy = tmp_path / "else where"
    for folder in ("toolkit", "agent", "templates", "schemas"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "kata_toolkit").symlink_to("toolkit")
    script = f"""
import io, os
os.umask(0o077)
from pathlib import Path
from kata_toolkit.events import ignore
from kata_toolkit.pipeline.engine import Engine
from kata_toolkit.pipeline.inputs import BuildInputs
from kata_toolkit.pipeline.store import Store
from kata_toolkit.spec.model import BuiltinAgent
from kata_toolkit.stages.agent import AgentStage
store = Store(Path({str(tmp_path / "cache")!r}))
engine = Engine("x", [AgentStage(BuiltinAgent(), {ARCH!r})], store, BuildInputs(store), ignore, io.StringIO(), 1)
print(engine.build(["agent"])["agent"].path("init"))
"""
    environment = {**os.environ, "PYTHONPATH": str(copy), "TZ": "Asia/Tokyo", "LC_ALL": "C", "USER": "x", "HOME": "/x"}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd="/", env=environment, check=True
    )
    assert Path(done.stdout.strip()).read_bytes() == builtin.read_bytes()


@pytest.mark.parametrize("compiler", ["gcc", "clang", "musl-gcc"])
def test_the_sources_compile_without_a_warning(compiler: str, tmp_path: Path) -> None:
    if shutil.which(compiler) is None:
        pytest.skip(f"no {compiler}")
    folders: tuple[str, ...] = ("-Wmissing-prototypes",)
    if compiler == "musl-gcc":
        folders += ("-idirafter", f"/usr/include/{ARCH}-linux-gnu", "-idirafter", "/usr/include")
    command = (compiler, "-Os", *folders)
    program = compile_agent(tmp_path / "agent", command, sorted(AGENT.glob("*.c")), ["-static"])
    done = subprocess.run([program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (
        2, "kata-agent: this is the first process of a guest, not a program to run\n"
    )  # fmt: skip


def test_nothing_but_sources_and_tools_decides_the_id(tmp_path: Path) -> None:
    store = Store(tmp_path)
    inputs = BuildInputs(store)
    recipe = AgentStage(BuiltinAgent(), ARCH).plan(inputs)
    assert recipe.id("agent") == AgentStage(BuiltinAgent(), ARCH).plan(inputs).id("agent")
    assert "agent/main.c" in recipe.files
    assert "agent/proto/agent.proto" in recipe.files
    assert {"ld", "libc.a", "protoc-c"} <= set(recipe.tools)
    assert str(ROOT) not in str(recipe.as_json())


@pytest.mark.parametrize("arch", ["arm64", "riscv64"])
def test_the_agent_for_another_machine_is_static_and_of_that_machine(arch: str, tmp_path: Path) -> None:
    compiler = f"{arch_of(arch).cross_prefix}gcc"
    if arch == ARCH or shutil.which(compiler) is None:
        pytest.skip(f"no {compiler}, or it is this machine's own")
    built = build(BuiltinAgent(), tmp_path / "cache", arch=arch).path("init")
    program = read_program(built)
    assert (program.interpreter, program.arch, program.machine) == (None, arch, arch_of(arch).machine)
    assert built.stat().st_size < 1 << 20
    assert str(ROOT).encode() not in built.read_bytes()


# ---- somebody else's ----


def test_a_static_binary_is_taken_as_it_is(static_program: bytes, tmp_path: Path) -> None:
    (tmp_path / "kata-agent").write_bytes(static_program)
    entry = build(BinaryAgent(GivenFile(tmp_path / "kata-agent")), tmp_path / "cache")
    assert entry.path("init").read_bytes() == static_program
    assert os.access(entry.path("init"), os.X_OK)
    assert set(entry.files) == {"init", "agent.json"}


def test_a_fetched_binary_is_taken_from_the_sources(static_program: bytes, tmp_path: Path) -> None:
    digest = hashlib.sha256(static_program).hexdigest()
    agent = BinaryAgent(GivenFile(url="https://example.org/kata-agent", sha256=digest), "allow-all")
    entry = build(agent, tmp_path, fetched=static_program)
    assert entry.path("init").read_bytes() == static_program
    assert entry.path("default-policy.rego").read_bytes() == (ROOT / "templates" / "allow-all.rego").read_bytes()


def test_a_policy_of_the_users(static_program: bytes, tmp_path: Path) -> None:
    (tmp_path / "kata-agent").write_bytes(static_program)
    (tmp_path / "mine.rego").write_text("package agent_policy\n")
    entry = build(BinaryAgent(GivenFile(tmp_path / "kata-agent"), tmp_path / "mine.rego"), tmp_path / "cache")
    assert entry.path("default-policy.rego").read_text() == "package agent_policy\n"


def test_the_allow_all_policy_allows_every_request_once() -> None:
    lines = (ROOT / "templates" / "allow-all.rego").read_text().splitlines()
    rules = [line.split()[1] for line in lines if line.startswith("default ")]
    assert all(line.endswith(":= true") for line in lines if line.startswith("default "))
    assert len(rules) == len(set(rules)) > 35
    assert {"CreateContainerRequest", "ExecProcessRequest", "ReadStreamRequest", "SetPolicyRequest"} <= set(rules)


def refusal(agent: BinaryAgent, cache: Path, arch: str = ARCH) -> str:
    with pytest.raises(InputError) as caught:
        build(agent, cache, arch=arch)
    return str(caught.value)


def test_binaries_that_do_not_fit_are_refused(static_program: bytes, tmp_path: Path) -> None:
    def given(name: str, content: bytes) -> BinaryAgent:
        (tmp_path / name).write_bytes(content)
        return BinaryAgent(GivenFile(tmp_path / name))

    cache = tmp_path / "cache"
    assert "script is not a 64-bit little-endian ELF file" in refusal(given("script", b"#!/bin/sh\n"), cache)
    assert "empty is not a 64-bit little-endian ELF file" in refusal(given("empty", b""), cache)
    assert "cut is cut off" in refusal(given("cut", static_program[:5000]), cache)
    assert "head is cut off" in refusal(given("head", static_program[:70]), cache)
    other = next(name for name in arches() if name != ARCH)
    foreign = bytearray(static_program)
    foreign[18:20] = arches()[other].machine.to_bytes(2, "little")
    assert f"built for {other}, the guest is {ARCH}" in refusal(given("foreign", bytes(foreign)), cache)
    dynamic = Path("/bin/ls").read_bytes()
    assert "dynamic is not static: it needs /lib" in refusal(given("dynamic", dynamic), cache)
    wild = bytearray(static_program)
    wild[32:40] = b"\xff" * 8
    assert "wild" in refusal(given("wild", bytes(wild)), cache)


def test_a_wrong_digest_and_a_missing_file_are_refused(static_program: bytes, tmp_path: Path) -> None:
    (tmp_path / "kata-agent").write_bytes(static_program)
    wrong = BinaryAgent(GivenFile(tmp_path / "kata-agent", sha256="0" * 64))
    assert "not 0000" in refusal(wrong, tmp_path / "cache")
    with pytest.raises(KataToolkitError) as caught:
        build(BinaryAgent(GivenFile(tmp_path / "nothing")), tmp_path / "cache")
    assert caught.value.exit_code == 2


# ---- the protocol ----


def test_the_clients_code_is_what_protoc_makes_of_the_protocol(tmp_path: Path) -> None:
    protoc = shutil.which("protoc")
    version = subprocess.run([protoc, "--version"], capture_output=True, text=True, check=True).stdout if protoc else ""
    if "3.21.12" not in version:
        pytest.skip("the committed code was made by protoc 3.21.12")
    argv = [str(protoc), f"--proto_path={AGENT / 'proto'}", f"--python_out={tmp_path}", f"--pyi_out={tmp_path}"]
    subprocess.run([*argv, "agent.proto"], check=True)
    for name in ("agent_pb2.py", "agent_pb2.pyi"):
        assert (tmp_path / name).read_bytes() == (ROOT / "toolkit" / "vm" / name).read_bytes(), name


@pytest.mark.parametrize("python", [sys.executable, "/usr/bin/python3"])
def test_the_clients_code_works_with_that_pythons_protobuf(python: str) -> None:
    check = f"""
import sys
sys.path.insert(0, {str(ROOT / "toolkit" / "vm")!r})
import google.protobuf
import agent_pb2
request = agent_pb2.CreateContainerRequest(container_id="x")
request.oci.linux.sysctl.add(key="k", value="v")
assert agent_pb2.CreateContainerRequest.FromString(request.SerializeToString()) == request
"""
    if subprocess.run([python, "-c", "import google.protobuf"], capture_output=True, check=False).returncode:
        pytest.skip(f"{python} has no protobuf")
    subprocess.run([python, "-W", "error", "-c", check], check=True)
