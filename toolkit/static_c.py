"""Compiling the small static C programs of a set: which compiler, which flags, and what decides their bytes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from . import run
from .arch import Arch
from .errors import ToolError
from .pipeline.packages import install_hint
from .pipeline.stage import Inputs

CFLAGS = ("-Wall", "-Wextra", "-fno-ident", "-fno-asynchronous-unwind-tables")
# What musl-gcc, a script, hands to the gcc behind it; the library lies beside that file.
_SPECS = re.compile(rb"-specs[ =]\"?([^\"\s]+)")
# No build id (it would hash section padding), no separate pages for headers: the programs stay small.
LDFLAGS = ("-static", "-s", "-Wl,--build-id=none", "-Wl,-z,noseparate-code")


@dataclass(frozen=True, slots=True)
class StaticC:
    """A C compiler for static programs of one architecture; ``linker`` is the program it links with."""

    command: str
    linker: str

    @classmethod
    def for_arch(cls, arch: Arch) -> StaticC:
        """musl makes a program a tenth of the size; without it, and for other machines, the C library of gcc does."""
        if not arch.native:
            return cls(f"{arch.cross_prefix}gcc", f"{arch.cross_prefix}ld")
        return cls("musl-gcc" if run.which("musl-gcc") else "gcc", "ld")

    def tools(self, inputs: Inputs) -> dict[str, str]:
        """For `Recipe.tools`: versions, and the digest of the C library, which ends up in the program.

        Raises ToolError when something is missing.
        """
        behind = {"gcc": inputs.tool("gcc")} if self.command == "musl-gcc" else {}  # musl-gcc is a script around it
        return {
            self.command: inputs.tool(self.command),
            **behind,
            self.linker: inputs.tool(self.linker),
            "libc.a": inputs.file_digest(self.library(inputs)),
        }

    def library(self, inputs: Inputs) -> Path:
        """The path of the libc.a that ends up in programs. Raises ToolError when there is none."""
        script = run.which(self.command)
        specs = _SPECS.search(script.read_bytes()) if script and self.command == "musl-gcc" else None
        if specs:  # the gcc behind it, if asked, names its own C library
            beside = Path(specs.group(1).decode()).with_name("libc.a")
            if beside.is_file():
                return beside
        words = "-print-file-name=libc.a"
        path = Path(inputs.tool(self.command, words))
        if not path.is_file():  # what was remembered may be from before it was installed
            path = Path(run.run([self.command, words]).output.strip())
        if not path.is_absolute():  # the compiler repeats the name when it has no such file
            hint = "apt-get install musl-tools" if self.linker == "ld" else install_hint(self.command)
            raise ToolError(f"{self.command} finds no libc.a", hint=hint)
        return path
