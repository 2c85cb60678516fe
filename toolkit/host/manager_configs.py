"""What container managers are told of runtimes: their configuration files, with all that is merged into them."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from .host import Host

CONTAINERD_FILES = (
    "/etc/containerd/config.toml",
    "/var/lib/rancher/k3s/agent/etc/containerd/config.toml",
    "/var/lib/rancher/rke2/agent/etc/containerd/config.toml",
)
CRI_TABLES = {1: "cri", 2: "io.containerd.grpc.v1.cri", 3: "io.containerd.cri.v1.runtime"}
"""The table with the runtimes, by the file's version; later versions keep the last one's."""

_OCI = re.compile(r"(^|[/.-])(runc|crun|runsc|youki|kata-runtime)([/.-]|$)")
_MOST_FILES = 100  # of imports


@dataclass(frozen=True, slots=True)
class Runtime:
    """A runtime that a manager knows: ``shim`` is a path, or empty where ``type`` (io.containerd.NAME.vN) names it."""

    manager: str
    name: str
    file: str
    type: str = ""
    shim: str = ""
    config: str = ""
    snapshotter: str = ""

    @property
    def title(self) -> str:
        return f"{self.manager}'s {self.name}"

    @property
    def shim_name(self) -> str:
        """The program that containerd looks for on its PATH; empty for a type of another form."""
        words = self.type.split(".")
        return f"containerd-shim-{words[-2]}-{words[-1]}" if len(words) > 2 and not self.shim else ""

    @property
    def is_kata(self) -> bool:
        """Whether it is meant to be Kata; its name may be any."""
        told = f"{self.name} {self.type} {self.shim} {self.config}"
        return "kata" in told or "/configuration-" in self.config or self.type == "vm"

    @property
    def is_command(self) -> bool:
        """Whether it is called as an OCI runtime's command line, which Kata has had no more since 2.0."""
        return self.manager == "Podman" or (not self.type and bool(_OCI.search(self.shim)))


@dataclass
class Read:
    """All that was found: runtimes, the ``files`` read, and what is wrong with a file, in words."""

    runtimes: list[Runtime] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)  # to the manager's name
    problems: list[str] = field(default_factory=list)
    hints: list[str] = field(default_factory=list)
    versions: dict[str, int] = field(default_factory=dict)  # of containerd's files
    snapshotters: dict[str, Mapping[str, Any]] = field(default_factory=dict)


def read_managers(host: Host) -> Read:
    """Read the files of every manager that has some."""
    read = Read()
    for file in CONTAINERD_FILES:
        if host.exists(file):
            _containerd(host, file, read)
    _crio(host, read)
    _docker(host, read)
    _podman(host, read)
    return read


def _table(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _toml(host: Host, file: str, manager: str, read: Read) -> Mapping[str, Any]:
    text = host.text(file)
    if text is None:
        read.problems.append(f"{file} cannot be read by this user")
        return {}
    read.files[file] = manager
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        read.problems.append(f"{file} is no TOML: {error}")
        return {}


def _matching(host: Host, pattern: str) -> list[str]:
    """The files that a pattern names; only its last part may hold wildcards, as everywhere in practice."""
    path = PurePosixPath(pattern)
    return [f"{path.parent}/{name}" for name in host.names(str(path.parent)) if PurePosixPath(name).match(path.name)]


def _with_imports(host: Host, file: str, read: Read) -> Iterator[tuple[str, Mapping[str, Any]]]:
    waiting, seen = [file], set[str]()
    while waiting and len(seen) < _MOST_FILES:
        current = waiting.pop(0)
        if current in seen:
            continue
        seen.add(current)
        tree = _toml(host, current, "containerd", read)
        yield current, tree
        imports = tree.get("imports")
        for pattern in imports if isinstance(imports, list) else []:
            if isinstance(pattern, str):
                waiting += _matching(host, str(PurePosixPath(current).parent / pattern))


def _containerd(host: Host, main: str, read: Read) -> None:
    for file, tree in _with_imports(host, main, read):
        version = tree.get("version", 1)
        version = version if isinstance(version, int) and not isinstance(version, bool) else 1
        read.versions[file] = version
        plugins = _table(tree.get("plugins"))
        proxies = _table(tree.get("proxy_plugins"))
        read.snapshotters |= {name: _table(value) for name, value in proxies.items()}
        for name in ("devmapper", "erofs", "blockfile"):
            key = name if version == 1 else f"io.containerd.snapshotter.v1.{name}"
            if key in plugins:
                read.snapshotters[name] = _table(plugins[key])
        right = CRI_TABLES[min(max(version, 1), 3)]
        for table in CRI_TABLES.values():
            runtimes = _table(_table(_table(plugins.get(table)).get("containerd")).get("runtimes"))
            if table != right and runtimes:
                read.problems.append(f'{file} has version {version}, in which plugins."{table}" is ignored')
                read.hints.append(f'put its runtimes below plugins."{right}"')
            elif table == right:
                read.runtimes += (_cri_runtime(name, _table(value), file) for name, value in runtimes.items())


def _cri_runtime(name: str, told: Mapping[str, Any], file: str) -> Runtime:
    return Runtime(
        "containerd",
        name,
        file,
        _text(told.get("runtime_type")),
        _text(told.get("runtime_path")),
        _text(_table(told.get("options")).get("ConfigPath")),
        _text(told.get("snapshotter")),
    )


def _crio(host: Host, read: Read) -> None:
    known: dict[str, Runtime] = {}
    main = [file for file in ("/etc/crio/crio.conf",) if host.exists(file)]
    for file in [*main, *_matching(host, "/etc/crio/crio.conf.d/*")]:
        tree = _toml(host, file, "CRI-O", read)
        runtimes = _table(_table(_table(tree.get("crio")).get("runtime")).get("runtimes"))
        for name, value in runtimes.items():
            told = _table(value)
            known[name] = Runtime(
                "CRI-O",
                name,
                file,
                _text(told.get("runtime_type")) or "oci",
                _text(told.get("runtime_path")),
                _text(told.get("runtime_config_path")),
            )
    read.runtimes += known.values()


def _docker(host: Host, read: Read) -> None:
    file = "/etc/docker/daemon.json"
    if not host.exists(file):
        return
    text = host.text(file)
    if text is None:
        read.problems.append(f"{file} cannot be read by this user")
        return
    read.files[file] = "Docker"
    try:
        tree = json.loads(text or "{}")
    except ValueError as error:
        read.problems.append(f"{file} is no JSON: {error}")
        return
    for name, value in _table(_table(tree).get("runtimes")).items():
        told = _table(value)
        kind, path = _text(told.get("runtimeType")), _text(told.get("path"))
        if kind.startswith("/"):
            kind, path = "", kind
        config = _text(_table(told.get("options")).get("ConfigPath"))
        read.runtimes.append(Runtime("Docker", name, file, kind, path, config))


def _podman(host: Host, read: Read) -> None:
    main = ("/usr/share/containers/containers.conf", "/etc/containers/containers.conf")
    files = [file for file in main if host.exists(file)]
    for file in [*files, *_matching(host, "/etc/containers/containers.conf.d/*.conf")]:
        runtimes = _table(_table(_toml(host, file, "Podman", read).get("engine")).get("runtimes"))
        for name, paths in runtimes.items():
            there = [p for p in paths if isinstance(p, str)] if isinstance(paths, list) else []
            found = next((p for p in there if host.exists(p)), there[0] if there else "")
            # Podman's own defaults name Kata's old places, whether there is something or not.
            if file.startswith("/etc/") or host.exists(found):
                read.runtimes.append(Runtime("Podman", name, file, "", found))
