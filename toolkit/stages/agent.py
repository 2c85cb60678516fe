"""The agent: ours, compiled from ``agent/``, or any other program, taken as it is or built from its sources."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from .. import resources
from ..agents.kind import AgentKind
from ..errors import ToolError, Where, told_at
from ..pipeline.files import copy_checked
from ..pipeline.stage import Inputs, Recipe, Stage, Work
from ..spec.model import Agent, BinaryAgent, BuiltinAgent, TarballAgent

POLICY = "default-policy.rego"
INFO = "agent.json"
ALLOW_ALL = "allow-all"


@dataclass(frozen=True)
class AgentStage(Stage):
    """``libraries``: the root file system may have its own, so the agent need not be static.

    Output: ``init``, the program; ``agent.json`` with its kind and the components in it; ``default-policy.rego`` if a
    policy is asked for.
    """

    name: ClassVar[str] = "agent"
    title: ClassVar[str] = "agent"
    modules: ClassVar[tuple[str, ...]] = ("agents/kind.py", "components.py", "elf.py", "stages/agent.py")

    agent: Agent
    arch: str
    libraries: bool = False

    def plan(self, inputs: Inputs) -> Recipe:
        """Raises NotBuiltYet before an agent given by url is here, InputError for a wrong file, ToolError."""
        kind = self._kind()
        with told_at(self._where):
            recipe = kind.recipe(inputs)
        policy = self._policy()
        files = {**recipe.files, "policy": inputs.file_digest(policy)} if policy else recipe.files
        return replace(recipe, files=files, modules=self.module_digests(*kind.modules))

    def run(self, work: Work) -> None:
        with told_at(self._where):
            components = self._kind().make(work)
        policy = self._policy()
        if policy and not copy_checked(policy, work.out / POLICY, work.recipe.files["policy"], 0o644):
            raise ToolError(f"{policy} changed while it was used", hint="build again")
        info = {
            "version": 1,
            "kind": work.recipe.options["kind"],
            "components": [component.as_json() for component in components],
        }
        (work.out / INFO).write_text(json.dumps(info, indent=2) + "\n")

    def _kind(self) -> AgentKind:
        """What the spec asks for, as something that answers; only its own code is loaded."""
        if isinstance(self.agent, BuiltinAgent):
            from ..agents.builtin import BuiltinKind

            return BuiltinKind(self.arch)
        if isinstance(self.agent, BinaryAgent):
            from ..agents.given import BinaryKind

            return BinaryKind(self.agent, self.arch, self.libraries)
        if isinstance(self.agent, TarballAgent):
            from ..agents.given import TarballKind

            return TarballKind(self.agent, self.arch, self.libraries)
        from ..agents.cargo import CargoKind

        return CargoKind(self.agent, self.arch, self.libraries)

    @property
    def _where(self) -> Where | None:
        return None if isinstance(self.agent, BuiltinAgent) else self.agent.where

    def _policy(self) -> Path | None:
        if isinstance(self.agent, BuiltinAgent) or self.agent.policy is None:
            return None
        policy = self.agent.policy
        return resources.resource("templates", "allow-all.rego") if policy == ALLOW_ALL else Path(policy)
