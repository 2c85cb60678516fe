"""What the tests of the wiring share: the handlers and files of a spec, and a folder that looks like a built set."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from kata_toolkit.kata.request import Built
from kata_toolkit.spec.load import load_spec
from kata_toolkit.stages.wiring import WiringStage
from kata_toolkit.wiring.files import wiring_files
from kata_toolkit.wiring.handlers import Handler

RELEASE = "6.12.1"


def stage_of(folder: Path, text: str = "") -> WiringStage:
    """The stage for a spec called toy with these further lines."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "toy.yaml"
    file.write_text(f"version: 1\nname: toy\n{text}")
    return WiringStage.of(load_spec(file))


def handlers_of(folder: Path, text: str = "") -> list[Handler]:
    return stage_of(folder, text).handlers(Built(RELEASE))


def files_of(folder: Path, text: str = "") -> dict[str, str]:
    """Path below share/toy → text."""
    stage = stage_of(folder, text)
    return wiring_files(stage.set_name, stage.wrapper, stage.prefix, stage.arch, stage.handlers(Built(RELEASE)))


def make_set(folder: Path, files: dict[str, bytes], prefix: str = "/opt/toy") -> Path:
    """A folder with a manifest, as far as installing and wiring look at it."""
    artifacts = []
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        path.chmod(0o755 if name.startswith("bin/") else 0o644)
        digest = hashlib.sha256(data).hexdigest()
        artifacts.append({"path": name, "size": len(data), "sha256": digest, "stage": "s", "stage_id": "0" * 32})
    manifest = {"version": 1, "name": "toy", "arch": "x86_64", "partial": False, "prefix": prefix}
    manifest |= {"artifacts": artifacts, "budgets": {}, "guests": [], "root": {}}
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1))
    return folder


def wired_set(folder: Path, text: str = "") -> Path:
    """A set with the wiring of a spec."""
    files = files_of(folder / "spec", text)
    return make_set(folder / "set", {f"share/toy/{name}": text.encode() for name, text in files.items()})
