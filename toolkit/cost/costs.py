"""What a run of measurements gave: the base kernel's figures, and what each feature costs against it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from .figures import Figures


@dataclass(frozen=True, slots=True)
class Row:
    """One feature. ``cost``: what the kernel with it takes more than the one without; None when it was not built.

    ``added``: it is not in the base. ``along``: the features that leave or come together with it, since one does not
    work without the other; ``instead``: those of the base that an added one excludes. ``root``: how the root file
    system came in when both kernels were booted, where that is not the base's usual way. ``problem``: why it was
    not built, or not booted. ``compiled``: objects compiled for it in this run, ``seconds`` how long that took;
    None when its kernel was in the store.
    """

    feature: str
    added: bool
    along: tuple[str, ...] = ()
    instead: tuple[str, ...] = ()
    cost: Figures | None = None
    root: str | None = None
    problem: str | None = None
    compiled: int | None = None
    seconds: float | None = None

    def as_json(self) -> dict[str, Any]:
        """The row as plain JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Costs:
    """A whole table. ``sources``: what was measured, of which bytes and by which tools, as label → text."""

    name: str
    profile: str
    kernel: str
    arch: str
    base: Figures
    root: str | None
    rows: tuple[Row, ...]
    sources: Mapping[str, str] = field(default_factory=dict)

    def sorted(self, key: str) -> tuple[Row, ...]:
        """The rows, the costliest first by a figure's name; those without that figure last, by name."""

        def place(row: Row) -> tuple[bool, float, str]:
            value = getattr(row.cost, key) if row.cost else None
            return value is None, -(value or 0), row.feature

        return tuple(sorted(self.rows, key=place))

    def as_json(self) -> dict[str, Any]:
        """The table as plain JSON."""
        return {
            "version": 1,
            "name": self.name,
            "profile": self.profile,
            "kernel": self.kernel,
            "arch": self.arch,
            "sources": dict(self.sources),
            "base": {**self.base.as_json(), "root": self.root},
            "features": [row.as_json() for row in self.rows],
        }
