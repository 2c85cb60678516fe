"""Turns requests into a ``.config`` with the kernel's own ``conf``, and holds the result to what was asked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from ..errors import InputError
from .config import count_on, read_config
from .requests import Wishes
from .unmet import explain, unmet


def check(wishes: Wishes, config: str, tree: Path, srcarch: str) -> dict[str, str]:
    """Hold a ``.config`` to the wishes; its values on success.

    Raises InputError with every unmet request that is not allowed to be missing, and the reason for each.
    """
    values = read_config(config)
    missed = [r for r in unmet(wishes.requests, values) if r.allowed is None]
    if missed:
        raise InputError.many(explain(missed, values, tree, srcarch))
    return values


def report(wishes: Wishes, values: Mapping[str, str], *, arch: str, kernel: str, profile: str) -> bytes:
    """kernel-config.json: who asked for each symbol, why, and what it became."""
    document = {
        "version": 1,
        "kernel": kernel,
        "arch": arch,
        "profile": profile,
        "features": list(wishes.features),
        "options_on": count_on(dict(values)),
        "requests": [
            {
                "symbol": r.symbol,
                "value": r.value,
                "result": values.get(r.symbol, "n"),
                "asked_by": list(r.asked_by),
                "why": r.why,
                **({"overrules": list(r.overridden)} if r.overridden else {}),
                **({"allowed_missing": r.allowed} if r.allowed else {}),
            }
            for r in wishes.requests
        ],
    }
    return (json.dumps(document, indent=1, ensure_ascii=False) + "\n").encode()
