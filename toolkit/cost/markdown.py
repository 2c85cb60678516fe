"""The table as Markdown, for a page that is kept."""

from __future__ import annotations

from datetime import UTC, datetime

from .columns import COLUMNS
from .costs import Costs
from .words import name_of, remark, subject

LEGEND = """\
A feature of the profile is measured by leaving it out, together with what does not work without it; a feature with a
plus is not in the profile, and measured by adding it, together with what it needs. Each figure is what the kernel with
the feature has more than the one without. Figures of two features do not add up where they share something.

- **boot (T)**: instructions from reset to the agent's `main()`, firmware included; **kernel (K)**: the kernel's part.
- **memory (O)**: memory of a guest of 256 MiB that is not available when the agent has answered its first request.
- **exits**: accesses to ports and devices up to that answer, each of which leaves the guest under KVM.
- **bzImage**, **vmlinux** (packed to what a VMM loads), **.text** (code): bytes. **objects**: what vmlinux is linked
  from. A bzImage is a compressed whole, aligned to the page: below 4 KiB it tells nothing.
"""


def markdown(costs: Costs, key: str) -> str:
    """The table, sorted by a figure's name, the costliest first; dated today (UTC)."""
    lines = [f"# What features cost: {subject(costs)}", "", f"Measured on {datetime.now(UTC):%Y-%m-%d}, of:", ""]
    lines += [f"- {name}: {_escaped(text)}" for name, text in costs.sources.items()]
    lines += ["", LEGEND, "| feature | " + " | ".join(c.heading for c in COLUMNS) + " | |"]
    lines.append("|---|" + "---:|" * len(COLUMNS) + "---|")
    base = " | ".join(f"**{c.text(costs.base)}**" for c in COLUMNS)
    lines.append(f"| **the whole kernel** | {base} | {f'root on {costs.root}' if costs.root else ''} |")
    for row in costs.sorted(key):
        values = " | ".join(c.text(row.cost, signed=True) for c in COLUMNS)
        lines.append(f"| {name_of(row)} | {values} | {_escaped(remark(row))} |")
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    """Words of compilers and kernels, which Markdown must not take for its own."""
    return text.translate({ord(c): f"\\{c}" for c in "\\|*_`<>[]"})
