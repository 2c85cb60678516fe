"""What every source of a root file system answers: what decides its bytes, and the tree."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ...components import Component
from ...pipeline.layout import LICENCES
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

    def write_licences(self, out: Path) -> None:
        """Write them below a stage's output, where those of all stages are looked for."""
        for name, text in self.licences.items():
            target = out / LICENCES / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(text)


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
