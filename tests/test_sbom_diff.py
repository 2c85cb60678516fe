"""Bills of materials compared, and read: ours, others', and what is none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from kata_toolkit.cli.app import run
from kata_toolkit.errors import InputError
from kata_toolkit.sbom.difference import difference
from kata_toolkit.sbom.read import Listed, Listing, read_bill


def listing(*entries: Listed) -> Listing:
    return Listing("x", "SPDX", "x", tuple(sorted(entries)))


def deb(name: str, version: str, licence: str = "MIT", sha256: str = "") -> Listed:
    return Listed("deb", "package", name, version, licence, sha256)


def told(a: Listing, b: Listing) -> list[tuple[str, str, tuple[str, ...]]]:
    return [(change.kind, change.one.name, change.fields) for change in difference(a, b).changes]


def test_what_came_what_went_and_what_changed() -> None:
    a = listing(deb("bash", "5.1"), deb("dash", "1"), deb("libc6", "2.36", sha256="a" * 64), deb("same", "1"))
    b = listing(deb("bash", "5.2"), deb("grep", "3"), deb("libc6", "2.36", "ISC", "b" * 64), deb("same", "1"))
    assert told(a, b) == [
        ("changed", "bash", ("version",)),
        ("removed", "dash", ()),
        ("added", "grep", ()),
        ("changed", "libc6", ("licence", "sha256")),
    ]
    assert difference(a, b).same == 1
    assert difference(a, a).changes == ()


def test_several_versions_of_one_name() -> None:
    """As crates have them: what is on both sides is the same, whatever else is there."""
    a = listing(*(Listed("cargo", "", "rand", v) for v in ("0.7", "0.8")))
    b = listing(*(Listed("cargo", "", "rand", v) for v in ("0.8", "0.9", "1.0")))
    assert told(a, b) == [("removed", "rand", ()), ("added", "rand", ()), ("added", "rand", ())]
    c = listing(*(Listed("cargo", "", "rand", v) for v in ("0.8", "0.9")))
    assert told(a, c) == [("changed", "rand", ("version",))]


def test_a_version_that_is_a_digest_is_told_once() -> None:
    a, b = (listing(Listed("file", "image", "x.img", f"sha256:{d * 12}", sha256=d * 64)) for d in "ab")
    assert told(a, b) == [("changed", "x.img", ("sha256",))]


def test_components_come_before_files_and_a_tool_is_not_a_package() -> None:
    a = listing(Listed("file", "licence", "a", "1"), Listed("generic", "tool", "make", "4"))
    b = listing(Listed("file", "licence", "a", "2"), Listed("generic", "package", "make", "4"))
    assert [kind for kind, _, _ in told(a, b)] == ["added", "removed", "changed"]


CYCLONEDX: Any = {
    "bomFormat": "CycloneDX",
    "specVersion": "1.4",
    "metadata": {"component": {"name": "app", "type": "application"}},
    "components": [
        {
            "type": "library",
            "name": "outer",
            "licenses": [{"license": {"name": "Own"}}, {"license": {"id": "MIT"}}],
            "components": [{"type": "library", "name": "inner", "version": "2", "purl": "pkg:npm/inner@2"}],
        }
    ],
}
SPDX: Any = {
    "spdxVersion": "SPDX-2.2",
    "name": "app",
    "documentDescribes": ["SPDXRef-app"],
    "packages": [
        {"SPDXID": "SPDXRef-app", "name": "app", "downloadLocation": "NONE"},
        {"SPDXID": "SPDXRef-a", "name": "outer", "downloadLocation": "NONE", "licenseDeclared": "NONE"},
    ],
    "files": [
        {"SPDXID": "SPDXRef-f", "fileName": "./f", "checksums": [{"algorithm": "SHA256", "checksumValue": "a" * 64}]}
    ],
}


def read(folder: Path, document: object) -> Listing:
    (folder / "bill.json").write_text(document if isinstance(document, str) else json.dumps(document))
    return read_bill(folder / "bill.json")


def test_bills_of_others_are_read(tmp_path: Path) -> None:
    found = read(tmp_path, CYCLONEDX)
    assert [(e.kind, e.name, e.version, e.licence) for e in found.entries] == [
        ("generic", "outer", "", "Own AND MIT"),
        ("npm", "inner", "2", ""),
    ]
    found = read(tmp_path, SPDX)
    assert [(e.kind, e.name, e.sha256) for e in found.entries] == [("file", "./f", "a" * 64), ("generic", "outer", "")]
    assert [e.name for e in found.parts] == ["outer"]


@pytest.mark.parametrize(
    "document",
    [
        "",
        "[]",
        "not JSON",
        "\x00",
        "[" * 100_000,
        "{}",
        {"spdxVersion": "SPDX-3.0"},
        {"bomFormat": "CycloneDX", "components": 1},
        {"bomFormat": "CycloneDX", "components": [1]},
        {"bomFormat": "CycloneDX", "components": [{"type": "library"}]},
        {"bomFormat": "CycloneDX", "components": [{"type": "library", "name": 1, "purl": 2}]},
        {"bomFormat": "CycloneDX", "components": [{"type": "library", "name": ["x"]}]},
        {"bomFormat": "CycloneDX", "components": [{"type": "library", "name": "x", "licenses": [{}]}]},
        {"bomFormat": "CycloneDX", "metadata": []},
        {"spdxVersion": "SPDX-2.3", "packages": {}},
        {"spdxVersion": "SPDX-2.3", "packages": [{"name": "x"}]},
        {"spdxVersion": "SPDX-2.3", "relationships": [1]},
        {"spdxVersion": "SPDX-2.3", "packages": [{"SPDXID": [], "name": "x"}]},
        {"spdxVersion": "SPDX-2.3", "files": [{"fileName": "x", "checksums": [{"algorithm": {}, "checksumValue": 1}]}]},
    ],
    ids=lambda document: str(document)[:40],
)
def test_what_is_no_bill_is_refused(tmp_path: Path, document: object) -> None:
    try:
        found = read(tmp_path, document)
    except InputError as error:
        said = str(error)
    else:
        assert found.entries == (), "something was made of it"
        said = ""
    assert "Error" not in said, "Python's own words"


def test_where_a_bill_is_no_json(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r'an entry lacks "name"'):
        read(tmp_path, {"bomFormat": "CycloneDX", "components": [{"type": "library"}]})
    with pytest.raises(InputError, match=r"is no JSON") as caught:
        read(tmp_path, '{\n "spdxVersion": SPDX-2.3\n}')
    assert str(caught.value.problems[0].where) == f"{tmp_path}/bill.json:2:17"


def test_a_set_without_a_bill_and_a_file_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["sbom", "show", str(tmp_path)]) == 2
    assert "build again" in capsys.readouterr().err
    assert run(["sbom", "diff", str(tmp_path / "x"), str(tmp_path / "y")]) == 2
    assert "cannot read" in capsys.readouterr().err


def test_what_would_do_something_to_a_terminal_is_not_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document = {
        "bomFormat": "CycloneDX",
        "components": [{"type": "library", "name": "a\x1b[2Jb\nc", "version": "\x07"}],
    }
    (tmp_path / "a.json").write_text(json.dumps(document))
    (tmp_path / "b.json").write_text(json.dumps({**document, "components": []}))
    assert run(["sbom", "show", str(tmp_path / "a.json")]) == 0
    assert run(["sbom", "diff", str(tmp_path / "a.json"), str(tmp_path / "b.json")]) == 1
    printed = capsys.readouterr().out
    assert "a\N{REPLACEMENT CHARACTER}[2Jb\N{REPLACEMENT CHARACTER}c" in printed
    assert not set(printed) & {"\x1b", "\x07"}
