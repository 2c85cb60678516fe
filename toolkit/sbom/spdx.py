"""A bill as SPDX 2.3 JSON (https://spdx.github.io/spdx-spec/v2.3/).

The set's files are packages of purpose FILE: a file in SPDX 2.3 must have a SHA-1, which nothing here is known by.
"""

from __future__ import annotations

from typing import Any

from ..components import Component
from .bill import SET, Bill, Link, Part, Role, SetFile, short_version, uuid_of
from .document import EPOCH, SITE, text, written
from .expression import is_expression, references
from .purl import purl_of
from .spdx_ids import LIST_VERSION

NOASSERTION = "NOASSERTION"
ROLE = "kata-toolkit:role="
"""Begins a package's comment, where it says what the part is for."""
BUILT_FROM = "built from source package: "

_PURPOSES: dict[Role, str] = {
    "agent": "APPLICATION",
    "kernel": "OPERATING_SYSTEM",
    "library": "LIBRARY",
    "package": "LIBRARY",
    "program": "APPLICATION",
    "root": "ARCHIVE",
    "source": "SOURCE",
    "tool": "APPLICATION",
    "toolkit": "APPLICATION",
}


def spdx_json(bill: Bill) -> bytes:
    """The document's bytes; equal bills give equal bytes."""
    packages = [_set(bill), *map(_part, bill.parts), *map(_file, bill.files)]
    relationships = [_relationship("DOCUMENT", "DESCRIBES", SET), *map(_link, bill.links)]
    licences = _extracted(bill)
    name = text(bill.name)
    content = uuid_of(repr((packages, relationships, licences)))
    return written(
        {
            "spdxVersion": "SPDX-2.3",
            "dataLicense": "CC0-1.0",
            "SPDXID": "SPDXRef-DOCUMENT",
            "name": name,
            "documentNamespace": f"{SITE}/spdx/{name}-{content}",
            "creationInfo": {
                "created": EPOCH,
                "creators": [f"Tool: kata-toolkit-{bill.toolkit}"],
                "licenseListVersion": LIST_VERSION,
            },
            "packages": packages,
            **({"hasExtractedLicensingInfos": licences} if licences else {}),
            "relationships": relationships,
        }
    )


def _set(bill: Bill) -> dict[str, Any]:
    digest = bill.digest
    return {
        **_unknown(),
        "SPDXID": f"SPDXRef-{SET}",
        "name": text(bill.name),
        "versionInfo": short_version(Component(bill.name, sha256=digest)),
        "primaryPackagePurpose": "INSTALL",
        "comment": f"A Kata Containers guest for {bill.arch}; the version is the digest of its files with their paths",
    }


def _part(part: Part) -> dict[str, Any]:
    component = part.component
    found: dict[str, Any] = {
        **_unknown(),
        "SPDXID": f"SPDXRef-{part.id}",
        "name": text(component.name),
        "versionInfo": text(short_version(component)),
        "primaryPackagePurpose": "CONTAINER" if component.kind == "oci" else _PURPOSES[part.role],
        "externalRefs": [
            {
                "referenceCategory": "PACKAGE-MANAGER",
                "referenceType": "purl",
                "referenceLocator": purl_of(component),
            }
        ],
        "comment": "; ".join(filter(None, (ROLE + part.role, text(part.note), _using(component)))),
    }
    if component.sha256:
        found["checksums"] = _checksums(component.sha256)
    if is_expression(component.licence):
        found["licenseDeclared"] = component.licence
    if component.origin.startswith(("https://", "http://", "ftp://", "git+")):
        found["downloadLocation"] = component.origin
    if component.namespace and component.kind == "deb":
        found["supplier"] = f"Organization: {component.namespace}"
    if component.source_name:
        found["sourceInfo"] = f"{BUILT_FROM}{component.source_name} {component.source_version}".rstrip()
    return found


def _using(component: Component) -> str:
    return f"other source packages are in it: {component.built_using}" if component.built_using else ""


def _file(file: SetFile) -> dict[str, Any]:
    return {
        **_unknown(),
        "SPDXID": f"SPDXRef-{file.id}",
        "name": text(file.path),
        "versionInfo": short_version(Component(file.path, sha256=file.sha256)),
        "packageFileName": text(file.path),
        "primaryPackagePurpose": "FILE",
        "checksums": _checksums(file.sha256),
        "comment": ROLE + file.role,
    }


def _unknown() -> dict[str, Any]:
    """What every package must have, where there is nothing to say."""
    return {
        "downloadLocation": NOASSERTION,
        "filesAnalyzed": False,
        "licenseConcluded": NOASSERTION,
        "licenseDeclared": NOASSERTION,
        "copyrightText": NOASSERTION,
    }


def _checksums(sha256: str) -> list[dict[str, str]]:
    return [{"algorithm": "SHA256", "checksumValue": sha256}]


def _link(link: Link) -> dict[str, str]:
    return _relationship(link.one, link.relation, link.other)


def _relationship(one: str, kind: str, other: str) -> dict[str, str]:
    return {
        "spdxElementId": f"SPDXRef-{one}",
        "relationshipType": kind,
        "relatedSpdxElement": f"SPDXRef-{other}",
    }


def _extracted(bill: Bill) -> list[dict[str, str]]:
    """The licences that SPDX does not list: their texts are in the copyright files that name them so."""
    expressions = {part.component.name: part.component.licence for part in bill.parts}
    found = []
    for reference in references(licence for licence in expressions.values() if is_expression(licence)):
        names = sorted(name for name, licence in expressions.items() if reference in references([licence]))
        files = text(f"the copyright files of {', '.join(names)}, below share/{bill.name}/licences")
        found.append(
            {
                "licenseId": reference,
                "name": reference.removeprefix("LicenseRef-"),
                "extractedText": f"The text is in {files}.",
            }
        )
    return found
