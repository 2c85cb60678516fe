"""Renders docs/check-host.md from the table of checks: ``python -m kata_toolkit.host.page``."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from ..resources import resource
from .entry import HostCheck
from .purposes import Purpose, purposes
from .table import CHECKS, SUBJECTS

_HEAD = """# check-host

<!-- Made from the table of checks (toolkit/host/) by `make docs`; edit that, not this. -->

`kata-toolkit check-host` asks whether this host can run Kata, why not, and what to do. It needs no privileges and no
configuration, takes less than 1.5 s, and changes nothing: no module is loaded, no device but `/dev/kvm` is opened.
`--json` gives one document (`kata-toolkit schema checks`): for each check what was found, why it matters, what was
read and where, and what to do.

| status | meaning |
|---|---|
| `pass` | it is as it should be |
| `warn` | guests run, but slower, or not for everybody |
| `fail` | guests do not run; the command exits 1 |
| `skip` | it cannot be told here, or nothing asks for it; the text says which |

A check that belongs to another architecture, or to another maker's processor, is left out. In what is read and in
remedies, capitals stand for names.
"""

_FOR = """## --for

`check-host --for WHAT` asks about less, or about more, than Kata in general: a spec, the folder of a set, or a purpose.

- A spec (`toy.yaml`): what the guests of this set want. That is the architecture, memory, vCPUs, huge pages, the VMMs
  of its hypervisors, virtiofsd where a folder is shared by virtio-fs, a device to pass through, a kind of confidential
  guest; and room to build it.
- The folder of a set (`out/toy`, `/opt/toy`): the same, from its runtime configurations as they are now; and whether it
  is installed at its prefix: its files, the paths in its configurations, a kernel that fits its root, a runtime.

With several hypervisors the most that any of them wants counts. Without `--for`, the sets in `/opt` are looked at, and
a missing virtiofsd is only a warning.

A purpose changes what counts (write `./ci` for a file of that name):
"""

_COVERED = "## Kata's own checks, and these\n"
_DEFECTS = "## Where Kata's own checks err, and what happens here\n"


def page() -> str:
    """The whole page, as Markdown."""
    upstream = json.loads(resource("schemas", "host-upstream.json").read_bytes())
    parts = [_HEAD]
    for subject in SUBJECTS:
        entries = [entry for entry in CHECKS if entry.subject == subject]
        if entries:
            parts += [f"## {subject[0].upper()}{subject[1:]}\n", _table(_COLUMNS, map(_row, entries))]
    parts += [_FOR, _table(_PURPOSE_COLUMNS, map(_purpose_row, purposes().values()))]
    covered = ((_codes(entry["upstream"]), _codes(entry["ours"]), entry["note"]) for entry in upstream["checks"])
    parts += [
        _COVERED,
        "`go-`: `kata-runtime check`, `ctl-`: `kata-ctl check`, both of Kata 4.1.\n",
        _table(("theirs", "ours", "difference, or why not"), covered),
        _DEFECTS,
        _table(("theirs", "here"), ((f"`{entry['upstream']}`", entry["here"]) for entry in upstream["defects"])),
    ]
    return "\n".join(parts)


_COLUMNS = ("check", "why it matters", "reads", "what to do")


_PURPOSE_COLUMNS = ("purpose", "for", "must pass", "may fail", "left out")


def _purpose_row(purpose: Purpose) -> tuple[str, str, str, str, str]:
    must, may, left_out = (_codes(sorted(names)) for names in (purpose.must, purpose.may, purpose.left_out))
    return f"`{purpose.name}`", purpose.about, must, may, left_out


def _row(entry: HostCheck) -> tuple[str, str, str, str]:
    where = f" ({', '.join(entry.arches)})" if entry.arches else ""
    return f"`{entry.id}`{where}", entry.why, _codes(entry.reads), entry.remedy


def _codes(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names) or "—"


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    def lines() -> Iterator[str]:
        yield f"| {' | '.join(columns)} |"
        yield f"|{'---|' * len(columns)}"
        for row in rows:
            yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |"

    return "\n".join([*lines(), ""])


def main() -> None:
    """Write docs/check-host.md of the checkout, or the file named as the only argument."""
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else resource("docs") / "check-host.md"
    target.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
