"""A bill as CycloneDX 1.6 JSON (https://cyclonedx.org/docs/1.6/json/)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..components import Component
from .bill import SET, Bill, Part, Role, SetFile, short_version, uuid_of
from .document import text, written
from .expression import is_expression
from .purl import purl_of
from .spdx_ids import LICENCES

ROLE, SOURCE, BUILT_USING = "kata-toolkit:role", "kata-toolkit:source", "kata-toolkit:built-using"
"""Properties: what a part is for, which source package it was built from, and which others are in it."""

_TYPES: dict[Role, str] = {
    "agent": "application",
    "kernel": "operating-system",
    "library": "library",
    "package": "library",
    "program": "application",
    "root": "file",
    "source": "file",
    "tool": "application",
    "toolkit": "application",
}


def cyclonedx_json(bill: Bill) -> bytes:
    """The document's bytes; equal bills give equal bytes. It holds no time, which this format can do without."""
    patches = _patches(bill)
    components = [_part(part, patches) for part in bill.parts] + [_file(file) for file in bill.files]
    dependencies = _dependencies(bill)
    toolkit = {"type": "application", "name": "kata-toolkit", "version": bill.toolkit}
    return written(
        {
            "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
            "bomFormat": "CycloneDX",
            "specVersion": "1.6",
            "serialNumber": f"urn:uuid:{uuid_of(repr((bill.name, components, dependencies)))}",
            "version": 1,
            "metadata": {
                "lifecycles": [{"phase": "build"}],
                "tools": {"components": [toolkit]},
                "component": {
                    "type": "platform",
                    "bom-ref": SET,
                    "name": text(bill.name),
                    "version": short_version(Component(bill.name, sha256=bill.digest)),
                    "description": f"A Kata Containers guest for {bill.arch}",
                },
            },
            "components": components,
            "dependencies": dependencies,
        }
    )


def _part(part: Part, patches: Mapping[str, list[SetFile]]) -> dict[str, Any]:
    component = part.component
    found: dict[str, Any] = {
        "type": "container" if component.kind == "oci" else _TYPES[part.role],
        "bom-ref": part.id,
        "name": text(component.name),
        "version": text(short_version(component)),
        "purl": purl_of(component),
        "properties": [{"name": ROLE, "value": part.role}],
    }
    if part.role == "tool":
        found["scope"] = "excluded"  # it built the set, and is not in it
    if part.note:
        found["description"] = text(part.note)
    if component.sha256:
        found["hashes"] = _hashes(component.sha256)
    if is_expression(component.licence):
        listed = component.licence in LICENCES
        found["licenses"] = [{"license": {"id": component.licence}} if listed else {"expression": component.licence}]
    if component.origin:
        kind = "vcs" if component.origin.startswith("git+") else "distribution"
        found["externalReferences"] = [{"type": kind, "url": text(component.origin)}]
    if component.namespace and component.kind == "deb":
        found["supplier"] = {"name": component.namespace}
    if component.source_name:
        source = f"{component.source_name} {component.source_version}".rstrip()
        found["properties"].append({"name": SOURCE, "value": source})
    if component.built_using:
        found["properties"].append({"name": BUILT_USING, "value": component.built_using})
    if part.id in patches:
        found["pedigree"] = {"patches": [_patch(file) for file in patches[part.id]]}
    return found


def _file(file: SetFile) -> dict[str, Any]:
    return {
        "type": "file",
        "bom-ref": file.id,
        "name": text(file.path),
        "version": short_version(Component(file.path, sha256=file.sha256)),
        "hashes": _hashes(file.sha256),
        "properties": [{"name": ROLE, "value": file.role}],
    }


def _patch(file: SetFile) -> dict[str, Any]:
    return {"type": "unofficial", "diff": {"text": {"content": f"{text(file.path)} sha256:{file.sha256}"}}}


def _hashes(sha256: str) -> list[dict[str, str]]:
    return [{"alg": "SHA-256", "content": sha256}]


def _patches(bill: Bill) -> dict[str, list[SetFile]]:
    """The patches of each source that has some."""
    files = {file.id: file for file in bill.files}
    found: dict[str, list[SetFile]] = {}
    for link in bill.links:
        if link.relation == "PATCH_FOR" and link.one in files:
            found.setdefault(link.other, []).append(files[link.one])
    return {part: sorted(those, key=lambda file: file.path) for part, those in found.items()}


def _dependencies(bill: Bill) -> list[dict[str, Any]]:
    """What each thing consists of or was made from; not by which tools."""
    needs: dict[str, set[str]] = {}
    for link in bill.links:
        if link.relation in ("CONTAINS", "GENERATED_FROM", "STATIC_LINK"):
            needs.setdefault(link.one, set()).add(link.other)
        elif link.relation == "PATCH_FOR":
            needs.setdefault(link.other, set()).add(link.one)
    return [{"ref": ref, "dependsOn": sorted(those)} for ref, those in sorted(needs.items())]
