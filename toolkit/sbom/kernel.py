"""The kernel as a component, and what it was made from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..components import Component
from ..pipeline.store import Entry

LICENCE = "GPL-2.0-only WITH Linux-syscall-note"
"""What the kernel's COPYING says of it as a whole."""


def kernel_component(entry: Entry) -> Component:
    """The kernel that a set has: a package, or what was compiled (or built elsewhere)."""
    release = entry.path("release").read_text().strip()
    if "package.json" not in entry.files:
        return Component("linux", release, sha256=entry.files["vmlinux"].sha256, licence=LICENCE)
    package = json.loads(entry.path("package.json").read_bytes())
    return Component(
        package["package"],
        package["version"],
        kind="deb",
        sha256=package["sha256"],
        arch=package["architecture"],
        licence=package.get("licence", "") or LICENCE,
        source_name=package["source"]["name"],
        source_version=package["source"]["version"],
        namespace="debian",
        built_using=package.get("built_using", ""),
    )


def kernel_modules(kernel: Component, sha256: str) -> Component:
    """The kernel's modules that are in a root file system, as the tar they came in."""
    return replace(kernel, name=f"{kernel.name}-modules", kind="generic", sha256=sha256, namespace="")


def kernel_source(entries: Mapping[str, Entry], recipes: Mapping[str, Mapping[str, Any]]) -> Component | None:
    """What the kernel was compiled from; None where it was not compiled here."""
    entry = entries.get("kernel_source")
    if entry is None:
        return None
    facts = json.loads(entry.path("source.json").read_bytes())
    fetched = recipes.get("sources", {}).get("options", {}).get("kernel", {})
    version, identity = facts["version"], facts["identity"]
    kind = fetched.get("kind")
    if kind in ("debian", "installed"):
        package = fetched["version"]
        return Component(
            fetched["package"],
            package,
            kind="deb",
            sha256=fetched["sha256"],
            arch="all",
            licence=LICENCE,
            source_name="linux",
            source_version=package,
            namespace="debian",
        )
    if kind == "git":
        repository = fetched.get("repository")
        origin = f"git+{repository}@{fetched['commit']}" if repository else ""
        return Component("linux-source", f"{version}+{fetched['commit']}", licence=LICENCE, origin=origin)
    digest = identity if len(identity) == 64 else ""
    return Component("linux-source", version, sha256=digest, licence=LICENCE, origin=fetched.get("url", ""))
