"""minimal: busybox, or nothing at all."""

from __future__ import annotations

import hashlib
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from ... import run
from ...components import Component
from ...elf import read_program
from ...errors import InputError, ToolError
from ...pipeline.packages import install_hint
from ...pipeline.stage import Command, Inputs, Work
from ...spec.model import MinimalRootfs
from ...stages.busybox import APPLETS, PROGRAM, VERSION
from .source import Base, Identity, Source

_LIST = Command("@busybox@", "--list-full")
_VERSION = Command("@busybox@", "--help")


@dataclass(frozen=True)
class MinimalSource(Source):
    """``foreign``: the guest is of another architecture than this machine; its busybox is the busybox stage's."""

    source: MinimalRootfs
    foreign: bool = False

    modules: ClassVar[tuple[str, ...]] = ("rootfs/sources/minimal.py",)

    def identity(self, inputs: Inputs) -> Identity:
        options = {"kind": "minimal", "busybox": self.source.busybox}
        if self.source.busybox and self.foreign:
            wanted = (PROGRAM, APPLETS, VERSION)
            return Identity(options, inputs={f"busybox/{name}": inputs.digest("busybox", name) for name in wanted})
        if self.source.busybox:
            digest = inputs.file_digest(_busybox())
            version = inputs.tool("busybox", "--help")
            inputs.observed("rootfs.busybox", {"kind": "host", "version": version, "sha256": digest})
            return Identity(options, (_LIST, _VERSION), {"busybox": digest})
        return Identity(options)

    def base(self, work: Work, open_files: ExitStack) -> Base:
        from ..minimal import add_busybox, applet_paths
        from ..tree import Tree

        tree = Tree()
        if not self.source.busybox:
            return Base(tree)
        if self.foreign:
            path, applets, told = (work.inputs.path("busybox", name) for name in (PROGRAM, APPLETS, VERSION))
            digest = work.recipe.inputs[f"busybox/{PROGRAM}"]
            listing, version = applets.read_text(), told.read_text().strip()
        else:
            path, digest = _busybox(), work.recipe.files["busybox"]
            listing = work.run(_LIST, busybox=path).output
            version = work.run(_VERSION, busybox=path).output.partition("\n")[0]
        add_busybox(tree, _read(path, digest), applet_paths(listing))
        return Base(tree, (Component("busybox", version, sha256=digest),))


def _read(path: Path, digest: str) -> bytes:
    """A file's bytes, if they still are what was planned with. Raises ToolError."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ToolError(f"cannot read {path}: {error.strerror}") from error
    if hashlib.sha256(data).hexdigest() != digest:
        raise ToolError(f"{path} changed while it was used", hint="build again")
    return data


def _busybox() -> Path:
    """The host's static busybox. Raises ToolError when there is none, or it is not static."""
    hint = f"{install_hint('busybox')} (or leave it out with rootfs: {{kind: minimal, busybox: false}})"
    path = run.which("busybox")
    if path is None:
        raise ToolError("busybox, which goes into the guest, is not installed", hint=hint)
    try:
        static = read_program(path).interpreter is None
    except InputError:  # no program at all but a script, say
        static = False
    if not static:
        raise ToolError(f"{path} is not a static program, and the guest has no libraries for it", hint=hint)
    return path
