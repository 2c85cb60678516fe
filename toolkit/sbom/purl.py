"""Package URLs (https://github.com/package-url/purl-spec)."""

from __future__ import annotations

import re
from urllib.parse import quote

from ..components import Component

_ALGORITHM = "sha256"
_TYPED = re.compile(r"pkg:([a-z0-9.+-]+)/")


def purl_of(component: Component) -> str:
    """The component's package URL, such as pkg:deb/debian/bash@5.2.15-2?arch=amd64."""
    name = component.name.lower() if component.kind in ("deb", "oci") else component.name
    version, qualifiers = component.version, {}
    if component.kind == "oci":  # an image's version is its digest; where it lies is a qualifier
        version = f"{_ALGORITHM}:{component.sha256}"
        where = "/".join(filter(None, (component.namespace, component.name)))
        qualifiers = {"repository_url": where if component.namespace else "", "tag": component.version}
        qualifiers["tag"] = "" if ":" in component.version else component.version
    elif component.kind == "generic":
        git = component.origin.startswith("git+")
        qualifiers["vcs_url" if git else "download_url"] = component.origin
        qualifiers["checksum"] = f"{_ALGORITHM}:{component.sha256}" if component.sha256 and not git else ""
    else:
        qualifiers["arch"] = component.arch if component.kind == "deb" else ""
    space = f"{_quoted(component.namespace, '/')}/" if component.namespace and component.kind != "oci" else ""
    at = f"@{_quoted(version)}" if version else ""
    more = "&".join(f"{key}={_quoted(value, '/:')}" for key, value in sorted(qualifiers.items()) if value)
    return f"pkg:{component.kind}/{space}{_quoted(name)}{at}{'?' if more else ''}{more}"


def kind_of(purl: str) -> str:
    """The type in a package URL; "" when it is none."""
    match = _TYPED.match(purl)
    return match.group(1) if match else ""


def _quoted(text: str, safe: str = "") -> str:
    return quote(text.encode(errors="surrogateescape"), safe=safe + ".-_~")
