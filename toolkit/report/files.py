"""Where what is known of a set lies beside it: ``OUT.report/``, the folder for all that has a time in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..errors import InputError, Where

PROOF, TIMINGS, DENSITY, BENCH, SPEC = "proof.json", "timings.json", "density.json", "bench.json", "spec.yaml"
PAGE, MARKDOWN, JUNIT, DOCUMENT = "report.html", "report.md", "junit.xml", "report.json"


def folder_of(built: Path) -> Path:
    """The report's folder of a set: beside it, with ``.report`` behind its name."""
    whole = built.resolve()
    return whole.with_name(whole.name + ".report")


def read(folder: Path, name: str) -> Any:
    """One of the JSON files, or None where it was never written. Raises InputError when it is damaged."""
    file = folder / name
    try:
        return json.loads(file.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"cannot be read: {error}", where=Where(str(file)), hint="verify the set again") from error


def read_text(folder: Path, name: str) -> str | None:
    """One of the texts, or None where it was never written. Raises InputError when it cannot be read."""
    file = folder / name
    try:
        return file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise InputError(f"cannot be read: {error}", where=Where(str(file))) from error
