"""minimal: busybox, or nothing at all."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

from ... import run
from ...components import Component
from ...dpkg import owner
from ...elf import read_program
from ...errors import InputError, ToolError
from ...pipeline.packages import install_hint
from ...pipeline.stage import Command, Inputs, Work
from ...spec.model import MinimalRootfs
from ..stage_files import APPLETS, BUSYBOX, BUSYBOX_PACKAGE, COPYRIGHT, FACTS, VERSION
from .source import Base, Identity, Source

_LIST = Command("@busybox@", "--list-full")
_VERSION = Command("@busybox@", "--help")
_VERSION_SAID = re.compile(r"BusyBox v(\S+)")
_LICENCE = "GPL-2.0-only"  # busybox's LICENSE: this version of the GPL only


@dataclass(frozen=True)
class MinimalSource(Source):
    """``foreign``: the guest is of another architecture than this machine; its busybox is the busybox stage's."""

    source: MinimalRootfs
    foreign: bool = False

    modules: ClassVar[tuple[str, ...]] = (
        "dpkg.py",
        "os_release.py",
        "rootfs/sources/minimal.py",
        "rootfs/stage_files.py",
    )

    def identity(self, inputs: Inputs) -> Identity:
        options: dict[str, Any] = {"kind": "minimal", "busybox": self.source.busybox}
        if self.source.busybox and self.foreign:
            wanted = (BUSYBOX, APPLETS, VERSION, FACTS, COPYRIGHT)
            return Identity(options, inputs={f"busybox/{name}": inputs.digest("busybox", name) for name in wanted})
        if self.source.busybox:
            path = _busybox()
            digest = inputs.file_digest(path)
            version = inputs.tool("busybox", "--help")
            inputs.observed("rootfs.busybox", {"kind": "host", "version": version, "sha256": digest})
            files = {"busybox": digest}
            package = owner(BUSYBOX_PACKAGE, path)
            if package:
                options["package"] = {key: value for key, value in asdict(package).items() if key != COPYRIGHT}
                if package.copyright:
                    files[COPYRIGHT] = inputs.file_digest(package.copyright)
            return Identity(options, (_LIST, _VERSION), files)
        return Identity(options)

    def base(self, work: Work, open_files: ExitStack) -> Base:
        from ..tree import Tree

        if not self.source.busybox:
            return Base(Tree())
        return self._foreign(work) if self.foreign else self._own(work)

    def _own(self, work: Work) -> Base:
        """With this machine's busybox; its package's facts count if the file still is the package's."""
        path, digest = _busybox(), work.recipe.files["busybox"]
        program = _read(path, digest)
        listing = work.run(_LIST, busybox=path).output
        version = _VERSION_SAID.search(work.run(_VERSION, busybox=path).output)
        component = Component("busybox", version.group(1) if version else "", sha256=digest, licence=_LICENCE)
        package = work.recipe.options.get("package")
        licences: dict[str, bytes] = {}
        if package and hashlib.md5(program, usedforsecurity=False).hexdigest() == package["md5"]:
            component = _component({**package, "architecture": package["arch"], "sha256": digest})
            there = owner(BUSYBOX_PACKAGE, path)
            if there and there.copyright and COPYRIGHT in work.recipe.files:
                licences[f"{BUSYBOX_PACKAGE}/{COPYRIGHT}"] = _read(there.copyright, work.recipe.files[COPYRIGHT])
        return _with_busybox(program, listing, component, licences)

    def _foreign(self, work: Work) -> Base:
        program, applets, facts, text = (
            work.inputs.path("busybox", name) for name in (BUSYBOX, APPLETS, FACTS, COPYRIGHT)
        )
        component = _component({"vendor": "debian", **json.loads(facts.read_bytes())})
        licences = {f"{BUSYBOX_PACKAGE}/{COPYRIGHT}": text.read_bytes()}
        data = _read(program, work.recipe.inputs[f"busybox/{BUSYBOX}"])
        return _with_busybox(data, applets.read_text(), component, licences)


def _with_busybox(program: bytes, listing: str, component: Component, licences: Mapping[str, bytes]) -> Base:
    from ..minimal import add_busybox, applet_paths
    from ..tree import Tree

    tree = Tree()
    add_busybox(tree, program, applet_paths(listing))
    return Base(tree, (component,), licences)


def _component(package: Mapping[str, Any]) -> Component:
    """busybox out of a package; the digest is the package's, or where only the program is here, the program's."""
    return Component(
        package["package"],
        package["version"],
        kind="deb",
        sha256=package["sha256"],
        arch=package["architecture"],
        licence=_LICENCE,
        source_name=package["source"],
        source_version=package["source_version"],
        namespace=package["vendor"],
        built_using=package["built_using"],
    )


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
