"""Bills of materials held to their formats: by SPDX's and CycloneDX's own libraries, and by the rules of ours."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from kata_toolkit import set_paths
from kata_toolkit.sbom.expression import is_expression
from spdx_tools.spdx.parser.jsonlikedict.json_like_dict_parser import JsonLikeDictParser
from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document

DATA = Path(__file__).parent / "data"


def require_spdx(text: bytes) -> Any:
    """Read, and found sound in every part, by SPDX's library; and with nothing in it that its JSON schema refuses."""
    document = json.loads(text)
    jsonschema.validate(document, json.loads((DATA / "spdx-2.3.schema.json").read_text()))
    parsed = JsonLikeDictParser().parse(document)
    assert [m.validation_message for m in validate_full_spdx_document(parsed)] == []
    return document


def require_cyclonedx(text: bytes) -> Any:
    """What the official JSON schema of 1.6 says, in its strict form."""
    problem = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text.decode())
    assert problem is None, problem
    return json.loads(text)


def require_bills(folder: Path) -> tuple[Any, Any]:
    """Both bills of a set, valid, complete, and of one mind; as (SPDX, CycloneDX)."""
    spdx = require_spdx((folder / set_paths.SPDX).read_bytes())
    cyclonedx = require_cyclonedx((folder / set_paths.CYCLONEDX).read_bytes())
    require_complete(spdx, cyclonedx)
    return spdx, cyclonedx


def require_complete(spdx: Any, cyclonedx: Any) -> None:
    """Every id is known and used once, every component has a version, every licence is an expression."""
    ids = [package["SPDXID"] for package in spdx["packages"]]
    assert len(ids) == len(set(ids))
    linked = {link[end] for link in spdx["relationships"] for end in ("spdxElementId", "relatedSpdxElement")}
    assert linked <= {*ids, "SPDXRef-DOCUMENT"}
    refs = [component["bom-ref"] for component in cyclonedx["components"]]
    assert len(refs) == len(set(refs))
    depends = {ref for entry in cyclonedx["dependencies"] for ref in (entry["ref"], *entry["dependsOn"])}
    assert depends <= {*refs, "set"}
    assert [f"SPDXRef-{ref}" for ref in refs] == ids[1:]
    assert all(package["versionInfo"] for package in spdx["packages"])
    assert all(component["version"] for component in cyclonedx["components"])
    for package in spdx["packages"]:
        assert package["licenseDeclared"] == "NOASSERTION" or is_expression(package["licenseDeclared"])


def digests(spdx: Any, cyclonedx: Any) -> tuple[dict[str, str], dict[str, str]]:
    """The files of the set with their digests, as each of the bills has them."""
    one = {
        package["packageFileName"]: package["checksums"][0]["checksumValue"]
        for package in spdx["packages"]
        if package["primaryPackagePurpose"] == "FILE"
    }
    other = {
        component["name"]: component["hashes"][0]["content"]
        for component in cyclonedx["components"]
        if component["type"] == "file" and "purl" not in component
    }
    return one, other
