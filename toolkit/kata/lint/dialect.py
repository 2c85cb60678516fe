"""Which runtime reads a file: said by its place, or by the keys in it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ...spec.model import Dialect
from ..keys import DIALECTS
from .known import evidence, known

_IN_RUST = re.compile("(.*-)?runtime-rs")


def guess(file: str, tree: dict[str, Any]) -> tuple[Dialect | None, str]:
    """The dialect and why, or None when nothing speaks for one of them.

    The path counts first: a Go key in a file of the Rust runtime is a mistake to tell, not a sign.
    """
    *folders, name = Path(file).absolute().parts
    if file != "-" and ("runtime-rs" in name or any(_IN_RUST.fullmatch(folder) for folder in folders)):
        return "rs", "runtime-rs in its path"
    runtime = tree.get("runtime")
    if isinstance(runtime, dict):
        for key in ("hypervisor_name", "agent_name"):
            if key in runtime:
                return "rs", f"runtime.{key}, which only the Rust runtime has"
    hypervisors = tree.get("hypervisor")
    names = set(hypervisors) if isinstance(hypervisors, dict) else set()
    for dialect in DIALECTS:
        other = known(known(dialect).other)
        own = sorted(names & (set(known(dialect).hypervisors) - set(other.hypervisors)))
        if own:
            return dialect, f"[hypervisor.{own[0]}], which only the {known(dialect).title} has"
    count = evidence(list(_keys(tree)))
    for dialect in DIALECTS:
        if count[dialect] > count[known(dialect).other]:
            return dialect, f"keys that only the {known(dialect).title} has"
    return None, "nothing that only one of the runtimes has"


def _keys(tree: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """(table, key), with all names of hypervisors and agents taken for one."""
    for top, values in tree.items():
        if not isinstance(values, dict):
            continue
        tables = [values]
        if top in ("hypervisor", "agent"):
            tables = [inner for inner in values.values() if isinstance(inner, dict)]
        for table in tables:
            for key, value in table.items():
                yield top, key
                if isinstance(value, dict):
                    yield from ((f"{top}.{key}", inner) for inner in value)
