"""Debian's machine-readable copyright files as SPDX licence expressions.

The format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/ (earlier: DEP-5).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from .expression import conjunction
from .spdx_ids import EXCEPTIONS, LICENCES

REFERENCE = "LicenseRef-Debian-"
"""Begins the name of a licence that Debian names and SPDX does not list, such as LicenseRef-Debian-public-domain."""

_FORMAT = re.compile(r"copyright-format|dep-?5", re.IGNORECASE)
_FIELD = re.compile(r"([A-Za-z][A-Za-z-]*)\s*:(.*)")
_GNU = re.compile(r"(AGPL|LGPL|GPL|GFDL-NIV|GFDL)-?v?(\d+(?:\.\d+)*)(\+|-or-later|-only)?", re.IGNORECASE)
_VERSIONED = re.compile(r"(.+?-)v?(\d+)(?:\.0)*", re.IGNORECASE)
_WITH = re.compile(r"(\S+)\s+with\s+(?:the\s+)?(\S+(?:\s+\S+)?)\s+exceptions?", re.IGNORECASE)
_WORDS = 6  # a licence's name has no more: what is longer is the licence itself, on the line of its name

# The format's own short names (section 7.1) where SPDX's are others, and where Debian points to a text of its own.
_NAMES = {
    "artistic": "Artistic-1.0-Perl",  # the text in /usr/share/common-licenses
    "cc0": "CC0-1.0",
    "expat": "MIT",
    "perl": "Artistic-1.0-Perl OR GPL-1.0-or-later",
    "python-2": "Python-2.0",
    "qpl": "QPL-1.0",
    "zope-1.1": "ZPL-1.1",
    "zope-2.0": "ZPL-2.0",
    "zope-2.1": "ZPL-2.1",
}
_LISTED = {name.lower(): name for name in LICENCES}
_LISTED_EXCEPTIONS = {name.lower(): name for name in EXCEPTIONS}


def licence_of(copyright_text: str) -> str:
    """All licences that a package's copyright file names for its source, joined by AND; "" where it does not say so.

    A name that SPDX does not list becomes a LicenseRef (see `REFERENCE`). A file in free words says nothing here: what
    its sentences mean is not guessed.
    """
    paragraphs = list(_paragraphs(copyright_text))
    if not paragraphs or not _FORMAT.search(paragraphs[0].get("format", "")):
        return ""
    names = [p["license"] for p in paragraphs[1:] if "files" in p and "license" in p]
    if not names and "license" in paragraphs[0]:
        names = [paragraphs[0]["license"]]
    if not names or not all(_is_name(name) for name in names):
        return ""
    return conjunction(_expression(name) for name in sorted(set(names)))


def _paragraphs(text: str) -> Iterator[dict[str, str]]:
    """Each paragraph's fields, names in small letters; of License, which goes on with its text, the first line."""
    fields: dict[str, str] = {}
    for line in [*text.splitlines(), ""]:
        if not line.strip():
            if fields:
                yield fields
            fields = {}
        elif match := _FIELD.fullmatch(line):
            fields.setdefault(match.group(1).lower(), match.group(2).strip())


def _is_name(text: str) -> bool:
    """Whether what stands behind ``License:`` names licences, and does not begin the text of one, as some do."""
    names = re.split(r",?\s+(?:and|or)\s+", text, flags=re.IGNORECASE)
    return all(0 < len(name.split()) <= _WORDS and "," not in name for name in names)


def _expression(text: str) -> str:
    """One ``License:`` line. ``or`` binds weaker than ``and``; a comma before either makes it weaker still."""
    for separator in (r",\s*or\s+", r",\s*and\s+", r"\s+or\s+", r"\s+and\s+"):
        parts = re.split(separator, text.strip(), flags=re.IGNORECASE)
        if len(parts) > 1:
            found = [_expression(part) for part in parts]
            return _alternatives(found) if "or" in separator else conjunction(found)
    return _licence(text.strip())


def _alternatives(expressions: list[str]) -> str:
    parts = {part for text in expressions for part in text.split(" OR ") if " AND " not in text}
    parts |= {f"({text})" for text in expressions if " AND " in text}
    return " OR ".join(sorted(parts))


def _licence(name: str) -> str:
    exception = _WITH.fullmatch(name)
    if exception:
        licence = _listed(exception.group(1))
        words = exception.group(2).lower().replace(" ", "-")
        known = _LISTED_EXCEPTIONS.get(f"{words}-exception") or _LISTED_EXCEPTIONS.get(words)
        return f"{licence} WITH {known}" if licence and known else _reference(name)
    return _listed(name) or _reference(name)


def _listed(name: str) -> str | None:
    """SPDX's name for a licence, or None when there is none that certainly is the same."""
    lower = name.lower()
    if lower in _NAMES:
        return _NAMES[lower]
    gnu = _GNU.fullmatch(name)
    if gnu:
        return _gnu(*gnu.groups())
    if lower in _LISTED:
        return _LISTED[lower]
    versioned = _VERSIONED.fullmatch(name)  # zeroes at the end of a version do not count
    if versioned:
        stem, number = versioned.groups()
        return _LISTED.get(f"{stem}{number}.0".lower()) or _LISTED.get(f"{stem}{number}".lower())
    return None


def _gnu(family: str, version: str, later: str | None) -> str | None:
    number = version if "." in version else f"{version}.0"
    number = re.sub(r"(\.\d+?)(\.0)+$", r"\1", number)
    family, invariants = family.upper(), ""
    if family == "GFDL-NIV":
        family, invariants = "GFDL", "-no-invariants"
    ending = "or-later" if later in ("+", "-or-later") else "only"
    return _LISTED.get(f"{family}-{number}{invariants}-{ending}".lower())


def _reference(name: str) -> str:
    return REFERENCE + re.sub(r"[^A-Za-z0-9.]+", "-", name.replace("+", " or later")).strip("-")
