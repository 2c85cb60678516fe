"""A spec as the rules see it: the model, where each of its values stands, and which were wrong already."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..errors import Problem, Where
from .model import GivenFile, Spec
from .paths import check_file
from .yamltree import Steps, Tree

# The kernel's own limit on x86 is 2048 bytes (COMMAND_LINE_SIZE); the runtime's words take up to half of it.
MAX_CMDLINE = 1024


@dataclass(frozen=True, slots=True)
class Read:
    """A spec as read, and where things stand.

    ``unusable``: paths of values already reported as wrong; ``partly``: paths of all that one of them is a part of.
    """

    spec: Spec
    tree: Tree
    unusable: frozenset[Steps]
    partly: frozenset[Steps]

    def items(self, path: Steps) -> list[Where]:
        """Where the usable items of a list stand, in the order of the model's tuple."""
        return [self.tree.value_where(step) for step in self.steps(path)]

    def steps(self, path: Steps) -> list[Steps]:
        """The paths of the usable items of a list, in the order of the model's tuple."""
        count = len(self.tree.node(path).children) if self.tree.has(path) else 0
        return [step for step in ((*path, index) for index in range(count)) if not self.lacks(step)]

    def lacks(self, path: Steps) -> bool:
        """Whether the value at ``path``, something that it is part of, or a part of it is unusable."""
        return path in self.partly or any(path[:depth] in self.unusable for depth in range(len(path) + 1))


def given_file(artifact: GivenFile, tree: Tree, path: Steps) -> Iterator[Problem]:
    """What is wrong with a file that the spec gives by path."""
    if artifact.path:
        yield from check_file(artifact.path, tree.value_where((*path, "path")))
