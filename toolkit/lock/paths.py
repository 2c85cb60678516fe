"""Where lock files lie."""

from __future__ import annotations

from pathlib import Path


def lock_path(spec: Path) -> Path:
    """A spec's lock file: quickstart.lock.json beside quickstart.yaml."""
    return spec.with_name(f"{spec.stem}.lock.json")
