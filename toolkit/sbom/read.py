"""Bills of materials read back, ours and others': SPDX 2 and CycloneDX as JSON, as far as it is shown and compared."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .. import set_paths
from ..errors import InputError, Where
from . import cyclonedx, spdx
from .purl import kind_of

FILE = "file"
_JSON_ONLY = "SPDX and CycloneDX are read in their JSON form"
_LARGEST = 1 << 28  # bytes: a bill of a whole distribution has a tenth


@dataclass(frozen=True, slots=True, order=True)
class Listed:
    """One part or file, as a bill lists it; "" where it does not say.

    ``kind``: the type in its package URL, `FILE`, or generic. ``role``: what it is for, in bills of ours. ``source``:
    the source package and its version.
    """

    kind: str
    role: str
    name: str
    version: str
    licence: str = ""
    sha256: str = ""
    source: str = ""

    def as_json(self) -> dict[str, str]:
        """As plain JSON; schema: schemas/sbom-show.schema.json."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Listing:
    """A bill that was read. ``label``: as the person named it; ``name``: what it is of."""

    label: str
    format: str
    name: str
    entries: tuple[Listed, ...]

    @property
    def parts(self) -> list[Listed]:
        """Without the files."""
        return [entry for entry in self.entries if entry.kind != FILE]


def read_bill(path: Path) -> Listing:
    """The bill in a file, or of a set in a folder. Raises InputError when there is none, or it is not understood."""
    file = path / set_paths.SPDX if path.is_dir() else path
    try:
        if file.stat().st_size > _LARGEST:
            raise InputError(f"{file} is too large for a bill of materials")
        document = json.loads(file.read_bytes())
    except OSError as error:
        hint = "sets built before there were bills of materials have none: build again" if path.is_dir() else None
        raise InputError(f"cannot read {file}: {error.strerror}", hint=hint) from error
    except json.JSONDecodeError as error:
        where = Where(str(file), error.lineno, error.colno)
        raise InputError(f"is no JSON: {error.msg[:1].lower()}{error.msg[1:]}", where=where, hint=_JSON_ONLY) from error
    except (ValueError, RecursionError) as error:
        why = "is nested too deeply" if isinstance(error, RecursionError) else f"is no JSON: {error}"
        raise InputError(why, where=Where(str(file)), hint=_JSON_ONLY) from error
    try:
        if isinstance(document, dict) and document.get("bomFormat") == "CycloneDX":
            name = document.get("metadata", {}).get("component", {}).get("name", "")
            return Listing(str(path), "CycloneDX", str(name), tuple(sorted(_cyclonedx(document))))
        if isinstance(document, dict) and str(document.get("spdxVersion", "")).startswith("SPDX-2"):
            return Listing(str(path), "SPDX", str(document.get("name", "")), tuple(sorted(_spdx(document))))
    except KeyError as error:
        raise InputError(f'{file} is no sound bill of materials: an entry lacks "{error.args[0]}"') from error
    except (AttributeError, IndexError, TypeError, RecursionError) as error:
        told = "something in it is not of the kind that the format says"
        raise InputError(f"{file} is no sound bill of materials: {told}") from error
    raise InputError(
        f"{file} is neither CycloneDX nor SPDX 2", hint=f"a set's are {set_paths.SPDX} and {set_paths.CYCLONEDX}"
    )


def _cyclonedx(holder: Mapping[str, Any]) -> Iterator[Listed]:
    for component in holder.get("components", ()):
        properties = {p["name"]: p.get("value", "") for p in component.get("properties", ())}
        hashes = {h["alg"]: h["content"] for h in component.get("hashes", ())}
        purl = component.get("purl", "")
        plain = FILE if component["type"] == "file" else "generic"
        yield _listed(
            kind_of(purl) or plain,
            properties.get(cyclonedx.ROLE, ""),
            component["name"],
            component.get("version", ""),
            _licences(component.get("licenses", ())),
            hashes.get("SHA-256", ""),
            properties.get(cyclonedx.SOURCE, ""),
        )
        yield from _cyclonedx(component)


def _listed(*texts: Any) -> Listed:
    """Raises TypeError where something else stands for a text: a bill may come from anywhere."""
    if not all(isinstance(text, str) for text in texts):
        raise TypeError("a name, a version or the like is not a text")
    return Listed(*texts)


def _licences(choices: Any) -> str:
    """An expression, or several licences that all hold."""
    names = [c.get("expression") or c["license"].get("id") or c["license"].get("name", "") for c in choices]
    return " AND ".join(names)


def _spdx(document: Mapping[str, Any]) -> Iterator[Listed]:
    described = set(document.get("documentDescribes", ()))
    for link in document.get("relationships", ()):
        if link["relationshipType"] == "DESCRIBES":
            described.add(link["relatedSpdxElement"])
    for package in document.get("packages", ()):
        if package["SPDXID"] in described:
            continue  # what the bill is of, and no part of it
        purls = [r["referenceLocator"] for r in package.get("externalRefs", ()) if r["referenceType"] == "purl"]
        plain = FILE if package.get("primaryPackagePurpose") == "FILE" else "generic"
        comment, source = package.get("comment", ""), package.get("sourceInfo", "")
        role = comment.removeprefix(spdx.ROLE).partition(";")[0] if comment.startswith(spdx.ROLE) else ""
        licence = package.get("licenseDeclared", "")
        yield _listed(
            (kind_of(purls[0]) if purls else "") or plain,
            role,
            package["name"],
            package.get("versionInfo", ""),
            "" if licence in ("NOASSERTION", "NONE") else licence,
            _sha256(package),
            source.removeprefix(spdx.BUILT_FROM) if source.startswith(spdx.BUILT_FROM) else "",
        )
    for file in document.get("files", ()):
        yield _listed(FILE, "", file["fileName"], "", "", _sha256(file))


def _sha256(element: Mapping[str, Any]) -> str:
    sums = {c["algorithm"]: c["checksumValue"] for c in element.get("checksums", ())}
    return str(sums.get("SHA256", ""))
