"""The figures as columns: how they are called, in which unit they are shown, and by what they can be asked for."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import InputError
from ..spec.suggest import did_you_mean
from .figures import Figures


@dataclass(frozen=True, slots=True)
class Column:
    """One figure. ``word`` names it on the command line; it is shown divided by ``scale``, with ``digits``."""

    word: str
    figure: str
    title: str
    unit: str
    scale: float = 1
    digits: int = 0

    def text(self, figures: Figures | None, *, signed: bool = False) -> str:
        """The figure as people read it, an em dash where it is not known."""
        value = getattr(figures, self.figure) if figures else None
        if value is None:
            return "—"
        shown = round(value / self.scale, self.digits) + 0.0  # no minus before what rounds to zero
        sign = "+" if signed and shown > 0 else ""
        return f"{sign}{shown:,.{self.digits}f}".replace("-", "−")

    @property
    def heading(self) -> str:
        """Title and unit."""
        return f"{self.title}, {self.unit}" if self.unit else self.title


COLUMNS = (
    Column("boot", "boot_minstr", "boot (T)", "M instr.", digits=2),
    Column("kernel", "kernel_minstr", "kernel (K)", "M instr.", digits=2),
    Column("memory", "overhead_mib", "memory (O)", "MiB", digits=2),
    Column("exits", "exits", "exits", ""),
    Column("bzimage", "bzimage", "bzImage", "KiB", scale=1024),
    Column("vmlinux", "vmlinux", "vmlinux", "KiB", scale=1024),
    Column("text", "text", ".text", "KiB", scale=1024),
    Column("objects", "objects", "objects", ""),
)


def column(word: str) -> Column:
    """The column of that name. Raises InputError when there is none."""
    for found in COLUMNS:
        if found.word == word:
            return found
    words = [c.word for c in COLUMNS]
    hint = did_you_mean(word, words) or f"there are: {', '.join(words)}"
    raise InputError(f'the table has no column "{word}" to sort by', hint=hint)
