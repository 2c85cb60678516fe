"""builtin: our own agent, compiled from ``agent/``."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from .. import __version__, resources
from ..arch import Arch, arch_of
from ..components import Component
from ..elf import read_program
from ..errors import ToolError
from ..pipeline.stage import Command, Inputs, Recipe, Work
from ..static_c import CFLAGS, LDFLAGS, StaticC
from .kind import PROGRAM, AgentKind

_UNIT = "agent.c"
_PROTOBUF_C = Path("/usr/include/protobuf-c/protobuf-c.h")  # the same for every architecture
# -Os would save 4 KiB, and take half as long again.
_CFLAGS = (
    *CFLAGS, "-std=c11", "-D_GNU_SOURCE", "-DNDEBUG", "-U_FORTIFY_SOURCE", "-O1", "-fstack-protector-strong",
    "-ffunction-sections", "-fdata-sections", "-fno-pie", "-ffile-prefix-map=@resources@=.",
)  # fmt: skip
_LDFLAGS = (*LDFLAGS, "-no-pie", "-Wl,--gc-sections")


@dataclass(frozen=True)
class BuiltinKind(AgentKind):
    """Static C. ``arch``: the guest's."""

    arch: str

    modules: ClassVar[tuple[str, ...]] = ("agents/builtin.py",)

    def recipe(self, inputs: Inputs) -> Recipe:
        arch = arch_of(self.arch)
        compiler = StaticC.for_arch(arch)
        sources = _sources()
        if not _PROTOBUF_C.is_file():
            raise ToolError(f"{_PROTOBUF_C} is missing", hint="apt-get install libprotobuf-c-dev protobuf-c-compiler")
        generate = Command("protoc-c", "--proto_path=@resources@/agent/proto", "--c_out=@scratch@", "agent.proto")
        words = (compiler.command, *_CFLAGS, "-I@scratch@", "-iquote", "@resources@/agent", *_header_folders(arch))
        # The agent takes tables from it, and no function: to optimise those would be a fifth of all the work.
        tables = Command(*words, "-O0", "-c", "-o", "@scratch@/agent.pb-c.o", "@scratch@/agent.pb-c.c")
        compile_ = Command(*words, "-o", f"@out@/{PROGRAM}", *_LDFLAGS, f"@scratch@/{_UNIT}", "@scratch@/agent.pb-c.o")
        files = {f"agent/{path.relative_to(_folder())}": inputs.file_digest(path) for path in sources}
        files[_UNIT] = hashlib.sha256(_unit().encode()).hexdigest()
        files[_PROTOBUF_C.name] = inputs.file_digest(_PROTOBUF_C)
        return Recipe(
            commands=(generate, tables, compile_),
            options={"kind": "builtin", "arch": self.arch},
            files=files,
            tools={
                **compiler.tools(inputs),
                "protoc-c": inputs.tool("protoc-c", "--version"),
            },
        )

    def make(self, work: Work) -> tuple[Component, ...]:
        (work.scratch / _UNIT).write_text(_unit())
        for command in work.recipe.commands:
            work.run(command)
        program = read_program(work.out / PROGRAM)
        if program.interpreter or program.machine != arch_of(self.arch).machine:
            raise ToolError(f"{command.argv[0]} did not make a static program for {self.arch}")
        (work.out / PROGRAM).chmod(0o755)
        return (Component("kata-toolkit-agent", __version__, arch=self.arch, licence="Apache-2.0"),)


def _folder() -> Path:
    return resources.resource("agent")


def _sources() -> list[Path]:
    return sorted(path for path in _folder().rglob("*") if path.suffix in {".c", ".h", ".proto"})


def _unit() -> str:
    """All of the agent as one source: to start the compiler once for each file would take longer than to compile."""
    return "".join(f'#include "{path.name}"\n' for path in _sources() if path.suffix == ".c")


def _header_folders(arch: Arch) -> tuple[str, ...]:
    """After the C library's headers: protobuf-c's, and the kernel's for musl-gcc, which knows only musl's own."""
    kernel = ("-idirafter", f"/usr/include/{arch.uname}-linux-gnu") if arch.native else ()
    return (*kernel, "-idirafter", str(_PROTOBUF_C.parents[1]))
