"""manifest.json: every artefact with its digest, and all that is needed to boot the set."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from .. import __version__, set_paths
from ..arch import arch_of
from ..kata.guest import boots_in_qemu, guest_settings
from ..spec.model import BinaryAgent, BuiltinAgent, CargoAgent, Spec, TarballAgent
from .layout import Artifact, Generated, extension_stage
from .store import Entry, Store

_AGENTS = {BuiltinAgent: "builtin", BinaryAgent: "binary", TarballAgent: "tarball", CargoAgent: "cargo"}


def manifest(
    spec: Spec,
    artifacts: list[Artifact],
    generated: Sequence[Generated],
    entries: Mapping[str, Entry],
    store: Store,
    *,
    lock: str | None = None,
) -> bytes:
    """The manifest's bytes (JSON, schema: schemas/manifest.schema.json); ``store`` holds the entries' recipes.

    ``lock``: the sha256 of the lock file that answered, if there was one.

    It is partial when kernel, agent, bootable root or runtime configuration was not asked for.
    """
    roles = {a.role: a.path for a in artifacts}
    document = {
        "version": 1,
        "name": spec.name,
        "arch": arch_of(spec.arch).uname,
        "kata": spec.kata,
        "prefix": spec.prefix,
        "partial": not {"kernel", "runtime_config", "wrapper", *(h.boot for h in spec.hypervisors)} <= roles.keys(),
        "spec_sha256": spec.digest,
        **({"lock_sha256": lock} if lock else {}),
        "toolkit": {"version": __version__},
        "artifacts": [*(_artifact(a, entries[a.stage]) for a in artifacts), *map(_generated, generated)],
        "root": _root(spec, roles, entries),
        "guests": [
            {
                "hypervisor": h.name,
                "boot": h.boot,
                "vmm": roles.get("vmm") if h.build else None,
                "qemu": boots_in_qemu(spec, h.name),
                **asdict(guest_settings(spec, h.name)),
            }
            for h in spec.hypervisors
        ],
        **_extensions(spec, entries),
        "sources": _sources(store, entries),
        **_kernel_package(entries),
        "budgets": dict(spec.budgets),
        "stages": {name: {"id": e.id, "tools": _tools(store, e)} for name, e in sorted(entries.items())},
    }
    return (json.dumps(document, indent=2, sort_keys=True) + "\n").encode()


def _extensions(spec: Spec, entries: Mapping[str, Entry]) -> dict[str, Any]:
    """The extension images that are at hand, in the order in which they are attached."""
    found = []
    for extension in spec.extensions:
        entry = entries.get(extension_stage(extension.name))
        if entry:
            path = set_paths.extension(spec.name, extension.name)
            verity = entry.path("root_hash.txt").read_text().strip()
            found.append({"name": extension.name, "path": path, "verity": verity})
    return {"extensions": found} if found else {}


def _sources(store: Store, entries: Mapping[str, Entry]) -> dict[str, Any]:
    """What was fetched, exactly: package, version and sha256, or url and sha256; enough to pin it in the spec."""
    entry = entries.get("sources")
    recipe = store.recipe(entry.stage, entry.id) if entry else None
    return dict(recipe["options"]) if recipe else {}


def _kernel_package(entries: Mapping[str, Entry]) -> dict[str, Any]:
    """Which package the kernel is from, where it is a distribution's: its own name, not that of one that led to it."""
    entry = entries.get("kernel")
    if entry is None or "package.json" not in entry.files:
        return {}
    return {"kernel_package": json.loads(entry.path("package.json").read_bytes())}


def _tools(store: Store, entry: Entry) -> dict[str, str]:
    recipe = store.recipe(entry.stage, entry.id)
    return dict(recipe["tools"]) if recipe else {}


def _artifact(artifact: Artifact, entry: Entry) -> dict[str, Any]:
    stored = entry.files[artifact.source]
    return {
        "path": artifact.path,
        "role": artifact.role,
        "size": stored.stamp.size,
        "sha256": stored.sha256,
        "stage": entry.stage,
        "stage_id": entry.id,
    }


def _generated(file: Generated) -> dict[str, Any]:
    return {"path": file.path, "role": file.role, "size": file.size, "sha256": file.sha256}


def _root(spec: Spec, roles: Mapping[str, str], entries: Mapping[str, Entry]) -> dict[str, Any]:
    """What there is to boot, as paths below the set; None for what the set lacks."""
    files = {role: roles.get(role) for role in ("kernel", "bzimage", "kernel_config", "image", "initrd")}
    image = {"rootfs_type": spec.image.format, "dax": spec.image.dax, "verity": _verity(entries)}
    return {**files, **image, "agent": _agent(spec, entries)}


def _verity(entries: Mapping[str, Entry]) -> str:
    entry = entries.get("image")
    return entry.path("root_hash.txt").read_text().strip() if entry and "root_hash.txt" in entry.files else ""


def _agent(spec: Spec, entries: Mapping[str, Entry]) -> dict[str, Any] | None:
    if "rootfs" not in entries:
        return None
    agent = json.loads(entries["rootfs"].path("rootfs.json").read_bytes())["agent"]
    return {"kind": _AGENTS[type(spec.agent)], "path": f"/{agent['path'].removeprefix('/')}", "sha256": agent["sha256"]}
