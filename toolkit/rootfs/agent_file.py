"""The agent in a root file system: where it must be, and whether it is."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError

if TYPE_CHECKING:
    from .tree import Tree


@dataclass(frozen=True, slots=True)
class AgentFile:
    """The agent as it must be in the image: its path there and its digest."""

    path: bytes
    sha256: str


def require_loader(tree: Tree, agent: Path) -> None:
    """An agent that is not static finds its dynamic linker in the root file system. Raises InputError.

    What is no program at all was refused before, and is not looked at here.
    """
    from ..elf import read_program

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


def agent_problem(tree: Tree, agent: AgentFile) -> str | None:
    """What is wrong with the agent in a tree, or None."""
    from .tree import CHUNK, read_padded, shown

    node = tree.get(agent.path)
    if node is None or node.content is None:
        return f"there is no agent at {shown(agent.path)}"
    if not node.mode & 0o111:
        return f"the agent at {shown(agent.path)} is not executable"
    digest = hashlib.sha256()
    for at in range(0, node.size, CHUNK):
        digest.update(read_padded(node.content, at, min(CHUNK, node.size - at)))
    if digest.hexdigest() != agent.sha256:
        return f"the agent at {shown(agent.path)} has the digest {digest.hexdigest()}, not {agent.sha256}"
    return None
