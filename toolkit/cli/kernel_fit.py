"""What a person sees of a kernel that others have built: each feature, and what of it there is."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import typer

_STYLES = {"built in": "green", "as modules": "cyan", "in part": "yellow", "missing": "bold red"}


def print_fit(target: Path) -> None:
    """Print the features of the set's kernel as a table, if the set tells of them: a compiled kernel has them all."""
    report = target / "kernel-config.json"
    document: dict[str, Any] = json.loads(report.read_bytes()) if report.is_file() else {}
    features = document.get("prebuilt")
    if not features:
        return
    rows = [(f["feature"], f["status"], _detail(f)) for f in features]
    if not sys.stdout.isatty():
        width = max(len(name) for name, _, _ in rows)
        for name, status, detail in rows:
            typer.echo(f"{name:<{width}}  {status:<10}  {detail}".rstrip())
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=f"{document['kernel']} for the profile {document['profile']}", title_justify="left")
    table.add_column("feature", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("modules, and what is off", overflow="fold")
    for name, status, detail in rows:
        table.add_row(name, Text(status, style=_STYLES[status]), Text(detail))
    Console().print(table)


def _detail(feature: dict[str, Any]) -> str:
    modules = " ".join(symbol.removeprefix("CONFIG_") for symbol in feature["modules"])
    missing = " ".join(symbol.removeprefix("CONFIG_") for symbol in feature["missing"])
    return "; ".join(part for part in (modules, f"off: {missing}" if missing else "") if part)
