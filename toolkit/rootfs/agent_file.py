"""The agent in a root file system: where it must be, and whether it is."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .tree import Tree


@dataclass(frozen=True, slots=True)
class AgentFile:
    """The agent as it must be in the image: its path there and its digest."""

    path: bytes
    sha256: str


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
