"""What the agent comes from."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ...errors import Where
from .given import GivenFile


@dataclass(frozen=True, slots=True)
class BuiltinAgent:
    """The small C agent of this project."""


@dataclass(frozen=True, slots=True)
class BinaryAgent:
    """Any agent binary, such as kata-agent. ``policy``: "allow-all", a rego file, or None. ``where``: its place in
    the spec."""

    binary: GivenFile
    policy: Path | str | None = None
    where: Where | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class TarballAgent:
    """An agent inside a tar, such as a release archive; ``member``: its path there. ``policy`` and ``where`` as of
    `BinaryAgent`."""

    archive: GivenFile
    member: str
    policy: Path | str | None = None
    where: Where | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class CargoAgent:
    """An agent built from a folder of vendored Rust sources; None: the only one there is, or what suits the guest.

    ``target``: a triple of rustc's. ``policy`` as of `BinaryAgent`. ``where``: the folder's place in the spec.
    """

    path: Path
    package: str | None = None
    bin: str | None = None
    features: tuple[str, ...] = ()
    default_features: bool = True
    target: str | None = None
    policy: Path | str | None = None
    where: Where | None = field(default=None, compare=False)


Agent = BuiltinAgent | BinaryAgent | TarballAgent | CargoAgent
