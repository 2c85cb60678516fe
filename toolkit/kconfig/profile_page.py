"""Renders docs/kernel-profiles.md from the profiles and features: ``python -m kata_toolkit.kconfig.profile_page``.

What a feature saves comes from kernel-configs/kernel-cost.json, the measured table that `kernel cost` writes; a feature
that was not measured has a dash there.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..arch import arches
from ..resources import resource
from ..spec.yamltree import load_yaml
from .fragments import Feature, Library, load_library

_UPSTREAM = "upstream"
_HEAD = """# Kernel profiles

<!-- Made from kernel-configs/ by `make docs`; edit the files there, not this one. -->

A profile is a list of features, a feature a list of Kconfig symbols, each with the reason for it. A spec chooses one
and changes it: `kernel: {profile: default, features: {add: [nfs], drop: [xfs]}, options: {CONFIG_NR_CPUS: 32}}`.
Whatever is asked for is compared with what the kernel's own `conf` made of it.
"""


def render(library: Library, costs: Mapping[str, str], left_out: Sequence[tuple[list[str], str]]) -> str:
    """The page, as Markdown. ``costs``: feature → what it saves; ``left_out``: symbols and reason, of parity."""
    parts = [
        _HEAD,
        "## The profiles\n",
        _table(("profile", "for", "its own features"), _profiles(library)),
        "## What `default` leaves out against `parity`\n",
        "Each line of the last column, in a spec, switches the feature on again; what it needs comes with it.\n",
        _table(("feature", "saves", "who loses it", "switches it on"), _missing(library, costs)),
        "## What `parity` leaves out of upstream's own kernel\n",
        _table(("options", "why"), ((", ".join(f"`{s}`" for s in symbols), why) for symbols, why in left_out)),
        "## All features\n",
        "What each brings along is in `kernel-configs/features/`, with the reasons.\n",
        _table(("feature", "what it is", "profiles that have it"), _features(library)),
    ]
    return "\n".join(parts)


def left_out_of_parity() -> list[tuple[list[str], str]]:
    """Symbols that upstream's kernel has and `parity` has not, on purpose, with the reason."""
    document = load_yaml(resource("kernel-configs", "parity.yaml")).value
    return [(entry["symbols"], entry["reason"]) for entry in document["leaves_out"]]


def savings(text: str) -> dict[str, str]:
    """Feature → its measured cost in words, from the JSON of `kernel cost`."""
    return {row["feature"]: _saving(row["cost"]) for row in json.loads(text)["features"] if row.get("cost")}


def _saving(cost: Mapping[str, Any]) -> str:
    words = []
    if cost.get("bzimage") is not None:
        words.append(f"{cost['bzimage'] / 1024:,.0f} KiB of bzImage")
    if cost.get("boot_minstr") is not None:
        words.append(f"{cost['boot_minstr']:,.1f} M instructions")
    if cost.get("overhead_mib") is not None:
        words.append(f"{cost['overhead_mib']:,.1f} MiB of memory")
    return ", ".join(words) or "—"


def _profiles(library: Library) -> Iterator[tuple[str, str, str]]:
    for profile in library.profiles.values():
        yield f"`{profile.name}`", profile.title, str(len(_all(library, profile.name)))


def _all(library: Library, profile: str) -> dict[str, Feature]:
    """A profile's features on any architecture, with what they need."""
    features = library.profiles[profile].features
    return {f.name: f for arch in arches() for f in library.closure(features, arch)}


def missing(library: Library) -> list[Feature]:
    """The features of parity that default has not, by name."""
    default = _all(library, "default")
    return [feature for name, feature in sorted(_all(library, "parity").items()) if name not in default]


def excluded(library: Library, feature: Feature) -> list[str]:
    """The features of default that must be dropped when this one is added: they exclude each other, or its needs."""
    default = _all(library, "default")
    added = [f for arch in arches() for f in library.closure([feature.name], arch)]
    found = {name for one in added for name in one.conflicts if name in default}
    found |= {name for name, other in default.items() if any(one.name in other.conflicts for one in added)}
    return sorted(found)


def _missing(library: Library, costs: Mapping[str, str]) -> Iterator[tuple[str, str, str, str]]:
    for feature in missing(library):
        drop = excluded(library, feature)
        dropped = f", drop: [{', '.join(drop)}]" if drop else ""
        line = f"`features: {{add: [{feature.name}]{dropped}}}`"
        yield f"{feature.name}: {feature.title}", costs.get(feature.name, "—"), feature.who or "", line


def _features(library: Library) -> Iterator[tuple[str, str, str]]:
    """Every feature with its profiles; the feature `upstream` is that profile itself, and nobody's to add."""
    has = {profile: _all(library, profile) for profile in library.profiles if profile != _UPSTREAM}
    for name, feature in sorted(library.features.items()):
        if name != _UPSTREAM:
            yield f"`{name}`", feature.title, ", ".join(p for p, features in has.items() if name in features) or "none"


def _table(head: Sequence[str], rows: Iterator[Sequence[str]] | Iterator[tuple[str, ...]]) -> str:
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    lines += [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows]
    return "\n".join(lines) + "\n"


def page() -> str:
    """The page as it should be now."""
    costs = savings(resource("kernel-configs", "kernel-cost.json").read_text(encoding="utf-8"))
    return render(load_library(), costs, left_out_of_parity())


def main() -> None:
    """Write docs/kernel-profiles.md below the current folder."""
    target = Path("docs/kernel-profiles.md")
    target.write_text(page(), encoding="utf-8")
    sys.stdout.write(f"{target}\n")


if __name__ == "__main__":
    main()
