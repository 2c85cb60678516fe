"""What changed between two sets, by what decides their figures, and which of it is the likely cause of a change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

KERNEL, CONFIGURATION, COMPONENTS, SIZES = "kernel", "configuration", "components", "sizes"


@dataclass(frozen=True, slots=True)
class Change:
    """One name that is not the same in both; None: it is not there. ``kind``: one of the words above."""

    kind: str
    name: str
    before: str | None
    after: str | None

    def as_json(self) -> dict[str, Any]:
        """As plain JSON (schemas/set-diff.schema.json)."""
        return asdict(self)

    def words(self) -> str:
        """``CONFIG_X: n → y``."""
        if self.before is None:
            return f"{self.name}: {self.after} came"
        if self.after is None:
            return f"{self.name}: {self.before} went"
        return f"{self.name}: {self.before} → {self.after}"


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    """Everything that differs between two reports' documents (see `document.collect`), by kind and name.

    A kernel symbol that is not set is ``n`` in one and missing in the other: that is no change. Of a kind that only one
    of them knows nothing is said.
    """
    found = []
    for kind in (COMPONENTS, KERNEL, CONFIGURATION):
        old, new = before["inputs"].get(kind), after["inputs"].get(kind)
        if old is None or new is None:
            continue  # one of them does not tell: a partial set, a kernel that others built
        absent = "n" if kind == KERNEL else None
        for name in sorted({*old, *new}):
            a, b = old.get(name, absent), new.get(name, absent)
            if a != b:
                found.append(Change(kind, name, a, b))
    sizes = [_sizes(document) for document in (before, after)]
    for name in dict.fromkeys((*sizes[0], *sizes[1])):
        a, b = (size.get(name) for size in sizes)
        if a != b:
            found.append(Change(SIZES, name, a, b))
    return found


def _sizes(document: Mapping[str, Any]) -> dict[str, str]:
    whole = {each["what"]: f"{each['allocated']:,} bytes on disk" for each in document["sizes"]}
    inside = {f"in the image: {each['path']}": f"{each['bytes']:,} bytes" for each in document["contents"]}
    return {**whole, **{name: size for name, size in inside.items() if " more files" not in name}}


_CAUSES: Mapping[str, Sequence[str]] = {
    # What a figure follows from first: other kinds of change are named only when there is none of these.
    "kernel_minstr": (KERNEL, COMPONENTS),
    "boot_minstr": (KERNEL, COMPONENTS),
    "check_minstr": (KERNEL, COMPONENTS),
    "output_minstr": (KERNEL, COMPONENTS),
    "guest_overhead_mib": (KERNEL, COMPONENTS),
    "guest_overhead_2048_mib": (KERNEL, COMPONENTS),
    "vmlinux_mib": (KERNEL, COMPONENTS),
    "image_mib": (SIZES, COMPONENTS),
    "exits_port": (CONFIGURATION, KERNEL),
    "exits_mmio": (CONFIGURATION, KERNEL),
}
_NAMED = 4  # changes named in one line


def likely_cause(figure: str, found: Sequence[Change]) -> str:
    """In a few words, which of the changes a figure that changed most likely comes from."""
    for kind in (*_CAUSES.get(figure, ()), COMPONENTS, KERNEL, CONFIGURATION, SIZES):
        here = [change.words() for change in found if change.kind == kind]
        if here:
            more = f" and {len(here) - _NAMED} more" if len(here) > _NAMED else ""
            return f"{kind}: {'; '.join(here[:_NAMED])}{more}"
    return "nothing differs in kernel configuration, runtime configuration and components: look at QEMU and the host"
