"""Findings as SARIF 2.1.0, which code-scanning services read.

The format: https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ... import __version__
from .catalogue import RULES
from .findings import Finding, Place

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_ROOT = "%SRCROOT%"
_STDIN = "stdin.toml"


def sarif(findings: Sequence[Finding], folder: Path) -> dict[str, Any]:
    """One run. Files below ``folder``, the root of the sources, are named relative to it; others by their URI."""
    index = {rule: number for number, rule in enumerate(RULES)}
    return {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {"driver": {"name": "kata-toolkit config lint", "version": __version__, "rules": _rules()}},
                "columnKind": "unicodeCodePoints",
                "results": _results(findings, index, folder),
            }
        ],
    }


def _rules() -> list[dict[str, Any]]:
    return [
        {
            "id": rule.id,
            "name": "".join(word.capitalize() for word in rule.id.split("-")),
            "shortDescription": {"text": f"{rule.title}."},
            "fullDescription": {"text": rule.help},
            "help": {"text": rule.help, "markdown": rule.help},
            "defaultConfiguration": {"level": rule.level},
        }
        for rule in RULES.values()
    ]


def _results(findings: Sequence[Finding], index: dict[str, int], folder: Path) -> list[dict[str, Any]]:
    seen: dict[str, int] = {}
    results = []
    for finding in findings:
        uri = _location(finding.where, folder)["physicalLocation"]["artifactLocation"]["uri"]
        key = f"{uri}\0{finding.rule}\0{finding.message}"
        count = seen[key] = seen.get(key, 0) + 1
        result: dict[str, Any] = {
            "ruleId": finding.rule,
            "ruleIndex": index[finding.rule],
            "level": finding.level,
            "message": {"text": _text(finding)},
            "locations": [_location(finding.where, folder)],
            # Not by the line: a finding that only moved is not a new one.
            "partialFingerprints": {
                "finding/v1": hashlib.sha256(f"{key}\0{count}".encode(errors="replace")).hexdigest()
            },
        }
        if finding.related:
            result["relatedLocations"] = [
                {**_location(place, folder), "id": number, "message": {"text": text}}
                for number, (place, text) in enumerate(finding.related, start=1)
            ]
        results.append(result)
    return results


def _text(finding: Finding) -> str:
    parts = [finding.message]
    if finding.does:
        parts.append(finding.does)
    if finding.hint:
        parts.append(f"hint: {finding.hint}")
    return "\n".join(parts)


def _location(place: Place, folder: Path) -> dict[str, Any]:
    physical: dict[str, Any] = {"artifactLocation": _artifact(place.file, folder)}
    if place.line:
        region = {"startLine": place.line, "startColumn": max(place.column, 1)}
        if (place.end_line, place.end_column) > (place.line, place.column):
            region |= {"endLine": place.end_line, "endColumn": place.end_column}
        physical["region"] = region
    return {"physicalLocation": physical}


def _artifact(file: str, folder: Path) -> dict[str, str]:
    if file == "-":
        return {"uri": _STDIN, "uriBaseId": _ROOT}
    path = Path(os.path.normpath(folder / file))  # not resolved: links stay as they are
    if path.is_relative_to(folder):
        inside = path.relative_to(folder).as_posix()
        return {"uri": quote(inside, errors="surrogateescape"), "uriBaseId": _ROOT}
    return {"uri": f"file://{quote(path.as_posix(), errors='surrogateescape')}"}
