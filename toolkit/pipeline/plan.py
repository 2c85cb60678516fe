"""What a build would do: each stage, whether it is in the store and why not, and its exact commands."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from .inputs import BuildInputs
from .reasons import reasons
from .stage import PLACES, Command, NotBuiltYet, Stage
from .store import Store


@dataclass(frozen=True, slots=True)
class Step:
    """One stage of a plan. ``id`` is None while it ``waits_for`` another stage's bytes."""

    stage: str
    title: str
    id: str | None
    cached: bool
    reasons: tuple[str, ...]
    waits_for: str | None
    commands: tuple[Command, ...]

    def as_json(self) -> dict[str, Any]:
        """The shape of an entry of ``plan --json``."""
        return {
            "stage": self.stage,
            "title": self.title,
            "id": self.id,
            "cached": self.cached,
            "reasons": list(self.reasons),
            "waits_for": self.waits_for,
            "commands": [shell_line(c) for c in self.commands],
        }


def shell_line(command: Command) -> str:
    """A command as a person would type it, its ``@places@`` still open."""
    words = [*(f"{k}={shlex.quote(v)}" for k, v in command.env.items()), *map(shlex.quote, command.argv)]
    return " ".join(words)


def legend(steps: Iterable[Step]) -> list[tuple[str, str]]:
    """The ``@places@`` in the commands of a plan, each with what it stands for."""
    text = " ".join(shell_line(command) for step in steps for command in step.commands)
    return [(f"@{name}@", meaning) for name, meaning in PLACES.items() if f"@{name}@" in text]


def plan(key: str, stages: Sequence[Stage], store: Store, inputs: BuildInputs) -> tuple[Step, ...]:
    """Plan every stage, building nothing; ``key`` is the spec's (`Spec.key`). Raises InputError, ToolError."""
    before = store.remembered(key)
    steps = []
    for stage in stages:
        try:
            recipe = stage.plan(inputs)
        except NotBuiltYet as missing:
            steps.append(Step(stage.name, stage.title, None, False, (), missing.stage, ()))
            continue
        id_ = recipe.id(stage.name)
        entry = store.get(stage.name, id_)
        why: tuple[str, ...] = ()
        if entry:
            inputs.add(entry)
        else:
            old = store.recipe(stage.name, before[stage.name]) if stage.name in before else None
            why = tuple(reasons(recipe.as_json(), old))
        steps.append(Step(stage.name, stage.title, id_, entry is not None, why, None, tuple(recipe.commands)))
    return tuple(steps)
