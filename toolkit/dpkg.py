"""What dpkg knows of a file that a package installed here, read from its own files: asking it takes 100 times as long.

The formats: dpkg(1), deb-control(5). Elsewhere than on Debian there is nothing to read, and so nothing is known.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .os_release import os_release

_DATABASE = Path("var/lib/dpkg")


@dataclass(frozen=True, slots=True)
class Owner:
    """An installed package. ``vendor``: the distribution, such as debian; ``md5``: of the file asked for, as the
    package had it; ``copyright``: its copyright file, None where there is none; ``built_using``: the field
    Built-Using.
    """

    package: str
    version: str
    arch: str
    vendor: str
    source: str
    source_version: str
    md5: str
    copyright: Path | None
    built_using: str = ""


def owner(package: str, file: Path, root: Path = Path("/")) -> Owner | None:
    """The package of that name, if it is installed and ``file`` (absolute) is one of its files; else None."""
    try:
        status = (root / _DATABASE / "status").read_bytes()
    except OSError:
        return None
    for stanza in _stanzas(status, package):
        fields = control_values(stanza)
        if not fields.get("Status", "").endswith(" installed"):
            continue
        md5 = _md5(root / _DATABASE / "info", package, fields.get("Architecture", ""), file)
        if md5:
            source, source_version = source_of(fields)
            text = root / "usr/share/doc" / package / "copyright"
            return Owner(
                package,
                fields.get("Version", ""),
                fields.get("Architecture", ""),
                _vendor(root),
                source,
                source_version,
                md5,
                text if text.is_file() else None,
                fields.get("Built-Using", ""),
            )
    return None


def source_of(fields: Mapping[str, str]) -> tuple[str, str]:
    """Name and version of the source package, from a package's control fields: Source has what differs."""
    name, _, version = fields.get("Source", "").partition(" ")
    return name or fields.get("Package", ""), version.strip("()") or fields.get("Version", "")


def _vendor(root: Path) -> str:
    """Whose packages these are: ID of os-release(5)."""
    try:
        said = os_release((root / "etc/os-release").read_text(errors="replace"))
    except OSError:
        said = {}
    return said.get("ID") or "debian"


def _stanzas(status: bytes, package: str) -> list[str]:
    """The stanzas of a package: one for each architecture that it is installed for."""
    found, start = [], 0
    name = f"Package: {package}\n".encode()
    while (at := status.find(name, start)) >= 0:
        start = at + len(name)
        if at == 0 or status[at - 1 : at] == b"\n":
            end = status.find(b"\n\n", at)
            found.append(status[at : end if end >= 0 else len(status)].decode(errors="replace"))
    return found


def control_values(stanza: str) -> dict[str, str]:
    """The fields of one stanza (deb-control(5)), of each the first line."""
    pairs = (line.partition(":") for line in stanza.splitlines() if not line.startswith((" ", "\t")))
    return {key: value.strip() for key, colon, value in pairs if colon}


def _md5(info: Path, package: str, arch: str, file: Path) -> str | None:
    """The md5 of a file as its package had it, or None when it is none of the package's."""
    for name in (package, f"{package}:{arch}"):
        try:
            sums = b"\n" + (info / f"{name}.md5sums").read_bytes()
        except OSError:
            continue
        for listed in _names(file):
            at = sums.find(f"  {listed}\n".encode(errors="surrogateescape"))
            if at >= 0:
                return sums[sums.rfind(b"\n", 0, at) + 1 : at].decode(errors="replace")
    return None


def _names(file: Path) -> list[str]:
    """The file's names as a package may list it: links resolved, and from before or after /usr was merged."""
    plain = {os.path.normpath(file).lstrip("/"), os.path.realpath(file).lstrip("/")}
    return sorted({other for name in plain for other in (name, name.removeprefix("usr/"), f"usr/{name}")})
