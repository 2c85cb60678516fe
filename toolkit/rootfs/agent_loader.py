"""The dynamic linker of an agent that is not static: whether the root file system has it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..elf import read_program
from ..errors import InputError

if TYPE_CHECKING:
    from .tree import Tree


def require_loader(tree: Tree, agent: Path) -> None:
    """An agent that is not static finds its dynamic linker in the root file system. Raises InputError.

    What is no program at all was refused before, and is not looked at here.
    """
    try:
        interpreter = read_program(agent).interpreter
    except InputError:
        return
    if interpreter is None:
        return
    path = tree.resolved(interpreter.lstrip("/").encode())
    if tree.get(path) is None:
        raise InputError(
            f"the agent needs {interpreter} and its libraries, which the root file system does not have",
            hint="take a static build, such as the musl one of Kata's releases, or a root file system with them",
        )
