"""The proof as JUnit XML, for the test tabs of CI systems (the form that Jenkins, GitLab and GitHub actions read)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from xml.etree import ElementTree

# XML 1.0 has no place for these, however they are written; a guest's console has them.
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit(document: Mapping[str, Any]) -> str:
    """One suite of the set's name, one case a check; warnings pass, with their words in ``system-out``."""
    proof = document["proof"] or {"checks": []}
    checks = proof["checks"]
    count = [check["status"] for check in checks].count
    suite = ElementTree.Element(
        "testsuite",
        {
            "name": document["set"]["name"],
            "tests": str(len(checks)),
            "failures": str(count("fail")),
            "errors": "0",
            "skipped": str(count("skip")),
            **({"timestamp": proof["at"][:19]} if "at" in proof else {}),
        },
    )
    for check in checks:
        case = ElementTree.SubElement(
            suite, "testcase", {"classname": f"{document['set']['name']}.verify", "name": check["id"]}
        )
        words = _FORBIDDEN.sub("\ufffd", "\n".join(filter(None, (check["detail"], check["remedy"]))))
        if check["status"] in ("fail", "skip"):
            kind = "failure" if check["status"] == "fail" else "skipped"
            ElementTree.SubElement(case, kind, {"message": words.partition("\n")[0]}).text = words
        else:
            ElementTree.SubElement(case, "system-out").text = words
    root = ElementTree.Element("testsuites")
    root.append(suite)
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"
