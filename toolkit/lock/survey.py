"""Walks through the stages of a spec without building any: what they wish, which tools they use, what they lack."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import KataToolkitError, Problem
from ..pipeline.inputs import BuildInputs
from ..pipeline.stage import Inputs, Lookup, Missing, NotBuiltYet, Stage

_UNKNOWN = "0" * 64  # in the place of a digest of what is not built: a recipe with it is never used as a key


@dataclass
class Seen:
    """What a walk found. ``tools``: those that decide bytes, with their versions; ``missing``: what is not here, of
    stages whose output is not in the store; ``failed``: the errors of stages that could not even be asked."""

    tools: dict[str, str] = field(default_factory=dict)
    missing: list[Missing] = field(default_factory=list)
    failed: list[KataToolkitError] = field(default_factory=list)

    @property
    def problems(self) -> list[Problem]:
        """All that went wrong, each once."""
        return list(dict.fromkeys(problem for error in self.failed for problem in error.problems))


class Survey(Inputs):
    """Inputs for plans that are not carried out: stages are walked through as plans ask for them.

    ``stored``: what is in the store need not be made again; without it, the answer is that of an empty store.
    """

    def __init__(self, stages: Sequence[Stage], inputs: BuildInputs, *, stored: bool = False) -> None:
        self.seen = Seen()
        self._stages = {stage.name: stage for stage in stages}
        self._inputs, self._stored = inputs, stored
        self._known: set[str] = set()
        self._guessed = False

    def walk(self, names: Iterable[str]) -> Seen:
        """Walk through these stages, and all that they need as far as plans tell."""
        for name in names:
            self._look(name)
        return self.seen

    def _look(self, name: str) -> None:
        if name in self._known or name not in self._stages:
            return
        self._known.add(name)
        stage, before = self._stages[name], self._guessed
        self._guessed = False
        try:
            self._ask(stage)
        except KataToolkitError as error:
            self.seen.failed.append(error)
        finally:
            self._guessed = before

    def _ask(self, stage: Stage) -> None:
        try:
            recipe = stage.plan(self)
        except NotBuiltYet:
            self.seen.tools |= stage.known_tools(self)
            return
        self.seen.tools |= {tool: text for tool, text in recipe.tools.items() if tool not in stage.checkers}
        entry = self._inputs.stored(stage.name, recipe) if self._stored and not self._guessed else None
        if entry:
            self._inputs.add(entry)
        elif stage.fetches:
            self.seen.missing += stage.missing(recipe, self)

    # -- what plans ask --------------------------------------------------------------------------------------

    def digest(self, stage: str, path: str) -> str:
        self._look(stage)
        try:
            return self._inputs.digest(stage, path)
        except NotBuiltYet:
            self._guessed = True
            return _UNKNOWN

    def path(self, stage: str, path: str) -> Path:
        self._look(stage)
        return self._inputs.path(stage, path)

    def tool(self, name: str, *version_argv: str) -> str:
        return self._inputs.tool(name, *version_argv)

    def file_digest(self, path: Path) -> str:
        return self._inputs.file_digest(path)

    def resolved(self, lookup: Lookup) -> Any:
        return self._inputs.resolved(lookup)

    def observed(self, key: str, found: Mapping[str, Any]) -> None:
        self._inputs.observed(key, found)

    @property
    def cache(self) -> Path:
        return self._inputs.cache

    @property
    def offline(self) -> bool:
        return self._inputs.offline
