"""Checks of the sets that are installed, and of the runtimes that use them."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..checks import FAIL, PASS, WARN, Skipped, Verdict
from . import program_data
from .entry import HostCheck
from .host import Host

MANIFEST = "manifest.json"
_USUAL = "/opt"
_PATHS = ("path", "kernel", "image", "initrd", "firmware", "firmware_volume", "jailer_path", "virtio_fs_daemon")
_NEEDED = {
    "ext4": ("EXT4_FS",),
    "erofs": ("EROFS_FS",),
    "dax": ("FS_DAX", "BLK_DEV_PMEM"),
    "verity": ("DM_VERITY",),
    "always": ("VIRTIO_PCI", "VIRTIO_VSOCKETS"),
    "virtio-fs": ("VIRTIO_FS",),
    "virtio-9p": ("NET_9P_VIRTIO",),
}


@dataclass(frozen=True, slots=True)
class InstalledSet:
    """A set below its prefix, as its manifest tells it."""

    prefix: str
    manifest: Mapping[str, Any]

    @property
    def name(self) -> str:
        return str(self.manifest.get("name", self.prefix))

    def files(self, role: str = "") -> Iterator[tuple[str, int]]:
        """Path and size of each artefact of a role, or of all."""
        artifacts = self.manifest.get("artifacts")
        for entry in artifacts if isinstance(artifacts, list) else []:
            if isinstance(entry, dict) and role in ("", entry.get("role")):
                yield f"{self.prefix}/{entry.get('path')}", int(entry.get("size", -1))

    def configs(self, host: Host) -> Iterator[tuple[str, Mapping[str, Any] | str]]:
        """Each runtime configuration: path, and its tree, or what is wrong with it."""
        for path, _ in self.files("runtime_config"):
            text = host.text(path)
            if text is None:
                continue  # files_there tells
            try:
                yield path, tomllib.loads(text)
            except tomllib.TOMLDecodeError as error:
                yield path, f"{path} is no TOML: {error}"


def sets(host: Host) -> list[InstalledSet]:
    """The sets that are asked for, else those in /opt."""
    folders = host.wanted.sets or tuple(f"{_USUAL}/{name}" for name in host.names(_USUAL))
    found = []
    for folder in folders:
        if not host.exists(f"{folder}/{MANIFEST}"):
            continue
        try:
            manifest = json.loads(host.text(f"{folder}/{MANIFEST}") or "")
        except ValueError:
            continue
        if isinstance(manifest, dict) and "toolkit" in manifest and isinstance(manifest.get("artifacts"), list):
            found.append(InstalledSet(folder, manifest))
    return found


def _some(host: Host) -> list[InstalledSet]:
    found = sets(host)
    if not found:
        raise Skipped("no set is installed", "see set-files")
    return found


def files_there(host: Host) -> Verdict:
    """Each file of each set is there, with the size it was built with."""
    found = sets(host)
    absent = [folder for folder in host.wanted.sets if folder not in [it.prefix for it in found]]
    if absent:
        return Verdict(WARN, f"no set is installed at {', '.join(absent)}", f"sudo cp -aT DIR {absent[0]}")
    wrong = [problem for it in found for path, size in it.files() if (problem := _wrong(host, path, size))]
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        remedy = f"install it again: sudo cp -aT DIR {found[0].prefix}"
        return Verdict(FAIL, f"{'; '.join(wrong[:3])}{more}", remedy)
    return Verdict(PASS, ", ".join(f"{it.name} ({it.prefix})" for it in found))


def _wrong(host: Host, path: str, size: int) -> str | None:
    try:
        there = host.at(path).stat().st_size
    except OSError as error:
        return f"{path}: {(error.strerror or 'cannot be read').lower()}"
    edited = path.endswith(".toml")  # configurations are there to be edited
    return None if there == size or edited else f"{path} has {there} bytes, not {size}"


def paths_there(host: Host) -> Verdict:
    """What the configurations name exists on this host."""
    problems = []
    for it in _some(host):
        for file, tree in it.configs(host):
            problems += [tree] if isinstance(tree, str) else [f"{file}: {text}" for text in _missing(host, tree)]
    if problems:
        return Verdict(
            FAIL, "; ".join(problems), "install what is missing, or correct the path in a drop-in (config.d)"
        )
    return Verdict(PASS, "kernel, root, VMM and daemon are where the configurations say")


def _missing(host: Host, tree: Mapping[str, Any]) -> Iterator[str]:
    tables = tree.get("hypervisor")
    for name, table in tables.items() if isinstance(tables, dict) else []:
        if not isinstance(table, dict):
            continue
        shares = str(table.get("shared_fs", "virtio-fs")).startswith("virtio-fs")
        for key in _PATHS:
            path = table.get(key)
            wanted = key != "virtio_fs_daemon" or shares
            if isinstance(path, str) and path.startswith("/") and wanted and not host.exists(path):
                yield f"{name}.{key} = {path} does not exist"


def runtime_there(host: Host) -> Verdict:
    """The set's wrapper finds a real runtime for one of its dialects, of the release the set was built for."""
    told, problems = [], []
    for it in _some(host):
        dialects = {"rs" if "/runtime-rs/" in path else "go" for path, _ in it.files("runtime_config")}
        found = next((shim for d in sorted(dialects) if (shim := _shim(host, it.prefix, d))), None)
        if found is None:
            problems.append(f"{it.name}: no containerd-shim-kata-v2 in {it.prefix}, /opt/kata or PATH")
            continue
        version = program_data.version_of(host, found)
        told.append(f"{it.name}: {found} {version}")
        built_for = program_data.as_number(str(it.manifest.get("kata", "")))
        runs = program_data.as_number(version)
        if built_for and runs and built_for[0] != runs[0]:
            problems.append(f"{it.name} was built for Kata {it.manifest.get('kata')}, but {found} is {version}")
    if problems:
        return Verdict(WARN, "; ".join(problems), "install Kata Containers of the set's release below /opt/kata")
    return Verdict(PASS, "; ".join(told))


def _shim(host: Host, prefix: str, dialect: str) -> str | None:
    places = program_data.data()["runtimes"][dialect]["shim"]
    for folder in (prefix, *program_data.data()["prefixes"]):
        for place in places:
            if host.is_program(f"{folder}/{place}"):
                return f"{folder}/{place}"
    return host.which("containerd-shim-kata-v2")


def kernel_fits(host: Host) -> Verdict:
    """The set's kernel has what its root and its configurations need of it."""
    problems = []
    for it in _some(host):
        config = next((text for path, _ in it.files("kernel_config") if (text := host.text(path))), None)
        if config is None:
            continue
        options = {line.partition("=")[0].removeprefix("CONFIG_") for line in config.splitlines() if "=" in line}
        missing = [symbol for symbol in _symbols(host, it) if symbol not in options]
        if missing:
            problems.append(f"{it.name}: the kernel lacks {', '.join('CONFIG_' + symbol for symbol in missing)}")
    if problems:
        return Verdict(FAIL, "; ".join(problems), "kata-toolkit kernel explain CONFIG_… says which feature has it")
    return Verdict(PASS, "root file system, DAX, sharing and vsock")


def _symbols(host: Host, it: InstalledSet) -> list[str]:
    root = it.manifest.get("root")
    root = root if isinstance(root, dict) else {}
    needs = ["always", *(name for name in ("dax", "verity") if root.get(name) and not root.get("initrd"))]
    needs += [str(root.get("rootfs_type"))] if root.get("image") else []
    for _, tree in it.configs(host):
        tables = tree.get("hypervisor") if isinstance(tree, dict) else None
        for table in tables.values() if isinstance(tables, dict) else []:
            needs += [str(table.get("shared_fs"))] if isinstance(table, dict) else []
    return list(dict.fromkeys(symbol for need in needs for symbol in _NEEDED.get(need, ())))


def _has_sets(host: Host) -> bool:
    return bool(host.wanted.sets) or bool(sets(host))


CHECKS = (
    HostCheck(
        "set-files",
        "sets",
        files_there,
        "A set that was copied in part boots in part.",
        "installed",
        ("/opt/SET/manifest.json, or the one asked for", "each file that it lists"),
        "sudo cp -aT DIR PREFIX",
        when=_has_sets,
    ),
    HostCheck(
        "set-config",
        "paths in their configurations",
        paths_there,
        "A runtime does not start a sandbox when a path in its configuration leads nowhere.",
        "installed",
        ("PREFIX/share/defaults/kata-containers", "each path in it"),
        "install what is missing",
        when=_has_sets,
    ),
    HostCheck(
        "set-runtime",
        "a runtime for them",
        runtime_there,
        "A set is a guest: Kata's own shim starts it, and must be of the release that the set was built for.",
        "installed",
        ("PREFIX, /opt/kata, PATH", "containerd-shim-kata-v2 --version"),
        "install Kata Containers below /opt/kata",
        when=_has_sets,
    ),
    HostCheck(
        "set-kernel",
        "kernel and root of a set",
        kernel_fits,
        "A kernel without the root's file system, or without DAX, panics before the agent starts.",
        "installed",
        ("PREFIX/share/kata-containers/config-RELEASE",),
        "kata-toolkit build SPEC",
        when=_has_sets,
    ),
)
