"""What a rule is: settings that must fit together, and what a runtime does, and when, where they do not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..spec.model import Dialect
from .keys import tables

SEVERITIES = ("error", "override", "hazard", "note")
"""``error``: the runtime refuses it; ``override``: it silently does something else than was written; ``hazard``: it
takes it, and what comes of it is hardly what was meant; ``note``: worth knowing."""

STAGES = ("load", "create", "parse", "adjust", "validate", "start", "boot")
"""When: the Go runtime reads the file (load) and makes the sandbox (create); the Rust one reads it (parse), fills it in
(adjust), checks it (validate) and prepares the VM (start); then the guest boots."""


@dataclass(frozen=True, slots=True)
class Values:
    """All values of one dialect by setting name, defaults of the runtime included.

    ``hypervisor`` names the VMM's table, ``boot`` is ``image`` or ``initrd``. ``given`` is what the file says;
    ``sizes``: bytes of the files that settings name (``image``, ``initrd``), as far as they are known.
    """

    dialect: Dialect
    hypervisor: str
    arch: str
    boot: str
    given: Mapping[str, Any]
    sizes: Mapping[str, int] = field(default_factory=dict)

    def get(self, name: str) -> Any:
        """The value that the runtime will see: what is written, else its default."""
        if name in self.given:
            return self.given[name]
        setting = tables().find(name)
        side = setting.side(self.dialect) if setting else None
        return side.default_of(self.hypervisor) if side else None

    def heeds(self, name: str) -> bool:
        """Whether the setting does anything with this VMM in this dialect."""
        setting = tables().find(name)
        side = setting.side(self.dialect) if setting else None
        return side is not None and side.heeded_by(self.hypervisor) and not side.inert

    def key(self, name: str) -> str:
        """A setting as the dialect calls it."""
        setting = tables().find(name)
        side = setting.side(self.dialect) if setting else None
        return side.key if side else name

    def driver(self) -> str:
        """How the image is attached: ``nvdimm`` or ``disk``."""
        return "nvdimm" if self.get("disable_image_nvdimm") in (False, "virtio-pmem") else "disk"


@dataclass(frozen=True, slots=True)
class Broken:
    """A rule that does not hold: the settings it is about (the first one given carries the place), why, a remedy.

    ``rule``, ``severity`` and ``stage`` are the rule's own, for the dialect at hand.
    """

    settings: tuple[str, ...]
    message: str
    hint: str | None = None
    rule: str = ""
    severity: str = "error"
    stage: str = ""


Check = Callable[[Values], Iterator[Broken]]
Verdict = tuple[str, str]  # severity, stage


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule, and the verdict of each dialect that has it."""

    id: str
    check: Check
    go: Verdict | None = None
    rs: Verdict | None = None

    def verdict(self, dialect: Dialect) -> Verdict | None:
        """Severity and stage there; None where the dialect has no such rule."""
        return self.go if dialect == "go" else self.rs


class Rules(list[Rule]):
    """A list of rules to which functions are added where they are defined."""

    def add(self, name: str, go: Verdict | None = None, rs: Verdict | None = None) -> Callable[[Check], Check]:
        """A decorator: the function is the check of the rule ``name``."""

        def adds(check: Check) -> Check:
            self.append(Rule(name, check, go, rs))
            return check

        return adds
