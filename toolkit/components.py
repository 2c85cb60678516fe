"""Components: the parts that a set is made of, as stages name them and a bill of materials lists them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

Kind = Literal["deb", "cargo", "oci", "generic"]
"""What sort of package: the types of package URLs (https://github.com/package-url/purl-spec)."""


@dataclass(frozen=True, slots=True)
class Component:
    """One part of a set; ``version`` "" where it is not known.

    ``sha256``: of the package's file, or of the program where there is no package. ``licence``: an SPDX expression, ""
    where it is not known. ``origin``: where it was fetched from. ``source_name``, ``source_version``: the source
    package that it was built from, for those who must offer the source with it. ``namespace``: whose package it is,
    such as the distribution. ``built_using``: other source packages that are in it, as Debian's field of that name has
    them: ``glibc (= 2.36-9), …``.
    """

    name: str
    version: str = ""
    kind: Kind = "generic"
    sha256: str = ""
    arch: str = ""
    licence: str = ""
    origin: str = ""
    source_name: str = ""
    source_version: str = ""
    namespace: str = ""
    built_using: str = ""

    def as_json(self) -> dict[str, str]:
        """The component as plain JSON, without what is not known."""
        return {key: value for key, value in asdict(self).items() if value}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Component:
        """The other way. Raises TypeError when it is none."""
        return cls(**document)
