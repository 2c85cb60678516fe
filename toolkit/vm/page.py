"""Renders docs/verify.md from the tables of checks: ``python -m kata_toolkit.vm.page``."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from pathlib import Path

from ..checks import Check
from .checks.container_table import CASES, Case
from .evidence import Evidence
from .guests import GUESTS
from .proof import ESSENTIAL, QUICK, SUBJECTS

_HEAD = """# The proof: `kata-toolkit verify`

<!-- Made from toolkit/vm/checks/ by `make docs`; edit the tables there, not this page. -->

`kata-toolkit verify DIR` makes the checks below, each with a verdict and its evidence: **pass**, **fail**, or **skip**
with the reason. It boots the set in QEMU with the devices, ids and kernel command line of Kata's Go runtime, under KVM
where that truly works and under TCG elsewhere, and speaks with the agent by its own protocol: over virtio-serial, or
over vsock with an agent that knows only that. So every agent is held to the same checks.

- A check for something that the set does not promise is skipped, never passed: what its kernel is built without (by the
  recorded configuration), what its machine has no place for, what this host has no program for.
- Exit status: 0 when nothing failed and the guest booted and ran a container ({essential}); 1 when a check
  failed, or one of those could not be made; 3 when only a tool failed. `--allow-skipped`: 0 as long as nothing failed.
- `--quick` makes only the {quick} checks that the set's own guest can show (or that need none). `--only 'container-*'`
  looks again at a part; it proves nothing, leaves the last report as it is, and exits with 1 when all was skipped.
- `--json` is one document (`schemas/checks.schema.json`). A check's name does not change between versions.
- `build --verify` makes all of them, as `make build` does.

Shell tools for the checks are the guest's own where it has them all; else a root file system with this host's static
busybox is shared with it, and verdicts say so.

## The guests

`main` lives as long as the proof; of the others one runs at a time. A guest that dies is booted again for the next
check.

{guests}
"""


def render() -> str:
    """The page, as Markdown."""
    guests = "\n".join(f"- `{name}`: a guest {purpose.what}" for name, purpose in GUESTS.items())
    essential = " and ".join(f"`{name}`" for name in ESSENTIAL)
    parts = [_HEAD.format(essential=essential, quick=len(QUICK), guests=guests)]
    for subject, checks in SUBJECTS.items():
        parts += [f"## {subject}\n", *_table(checks), ""]
    return "\n".join(parts)


def _table(checks: tuple[Check[Evidence], ...]) -> Iterator[str]:
    cases = {f"container-{case.name}": case for case in CASES}
    yield "| check | what is checked |"
    yield "|---|---|"
    for check in checks:
        told = _case(cases[check.id]) if check.id in cases else inspect.getdoc(check.run) or check.title
        yield f"| `{check.id}` | {' '.join(told.split()).replace('|', '&#124;')} |"


def _case(case: Case) -> str:
    script = case.script or " ".join(case.process["args"][2:3])
    needs = f" Needs {', '.join(case.needs)}." if case.needs else ""
    return f"{case.title[0].upper()}{case.title[1:]}: `{script}`.{needs}"


def main() -> None:
    """Write the page into the checkout, or to the path given."""
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parents[2] / "docs" / "verify.md"
    target.write_text(render(), encoding="utf-8")


if __name__ == "__main__":
    main()
