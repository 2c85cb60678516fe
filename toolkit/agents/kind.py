"""What every kind of agent answers: how the program comes about, and which parts are in it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

from ..arch import arch_of
from ..components import Component
from ..elf import read_program
from ..errors import InputError
from ..pipeline.stage import Inputs, Recipe, Work

PROGRAM = "init"  # the agent in the stage's output


class AgentKind(ABC):
    """One kind. Subclasses are frozen dataclasses around their part of the spec."""

    modules: ClassVar[tuple[str, ...]] = ()
    """Our modules that have a say in its bytes, besides those of the stage."""

    @abstractmethod
    def recipe(self, inputs: Inputs) -> Recipe:
        """What will be done, without the modules. Pure. Raises NotBuiltYet, InputError, ToolError."""

    @abstractmethod
    def make(self, work: Work) -> tuple[Component, ...]:
        """Write `PROGRAM` below ``work.out``; what is in it. Raises InputError, ToolError."""


def require_fit(path: Path, name: str, arch: str, *, libraries: bool) -> None:
    """The program runs in a guest of that architecture.

    ``libraries``: the root file system may have its own, so the program need not be static; `rootfs` looks for its
    dynamic linker. Raises InputError.
    """
    program = read_program(path, name)
    if program.machine != arch_of(arch).machine:
        raise InputError(f"the agent {name} is built for {program.arch}, the guest is {arch}")
    if program.interpreter and not libraries:
        raise InputError(
            f"the agent {name} is not static: it needs {program.interpreter} and its libraries in the root file "
            f"system, which has none",
            hint="take a static build, such as the musl one of Kata's releases",
        )
