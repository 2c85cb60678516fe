"""Compiling the small static C programs of a set: which compiler, which flags, and what decides their bytes."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from pathlib import Path

from . import run
from .errors import ToolError
from .pipeline.stage import Inputs

CFLAGS = ("-Wall", "-Wextra", "-fno-ident", "-fno-asynchronous-unwind-tables")
# No build id (it would hash section padding), no separate pages for headers: the programs stay small.
LDFLAGS = ("-static", "-s", "-Wl,--build-id=none", "-Wl,-z,noseparate-code")


@dataclass(frozen=True, slots=True)
class StaticC:
    """A C compiler for static programs of one architecture."""

    command: str

    @classmethod
    def for_arch(cls, arch: str) -> StaticC:
        """musl makes a program a tenth of the size; without it the host's own C library does."""
        if arch != platform.machine():
            return cls(f"{arch}-linux-gnu-gcc")
        return cls("musl-gcc" if run.which("musl-gcc") else "gcc")

    def tools(self, inputs: Inputs) -> dict[str, str]:
        """For `Recipe.tools`: versions, and the digest of the C library, which ends up in the program.

        Raises ToolError when something is missing.
        """
        behind = {"gcc": inputs.tool("gcc")} if self.command == "musl-gcc" else {}  # musl-gcc is a script around it
        return {
            self.command: inputs.tool(self.command),
            **behind,
            "ld": inputs.tool("ld"),
            "libc.a": inputs.file_digest(self.library(inputs, "libc.a", "apt-get install musl-tools")),
        }

    def library(self, inputs: Inputs, name: str, hint: str) -> Path:
        """The path of a static library. Raises ToolError with ``hint`` when there is none."""
        # musl-gcc looks only where musl lies; plain C libraries work with either C library.
        asked = "gcc" if self.command == "musl-gcc" and name != "libc.a" else self.command
        words = f"-print-file-name={name}"
        path = Path(inputs.tool(asked, words))
        if not path.is_file():  # what was remembered may be from before it was installed
            path = Path(run.run([asked, words]).output.strip())
        if not path.is_absolute():  # the compiler repeats the name when it has no such file
            raise ToolError(f"{asked} finds no {name}", hint=hint)
        return path
