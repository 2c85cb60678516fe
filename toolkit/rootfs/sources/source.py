"""What every source of a root file system answers: what decides its bytes, and the tree."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from ...components import Component
from ...pipeline.stage import Command, Inputs, Work

if TYPE_CHECKING:
    from ..tree import Tree


@dataclass(frozen=True, slots=True)
class Identity:
    """What a source adds to the recipe of its stage; the fields are those of `pipeline.stage.Recipe`."""

    options: Mapping[str, Any]
    commands: Sequence[Command] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)
    tools: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Base:
    """A root file system before anything of ours is in it.

    ``components``: the parts that are known. ``licences``: path → text, such as ``busybox/copyright``.
    """

    tree: Tree
    components: tuple[Component, ...] = ()
    licences: Mapping[str, bytes] = field(default_factory=dict)


class Source(ABC):
    """One kind of source. Subclasses are frozen dataclasses around their part of the spec."""

    modules: ClassVar[tuple[str, ...]] = ()
    """Our modules whose code decides its bytes, besides those that every root file system uses."""

    @abstractmethod
    def identity(self, inputs: Inputs) -> Identity:
        """What decides the tree. Pure, as `Stage.plan` is. Raises NotBuiltYet, InputError, ToolError."""

    @abstractmethod
    def base(self, work: Work, open_files: ExitStack) -> Base:
        """The tree; what its contents are read from stays open with ``open_files``. Raises InputError, ToolError."""
