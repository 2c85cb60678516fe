"""All that is known of a set as one document, which every form of the report shows (schemas/report.schema.json)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..sbom.read import read_bill
from ..set_paths import SPDX
from ..vm.built_set import BuiltSet
from . import files
from .boot import instruction_phases, time_phases
from .contents import artifact_sizes, feature_costs, image_contents, kernel_features
from .inputs import inputs_of

VERSION = 1


def collect(folder: Path, report: Path | None = None) -> dict[str, Any]:
    """The document about the set in ``folder``; ``report``: where its proof and timings lie, if not beside it.

    Raises InputError when there is no set, or something beside it is damaged; ToolError when its image is.
    """
    built = BuiltSet.load(folder)
    beside = report or files.folder_of(folder)
    proof = files.read(beside, files.PROOF)
    measurements = proof["measurements"] if proof else {}
    manifest = built.manifest
    return {
        "version": VERSION,
        "set": {
            "name": built.name,
            "arch": built.arch,
            "kata": manifest.get("kata"),
            "kernel": _release(built),
            "prefix": manifest.get("prefix"),
            "partial": built.partial,
        },
        "figures": figures_kind(proof),
        "proof": proof,
        "boot": {"instructions": instruction_phases(measurements), "seconds": time_phases(measurements)},
        "memory": files.read(beside, files.DENSITY),
        "sizes": artifact_sizes(built),
        "contents": image_contents(built),
        "features": feature_costs(kernel_features(folder)),
        "stages": _stages(beside),
        "comparison": files.read(beside, files.BENCH),
        "provenance": {
            "toolkit": manifest.get("toolkit", {}).get("version"),
            "spec_sha256": manifest.get("spec_sha256"),
            "lock_sha256": manifest.get("lock_sha256"),
            "sources": manifest.get("sources", {}),
            "components": _components(folder),
        },
        "spec": files.read_text(beside, files.SPEC),
        "inputs": inputs_of(built),
    }


def figures_kind(proof: Any) -> str:
    """What kind of figures these are, in words."""
    if not proof:
        return "no figures: the set was not proved yet"
    if proof["measurements"].get("accel") == "kvm":
        return "times of this host under KVM, and guest instructions counted under TCG"
    return "guest instructions counted under TCG; times are those of an emulated processor, not of a real host"


def _release(built: BuiltSet) -> str | None:
    return built.guest.kernel.name.partition("-")[2] or None if built.guest else None


def _stages(beside: Path) -> list[dict[str, Any]]:
    timings = files.read(beside, files.TIMINGS)
    if not timings:
        return []
    cpu = timings.get("cpu_seconds", {})
    return [
        {"stage": stage, "seconds": round(seconds, 3), "cpu_seconds": round(cpu.get(stage, 0.0), 3)}
        for stage, seconds in timings["seconds"].items()
    ]


def _components(folder: Path) -> list[dict[str, str]]:
    if not (folder / SPDX).is_file():
        return []
    parts = sorted(read_bill(folder).parts, key=lambda part: (part.role == "tool", part.name))
    return [{"name": p.name, "version": p.version, "role": p.role, "licence": p.licence} for p in parts]


def load(file: Path) -> dict[str, Any]:
    """A document that was written earlier. Raises InputError when it is none."""
    try:
        document = json.loads(file.read_bytes())
    except OSError as error:
        raise InputError(f"cannot read {file}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{file} is not JSON: {error}", hint="a report is written by `verify`, or `report --format json`"
        ) from error
    if not isinstance(document, dict) or document.get("version") != VERSION or "inputs" not in document:
        raise InputError(f"{file} is no report of a set", hint="it is called report.json, beside the set")
    return document
