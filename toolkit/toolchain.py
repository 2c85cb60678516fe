"""Which compiler and binary tools build a kernel: gcc or clang, for this machine or across to another."""

from __future__ import annotations

from dataclasses import dataclass

from .arch import Arch, arch_of
from .errors import InputError
from .pipeline.stage import Inputs

KINDS = ("gcc", "clang")
# LLVM=1 takes all of these (Documentation/kbuild/llvm.rst).
_LLVM = ("clang", "ld.lld", "llvm-ar", "llvm-nm", "llvm-objcopy", "llvm-readelf", "llvm-strip")


@dataclass(frozen=True, slots=True)
class Toolchain:
    """``kind``: gcc, with GNU binutils, or clang, with LLVM's own linker and tools (the kernel's LLVM=1)."""

    arch: Arch
    kind: str = "gcc"

    @classmethod
    def of(cls, arch: str, kind: str = "gcc") -> Toolchain:
        """The toolchain for an architecture of ours. Raises InputError for a name that is unknown."""
        if kind not in KINDS:
            raise InputError(f"{kind} is not a toolchain", hint=f"there are: {', '.join(KINDS)}")
        return cls(arch_of(arch), kind)

    @property
    def prefix(self) -> str:
        """What the names of the GNU tools begin with; empty for this machine's own."""
        return "" if self.arch.native else self.arch.cross_prefix

    @property
    def compiler(self) -> str:
        """The program that compiles the kernel."""
        return "clang" if self.kind == "clang" else f"{self.prefix}gcc"

    @property
    def host_compiler(self) -> str:
        """The program that compiles what the build itself runs, such as conf."""
        return self.kind

    @property
    def variables(self) -> tuple[str, ...]:
        """What the kernel's make is told besides the compiler. clang finds its --target by ARCH=."""
        if self.kind == "clang":
            return ("LLVM=1",)
        return (f"CROSS_COMPILE={self.prefix}",) if self.prefix else ()

    def identities(self, inputs: Inputs) -> dict[str, str]:
        """The tools that decide what is compiled, for `Recipe.tools`. Raises ToolError with what to install."""
        if self.kind == "clang":
            tools: tuple[str, ...] = (*_LLVM, "make")
        else:
            tools = ("gcc", self.compiler, f"{self.prefix}ld", "make")
        return {tool: inputs.tool(tool, "--version") for tool in tools}
