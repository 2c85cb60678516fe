"""The agent: ours, compiled from ``agent/``, or any other program that is given."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from .. import resources
from ..arch import Arch, arch_of
from ..elf import read_program
from ..errors import InputError, ToolError
from ..pipeline.files import copy_checked
from ..pipeline.stage import Command, Inputs, Recipe, Stage, Work
from ..spec.model import Agent, BinaryAgent, BuiltinAgent
from ..static_c import CFLAGS, LDFLAGS, StaticC

INIT = "init"
POLICY = "default-policy.rego"
ALLOW_ALL = "allow-all"

_PROTOBUF_C = Path("/usr/include/protobuf-c/protobuf-c.h")  # the same for every architecture
_CFLAGS = (
    *CFLAGS, "-std=c11", "-D_GNU_SOURCE", "-DNDEBUG", "-U_FORTIFY_SOURCE", "-Os", "-fstack-protector-strong",
    "-ffunction-sections", "-fdata-sections", "-fno-pie", "-ffile-prefix-map=@resources@=.",
)  # fmt: skip
_LDFLAGS = (*LDFLAGS, "-no-pie", "-Wl,--gc-sections")


@dataclass(frozen=True)
class AgentStage(Stage):
    """Output: ``init``, the program, and ``default-policy.rego`` if a policy is asked for."""

    name: ClassVar[str] = "agent"
    title: ClassVar[str] = "agent"
    modules: ClassVar[tuple[str, ...]] = ("stages/agent.py", "elf.py")

    agent: Agent
    arch: str

    def plan(self, inputs: Inputs) -> Recipe:
        """Raises NotBuiltYet before an agent given by url is here, InputError for a wrong file, ToolError."""
        if isinstance(self.agent, BuiltinAgent):
            return self._plan_builtin(inputs)
        return self._plan_binary(self.agent, inputs)

    def run(self, work: Work) -> None:
        if isinstance(self.agent, BuiltinAgent):
            self._compile(work)
        else:
            self._take(self.agent, work)

    # ---- ours ----

    def _plan_builtin(self, inputs: Inputs) -> Recipe:
        arch = arch_of(self.arch)
        compiler = StaticC.for_arch(arch)
        sources = _sources()
        if not _PROTOBUF_C.is_file():
            raise ToolError(f"{_PROTOBUF_C} is missing", hint="apt-get install libprotobuf-c-dev protobuf-c-compiler")
        units = [f"@resources@/agent/{path.name}" for path in sources if path.suffix == ".c"]
        generate = Command("protoc-c", "--proto_path=@resources@/agent/proto", "--c_out=@scratch@", "agent.proto")
        compile_ = Command(
            compiler.command, *_CFLAGS, "-I@scratch@", "-iquote", "@resources@/agent", *_header_folders(arch),
            "-o", f"@out@/{INIT}", *_LDFLAGS, *units, "@scratch@/agent.pb-c.c",
        )  # fmt: skip
        files = {f"agent/{path.relative_to(_folder())}": inputs.file_digest(path) for path in sources}
        files[_PROTOBUF_C.name] = inputs.file_digest(_PROTOBUF_C)
        return Recipe(
            commands=(generate, compile_),
            options={"kind": "builtin", "arch": self.arch},
            files=files,
            tools={
                **compiler.tools(inputs),
                "protoc-c": inputs.tool("protoc-c", "--version"),
            },
            modules=self.module_digests(),
        )

    def _compile(self, work: Work) -> None:
        generate, compile_ = work.recipe.commands
        work.run(generate)
        work.run(compile_)
        program = read_program(work.out / INIT)
        if program.interpreter or program.machine != arch_of(self.arch).machine:
            raise ToolError(f"{compile_.argv[0]} did not make a static program for {self.arch}")
        (work.out / INIT).chmod(0o755)

    # ---- somebody else's ----

    def _plan_binary(self, agent: BinaryAgent, inputs: Inputs) -> Recipe:
        binary = agent.binary
        if binary.path:
            digest = inputs.file_digest(binary.path)
            if binary.sha256 not in (None, digest):
                raise InputError(f"{binary.path} has the sha256 {digest}, not {binary.sha256} as agent.sha256 says")
        else:
            digest = inputs.digest("sources", "agent")
        files = {"agent": digest}
        policy = _policy(agent)
        if policy:
            files["policy"] = inputs.file_digest(policy)
        return Recipe(options={"kind": "binary", "arch": self.arch}, files=files, modules=self.module_digests())

    def _take(self, agent: BinaryAgent, work: Work) -> None:
        source = agent.binary.path or work.inputs.path("sources", "agent")
        _require_fit(source, agent.binary.name, self.arch)
        _copy(source, work.out / INIT, work.recipe.files["agent"], 0o755)
        policy = _policy(agent)
        if policy:
            _copy(policy, work.out / POLICY, work.recipe.files["policy"], 0o644)


def _require_fit(path: Path, name: str, arch: str) -> None:
    """The program runs in a guest of that architecture whose root file system holds no libraries."""
    program = read_program(path, name)
    if program.machine != arch_of(arch).machine:
        raise InputError(f"the agent {name} is built for {program.arch}, the guest is {arch}")
    if program.interpreter:
        raise InputError(
            f"the agent {name} is not static: it needs {program.interpreter} and its libraries in the root file "
            f"system, which has none",
            hint="take a static build, such as the musl one of Kata's releases",
        )


def _policy(agent: BinaryAgent) -> Path | None:
    if agent.policy is None:
        return None
    return resources.resource("templates", "allow-all.rego") if agent.policy == ALLOW_ALL else Path(agent.policy)


def _copy(source: Path, target: Path, digest: str, mode: int) -> None:
    if not copy_checked(source, target, digest, mode):
        raise ToolError(f"{source} changed while it was used", hint="build again")


def _folder() -> Path:
    return resources.resource("agent")


def _sources() -> list[Path]:
    return sorted(path for path in _folder().rglob("*") if path.suffix in {".c", ".h", ".proto"})


def _header_folders(arch: Arch) -> tuple[str, ...]:
    """After the C library's headers: protobuf-c's, and the kernel's for musl-gcc, which knows only musl's own."""
    kernel = ("-idirafter", f"/usr/include/{arch.uname}-linux-gnu") if arch.native else ()
    return (*kernel, "-idirafter", str(_PROTOBUF_C.parents[1]))
