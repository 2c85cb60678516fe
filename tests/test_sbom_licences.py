"""Licences: SPDX expressions are what the specification says, and Debian's copyright files become such."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from kata_toolkit.sbom.dep5 import licence_of
from kata_toolkit.sbom.expression import conjunction, is_expression, references

HEAD = "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n"


def copyright_file(*names: str) -> str:
    paragraphs = "".join(
        f"\nFiles: {i}/*\nCopyright: 2020 A Person\nLicense: {n}\n text\n" for i, n in enumerate(names)
    )
    return f"{HEAD}Upstream-Name: x\n{paragraphs}\nLicense: LGPL-2\n of no file\n"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Expat", "MIT"),
        ("GPL-2", "GPL-2.0-only"),
        ("GPL-2+", "GPL-2.0-or-later"),
        ("GPLv3+", "GPL-3.0-or-later"),
        ("GPL-2.0.0+", "GPL-2.0-or-later"),
        ("LGPL-2.1", "LGPL-2.1-only"),
        ("GFDL-NIV-1.3+", "GFDL-1.3-no-invariants-or-later"),
        ("Apache-2", "Apache-2.0"),
        ("zlib", "Zlib"),
        ("BSD-3-clause", "BSD-3-Clause"),
        ("GPL-1+ or Artistic", "Artistic-1.0-Perl OR GPL-1.0-or-later"),
        ("Perl", "Artistic-1.0-Perl OR GPL-1.0-or-later"),
        ("GPL-2+ or Expat, and BSD-3-clause", "(GPL-2.0-or-later OR MIT) AND BSD-3-Clause"),
        ("GPL-2+ or Expat and ISC", "(ISC AND MIT) OR GPL-2.0-or-later"),
        ("GPL-2 with Linux-syscall-note exception", "GPL-2.0-only WITH Linux-syscall-note"),
        ("Apache-2.0 with LLVM exception", "Apache-2.0 WITH LLVM-exception"),
        # What SPDX does not list, or lists in several forms that the name does not tell apart, is not guessed.
        ("public-domain", "LicenseRef-Debian-public-domain"),
        ("GPL", "LicenseRef-Debian-GPL"),
        ("GPL-2+ with OpenSSL exception", "LicenseRef-Debian-GPL-2-or-later-with-OpenSSL-exception"),
        ("GPL-9", "LicenseRef-Debian-GPL-9"),
    ],
)
def test_a_name_in_a_copyright_file(name: str, expected: str) -> None:
    found = licence_of(copyright_file(name))
    assert found == expected
    assert is_expression(found)


def test_the_licences_of_all_files_hold_together() -> None:
    text = copyright_file("GPL-2+", "GPL-1+ or Artistic", "Expat", "GPL-2+", "GPL-2+ and Expat")
    assert licence_of(text) == "(Artistic-1.0-Perl OR GPL-1.0-or-later) AND GPL-2.0-or-later AND MIT"


def test_the_whole_packages_licence_where_no_file_has_one() -> None:
    assert licence_of(f"{HEAD}License: ISC\n\nFiles: *\nCopyright: 2020 A Person\n") == "ISC"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "This package is free software; see /usr/share/common-licenses/GPL-2.\nLicense: GPL-2\n",
        copyright_file("Permission to use, copy, modify, and distribute this software and its documentation"),
        copyright_file("Expat", ""),
        HEAD,
    ],
    ids=["empty", "free words", "a text for a name", "no name", "no licence"],
)
def test_what_is_not_said_is_not_guessed(text: str) -> None:
    assert licence_of(text) == ""


def test_every_copyright_file_of_this_machine_gives_an_expression_or_nothing() -> None:
    files = sorted(Path("/usr/share/doc").glob("*/copyright"))
    found = {path: licence_of(path.read_text(errors="replace")) for path in files}
    assert [path for path, text in found.items() if text and not is_expression(text)] == []
    machine = [p for p in files if re.match(r"Format:.*copyright-format/1\.0", p.read_text(errors="replace"))]
    known = [path for path in machine if found[path]]
    assert len(known) > 0.9 * len(machine)


@pytest.mark.parametrize(
    "text",
    [
        "MIT",
        "GPL-2.0+",
        "MIT OR (ISC AND Zlib)",
        "LicenseRef-x.1",
        "((MIT))",
        "GPL-2.0-only WITH Linux-syscall-note AND MIT",
    ],
)
def test_expressions(text: str) -> None:
    assert is_expression(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "GPLv2",
        "mit",
        "MIT ISC",
        "MIT AND",
        "AND MIT",
        "(MIT",
        "MIT)",
        "MIT WITH",
        "MIT WITH ISC",
        "LicenseRef-",
        "NOASSERTION",
        "MIT and ISC",
        "()",
    ],
)
def test_what_is_no_expression(text: str) -> None:
    assert not is_expression(text)


def test_conjunctions_and_references() -> None:
    assert conjunction(["MIT AND ISC", "MIT", "Zlib OR MIT"]) == "(Zlib OR MIT) AND ISC AND MIT"
    assert conjunction(["(A OR B) AND C", "A OR B"]) == "(A OR B) AND C"
    assert references(["MIT OR LicenseRef-b", "(LicenseRef-a AND ISC)"]) == ["LicenseRef-a", "LicenseRef-b"]
