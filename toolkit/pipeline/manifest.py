"""manifest.json: every artefact with its digest, and all that is needed to boot the set."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from .. import __version__
from ..kata.config import guest_settings
from ..spec.model import BuiltinAgent, Spec
from .layout import Artifact
from .store import Entry, Store


def manifest(spec: Spec, artifacts: list[Artifact], entries: Mapping[str, Entry], store: Store) -> bytes:
    """The manifest's bytes (JSON, schema: schemas/manifest.schema.json); ``store`` holds the entries' recipes.

    It is partial when kernel, agent, bootable root or runtime configuration was not asked for.
    """
    roles = {a.role: a.path for a in artifacts}
    document = {
        "version": 1,
        "name": spec.name,
        "arch": spec.arch,
        "kata": spec.kata,
        "prefix": spec.prefix,
        "partial": not {"kernel", "runtime_config", "wrapper", spec.hypervisors[0].boot} <= roles.keys(),
        "spec_sha256": spec.digest,
        "toolkit": {"version": __version__},
        "artifacts": [_artifact(a, entries[a.stage]) for a in artifacts],
        "guest": _guest(spec, roles, entries),
        "budgets": {name: limit for name, limit in asdict(spec.budgets).items() if limit is not None},
        "stages": {name: {"id": entry.id, "tools": _tools(store, entry)} for name, entry in sorted(entries.items())},
    }
    return (json.dumps(document, indent=2, sort_keys=True) + "\n").encode()


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


def _guest(spec: Spec, roles: Mapping[str, str], entries: Mapping[str, Entry]) -> dict[str, Any]:
    agent = entries.get("agent")
    return {
        "kernel": roles.get("kernel"),
        "bzimage": roles.get("bzimage"),
        "kernel_config": roles.get("kernel_config"),
        "image": roles.get("image"),
        "initrd": roles.get("initrd"),
        "boot": spec.hypervisors[0].boot,
        "rootfs_type": spec.image.format,
        "dax": spec.image.dax,
        "kernel_params": list(spec.kernel.cmdline),
        "agent": {
            "kind": "builtin" if isinstance(spec.agent, BuiltinAgent) else "binary",
            "path": "/sbin/init",
            "sha256": agent.files["init"].sha256 if agent else None,
        },
        **asdict(guest_settings(spec)),
    }
