"""Reads a built set: the folder that ``build`` leaves, described by its ``manifest.json``.

Everything in the manifest is checked before it is used: a set may come from another machine, or be damaged.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from ..errors import InputError, Where, relative
from ..figures import FIGURES

MANIFEST = "manifest.json"
VERSION = 1
_MAX_MANIFEST_BYTES = 16 << 20
_NO_SET = "build one with: kata-toolkit build SPEC"


@dataclass(frozen=True, slots=True)
class BuiltFile:
    """One artefact as recorded: ``path`` below the set, ``size`` in bytes."""

    path: str
    size: int
    sha256: str
    stage: str


@dataclass(frozen=True, slots=True)
class GuestAgent:
    """The agent inside the guest: ``kind`` as in specs, its path there and its digest (None: not recorded)."""

    kind: str
    path: str
    sha256: str | None


@dataclass(frozen=True, slots=True)
class RootImage:
    """The image of a set, which a partial set may have without anything that boots it."""

    path: Path
    rootfs_type: str
    dax: bool
    verity: str
    agent: GuestAgent | None


@dataclass(frozen=True, slots=True)
class ExtensionImage:
    """An extension image; ``verity``: its ``verity_params``."""

    name: str
    path: Path
    verity: str


@dataclass(frozen=True, slots=True)
class Guest:
    """What boots: absolute paths on this host, and the sizes the runtime configuration asks for."""

    kernel: Path
    boot: str  # image | initrd
    image: Path | None = None
    initrd: Path | None = None
    kernel_config: Path | None = None
    rootfs_type: str = "ext4"
    dax: bool = True
    verity: str = ""  # kernel_verity_params
    vcpus: int = 1
    maxvcpus: int = 1  # 0: the host's count, as the runtime does
    memory_mib: int = 256
    memory_slots: int = 10
    maxmemory_mib: int = 0  # 0: the host's memory, as the runtime does
    rootfs_driver: str = "nvdimm"  # nvdimm | virtio-blk | initrd
    debug: bool = False
    disable_guest_selinux: bool = True
    block_device_driver: str = "virtio-scsi"
    arch: str = "x86_64"  # as `uname -m` says it
    machine_type: str = ""  # QEMU's; empty: the architecture's usual one
    machine_accelerators: str = ""  # further options of -machine, with commas between
    vmm: Path | None = None  # of the set's own; None: the one that is installed
    firmware: str = ""  # a path on the host; empty: the machine's own
    kernel_params: tuple[str, ...] = ()
    agent_params: tuple[str, ...] = ()
    agent: GuestAgent | None = None
    extensions: tuple[ExtensionImage, ...] = ()

    def require(self) -> Guest:
        """Itself, when the files it boots from are there. Raises InputError naming the one that is not."""
        root = self.image if self.boot == "image" else self.initrd
        extensions = [(f"extension image {extension.name}", extension.path) for extension in self.extensions]
        for what, path in (("kernel", self.kernel), (self.boot, root), *extensions):
            if path is None:
                raise InputError(f"the set has no {what} to boot from", hint="build it whole, without --only")
            if not path.is_file():
                raise InputError(f"the {what} {relative(path)} is missing", hint=_NO_SET)
        return self


@dataclass(frozen=True, slots=True)
class BuiltSet:
    """A built set on disk. ``guest`` is None in a partial set that cannot boot, and where QEMU boots none of them."""

    folder: Path
    name: str
    arch: str
    partial: bool
    files: tuple[BuiltFile, ...]
    image: RootImage | None
    guest: Guest | None
    limits: Mapping[str, float]
    manifest: Mapping[str, Any] = field(repr=False, default_factory=dict)

    @classmethod
    def load(cls, folder: Path) -> BuiltSet:
        """Read ``folder/manifest.json``.

        Raises InputError when it is missing, damaged, of an unknown version, or names a path outside the set.
        """
        file = folder / MANIFEST
        reader = _Reader(file, _read(folder, file))
        manifest = reader.data
        if manifest.get("version") != VERSION:
            raise reader.wrong(
                f"version {manifest.get('version')!r} is not known, only {VERSION} is",
                hint="it was written by another version of kata-toolkit",
            )
        return cls(
            folder=folder,
            name=reader.get(manifest, "name", str),
            arch=reader.get(manifest, "arch", str),
            partial=reader.get(manifest, "partial", bool, default=False),
            files=tuple(_files(reader, folder)),
            image=_image(reader, folder),
            guest=_guest(reader, folder),
            limits=_limits(reader),
            manifest=manifest,
        )

    @property
    def elsewhere(self) -> tuple[str, ...]:
        """The hypervisors of a set that is whole, and that QEMU does not boot as they do; empty otherwise."""
        if self.guest is not None or self.partial:
            return ()
        return tuple(str(g.get("hypervisor")) for g in self.manifest.get("guests", ()) if isinstance(g, dict))

    def why_no_guest(self) -> str:
        """Why there is nothing to boot here, to follow on "the set"."""
        if self.elsewhere:
            return f"is for {', '.join(self.elsewhere)}, which QEMU cannot stand in for: it is not booted here"
        return "is partial: it holds nothing that boots"

    def bootable(self) -> Guest:
        """The guest, with its files in place. Raises InputError when this set cannot boot."""
        if self.elsewhere:
            raise InputError(
                f"{relative(self.folder)} {self.why_no_guest()}",
                hint="add qemu to runtime.hypervisors: the same kernel and root file system are proved with it",
            )
        if self.guest is None:
            raise InputError(
                f"{relative(self.folder)} is a partial set: it holds nothing that boots",
                hint="build it whole, without --only",
            )
        return self.guest.require()


def _read(folder: Path, file: Path) -> Any:
    if not folder.is_dir():
        raise InputError(
            f"{relative(folder)} is not a folder"
            if folder.exists()
            else f"the folder {relative(folder)} does not exist",
            hint=_NO_SET,
        )
    try:
        if file.stat().st_size > _MAX_MANIFEST_BYTES:
            raise InputError("the manifest is too large to be one", where=Where(relative(file)))
        return json.loads(file.read_bytes())
    except FileNotFoundError as error:
        raise InputError(f"{relative(folder)} is not a built set: it has no {MANIFEST}", hint=_NO_SET) from error
    except OSError as error:
        raise InputError(f"cannot read {relative(file)}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        line, column = (error.lineno, error.colno) if isinstance(error, json.JSONDecodeError) else (0, 0)
        raise InputError(
            f"the manifest is damaged: {error.msg if isinstance(error, json.JSONDecodeError) else error}",
            where=Where(relative(file), line, column),
            hint="build the set again",
        ) from error


class _Reader:
    """Takes typed values out of the manifest; every mistake names the file and the key."""

    def __init__(self, file: Path, data: Any) -> None:
        self.file = file
        if not isinstance(data, dict):
            raise self.wrong("the manifest is not a JSON object")
        self.data: dict[str, Any] = data

    def wrong(self, message: str, hint: str | None = "build the set again") -> InputError:
        return InputError(message, where=Where(relative(self.file)), hint=hint)

    def get(self, table: Mapping[str, Any], key: str, kind: type, default: Any = None) -> Any:
        """The value of a key, of that type; without a default the key is required."""
        value = table.get(key, default)
        # bool is an int to Python, never to a manifest.
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise self.wrong(f"{key}: expected {_NAMES[kind]}, found {json.dumps(value)[:60]}")
        if isinstance(value, int) and value < 0:
            raise self.wrong(f"{key}: {value} is below 0")
        return value

    def inside(self, folder: Path, text: str) -> Path:
        """A path below the set. Raises InputError for one that leads out of it."""
        parts = PurePosixPath(text).parts
        if not text or "\0" in text or text.startswith("/") or ".." in parts:
            raise self.wrong(f"the path {text!r} leads out of the set")
        path = folder.joinpath(*parts)
        if not path.resolve().is_relative_to(folder.resolve()):
            raise self.wrong(f"the path {text!r} leads out of the set by a symbolic link")
        return path


_NAMES = {str: "a string", int: "a whole number", bool: "true or false", list: "a list", dict: "an object"}


def _files(reader: _Reader, folder: Path) -> list[BuiltFile]:
    found: dict[str, BuiltFile] = {}
    for entry in reader.get(reader.data, "artifacts", list):
        if not isinstance(entry, dict):
            raise reader.wrong("artifacts: an entry is not an object")
        path = reader.get(entry, "path", str)
        reader.inside(folder, path)
        if path in found:
            raise reader.wrong(f"artifacts: {path} is listed twice")
        digest = reader.get(entry, "sha256", str)
        _check_digest(reader, digest)
        found[path] = BuiltFile(
            path, reader.get(entry, "size", int), digest, reader.get(entry, "stage", str, default="")
        )
    return list(found.values())


def _check_digest(reader: _Reader, digest: str) -> None:
    if len(digest) != 64 or not set(digest) <= set("0123456789abcdef"):
        raise reader.wrong(f"{digest[:70]!r} is not a sha256")


def _image(reader: _Reader, folder: Path) -> RootImage | None:
    root = reader.get(reader.data, "root", dict)
    if root.get("image") is None:
        return None
    return RootImage(
        path=reader.inside(folder, reader.get(root, "image", str)),
        rootfs_type=reader.get(root, "rootfs_type", str),
        dax=reader.get(root, "dax", bool),
        verity=reader.get(root, "verity", str, default=""),
        agent=_agent(reader, root),
    )


def _guest(reader: _Reader, folder: Path) -> Guest | None:
    """The first guest of the set that QEMU boots, with what it boots; None when there is none."""
    root = reader.get(reader.data, "root", dict)
    guests = reader.get(reader.data, "guests", list)
    if root.get("kernel") is None or not guests:
        return None
    if not all(isinstance(entry, dict) for entry in guests):
        raise reader.wrong("guests: an entry is not an object")
    table: dict[str, Any] | None = next((g for g in guests if reader.get(g, "qemu", bool, default=True)), None)
    if table is None:
        return None

    def path(key: str, of: dict[str, Any] = root) -> Path | None:
        return None if of.get(key) is None else reader.inside(folder, reader.get(of, key, str))

    boot = reader.get(table, "boot", str)
    if boot not in ("image", "initrd"):
        raise reader.wrong(f"guests.boot: {boot!r} is neither image nor initrd")
    return Guest(
        kernel=reader.inside(folder, reader.get(root, "kernel", str)),
        boot=boot,
        image=path("image"),
        initrd=path("initrd"),
        vmm=path("vmm", table),
        kernel_config=path("kernel_config"),
        rootfs_type=reader.get(root, "rootfs_type", str),
        dax=reader.get(root, "dax", bool),
        verity=reader.get(root, "verity", str, default="") if boot == "image" else "",
        rootfs_driver=reader.get(table, "rootfs_driver", str),
        debug=reader.get(table, "debug", bool),
        disable_guest_selinux=reader.get(table, "disable_guest_selinux", bool),
        block_device_driver=reader.get(table, "block_device_driver", str),
        kernel_params=_words(reader, table, "kernel_params"),
        agent_params=_words(reader, table, "agent_params"),
        agent=_agent(reader, root),
        extensions=_extensions(reader, folder),
        arch=reader.get(reader.data, "arch", str),
        # Sets of an earlier version do not record these.
        **{key: reader.get(table, key, str, default="") for key in _VMM},
        **{key: reader.get(table, key, int) for key in _SIZES},
    )


def _extensions(reader: _Reader, folder: Path) -> tuple[ExtensionImage, ...]:
    found = []
    for entry in reader.get(reader.data, "extensions", list, default=[]):
        if not isinstance(entry, dict):
            raise reader.wrong("extensions: an entry is not an object")
        name = reader.get(entry, "name", str)
        if not _EXTENSION_NAME.fullmatch(name):
            raise reader.wrong(f"extensions.name: {name[:40]!r} is no name of an extension")
        path = reader.inside(folder, reader.get(entry, "path", str))
        found.append(ExtensionImage(name, path, reader.get(entry, "verity", str)))
    return tuple(found)


_EXTENSION_NAME = re.compile(r"[A-Za-z0-9_-]{1,10}")
_VMM = ("machine_type", "machine_accelerators", "firmware")
_SIZES = ("vcpus", "maxvcpus", "memory_mib", "memory_slots", "maxmemory_mib")


def _words(reader: _Reader, table: Mapping[str, Any], key: str) -> tuple[str, ...]:
    words = reader.get(table, key, list)
    if not all(isinstance(word, str) for word in words):
        raise reader.wrong(f"guests.{key}: not a list of strings")
    return tuple(words)


def _agent(reader: _Reader, table: Mapping[str, Any]) -> GuestAgent | None:
    if table.get("agent") is None:
        return None
    agent = reader.get(table, "agent", dict)
    kind = reader.get(agent, "kind", str)
    digest = None if agent.get("sha256") is None else reader.get(agent, "sha256", str)
    if digest is not None:
        _check_digest(reader, digest)
    return GuestAgent(kind, reader.get(agent, "path", str), digest)


def _limits(reader: _Reader) -> dict[str, float]:
    """The budgets recorded in the set, by figure; those of figures that we do not know are passed over."""
    table = reader.get(reader.data, "budgets", dict, default={})
    known = {figure.name: table[figure.name] for figure in FIGURES if figure.name in table}
    for name, value in known.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise reader.wrong(f"budgets.{name}: expected a number, found {json.dumps(value)[:60]}")
    return known
